use std::collections::BTreeSet;
use std::io::Write;

use bytes::Bytes;
use delivery::ids::{RunId, RunKey, TeamId, WorkflowId};
use delivery::ports::ManifestStore;
use delivery::run::{Announcement, Output, OutputObject};
use delivery::schema::{Field, Marking};
use delivery::timestamp::Timestamp;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use rows::{FileFactory, SeekableSource};

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
    let objects: Vec<_> = objects.iter().map(|(key, text)| (*key, text.as_bytes().to_vec())).collect();
    place_of(&objects).await
}

async fn place_of(objects: &[(&str, Vec<u8>)]) -> Place {
    let (outputs, tables) = (Arc::new(InMemory::new()), Arc::new(InMemory::new()));
    for (key, bytes) in objects {
        outputs.put(&Path::from(*key), PutPayload::from(bytes.clone())).await.unwrap();
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Four rows as a Parquet file: what staging itself makes of them.
async fn parquet_file() -> Vec<u8> {
    let place = place(&[("out", &ROWS.repeat(2))]).await;
    let (run, schema) = run(&["out"], None);
    let staged = place.stager.stage(&run, &schema).await.unwrap();
    let bytes = place.tables.get(&Path::from(staged.files[0].key.as_str())).await.unwrap().bytes().await.unwrap();
    bytes.to_vec()
}

#[tokio::test]
async fn every_format_is_staged_from_plain_and_gzip_objects() {
    let csv = b"n,_secret,name\r\n1,x,a\r\n2,y,b\r\n1,,a\r\n2,,\"b\"\r\n";
    let json = format!("{{\"data\": [{}], \"runId\": \"r\"}}", ROWS.repeat(2).trim().replace('\n', ",\n"));
    for (format, bytes) in [
        ("jsonl", ROWS.repeat(2).into_bytes()),
        ("json", json.into_bytes()),
        ("csv", csv.to_vec()),
        ("parquet", parquet_file().await),
    ] {
        let place = place_of(&[("out/1", bytes.clone()), ("out/2", gzip(&bytes)), ("out/3", bytes.clone())]).await;
        let (mut run, schema) = run(&["out/1", "out/2", "out/3"], Some(12));
        run.output.format = format.to_owned();
        let staged = place.stager.stage(&run, &schema).await.unwrap();
        assert_eq!((staged.rows, staged.rejected.rows), (12, 0), "{format}");
        for statistics in staged.files.iter().map(|file| &file.statistics) {
            assert!(statistics.contains(r#""minValues":{"name":"a","n":1.0"#), "{format}: {statistics}");
        }
    }
}

#[tokio::test]
async fn outputs_that_are_not_what_was_announced_have_their_codes() {
    let parquet = parquet_file().await;
    let half = parquet[..parquet.len() / 2].to_vec();
    let packed = gzip(&parquet);
    let objects = [
        ("lines", ROWS.as_bytes().to_vec()),
        ("half", half.clone()),
        ("half.gz", gzip(&half)),
        ("cut.gz", packed[..packed.len() - 9].to_vec()),
        ("open", b"name,n\n\"a".to_vec()),
        ("array", b"[{\"name\": \"a\"}".to_vec()),
        ("empty", Vec::new()),
    ];
    let place = place_of(&objects).await;
    for (format, key, code) in [
        ("parquet", "lines", FailureCode::OutputInvalid),
        ("parquet", "half", FailureCode::OutputTruncated),
        ("parquet", "half.gz", FailureCode::OutputTruncated),
        ("parquet", "cut.gz", FailureCode::OutputTruncated),
        ("parquet", "empty", FailureCode::OutputTruncated),
        ("parquet", "missing", FailureCode::OutputNotFound),
        ("json", "lines", FailureCode::OutputInvalid),
        ("json", "array", FailureCode::OutputTruncated),
        ("json", "empty", FailureCode::OutputTruncated),
        ("json", "missing", FailureCode::OutputNotFound),
        ("csv", "open", FailureCode::OutputTruncated),
        ("csv", "array", FailureCode::OutputInvalid),
        ("jsonl", "cut.gz", FailureCode::OutputTruncated),
        ("JSONL", "lines", FailureCode::OutputFormatUnsupported),
    ] {
        let (mut run, schema) = run(&[key], None);
        run.output.format = format.to_owned();
        let error = place.stager.stage(&run, &schema).await.unwrap_err();
        assert_eq!(error.code, code, "{key} as {format}: {error}");
        assert!(keys(&place.tables).await.is_empty(), "{key} as {format}");
    }
}

#[tokio::test]
async fn a_packed_parquet_file_has_a_longest_content() {
    let parquet = parquet_file().await;
    let place = place_of(&[("out", gzip(&parquet))]).await;
    let object = || StoredObject { store: place.outputs.clone(), path: Path::from("out") };
    let limit = parquet.len() as u64;
    let mut fits = SeekableObjects::with_spool(vec![object()], limit);
    let mut longer = SeekableObjects::with_spool(vec![object()], limit - 1);
    tokio::task::spawn_blocking(move || {
        let opened = fits.next_object().unwrap().unwrap();
        assert_eq!(opened.size_bytes(), limit);
        assert_eq!(opened.read(limit - 4..limit).unwrap(), b"PAR1".as_slice());
        assert_eq!(opened.read(0..4).unwrap(), b"PAR1".as_slice());
        assert!(fits.next_object().unwrap().is_none());
        let error = longer.next_object().err().unwrap();
        assert_eq!(error.code(), Some(FailureCode::OutputTooLarge), "{error}");
    })
    .await
    .unwrap();
}

/// Stages a run of the repository's data, and returns rows and rejections.
async fn stage_data(event: &str) -> (u64, u64, Option<u64>) {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let message = std::fs::read(data.join("events").join(event)).unwrap();
    let Announcement::Finished(run) = events::run_completed::parse(&message).unwrap() else { panic!("{event}") };
    let schema = PublicSchema::of(&run.fields).unwrap();
    let objects: Vec<_> = run
        .output
        .objects
        .iter()
        .map(|object| (object.key.as_str(), std::fs::read(data.join("runs").join(&object.key)).unwrap()))
        .collect();
    let staged = place_of(&objects).await.stager.stage(&run, &schema).await.unwrap();
    (staged.rows, staged.rejected.rows, run.output.row_count)
}

#[tokio::test]
async fn the_real_runs_are_staged_whole() {
    for event in ["bird_strikes-1.json", "brand_icons-1.json", "jobs_by_sex-1.json", "box_office-3.json"] {
        let (rows, rejected, announced) = stage_data(event).await;
        assert_eq!((Some(rows), rejected), (announced, 0), "{event}");
    }
}
