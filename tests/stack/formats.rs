//! Every format that a producer may announce, plain, compressed and in several objects: the same rows, the same table.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::{Place, Run, sorted, unique};

/// One output that the program `outputs.py` wrote.
struct Output {
    set: String,
    name: String,
    run: Run,
}

struct Outputs {
    folder: PathBuf,
    all: Vec<Output>,
}

impl Outputs {
    async fn of(place: &Place) -> Self {
        let folder = std::env::temp_dir().join(format!("outputs-{}", unique()));
        std::fs::create_dir_all(&folder).unwrap();
        let lines = place.stack.client("outputs.py", &[folder.to_str().unwrap()]).await.unwrap();
        let (flat, nested) = (unique(), unique());
        let read = |line: &String| {
            let found: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| found[name].as_str().unwrap().to_owned();
            let set = text("set");
            let workflow = match set.as_str() {
                "flat" => flat.clone(),
                "nested" => nested.clone(),
                _ => unique(),
            };
            let objects = found["objects"].as_array().unwrap().iter();
            let mut objects = objects.map(|name| std::fs::read(folder.join(name.as_str().unwrap())).unwrap());
            let run = Run {
                body: objects.next().unwrap(),
                more: objects.collect(),
                format: text("format"),
                fields: fields(&folder, if set == "bad" { "flat" } else { &set }),
                row_count: None,
                ..Run::small(&place.team, &workflow, 0)
            };
            Output { set, name: text("name"), run }
        };
        let all = lines.iter().map(read).collect();
        Self { folder, all }
    }

    fn of_set<'a>(&'a self, set: &'a str) -> impl Iterator<Item = &'a Output> {
        self.all.iter().filter(move |output| output.set == set)
    }

    fn expected(&self, set: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join(format!("{set}.expected.jsonl"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn fields(folder: &Path, set: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(format!("{set}.fields.json"))).unwrap()).unwrap()
}

/// Rows without the two columns that say which run they are of.
fn without_run(rows: Vec<Value>) -> Vec<Value> {
    let strip = |mut row: Value| {
        let columns = row.as_object_mut().unwrap();
        columns.remove("run_id");
        columns.remove("run_finished_at");
        row
    };
    rows.into_iter().map(strip).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rows_in_any_format_are_the_same_table_rows() {
    let place = Place::new().await;
    let outputs = Outputs::of(&place).await;
    for (set, variants) in [("flat", 21), ("nested", 15)] {
        assert_eq!(outputs.of_set(set).count(), variants);
        for output in outputs.of_set(set) {
            output.run.announce(&place.stack).await;
        }
    }
    for set in ["flat", "nested"] {
        let expected = outputs.expected(set);
        for output in outputs.of_set(set) {
            let delivery = place.ended(&output.run).await;
            assert_eq!(delivery.state, "shared", "{set} as {}: {delivery:?}", output.name);
            assert_eq!(delivery.attributes["rows"], expected.len().to_string(), "{set} as {}", output.name);
        }
        let workflow = &outputs.of_set(set).next().unwrap().run.workflow;
        let table = place.read_workflow(workflow, "V1").await;
        let private = |name: &String| name.starts_with('_') || name == "internal" || name == "undeclared";
        assert!(!table.columns.iter().any(private), "{:?}", table.columns);
        let wanted = sorted(&expected);
        for output in outputs.of_set(set) {
            let rows = without_run(table.having("run_id", &output.run.run));
            let rows = sorted(&rows);
            if let Some((read, wanted)) = rows.iter().zip(&wanted).find(|(read, wanted)| read != wanted) {
                panic!("{set} as {}:\n   read {read}\n wanted {wanted}", output.name);
            }
            assert_eq!(rows.len(), wanted.len(), "{set} as {}", output.name);
        }
        assert!(!json!(table.rows).to_string().contains("planted"), "a private value of {set} is in the table");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_outputs_of_every_format_fail_with_a_code_while_a_good_one_arrives() {
    let place = Place::new().await;
    let outputs = Outputs::of(&place).await;
    let good = place.run();
    for output in outputs.of_set("bad") {
        output.run.announce(&place.stack).await;
    }
    place.deliver(&good).await;
    let mut wrong = Vec::new();
    for output in outputs.of_set("bad") {
        let delivery = place.failed(&output.run).await;
        let (code, phase) = (delivery.code.clone().unwrap_or_default(), delivery.phase.clone().unwrap_or_default());
        let page = tests::root().join(format!("infra/runbook/{code}.md"));
        assert!(page.is_file(), "{}: {} is missing", output.name, page.display());
        assert!(!delivery.message.unwrap_or_default().contains("planted"), "{} tells a value", output.name);
        let expected = expected_code(&output.name);
        if expected != (code.as_str(), phase.as_str()) {
            wrong.push(format!("{}: {code} at {phase}, not {} at {}", output.name, expected.0, expected.1));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let tables: Vec<_> = place.tables().await.into_iter().filter(|name| name.starts_with("WF_")).collect();
    assert_eq!(tables.len(), 2, "only the good run's tables are there: {tables:?}");
}

fn expected_code(name: &str) -> (&'static str, &'static str) {
    match name {
        "json truncated"
        | "json without its end"
        | "csv with a quote left open"
        | "parquet truncated"
        | "gzip truncated" => ("OUTPUT_TRUNCATED", "staging"),
        "json of numbers" => ("ROW_NOT_OBJECT", "staging"),
        "csv with a cell too few" => ("ROW_CELLS_MISMATCH", "staging"),
        "csv of other text" => ("TEXT_INVALID", "schema"),
        "a gzip bomb of one row" => ("ROW_TOO_LARGE", "staging"),
        "parquet with a type that does not fit" => ("VALUE_NOT_CASTABLE", "schema"),
        _ => ("OUTPUT_INVALID", "staging"),
    }
}
