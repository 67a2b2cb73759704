use super::*;
use crate::metadata::MetadataTable;
use crate::timestamp::Timestamp;

fn reported() -> ReportedActivity {
    ReportedActivity {
        team: TeamId::new("team-acme").unwrap(),
        event_id: Some("evt-1".to_owned()),
        identity: "content".to_owned(),
        occurred_at: Timestamp::EPOCH,
        title: "Workflow updated".to_owned(),
        resource_type: Some("WORKFLOW".to_owned()),
        resource_name: Some("Box office".to_owned()),
        workflow_id: Some("w-1".to_owned()),
        request_source: Some("UI".to_owned()),
        private: PrivateValues::default(),
    }
}

fn row(reported: &ReportedActivity) -> Row {
    PublicActivity::of(reported).unwrap().row().row
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

#[test]
fn a_row_has_a_cell_for_each_column_in_order() {
    let expected = [
        text("evt-1"),
        Cell::Timestamp(Timestamp::EPOCH),
        text("Workflow updated"),
        text("WORKFLOW"),
        text("Box office"),
        text("w-1"),
        text("UI"),
    ];
    assert_eq!(row(&reported()), expected);
    let columns: Vec<_> = MetadataTable::ActivityLog.columns().iter().map(|column| column.name).collect();
    let names =
        ["event_id", "occurred_at", "event_title", "resource_type", "resource_name", "workflow_id", "request_source"];
    assert_eq!(columns, names);
}

#[test]
fn a_type_is_a_plain_name_or_null() {
    let long = "x".repeat(65);
    for refused in ["", " A", "1A", "_A", "A/B", "A.B", "A\n", "A ", "é", "a@b", "A\u{0}", long.as_str()] {
        let reported = ReportedActivity { resource_type: Some(refused.to_owned()), ..reported() };
        assert_eq!(row(&reported)[3], Cell::Null, "{refused:?}");
    }
    let long = "x".repeat(64);
    for kept in ["A", "WORKFLOW", "data-source 2", "Schema_Version", long.as_str()] {
        let reported = ReportedActivity { resource_type: Some(kept.to_owned()), ..reported() };
        assert_eq!(row(&reported)[3], text(kept));
    }
}

#[test]
fn a_source_is_one_of_the_known_or_null() {
    for known in REQUEST_SOURCES {
        let reported = ReportedActivity { request_source: Some(known.to_owned()), ..reported() };
        assert_eq!(row(&reported)[6], text(known));
    }
    for unknown in ["", "ui", "UI ", "WEBHOOK", "bob@acme.test"] {
        let reported = ReportedActivity { request_source: Some(unknown.to_owned()), ..reported() };
        assert_eq!(row(&reported)[6], Cell::Null, "{unknown:?}");
    }
}

#[test]
fn an_event_without_a_workflow_id_belongs_to_the_team() {
    let only = |id: &str| Scope::Only([WorkflowId::new(id).unwrap()].into());
    let event = |workflow_id: Option<&str>| {
        PublicActivity::of(&ReportedActivity { workflow_id: workflow_id.map(str::to_owned), ..reported() }).unwrap()
    };
    let of_workflow = event(Some("w-1"));
    assert!(of_workflow.is_in(&Scope::All) && of_workflow.is_in(&only("w-1")) && !of_workflow.is_in(&only("w-2")));
    for none in [None, Some(""), Some("w/1"), Some("bob@acme.test"), Some("w-1%40")] {
        let of_team = event(none);
        assert_eq!(of_team.row().row[5], Cell::Null, "{none:?}");
        assert!(of_team.is_in(&Scope::All) && !of_team.is_in(&only("w-1")) && !of_team.is_in(&Scope::Only([].into())));
    }
}

#[test]
fn an_id_is_the_producers_or_a_hash() {
    let event = |id: Option<&str>, identity: &str, team: &str| {
        let reported = ReportedActivity {
            event_id: id.map(str::to_owned),
            identity: identity.to_owned(),
            team: TeamId::new(team).unwrap(),
            ..reported()
        };
        PublicActivity::of(&reported).unwrap().id().to_owned()
    };
    let long = "x".repeat(128);
    for kept in ["1", "evt:2026-09-01.1_a", long.as_str()] {
        assert_eq!(event(Some(kept), "c", "t"), kept);
    }
    let longer = "x".repeat(129);
    for hashed in [None, Some(""), Some("a b"), Some("a/b"), Some("bob@acme.test"), Some("é"), Some(longer.as_str())] {
        let id = event(hashed, "c", "t");
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hashed:?}");
        assert_eq!(id, event(hashed, "c", "t"));
        assert_ne!(id, event(hashed, "d", "t"));
        assert_ne!(id, event(hashed, "c", "u"));
    }
}

#[test]
fn an_id_or_type_that_holds_something_private_counts_as_none() {
    let mut private = PrivateValues::default();
    ["usr_12345", "u-1"].iter().for_each(|value| private.insert(value));
    for held in ["usr_12345", "x-USR_12345-y", "u-1"] {
        let held = Some(held.to_owned());
        let reported = ReportedActivity {
            event_id: held.clone(),
            resource_type: held.clone(),
            workflow_id: held.clone(),
            private: private.clone(),
            ..reported()
        };
        let event = PublicActivity::of(&reported).unwrap();
        assert_eq!((event.id().len(), event.workflow()), (64, None), "{held:?}");
        assert_eq!(event.row().row[3], Cell::Null);
    }
}

#[test]
fn the_name_of_a_person_does_not_leave() {
    for of_person in ["USER", "team_member", "Invitation", "<user>"] {
        let reported = ReportedActivity { resource_type: Some(of_person.to_owned()), ..reported() };
        assert_eq!(row(&reported)[4], Cell::Null, "{of_person}");
    }
}

#[test]
fn texts_are_cut_and_an_empty_title_is_none() {
    let title = |title: &str| PublicActivity::of(&ReportedActivity { title: title.to_owned(), ..reported() });
    assert_eq!(title(&"é".repeat(501)).unwrap().row().row[2], text(&"é".repeat(500)));
    for empty in ["", "  \n", "\u{0}\u{7}", "\u{200B}"] {
        assert_eq!(title(empty), None, "{empty:?}");
        let name = ReportedActivity { resource_name: Some(empty.to_owned()), ..reported() };
        assert_eq!(row(&name)[4], Cell::Null, "{empty:?}");
    }
}

#[test]
fn a_reported_event_prints_nothing_of_itself() {
    let mut reported = ReportedActivity { title: "SECRET".to_owned(), ..reported() };
    reported.private.insert("SECRET");
    assert!(!format!("{reported:?} {:?}", reported.private).contains("SECRET"));
}
