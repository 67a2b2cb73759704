//! Nothing private leaves: private values are in no file and no rejection, at any depth, however their keys are
//! written.

use delivery::schema::{Column, ColumnType, PublicSchema};
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::support::{every_type, stage_bytes};

const MARKER: &str = "PLANTED-PRIVATE-VALUE";

/// The bytes of a file and those of all its pages without compression.
fn all_bytes(file: &[u8]) -> Vec<u8> {
    let reader = SerializedFileReader::new(bytes::Bytes::copy_from_slice(file)).unwrap();
    let mut all = file.to_vec();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).unwrap();
        for column in 0..group.num_columns() {
            for page in group.get_column_page_reader(column).unwrap() {
                all.extend_from_slice(page.unwrap().buffer());
            }
        }
    }
    all
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

#[test]
fn private_values_are_nowhere_in_what_leaves() {
    let secret = format!(r#""_qa":"{MARKER}","\u005fqb":{{"x":"{MARKER}"}},"_qc":["{MARKER}"],"_":"{MARKER}""#);
    let inner = format!(r#"{{{secret},"name":"public-text","sku":"public-sku"}}"#);
    let lines = format!(
        concat!(
            r#"{{{secret},"text":{inner},"any":{inner},"seller":{inner},"offers":[{inner},{inner}],"tags":[{inner}],"#,
            r#""internal_note":"{MARKER}","price":{{"amount":1,"_qm":"{MARKER}"}}}}"#,
            "\n",
            r#"{{"any":[[{inner}]],"text":"x",{secret}}}"#,
            "\n",
            r#"{{"number":"{MARKER}",{secret}}}"#,
            "\n",
            r#"{{{secret},"flag":1}}"#,
            "\n",
            r#"{{"_qa":"{MARKER}\ud800"}}"#,
            "\n",
            r#"{{"_{MARKER}":nonsense}}"#,
            "\n",
        ),
        secret = secret,
        inner = inner,
        MARKER = MARKER,
    );
    let outcome = stage_bytes(lines.as_bytes(), &every_type()).unwrap();
    assert_eq!((outcome.staged.rows, outcome.staged.rejected), (3, 3));
    let bytes = all_bytes(&outcome.files[&0]);
    assert!(contains(&bytes, "public-text") && contains(&bytes, "public-sku"), "public values are there");
    let told = format!("{:?} {:?}", outcome.staged, outcome.rejects);
    for text in [MARKER, "_qa", "_qb", "_qc", "_qm", "internal_note"] {
        assert!(!told.contains(text), "{text} is in {told}");
    }
    assert!(!contains(&bytes, MARKER) && !contains(&bytes, "u005f") && !contains(&bytes, "internal_note"));
}

#[test]
fn a_private_column_stays_null_even_if_a_schema_asks_for_it() {
    let column = Column {
        source: "_secret".to_owned(),
        name: "secret".to_owned(),
        column_type: ColumnType::String,
        source_type: "STRING".to_owned(),
        key: false,
        description: None,
    };
    let lines = format!("{{\"_secret\":\"{MARKER}\",\"\\u005fsecret\":\"{MARKER}\"}}\n");
    let outcome = stage_bytes(lines.as_bytes(), &PublicSchema::from_columns(vec![column])).unwrap();
    assert!(outcome.rows()[0]["secret"].is_null());
    assert!(!contains(&all_bytes(&outcome.files[&0]), MARKER));
}
