use delivery::schema::{Column, ColumnType, DEPTH_MAX, PublicSchema, StructField};
use proptest::prelude::*;

use super::*;
use crate::{connector_record, run_record};

fn fixture(text: &'static str) -> &'static str {
    text.trim_end()
}

#[test]
fn a_run_record_is_written_back_as_it_was() {
    let text = fixture(include_str!("../fixtures/run-record.v1.json"));
    let run = run_record::read(text).unwrap();
    assert_eq!(run_record::write(&run).unwrap(), text);
    assert_eq!(run_record::read(&run_record::write(&run).unwrap()).unwrap(), run);
    assert_eq!(run.fields[3].shape, Some(delivery::schema::Shape::Null));
}

#[test]
fn a_manifest_is_written_back_as_it_was() {
    let text = fixture(include_str!("../fixtures/manifest.v1.json"));
    let staged = read(text.as_bytes()).unwrap();
    assert_eq!(write(&staged).unwrap(), text);
    assert_eq!(staged.bytes(), 65_536);
    assert_eq!(staged.rejected.first.unwrap().code, FailureCode::ValueNotCastable);
}

#[test]
fn a_connector_record_is_written_back_as_it_was() {
    let text = fixture(include_str!("../fixtures/connector.v1.json"));
    let connector = connector_record::read(text).unwrap();
    assert_eq!(connector_record::write(&connector).unwrap(), text);
    let scope = connector_record::write_scope(&connector.workflows).unwrap();
    assert_eq!(scope, r#"["w-1","w-2"]"#);
    assert_eq!(connector_record::read_scope(&scope).unwrap(), connector.workflows);
    assert_eq!(connector_record::read_scope("\"all\"").unwrap(), delivery::connector::Scope::All);
}

#[test]
fn another_version_is_refused_by_its_number() {
    let text = include_str!("../fixtures/manifest.v1.json").replace("\"v\":1", "\"v\":2");
    let error = read(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "the stored staging manifest cannot be read: its version is 2, and this program knows version 1");
}

#[test]
fn a_reason_quotes_no_value() {
    let secret = |text: &str, change: (&str, &str)| text.replace(change.0, change.1);
    let connector = include_str!("../fixtures/connector.v1.json");
    for change in [
        ("true", "\"secret\""),
        ("data@acme.test", "secret"),
        ("\"all\"", "\"secret\""),
        ("365", "\"secret\""),
        ("\"token\"", "\"secret\""),
        ("\"ready\"", "\"secret\""),
    ] {
        let text = secret(connector, change);
        if text != connector {
            let error = connector_record::read(&text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
    let missing = secret(connector, ("\"backfill\":true,", ""));
    assert!(connector_record::read(&missing).unwrap_err().to_string().contains("missing field `backfill`"));
}

fn any_type() -> impl Strategy<Value = ColumnType> {
    let leaf = prop_oneof![
        Just(ColumnType::String),
        Just(ColumnType::Json),
        Just(ColumnType::Double),
        Just(ColumnType::Boolean),
        Just(ColumnType::Date),
        Just(ColumnType::Timestamp),
        Just(ColumnType::Money),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|element| ColumnType::Array(Box::new(element))),
            proptest::collection::vec((".{0,5}", "[a-z]{1,5}", inner), 0..4).prop_map(|fields| {
                let field = |(source, name, column_type)| StructField { source, name, column_type };
                ColumnType::Struct(fields.into_iter().map(field).collect())
            }),
        ]
    })
}

fn staged(column_type: ColumnType) -> StagedRun {
    let mut staged = read(include_str!("../fixtures/manifest.v1.json").as_bytes()).unwrap();
    let column = Column {
        source: "c".into(),
        name: "c".into(),
        column_type,
        source_type: "STRING".into(),
        key: false,
        description: None,
    };
    staged.schema = PublicSchema::from_columns(vec![column]);
    staged
}

#[test]
fn the_deepest_type_that_a_schema_may_have_is_read_back() {
    let member = |column_type| StructField { source: "s".into(), name: "s".into(), column_type };
    let deepest = (1..DEPTH_MAX).fold(ColumnType::Date, |inner, _| ColumnType::Struct(vec![member(inner)]));
    let staged = staged(deepest);
    assert_eq!(read(write(&staged).unwrap().as_bytes()).unwrap(), staged);
}

proptest! {
    #[test]
    fn every_type_is_read_as_it_was_written(column_type in any_type()) {
        let staged = staged(column_type);
        prop_assert_eq!(read(write(&staged).unwrap().as_bytes()).unwrap(), staged);
    }
}
