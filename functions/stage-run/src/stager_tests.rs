use std::collections::BTreeSet;

use bytes::Bytes;
use delivery::ids::{RunId, RunKey, TeamId, WorkflowId};
use delivery::ports::ManifestStore;
use delivery::run::{Output, OutputObject};
use delivery::schema::{Field, Marking};
use delivery::timestamp::Timestamp;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use rows::FileFactory;

use super::*;

struct One(Arc<dyn ObjectStore>);

impl OutputBuckets for One {
    fn open(&self, _: Option<&str>) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
        Ok(Arc::clone(&self.0))
    }
}

fn run(keys: &[&str], row_count: Option<u64>) -> (Run, PublicSchema) {
    let field = |name: &str, data_type: &str| Field {
        name: name.to_owned(),
        data_type: Some(data_type.to_owned()),
        field_type: None,
        key: false,
        marking: Marking::Public,
        description: None,
        shape: None,
    };
    let fields = vec![field("name", "STRING"), field("n", "NUMBER"), field("_secret", "STRING")];
    let schema = PublicSchema::of(&fields).unwrap();
    let key = RunKey {
        team: TeamId::new("t").unwrap(),
        workflow: WorkflowId::new("w").unwrap(),
        run: RunId::new("r").unwrap(),
    };
    let objects = keys.iter().map(|key| OutputObject { bucket: None, key: (*key).to_owned() }).collect();
    let output = Output { format: "jsonl".to_owned(), objects, row_count };
    let finished_at = Timestamp::parse("2026-09-01T06:07:30Z").unwrap();
    (Run { key, workflow_name: "W".to_owned(), started_at: None, finished_at, fields, output }, schema)
}

async fn keys(store: &InMemory) -> BTreeSet<String> {
    store.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap()
}

struct Place {
    outputs: Arc<InMemory>,
    tables: Arc<InMemory>,
    stager: ObjectStoreStager,
}

async fn place(objects: &[(&str, &str)]) -> Place {
    let (outputs, tables) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    for (key, text) in objects {
        outputs.put(&Path::from(*key), PutPayload::from((*text).to_owned().into_bytes())).await.unwrap();
    }
    let stager = ObjectStoreStager::new(Arc::new(One(outputs.clone())), tables.clone());
    Place { outputs, tables, stager }
}

const ROWS: &str = "{\"name\": \"a\", \"n\": 1, \"_secret\": \"x\"}\n{\"name\": \"b\", \"n\": 2}\n";

#[tokio::test]
async fn a_run_is_staged_with_its_manifest_and_the_manifest_reads_back() {
    let place = place(&[("out/1", ROWS), ("out/2", ROWS)]).await;
    let (run, schema) = run(&["out/1", "out/2"], Some(4));
    let staged = place.stager.stage(&run, &schema).await.unwrap();
    assert_eq!((staged.rows, staged.rejected.rows), (4, 0));
    let found = ObjectStoreManifests::new(place.tables.clone()).staged(&run.key).await.unwrap();
    assert_eq!(found.as_ref(), Some(&staged));
    let before = keys(&place.tables).await;
    assert!(before.contains("staging/t/w/r/manifest.json") && before.contains("staging/t/w/r/part-00000.parquet"));
    assert_eq!(place.stager.stage(&run, &schema).await.unwrap(), staged, "a second attempt stages the same bytes");
    assert_eq!(keys(&place.tables).await, before);
    assert_eq!(keys(&place.outputs).await.len(), 2);
}

#[tokio::test]
async fn a_run_that_cannot_be_staged_leaves_no_manifest() {
    let broken = "{\"name\": \"a\", \"n\": 1}\n{\"name\": \"b\",";
    let place = place(&[("good", ROWS), ("broken", broken)]).await;
    for (keys_of_run, count, code) in [
        (["good"].as_slice(), Some(3), FailureCode::RowCountMismatch),
        (&["missing"], None, FailureCode::OutputNotFound),
        (&["good", "missing"], None, FailureCode::OutputNotFound),
        (&["broken"], None, FailureCode::OutputTruncated),
        (&["a//b"], None, FailureCode::OutputNotFound),
    ] {
        let (run, schema) = run(keys_of_run, count);
        assert_eq!(place.stager.stage(&run, &schema).await.unwrap_err().code, code, "{keys_of_run:?}");
        assert!(!keys(&place.tables).await.contains("staging/t/w/r/manifest.json"), "{keys_of_run:?}");
    }
}

#[tokio::test]
async fn rejected_rows_are_listed_and_the_others_staged() {
    let text = format!("{ROWS}{{\"name\": \"c\", \"n\": \"many\"}}\nnot JSON\n");
    let place = place(&[("out", &text)]).await;
    let (run, schema) = run(&["out"], Some(4));
    let staged = place.stager.stage(&run, &schema).await.unwrap();
    assert_eq!((staged.rows, staged.rejected.rows), (2, 2));
    let first = staged.rejected.first.unwrap();
    assert_eq!((first.line, first.column.as_deref(), first.code), (3, Some("n"), FailureCode::ValueNotCastable));
    let key = staged.rejected.key.unwrap();
    let listed = place.tables.get(&Path::from(key)).await.unwrap().bytes().await.unwrap();
    let listed = String::from_utf8(listed.to_vec()).unwrap();
    assert_eq!(listed.lines().count(), 2);
    assert!(!listed.contains("many"), "a rejection holds no value: {listed}");
}

#[tokio::test]
async fn an_upload_of_parts_is_whole_or_nothing() {
    let store = Arc::new(InMemory::new());
    let uploads = Uploads::new(store.clone(), |index| format!("file-{index}"));
    tokio::task::spawn_blocking(move || {
        let part = |byte: u8| Bytes::from(vec![byte; 1_000]);
        let mut whole = uploads.create(0).unwrap();
        for byte in 0..3 {
            whole.write(part(byte)).unwrap();
        }
        let mut given_up = uploads.create(1).unwrap();
        given_up.write(part(7)).unwrap();
        given_up.write(part(8)).unwrap();
        drop(given_up);
        whole.finish().unwrap();
    })
    .await
    .unwrap();
    assert_eq!(keys(&store).await, BTreeSet::from(["file-0".to_owned()]));
    let bytes = store.get(&Path::from("file-0")).await.unwrap().bytes().await.unwrap();
    assert_eq!((bytes.len(), bytes.first(), bytes.last()), (3_000, Some(&0), Some(&2)));
}
