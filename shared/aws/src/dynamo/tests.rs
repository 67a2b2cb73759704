//! The items of the table: each is written as its fixture says, and read back as what it was written from.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use delivery::backfill::{BackfillId, Counts, Phase};
use delivery::batch::Origin;
use delivery::connector::Scope;
use delivery::failure::FailureCode;
use delivery::ids::DeliveryKey;
use delivery::metadata::{Batched, BegunBatch, KeptRow, MetadataTable};
use delivery::outgoing::{Change, DeliveryAfter, FailedFacts, SharedFacts};
use delivery::ports::{BackfillNote, CatalogueChange, FoundBy, PortErrorKind, RunConnectors, RunOrigin, WatchedToken};
use delivery::schema::{Fingerprint, PublicSchema};
use delivery::state::{Delivery, DeliveryState, Ended, Failure, Step};
use delivery::table::{LatestTable, Membership, Mirrored, SchemaVersion, TableName, VersionTable, WorkflowLabel};
use serde_json::{Value, json};
use sharing::ports::{Activation, ActivationState, Grant, Holder, SecretHash};
use testkit::builders;

use super::expression::Write;
use super::item::Item;
use super::*;

/// An item as DynamoDB's JSON has it.
fn as_json(item: &Item) -> Value {
    let value = |value: &AttributeValue| {
        if let AttributeValue::S(text) = value {
            json!({ "S": text })
        } else if let AttributeValue::N(number) = value {
            json!({ "N": number })
        } else if let AttributeValue::B(bytes) = value {
            let schema = events::schema_record::read(bytes.as_ref()).unwrap();
            json!({ "B": schema.columns().iter().map(|column| column.name.as_str()).collect::<Vec<_>>() })
        } else {
            let texts = value.as_l().unwrap().iter().map(|text| json!({ "S": text.as_s().unwrap() }));
            json!({ "L": texts.collect::<Vec<_>>() })
        }
    };
    item.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
}

fn golden(name: &str, write: &Write) -> Item {
    let fixtures: Value = serde_json::from_str(include_str!("../../fixtures/items.json")).unwrap();
    let item = write.item();
    assert_eq!(as_json(&item), fixtures[name], "{name}: {:#}", as_json(&item));
    item
}

fn delivery() -> DeliveryKey {
    builders::delivery_key(&builders::connector_id("Acme-token"), &builders::run_key("team-acme", "w-1", "r-1"))
}

#[test]
fn a_run_is_written_and_read_as_its_fixture() {
    let run = builders::run(delivery().run);
    let missed_by = vec![builders::connector_id("asleep")];
    let connectors = RunConnectors { taken_by: vec![delivery().connector], missed_by };
    let write = runs::run_item(&run, &connectors, builders::instant(500)).unwrap();
    let mut item = golden("run", &write);
    assert_eq!(runs::recorded_connectors(&item).unwrap(), connectors);
    assert_eq!(events::run_record::read(item["record"].as_s().unwrap()).unwrap(), run);
    item.remove("missed_by");
    let silent = runs::recorded_connectors(&item).unwrap();
    assert_eq!((silent.taken_by, silent.missed_by), (connectors.taken_by.clone(), vec![]), "a record of before");

    let found_by = FoundBy::page(&BackfillId::of_execution("arn:e-1"), 3);
    golden("run that was found", &runs::found_item(&run, &found_by, builders::instant(500)).unwrap());
    let [record, entry] = runs::announced_items(&run.key, run.finished_at, &connectors, builders::instant(501));
    assert!(record.update_expression().unwrap().ends_with("REMOVE #found_at"));
    assert_eq!(record.condition.as_deref(), Some("attribute_exists(#found_at)"), "once");
    assert_eq!(runs::recorded_connectors(&record.item()).unwrap(), connectors);
    let listed = runs::history_item(&run, RunOrigin::Found, Some(77), builders::instant(500)).item();
    let listed = with(&listed, &entry.item().into_iter().map(leak).collect::<Vec<_>>());
    let read = backfill::read_history(&listed).unwrap();
    assert_eq!((read.origin, read.accepted_at), (RunOrigin::Announced, builders::instant(501)));
    assert_eq!(read.bytes, Some(77), "what is known of it stays");
}

#[test]
fn a_run_in_the_history_of_its_team_is_written_and_read_as_its_fixture() {
    let run = builders::run(delivery().run);
    let item = golden("run announced", &runs::history_item(&run, RunOrigin::Announced, None, builders::instant(500)));
    let read = backfill::read_history(&item).unwrap();
    assert_eq!((&read.workflow, &read.run, read.finished_at), (&run.key.workflow, &run.key.run, run.finished_at));
    assert_eq!((read.accepted_at, read.origin, read.bytes), (builders::instant(500), RunOrigin::Announced, None));
    assert_eq!(read.fingerprint, Some(PublicSchema::of(&run.fields).unwrap().fingerprint()));
    let found = golden("run found", &runs::history_item(&run, RunOrigin::Found, Some(77), builders::instant(500)));
    let read = backfill::read_history(&found).unwrap();
    assert_eq!((read.origin, read.bytes), (RunOrigin::Found, Some(77)));
}

#[test]
fn how_far_a_backfill_is_is_written_as_its_fixture() {
    let counts = Counts { found: 1, planned: 3, delivered: 2, failed: 1, ..Counts::default() };
    let note = BackfillNote { phase: Phase::Deliver, pages: 4, counts, started_at: builders::instant(1) };
    let id = BackfillId::of_execution("arn:aws:states:eu-west-1:1:execution:stack-backfill:acme-1");
    golden("backfill", &backfill::noted(&delivery().connector, &id, &note, builders::instant(9)));
}

#[test]
fn a_delivery_is_written_and_read_as_its_fixture() {
    let key = delivery();
    let at = builders::instant;
    let read = |item: &Item| deliveries::read(&key, item, "read").unwrap();
    let expected = |state, seconds, aimed, loaded| Delivery {
        key: key.clone(),
        state,
        origin: Origin::Live,
        moved_at: at(seconds),
        aimed_table_version: aimed,
        loaded_table_version: loaded,
    };
    let item = golden("delivery accepted", &deliveries::accepted(&key, at(1)));
    assert_eq!(read(&item), expected(DeliveryState::Accepted, 1, None, None));
    let item = golden("delivery staging", &deliveries::begun(&key, Origin::Live, at(2)));
    assert_eq!(read(&item), expected(DeliveryState::InProgress(Step::Staging), 2, None, None));
    let item = golden("delivery staging for history", &deliveries::begun(&key, Origin::Backfill, at(2)));
    let staging = expected(DeliveryState::InProgress(Step::Staging), 2, None, None);
    assert_eq!(read(&item), Delivery { origin: Origin::Backfill, ..staging });
    let item = golden("delivery loading", &tables::aimed(&key, 41, at(3)));
    assert_eq!(read(&item), expected(DeliveryState::InProgress(Step::Loading), 3, Some(41), None));
    let item = golden("delivery loaded", &tables::noted(&key, &version_table(), 42, at(4)));
    assert_eq!(read(&item), expected(DeliveryState::InProgress(Step::Publishing), 4, None, Some(42)));
    let shared = Ended::Shared(Box::new(builders::delivered_run(&version_table(), 41, at(450))));
    let item = golden("delivery shared", &deliveries::outcome(&key, &shared, at(5)));
    assert_eq!(read(&item), expected(DeliveryState::Shared, 5, None, None));
    let failure = Failure { code: FailureCode::LoadConflict, message: "others were first".to_owned() };
    let item = golden("delivery failed", &deliveries::outcome(&key, &Ended::Failed(failure), at(6)));
    assert_eq!(read(&item), expected(DeliveryState::Failed, 6, None, None));
}

fn version_table() -> VersionTable {
    VersionTable {
        name: TableName::from_stored("WF_W_1__V2"),
        label: WorkflowLabel::from_stored("W_1"),
        schema_version: SchemaVersion(2),
        fingerprint: Fingerprint::from_stored("f0e1"),
        table_version: None,
        shared: Membership::Unshared,
    }
}

#[test]
fn tables_are_written_and_read_as_their_fixtures() {
    let key = delivery();
    let (connector, workflow) = (&key.connector, &key.run.workflow);
    let item =
        golden("version table", &tables::table_item(connector, workflow, &version_table(), builders::instant(1)));
    assert_eq!(tables::read_table(&item, "read").unwrap(), version_table());
    let latest = LatestTable {
        table_version: 7,
        mirrored: Mirrored {
            source: TableName::from_stored("WF_W_1__V2"),
            source_version: 6,
            newest_finished_at: builders::instant(450),
        },
        shared: Membership::Shared,
    };
    let item = golden("latest table", &tables::latest_item(connector, workflow, &latest));
    assert_eq!(tables::read_latest(&item).unwrap(), latest);
    golden("version passed over", &tables::passed_over_item(connector, &latest.mirrored.source, 6));

    let label = WorkflowLabel::preferred(workflow);
    let fingerprint = Fingerprint::from_stored("f0e1");
    let (table, writes) = tables::opening(connector, workflow, &fingerprint, None, &label, builders::instant(1));
    assert_eq!((table.schema_version, writes.len()), (SchemaVersion(1), 3));
    let item = golden("workflow", &writes[1]);
    assert_eq!(tables::read_workflow(&item).unwrap(), (label.clone(), 1));
    golden("label", &writes[tables::LABEL_CLAIM]);
    let known = Some((label.clone(), 4));
    let (table, writes) = tables::opening(connector, workflow, &fingerprint, known, &label, builders::instant(1));
    assert_eq!((table.name.as_str(), writes.len()), ("WF_W_1__V5", 2), "a known workflow keeps its label");
}

#[test]
fn rows_that_wait_and_their_batches_are_written_and_read_as_their_fixtures() {
    let (key, at) = (delivery(), builders::instant);
    let (connector, runs, activity) = (&key.connector, MetadataTable::WorkflowRuns, MetadataTable::ActivityLog);
    let row = builders::delivered_run(&version_table(), 41, at(450)).row(&key.run, at(500));
    let item = golden("waiting run", &outbox::waiting_item(connector, runs, &row, at(500), "write").unwrap());
    assert_eq!(outbox::read_waiting(connector, runs, &item, "read").unwrap(), row);
    let event = testkit::metadata_contract::event("e#1");
    let event = KeptRow { key: event.key, row: event.row, delivered: None };
    let item = golden("waiting event", &outbox::waiting_item(connector, activity, &event, at(2), "write").unwrap());
    assert_eq!(outbox::read_waiting(connector, activity, &item, "read").unwrap(), event);
    golden("seen event", &outbox::seen_item(connector, activity, "e#1", at(2)));

    let batch = BegunBatch { number: 7, aimed_table_version: 9, keys: vec!["w-1/r-1".to_owned()] };
    let item = golden("begun batch", &outbox::begun(connector, runs, &Batched::default(), &batch));
    let begun = Batched { table_version: None, next: 7, begun: Some(batch.clone()) };
    assert_eq!(outbox::read_batched(&item, "read").unwrap(), begun);
    let item = golden("finished batch", &outbox::finished(connector, runs, &batch, 11));
    let finished = Batched { table_version: Some(11), next: 8, begun: None };
    assert_eq!(outbox::read_batched(&item, "read").unwrap(), finished);

    let long = KeptRow { key: "k".repeat(1_000), ..event };
    let error = outbox::waiting_item(connector, activity, &long, at(2), "write").unwrap_err();
    assert_eq!(error.kind, PortErrorKind::InvalidData);
}

#[test]
fn what_the_catalogue_tells_is_written_and_read_as_its_fixtures() {
    let (key, at) = (delivery(), builders::instant);
    let (connector, workflow) = (&key.connector, &key.run.workflow);
    let schema = golden("schema", &tables::schema_item(connector, workflow, &builders::schema_of("title")).unwrap());
    golden("changed catalogue", &metadata::changed(connector));
    golden("published catalogue", &metadata::published(connector, 3));

    let facts = builders::delivered_run(&version_table(), 41, at(450)).row(&key.run, at(500)).delivered.unwrap();
    let mut table = tables::table_item(connector, workflow, &version_table(), at(1)).item();
    let (_, writes) = tables::opening(connector, workflow, &facts.fingerprint, None, &facts.label, at(1));
    let mut of_workflow = writes[1].item();
    let delivered = [facts];
    for (note, item) in metadata::Note::of(&delivered).iter().zip([&mut table, &mut of_workflow]) {
        let (write, change) = note.write(connector, item).unwrap().unwrap();
        assert_eq!(change, CatalogueChange::Changed);
        item.extend(write.item());
        assert!(note.write(connector, item).unwrap().is_none(), "noted once");
    }
    assert_eq!(as_json(&table)["first_run_id"], json!({"S": "r-1"}));
    assert_eq!(as_json(&of_workflow)["name"], json!({"S": "Box office"}));
    let (workflows, schemas) = (HashMap::from([("w-1", &of_workflow)]), HashMap::from([("w-1#f0e1", &schema)]));
    let entry = metadata::entry(&table, &workflows, &schemas).unwrap().unwrap();
    assert_eq!((entry.workflow_name.as_str(), entry.first_run.as_str()), ("Box office", "r-1"));
    assert_eq!(entry.schema, builders::schema_of("title"));
    table.remove("first_run_id");
    assert_eq!(metadata::entry(&table, &workflows, &schemas).unwrap(), None, "no run is delivered");
}

#[test]
fn a_connector_is_written_and_read_as_its_fixture() {
    let connector = builders::connector("Acme-token", "team-acme");
    let writes = connectors::connector_items(None, &connector).unwrap();
    let item = golden("connector", &writes[0]);
    assert_eq!(connectors::read(&item, "read").unwrap(), connector);
    let entry = golden("team entry", &writes[1]);
    golden("listed connector", &writes[2]);
    let ready = runs::team_connector(&entry).unwrap().unwrap();
    assert_eq!((ready.id, ready.workflows, ready.activity_log), (connector.id.clone(), Scope::All, true));
    assert_eq!(ready.state, connector.state);
    let revoked = connectors::connector_items(None, &connector.revoked().unwrap()).unwrap()[1].item();
    assert_eq!(runs::team_connector(&revoked).unwrap(), None, "a revoked one is none of the team's");
    let unwanted = delivery::connector::Connector { activity_log: false, ..connector };
    let mut entry = connectors::connector_items(None, &unwanted).unwrap()[1].item();
    assert!(!runs::team_connector(&entry).unwrap().unwrap().activity_log);
    entry.remove("activity_log");
    assert!(!runs::team_connector(&entry).unwrap().unwrap().activity_log, "an entry that says nothing");
}

#[test]
fn a_token_is_written_and_read_as_its_fixture() {
    let grant = Grant {
        connector: delivery().connector,
        holder: Holder::Recipient,
        expires_at: builders::instant(86_400),
        allowed_ips: vec!["203.0.113.0/24".to_owned()],
        rotation: 2,
    };
    let hash = SecretHash::of("a secret");
    let item = golden("token", &shares::token_item(&hash, &grant));
    assert_eq!(shares::read_grant(&item).unwrap(), grant);
    let item = golden("recipient token", &shares::recipient_token_item(&hash, &grant, builders::instant(60)));
    let mut watched = WatchedToken {
        id: hash.as_str().to_owned(),
        made_at: Some(builders::instant(60)),
        expires_at: grant.expires_at,
        rotation: 2,
        warned_days: None,
    };
    assert_eq!(recipients::read_recipient_token(&item, "read").unwrap(), watched);
    let of_before = item.into_iter().filter(|(name, _)| name != "made_at" && name != "rotation").collect();
    (watched.made_at, watched.rotation) = (None, 0);
    assert_eq!(recipients::read_recipient_token(&of_before, "read").unwrap(), watched);
    let proof = Grant { holder: Holder::Proof, ..grant };
    let item = shares::token_item(&hash, &proof).item();
    assert_eq!(shares::read_grant(&item).unwrap(), proof);
    let kept = proof.expires_at.plus_seconds(3_600).seconds().to_string();
    assert_eq!(item["expires_at_seconds"].as_n().unwrap(), &kept, "a proof's token does not stay for days");
}

#[test]
fn an_activation_is_written_and_read_as_its_fixture() {
    let token_lifetime_days = builders::connector("c", "t").recipient.token().unwrap().token_lifetime_days;
    let activation = Activation {
        connector: delivery().connector,
        endpoint: "https://share.test/delta-sharing".to_owned(),
        expires_at: builders::instant(86_400),
        token_lifetime_days,
        allowed_ips: Vec::new(),
        state: ActivationState::Unused,
        rotation: 2,
        contact: Some(SecretHash::of("data@acme.test")),
    };
    let link = SecretHash::of("a code");
    let item = golden("activation", &activations::activation_item(&link, &activation));
    assert_eq!(activations::read_activation(&item, "read").unwrap(), activation);
    let of_before = Activation { contact: None, ..activation.clone() };
    let item = activations::activation_item(&link, &of_before).item();
    assert_eq!(activations::read_activation(&item, "read").unwrap(), of_before);
    golden("newest activation", &activations::newest_item(&link, &activation, None));
}

#[test]
fn keys_of_names_compare_without_case() {
    assert_eq!(Key::share("Acme-Token"), Key::share("acme-token"));
    assert_eq!(Key::shared_table("ACME", "wf_a__v1"), Key::shared_table("acme", "WF_A__V1"));
}

#[test]
fn a_damaged_item_is_named_by_its_attribute_and_not_quoted() {
    let mut item = tables::latest_item(
        &delivery().connector,
        &delivery().run.workflow,
        &LatestTable {
            table_version: 7,
            mirrored: Mirrored {
                source: TableName::from_stored("T"),
                source_version: 6,
                newest_finished_at: builders::instant(0),
            },
            shared: Membership::Shared,
        },
    )
    .item();
    for (name, value) in [
        ("membership", AttributeValue::S("secret".to_owned())),
        ("newest_finished_at", AttributeValue::S("secret".to_owned())),
        ("source_version", AttributeValue::N("-1".to_owned())),
        ("table_version", AttributeValue::S("secret".to_owned())),
    ] {
        item.insert(name.to_owned(), value);
        let error = tables::read_latest(&item).unwrap_err();
        assert_eq!(error.kind, PortErrorKind::InvalidData);
        let source = error.source.to_string();
        assert!(source.contains(name) && !source.contains("secret"), "{source}");
    }
}

/// A record of the stream, with these images.
fn record(old: Option<&Item>, new: Option<&Item>) -> Value {
    let mut images = json!({"ApproximateCreationDateTime": 1_788_220_809.75, "SequenceNumber": "1"});
    for (name, image) in [("OldImage", old), ("NewImage", new)] {
        if let Some(image) = image {
            images[name] = as_json(image);
        }
    }
    json!({"eventID": "e", "eventName": "MODIFY", "dynamodb": images})
}

fn with(item: &Item, more: &[(&str, AttributeValue)]) -> Item {
    let mut item = item.clone();
    item.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    item
}

#[test]
fn changes_of_deliveries_are_read_from_their_images() {
    let (key, at) = (delivery(), builders::instant);
    let read = |old: Option<&Item>, new: &Item| read_change(&record(old, Some(new))).unwrap().unwrap();
    let accepted = deliveries::accepted(&key, at(1)).item();
    let loaded = tables::noted(&key, &version_table(), 42, at(4)).item();
    let ended = Ended::Shared(Box::new(builders::delivered_run(&version_table(), 41, at(450))));
    let shared =
        with(&loaded, &deliveries::outcome(&key, &ended, at(5)).item().into_iter().map(leak).collect::<Vec<_>>());
    let Change::Delivery { key: of, before, after } = read(Some(&loaded), &shared) else { panic!("a delivery") };
    assert_eq!((of, before), (key.clone(), Some(DeliveryState::InProgress(Step::Publishing))));
    let facts = SharedFacts {
        at: at(5),
        table: TableName::from_stored("WF_W_1__V2"),
        table_version: 42,
        rows: 3,
        rejected_rows: 1,
    };
    assert_eq!(after, DeliveryAfter::Shared(facts));

    let failure = Failure { code: FailureCode::LoadConflict, message: "others were first".to_owned() };
    let failed = deliveries::outcome(&key, &Ended::Failed(failure.clone()), at(6)).item();
    let Change::Delivery { before, after, .. } = read(Some(&accepted), &failed) else { panic!("a delivery") };
    assert_eq!(before, Some(DeliveryState::Accepted));
    assert_eq!(after, DeliveryAfter::Failed(FailedFacts { at: at(6), failure, attempts: 0 }));
    let Change::Delivery { before, after, .. } = read(None, &accepted) else { panic!("a delivery") };
    assert_eq!((before, after), (None, DeliveryAfter::Unfinished(DeliveryState::Accepted)));
}

/// A name for the length of a test.
fn leak((name, value): (String, AttributeValue)) -> (&'static str, AttributeValue) {
    (name.leak(), value)
}

#[test]
fn changes_of_connectors_and_tokens_are_read_and_others_are_nobodys() {
    let connector = builders::connector("acme", "team-acme");
    let entry = builders::audit_entry(delivery::lifecycle::Action::Verify, 1);
    let items: Vec<Item> =
        connectors::connector_items(None, &connector).unwrap().iter().map(expression::Write::item).collect();
    let change = read_change(&record(None, Some(&items[0]))).unwrap().unwrap();
    let at = builders::instant(9);
    let ready = delivery::connector::ConnectorState::Ready;
    let (id, team) = (connector.id.clone(), connector.team.clone());
    assert_eq!(change, Change::Connector { id: id.clone(), team, before: None, after: ready, revision: 0, at });

    let hash = SecretHash::of("a-token");
    let grant = Grant {
        connector: id.clone(),
        holder: Holder::Recipient,
        expires_at: builders::instant(700),
        allowed_ips: Vec::new(),
        rotation: 0,
    };
    let token = shares::recipient_token_item(&hash, &grant, builders::instant(0)).item();
    let warned = with(&token, &[("warned_days", AttributeValue::N("7".to_owned()))]);
    let change = read_change(&record(Some(&token), Some(&warned))).unwrap().unwrap();
    let (hash, expires_at) = (hash.as_str().to_owned(), builders::instant(700));
    assert_eq!(change, Change::Token { connector: id, hash, before: None, after: Some(7), expires_at, at });

    let audit = connectors::audit_item(&connector, &entry).item();
    for other in [&items[1], &audit, &shares::token_item(&SecretHash::of("a-token"), &grant).item()] {
        assert_eq!(read_change(&record(None, Some(other))).unwrap(), None);
    }
    assert_eq!(read_change(&record(Some(&token), None)).unwrap(), None, "what is gone tells nothing");
    assert_eq!(read_change(&json!({})).unwrap(), None);
    let asleep = with(&items[0], &[("state", AttributeValue::S("asleep".to_owned()))]);
    let error = read_change(&record(None, Some(&asleep))).unwrap_err();
    assert_eq!(error.kind, PortErrorKind::InvalidData);
    assert!(!format!("{error:?}").contains("asleep") && error.source.to_string().contains("state"));
}

#[test]
fn what_is_owed_is_read_from_the_index_and_settled_with_the_share() {
    let (key, at) = (delivery(), builders::instant);
    let failure = Failure { code: FailureCode::LoadConflict, message: "others were first".to_owned() };
    let failed = deliveries::outcome(&key, &Ended::Failed(failure), at(6));
    let projected = |item: Item| -> Item {
        let kept: Vec<&str> = UNDELIVERED_KEYS.into_iter().chain(UNDELIVERED_ATTRIBUTES).collect();
        item.into_iter().filter(|(name, _)| kept.contains(&name.as_str())).collect()
    };
    let read = undelivered::read(&projected(failed.item())).unwrap();
    assert_eq!((read.key.clone(), read.since, read.state), (key.clone(), at(6), DeliveryState::Failed));
    assert_eq!(read.failed, Some((FailureCode::LoadConflict, at(6))));
    let entered = deliveries::entered(&key, Step::Proving, at(7));
    assert!(
        entered.update_expression().unwrap().contains("if_not_exists(#undelivered_since_micros"),
        "the first stays"
    );
    assert_eq!(undelivered::read(&projected(entered.item())).unwrap().failed, None);
    let ended = Ended::Shared(Box::new(builders::delivered_run(&version_table(), 41, at(450))));
    let shared = deliveries::outcome(&key, &ended, at(8)).update_expression().unwrap();
    let (set, removed) = shared.split_once(" REMOVE ").unwrap();
    assert!(removed.contains("#undelivered_to, #undelivered_since_micros") && !set.contains("undelivered"), "{shared}");
}
