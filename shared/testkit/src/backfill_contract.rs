//! The rules that every store of a team's history keeps. A `prefix` that no other run of the suite has keeps runs in a
//! shared table apart.

use delivery::backfill::{BackfillId, Counts, Phase};
use delivery::failure::FailureCode;
use delivery::ports::{
    BackfillNote, BackfillStore, DeliveryStore, DeliverySummary, FoundBy, FoundRun, Known, Recorded, RunConnectors,
    RunOrigin, RunStore,
};
use delivery::run::Run;
use delivery::schema::Fingerprint;
use delivery::schema::PublicSchema;
use delivery::state::{DeliveryState, Ended, Failure, Step};
use delivery::table::{Membership, SchemaVersion, TableName, VersionTable, WorkflowLabel};

use crate::builders::{connector_id, delivered_run, delivery_key, field, instant, run, run_key, team_id};

/// The rules of [`BackfillStore`].
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn backfill_store_contract(
    store: &dyn BackfillStore,
    runs: &dyn RunStore,
    deliveries: &dyn DeliveryStore,
    prefix: &str,
) {
    let team = format!("{prefix}-history-team");
    let connector = connector_id(&format!("{prefix}-history"));
    let takers = RunConnectors::taking(std::slice::from_ref(&connector));
    assert_eq!(store.history(&team_id(&team), None, 10).await.expect("list"), []);
    let finished = |workflow: &str, name: &str, seconds: i64| Run {
        finished_at: instant(seconds),
        ..run(run_key(&team, workflow, name))
    };
    // Found and announced, out of order, and another team's.
    let found: Vec<_> = [("w-2", "r-a", 5), ("w-1", "r-b", 9), ("w-1", "r-c", 7)]
        .map(|(workflow, name, seconds)| FoundRun { run: finished(workflow, name, seconds), bytes: 11 })
        .into();
    let by = FoundBy::page(&BackfillId::of_execution("arn:e-1"), 3);
    store.record_found(&found, &by, instant(1_000)).await.expect("record");
    let live = finished("w-1", "r-d", 8);
    assert_eq!(runs.record_run(&live, &takers, instant(1_001)).await.expect("record"), Recorded::New);
    let private = Run { fields: vec![field("_p", "STRING")], ..finished("w-1", "r-e", 70_000_000) };
    assert_eq!(
        runs.record_run(&private, &RunConnectors::default(), instant(1_002)).await.expect("record"),
        Recorded::New
    );
    let foreign = run(run_key(&format!("{team}-2"), "w-1", "r-z"));
    assert_eq!(
        runs.record_run(&foreign, &RunConnectors::default(), instant(1_002)).await.expect("record"),
        Recorded::New
    );

    let all = store.history(&team_id(&team), None, 10).await.expect("list");
    let names: Vec<_> = all.iter().map(|run| (run.workflow.as_str(), run.run.as_str())).collect();
    let expected = [("w-1", "r-c"), ("w-1", "r-d"), ("w-1", "r-b"), ("w-1", "r-e"), ("w-2", "r-a")];
    assert_eq!(names, expected, "workflow by workflow, as they finished");
    let fingerprint = PublicSchema::of(&live.fields).expect("a public schema").fingerprint();
    assert_eq!((all[1].fingerprint.as_ref(), all[3].fingerprint.as_ref()), (Some(&fingerprint), None));
    assert_eq!((all[0].origin, all[0].accepted_at, all[0].bytes), (RunOrigin::Found, instant(1_000), Some(11)));
    assert_eq!((all[1].origin, all[1].accepted_at, all[1].bytes), (RunOrigin::Announced, instant(1_001), None));
    assert_eq!(all[1].finished_at, instant(8));
    let mut pages = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.history(&team_id(&team), after.as_deref(), 2).await.expect("list");
        assert!(page.len() <= 2, "no more than was asked for");
        let Some(last) = page.last() else { break };
        after = Some(last.place.clone());
        pages.extend(page);
    }
    assert_eq!(pages, all, "page by page it is the same");

    // The first record stays, whoever made it.
    let copies = [
        FoundRun { run: Run { workflow_name: "another".to_owned(), ..live.clone() }, bytes: 1 },
        FoundRun { run: finished("w-3", "r-new", 1), bytes: 1 },
    ];
    store
        .record_found(&copies, &FoundBy::page(&BackfillId::of_execution("arn:e-2"), 1), instant(2_000))
        .await
        .expect("record");
    assert_eq!(runs.recorded_run(&live.key).await.expect("read"), Some(live.clone()));
    assert_eq!(store.history(&team_id(&team), None, 10).await.expect("list").len(), 6);
    let keys = [live.key.clone(), run_key(&team, "w-1", "r-none"), found[0].run.key.clone()];
    assert_eq!(store.recorded(&keys).await.expect("read"), [Known::Yes(None), Known::No, Known::Yes(Some(by))]);
    assert_eq!(store.recorded(&[]).await.expect("read"), []);

    // A run that was found is announced by its first message: it is in the lists of those who missed it then.
    let missed_by = vec![connector_id(&format!("{prefix}-asleep"))];
    let announced = RunConnectors { missed_by, ..takers.clone() };
    let message = Run { finished_at: instant(6), ..found[0].run.clone() };
    let record = async |connectors| runs.record_run(&message, connectors, instant(2_000)).await.expect("record");
    assert_eq!(record(&announced).await, Recorded::New, "nobody announced it before");
    assert_eq!(record(&takers).await, Recorded::Before(announced), "the first announcement stays");
    assert_eq!(runs.recorded_run(&message.key).await.expect("read").as_ref(), Some(&found[0].run), "and the record");
    let of_found = delivery_key(&connector, &message.key);
    let accepted = deliveries.delivery(&of_found).await.expect("read").map(|delivery| delivery.state);
    assert_eq!(accepted, Some(DeliveryState::Accepted));
    let all = store.history(&team_id(&team), None, 10).await.expect("list");
    assert_eq!(all.len(), 6, "it is listed once, whatever the message says of its end");
    let entry = all.iter().find(|run| run.run == message.key.run).expect("it is listed");
    let expected = (RunOrigin::Announced, instant(2_000), instant(5), Some(11));
    assert_eq!((entry.origin, entry.accepted_at, entry.finished_at, entry.bytes), expected);

    // What became of deliveries.
    let summary = |state, code| Some(DeliverySummary { state, code });
    let of_history = delivery_key(&connector, &found[0].run.key);
    deliveries.enter(std::slice::from_ref(&of_history), Step::Staging, instant(3_000)).await.expect("enter");
    deliveries.end(&[(of_history.clone(), failed(FailureCode::RowNotJson))], instant(3_001)).await.expect("end");
    let of_live = delivery_key(&connector, &live.key);
    deliveries.end(&[(of_live.clone(), failed(FailureCode::LoadConflict))], instant(3_002)).await.expect("end");
    let keys = [found[0].run.key.clone(), run_key(&team, "w-1", "r-none"), live.key.clone()];
    assert_eq!(
        store.deliveries(&connector, &keys).await.expect("read"),
        [
            summary(DeliveryState::Failed, Some(FailureCode::RowNotJson)),
            None,
            summary(DeliveryState::Failed, Some(FailureCode::LoadConflict)),
        ]
    );
    deliveries.end(&[(of_live.clone(), shared())], instant(3_003)).await.expect("end");
    let known = store.deliveries(&connector, &keys[2..]).await.expect("read");
    assert_eq!(known, [summary(DeliveryState::Shared, None)]);

    let note = BackfillNote { phase: Phase::Find, pages: 1, counts: Counts::default(), started_at: instant(1) };
    for phase in Phase::ALL {
        let id = BackfillId::of_execution("arn:aws:states:eu-west-1:1:execution:m:e-1");
        let note = BackfillNote { phase, ..note.clone() };
        store.note_backfill(&connector, &id, &note, instant(4_000)).await.expect("note");
    }
}

fn failed(code: FailureCode) -> Ended {
    Ended::Failed(Failure { code, message: "see the runbook".to_owned() })
}

fn shared() -> Ended {
    let label = WorkflowLabel::from_stored("W_1");
    let table = VersionTable {
        name: TableName::version(&label, SchemaVersion(1)),
        label,
        schema_version: SchemaVersion(1),
        fingerprint: Fingerprint::from_stored("f-1"),
        table_version: None,
        shared: Membership::Unshared,
    };
    Ended::Shared(Box::new(delivered_run(&table, 5, instant(450))))
}
