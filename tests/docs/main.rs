//! The documentation agrees with the code that it tells of.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use delivery::catalogue::cast_policy;
use delivery::connector::{Connector, ConnectorState};
use delivery::failure::FailureCode;
use delivery::lifecycle::{OVERLAP_SECONDS_DEFAULT, OVERLAP_SECONDS_MAX, Refusal, RotationWish};
use delivery::metadata::{CellType, MetadataTable};
use delivery::ports::Invitation;
use delivery::schema::{COLUMNS_MAX, ColumnType, DEPTH_MAX};
use tests::root;

fn pages() -> Vec<(PathBuf, String)> {
    let entries = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = entries.filter(|path| path.is_file()).collect();
    pages.sort();
    pages.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join("docs").join(name)).unwrap()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    };
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn every_column_of_every_metadata_table_is_documented_as_the_code_has_it() {
    let recipients = page("recipients.md");
    for table in MetadataTable::ALL {
        let name = table.name();
        let section =
            recipients.split(&format!("### `{name}`\n")).nth(1).unwrap_or_else(|| panic!("no section {name}"));
        let section = section.split("\n#").next().unwrap();
        let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
        let row = |column: &delivery::metadata::MetadataColumn| {
            let cell_type = match column.cell_type {
                CellType::Text => "string",
                CellType::Integer => "long",
                CellType::Boolean => "boolean",
                CellType::Timestamp => "timestamp",
            };
            format!("| `{}` | {cell_type} | {} |", column.name, column.comment)
        };
        let expected: Vec<_> = table.columns().iter().map(row).collect();
        assert_eq!(rows, expected, "{name}");
    }
}

#[test]
fn every_cast_policy_and_limit_is_documented() {
    let policy = page("cast-policy.md");
    let element = Box::new(ColumnType::String);
    for column_type in [
        ColumnType::String,
        ColumnType::Json,
        ColumnType::Double,
        ColumnType::Boolean,
        ColumnType::Date,
        ColumnType::Timestamp,
        ColumnType::Money,
        ColumnType::Struct(Vec::new()),
        ColumnType::Array(element),
    ] {
        let name = cast_policy(&column_type);
        assert!(policy.contains(&format!("| `{name}` |")), "{name} is not in the table");
    }
    let columns = format!("{},{:03} columns", COLUMNS_MAX / 1_000, COLUMNS_MAX % 1_000);
    assert!(policy.contains(&format!("nesting {DEPTH_MAX}")) && policy.contains(&columns), "{columns}");
}

#[test]
fn every_code_that_a_page_names_is_a_failure_code() {
    let codes: BTreeSet<_> = FailureCode::ALL.iter().map(|code| code.as_str()).collect();
    let producers = page("producers.md");
    let named = producers.split('`').skip(1).step_by(2).filter(|word| word.contains('_'));
    let named: Vec<_> = named.filter(|word| word.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    assert!(named.len() > 10, "{named:?}");
    for code in named {
        assert!(codes.contains(code), "{code} is none");
    }
    // What a producer can cause has to be found there.
    for code in codes.iter().filter(|code| code.starts_with("OUTPUT_") || code.starts_with("ROW_")) {
        assert!(producers.contains(&format!("`{code}`")), "{code} is not documented");
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for (path, text) in pages() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap_or(Path::new("")).join(file) };
            let found = std::fs::read_to_string(&target).unwrap_or_else(|_| panic!("{}: {link}", path.display()));
            assert!(anchor.is_empty() || anchors(&found).contains(anchor), "{}: {link}", path.display());
        }
    }
}

#[test]
fn the_table_of_states_and_commands_is_what_the_rules_do() {
    let operations = page("operations.md");
    let now = testkit::builders::instant(0);
    let wish = RotationWish { overlap_seconds: OVERLAP_SECONDS_DEFAULT, new_link: false, asked_at: now };
    let cell = |after: Result<Option<Connector>, Refusal>| match after {
        Ok(None) => "–".to_owned(),
        Ok(Some(after)) => format!("`{}`", after.state.as_str()),
        Err(Refusal::Provisioning) => format!("`{}`", FailureCode::ChangeRefused),
        Err(Refusal::Revoked) => format!("`{}`", FailureCode::ConnectorRevoked),
    };
    for state in ConnectorState::ALL {
        let disabled_in = (state == ConnectorState::Disabled).then_some(ConnectorState::Active);
        let connector = Connector { state, disabled_in, ..testkit::builders::connector("acme", "t") };
        let enabled = match cell(connector.enabled()) {
            back if back == "`active`" => "the state of before".to_owned(),
            other => other,
        };
        let row = [
            format!("`{}`", state.as_str()),
            cell(connector.disabled(now)),
            enabled,
            cell(connector.rotated(wish, Invitation::Used, now)),
            cell(Ok(connector.revoked())),
        ];
        let row = format!("| {} |", row.join(" | "));
        assert!(operations.contains(&row), "{row}");
    }
    for number in [OVERLAP_SECONDS_DEFAULT, OVERLAP_SECONDS_MAX] {
        assert!(operations.contains(&number.to_string()), "{number}");
    }
}
