//! The runbook has a page for each failure code, and says in it what the code says.

use std::collections::BTreeSet;
use std::fs;

use delivery::failure::{FailureCode, RetryClass};
use delivery::metadata::MetadataTable;
use tests::root;

/// The longest page, in lines that are not empty.
const PAGE_LINES_MAX: usize = 40;

fn page(code: FailureCode) -> String {
    fs::read_to_string(root().join(format!("infra/runbook/{code}.md"))).unwrap()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let entries = fs::read_dir(root().join("infra/runbook")).unwrap();
    let pages: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let codes: BTreeSet<String> = FailureCode::ALL.iter().map(|code| format!("{code}.md")).collect();
    assert_eq!(pages, codes);
}

#[test]
fn a_page_names_its_code_its_phase_and_how_it_is_retried() {
    for code in FailureCode::ALL {
        let class = match code.class() {
            RetryClass::Transient => "transient",
            RetryClass::Conflict => "conflict",
            RetryClass::Rejected => "rejected",
            RetryClass::Defect => "defect",
        };
        let expected = format!("# {code}\n\nPhase `{}`, class {class}: ", code.phase().as_str());
        let text = page(*code);
        assert!(text.starts_with(&expected), "{code}.md must begin with {expected:?}");
    }
}

#[test]
fn a_page_answers_the_five_questions_in_short() {
    let questions = ["**What happened.**", "**Recipient.**", "**Find it.**", "**Do.**", "**Start again.**"];
    for code in FailureCode::ALL {
        let text = page(*code);
        let found: Vec<_> = questions.iter().map(|question| text.find(question)).collect();
        assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{code}.md: {found:?}");
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= PAGE_LINES_MAX, "{code}.md has {lines} lines");
    }
}

#[test]
fn a_code_that_a_page_refers_to_exists() {
    let settings = ["SHARING_ENDPOINT", "SHARE_READS"];
    for code in FailureCode::ALL {
        let text = page(*code);
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        // A table's name, such as `WF_<id>__LATEST`, is cut into words that begin or end with an underscore.
        let whole = |word: &&str| word.contains('_') && !word.starts_with('_') && !word.ends_with('_');
        for word in words.filter(whole) {
            let table = MetadataTable::of_name(word).is_some();
            let exists = FailureCode::parse(word).is_some() || table || settings.contains(&word);
            assert!(exists, "{code}.md refers to {word}");
        }
    }
}
