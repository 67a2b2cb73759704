//! Shares, schemas and tables of the backend.

use std::sync::Arc;

use delivery::connector::SharingIdentifier;
use delivery::ids::ConnectorId;
use delivery::ports::{PortErrorKind, Provisioned, RecipientBackend as _, SharingBackend};
use delivery::table::{TableName, table_path};
use fake_databricks::{AlreadyExists, Fault, FaultBody, FaultTime, LoggedRequest, ReadyCatalog, Switch};
use serde_json::json;
use testkit::builders::{connector, connector_id};
use testkit::state_contract::sharing_backend_contract;
use unity_catalog::backend::{
    BackendError, Reader, Refreshed, Registration, Room, TABLES_PER_SHARE_MAX, UnityCatalogBackend,
};
use unity_catalog::error::ApiErrorKind;
use unity_catalog::names::shared_as;
use unity_catalog::shares::{ObjectStatus, ShareUpdate};
use unity_catalog::statements::Statement;

use crate::world::{BUCKET, World, cause};

fn warehouse() -> Registration {
    Registration::Warehouse("warehouse-1".to_owned())
}

async fn provisioned(backend: &UnityCatalogBackend, id: &str) -> ConnectorId {
    let connector = connector(id, "team");
    assert_eq!(backend.provision(&connector).await.unwrap(), Provisioned::Ready);
    connector.id
}

#[tokio::test]
async fn the_backend_keeps_the_contract_of_sharing_backends() {
    for registration in [Registration::TablesApi { refresh_warehouse: None }, warehouse()] {
        for already_exists in [AlreadyExists::Conflict, AlreadyExists::BadRequest] {
            let world = World::with(|options| options.already_exists = already_exists).await;
            let table = TableName::from_stored("WF_A__V1");
            world.tables.put(&connector_id("u-share"), &table, &[("id", "long")]);
            sharing_backend_contract(&world.backend_by(registration.clone()), "u").await;
        }
    }
}

#[tokio::test]
async fn a_share_that_people_made_is_taken() {
    let world = World::new().await;
    world.workspace.create_share("acme", "made by people").await.unwrap();
    let taken = world.backend().provision(&connector("acme", "team")).await.unwrap();
    assert_eq!(taken, Provisioned::Taken);
    world.other().create_schema("main", "beta", "made by people").await.unwrap();
    assert_eq!(world.backend().provision(&connector("beta", "team")).await.unwrap(), Provisioned::Taken);
}

#[tokio::test]
async fn a_name_that_is_taken_by_what_we_may_not_see_is_taken() {
    for path in ["/shares/acme", "/schemas/main.acme"] {
        let world = World::new().await;
        let _ = provisioned(&world.backend(), "acme").await;
        world.fake.add_fault(Fault {
            method: Some(http::Method::GET),
            times: 2,
            status: 404,
            body: FaultBody::Json { code: "RESOURCE_DOES_NOT_EXIST".to_owned(), message: "hidden".to_owned() },
            ..Fault::throttled(path, None)
        });
        let taken = world.backend().provision(&connector("acme", "team")).await.unwrap();
        assert_eq!((taken, world.fake.faults_left()), (Provisioned::Taken, 0), "{path}");
    }
}

#[tokio::test]
async fn tables_are_registered_where_they_lie_with_the_columns_of_their_log() {
    for registration in [Registration::TablesApi { refresh_warehouse: None }, warehouse()] {
        let world = World::with(|options| options.statement_polls = 2).await;
        let backend = world.backend_by(registration);
        let id = provisioned(&backend, "Acme-1").await;
        let tables = world.loaded(&id, 2);
        backend.add_tables(&id, &tables).await.unwrap();
        let registered = world.workspace.table("main.acme-1.wf_a__v2").await.unwrap().unwrap();
        assert_eq!(registered.storage_location, format!("{BUCKET}/{}", table_path(&id, &tables[1])));
        assert_eq!(registered.columns, ["id bigint", "title string"]);
        let share = world.workspace.share("acme-1").await.unwrap().unwrap();
        let shown: Vec<_> = share.objects.iter().map(|object| (object.shared_as.as_str(), object.status)).collect();
        assert_eq!(shown, [("data.WF_A__V1", ObjectStatus::Active), ("data.WF_A__V2", ObjectStatus::Active)]);
        let patch = world.requests().into_iter().find(|request| request.method == "PATCH").unwrap();
        let object = &patch.body.unwrap()["updates"][0]["data_object"];
        assert_eq!(object["history_data_sharing_status"], json!("ENABLED"), "changes can be read");
    }
}

#[tokio::test]
async fn tables_that_are_shared_cost_one_request() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, 3);
    backend.add_tables(&id, &tables).await.unwrap();
    world.requests();
    backend.add_tables(&id, &tables).await.unwrap();
    assert_eq!(world.requests().len(), 1);
}

#[tokio::test]
async fn many_tables_are_added_a_hundred_at_a_time() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, 250);
    backend.add_tables(&id, &tables).await.unwrap();
    let sizes: Vec<_> = world
        .requests()
        .iter()
        .filter(|request| request.method == "PATCH")
        .map(|request| request.body.as_ref().unwrap()["updates"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(world.workspace.share("acme").await.unwrap().unwrap().objects.len(), 250);
}

/// The tables of each change of a share since the last time.
fn added(requests: &[LoggedRequest]) -> Vec<Vec<String>> {
    let patches = requests.iter().filter(|request| request.method == "PATCH");
    let updates = patches.map(|request| request.body.as_ref().unwrap()["updates"].as_array().unwrap().clone());
    let name = |update: &serde_json::Value| update["data_object"]["name"].as_str().unwrap().to_owned();
    updates.map(|updates| updates.iter().map(name).collect()).collect()
}

#[tokio::test]
async fn an_attempt_goes_on_where_one_before_ended_between_two_hundreds() {
    // The second change fails, or the 51st registration behind the first one does.
    for (method, path, after) in [("PATCH", "/shares/acme", 1), ("POST", "/tables", 150)] {
        for time in [FaultTime::Instead, FaultTime::Afterwards] {
            let world = World::new().await;
            let backend = world.backend();
            let id = provisioned(&backend, "acme").await;
            let tables = world.loaded(&id, 230);
            let method = Some(method.parse().unwrap());
            let gone = Fault { method, after, times: 5, time, status: 500, ..Fault::throttled(path, None) };
            world.fake.add_fault(Fault { body: FaultBody::Text(String::new()), ..gone });
            world.requests();
            let error = backend.add_tables(&id, &tables).await.unwrap_err();
            assert_eq!((error.kind, world.fake.faults_left()), (PortErrorKind::Unavailable, 0), "{path} {time:?}");
            let first = added(&world.requests());
            assert!(first.iter().all(|some| some.len() <= 100), "{path} {time:?}");
            let there = world.workspace.share("acme").await.unwrap().unwrap().objects.len();
            let lost = path == "/shares/acme" && time == FaultTime::Afterwards;
            assert_eq!(there, if lost { 200 } else { 100 }, "{path} {time:?}");
            world.requests();
            backend.add_tables(&id, &tables).await.unwrap();
            let requests = world.requests();
            let second = added(&requests);
            assert!(second.iter().all(|some| some.len() <= 100), "{path} {time:?}");
            assert_eq!(second.concat().len(), 230 - there, "{path} {time:?}: only what is missing");
            let objects = world.workspace.share("acme").await.unwrap().unwrap().objects;
            assert_eq!(objects.len(), 230);
        }
    }
}

#[tokio::test]
async fn tables_that_were_taken_out_of_a_share_go_back_a_hundred_at_a_time() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, 205);
    backend.add_tables(&id, &tables).await.unwrap();
    let gone = tables
        .iter()
        .skip(50)
        .map(|table| ShareUpdate::RemoveTable { name: format!("main.acme.{}", table.as_str().to_lowercase()) });
    world.workspace.update_share("acme", &gone.collect::<Vec<_>>()).await.unwrap();
    world.requests();
    backend.add_tables(&id, &tables).await.unwrap();
    let requests = world.requests();
    assert_eq!(added(&requests).iter().map(Vec::len).collect::<Vec<_>>(), [100, 55]);
    assert!(requests.iter().all(|request| request.method != "POST"), "they are registered");
}

#[tokio::test]
async fn a_table_of_which_the_metastore_does_not_say_that_it_can_be_read_is_not_proven() {
    let world = World::new().await;
    let backend = world.backend();
    let acme = delivery::connector::Connector {
        recipient: delivery::connector::Recipient::Databricks(
            SharingIdentifier::new("aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016").unwrap(),
        ),
        ..connector("acme", "team")
    };
    let _ = backend.provision(&acme).await.unwrap();
    let _ = backend.connect(&acme).await.unwrap();
    let tables = world.loaded(&acme.id, 2);
    backend.add_tables(&acme.id, &tables).await.unwrap();
    assert!(backend.verify(&acme, &tables).await.unwrap().is_good());
    let mark = world.workspace.share("acme").await.unwrap().unwrap().comment;
    for said in [json!({}), json!({"status": "PENDING"})] {
        let mut object = json!({"name": "main.acme.wf_a__v1", "data_object_type": "TABLE",
            "shared_as": "data.WF_A__V1"});
        object.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
        let share = json!({"name": "acme", "comment": mark, "objects": [object]}).to_string();
        let odd = |times| {
            let (method, body) = (Some(http::Method::GET), FaultBody::Text(share.clone()));
            world.fake.add_fault(Fault { method, times, status: 200, body, ..Fault::throttled("/shares/acme", None) });
        };
        let table = std::slice::from_ref(&tables[0]);
        odd(1);
        let added = backend.add_tables(&acme.id, table).await.unwrap_err();
        odd(1);
        let verified = backend.verify(&acme, table).await.unwrap_err();
        odd(1);
        let read = backend.registered_schema(&acme.id, &tables[0]).await.unwrap_err();
        for error in [added, verified, read] {
            assert_eq!(error.kind, PortErrorKind::Unavailable, "it may pass: {said}");
            assert!(matches!(cause(&error), BackendError::NotProven { tables } if tables == &["main.acme.wf_a__v1"]));
        }
        odd(1);
        let report = backend.report(&acme.id, "nobody", table).await.unwrap();
        assert_eq!(report.unproven, ["main.acme.wf_a__v1"]);
        let spare = backend.verify(&acme, &tables[1..]).await.unwrap();
        assert!(spare.is_good(), "{spare:?}");
        assert_eq!(world.fake.faults_left(), 0);
    }
}

#[tokio::test]
async fn a_table_that_somebody_else_adds_meanwhile_is_no_error() {
    let world = World::new().await;
    let backend = Arc::new(world.backend());
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, 3);
    let (first, second, third) = tokio::join!(
        backend.add_tables(&id, &tables),
        backend.add_tables(&id, &tables[..2]),
        backend.add_table(&id, &tables[2]),
    );
    for outcome in [first, second, third] {
        outcome.unwrap();
    }
    assert_eq!(world.workspace.share("acme").await.unwrap().unwrap().objects.len(), 3);
}

#[tokio::test]
async fn a_table_without_a_log_is_not_registered() {
    for registration in [Registration::TablesApi { refresh_warehouse: None }, warehouse()] {
        let world = World::new().await;
        let backend = world.backend_by(registration);
        let id = provisioned(&backend, "acme").await;
        let table = TableName::from_stored("WF_NOBODY__V1");
        assert!(backend.add_table(&id, &table).await.is_err());
        assert_eq!(world.workspace.table("main.acme.wf_nobody__v1").await.unwrap(), None);
        assert_eq!(world.workspace.share("acme").await.unwrap().unwrap().objects, []);
    }
}

#[tokio::test]
async fn a_path_that_another_table_covers_is_told() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, 1);
    let location = format!("{BUCKET}/connectors/acme");
    world.tables.0.put(&location, r#"{"type":"struct","fields":[]}"#);
    let new = unity_catalog::tables::NewTable {
        catalog: "main",
        schema: "acme",
        name: "everything",
        storage_location: &location,
        columns: &[],
    };
    world.workspace.create_table(new).await.unwrap();
    let error = backend.add_tables(&id, &tables).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::PathTaken { table } if table == "main.acme.wf_a__v1"));
}

#[tokio::test]
async fn a_table_of_the_same_name_that_lies_elsewhere_is_refused() {
    for registration in [Registration::TablesApi { refresh_warehouse: None }, warehouse()] {
        let world = World::new().await;
        let backend = world.backend_by(registration);
        let id = provisioned(&backend, "acme").await;
        let tables = world.loaded(&id, 1);
        let location = format!("{BUCKET}/connectors/elsewhere");
        world.tables.0.put(&location, r#"{"type":"struct","fields":[]}"#);
        let (catalog, schema, name) = ("main", "acme", "wf_a__v1");
        let new = unity_catalog::tables::NewTable { catalog, schema, name, storage_location: &location, columns: &[] };
        world.workspace.create_table(new).await.unwrap();
        let error = backend.add_tables(&id, &tables).await.unwrap_err();
        assert!(matches!(cause(&error), BackendError::OtherTable { .. }));
    }
}

#[tokio::test]
async fn what_recipients_cannot_read_is_reported_by_name() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, 3);
    backend.add_tables(&id, &tables).await.unwrap();
    let reader =
        Reader::Databricks(SharingIdentifier::new("aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016").unwrap());
    let recipient = backend.adopt(&id, &reader).await.unwrap().recipient;
    backend.grant(&id, &recipient).await.unwrap();
    assert!(backend.report(&id, &recipient, &tables).await.unwrap().is_good());

    world.fake.set_table_owner("main.acme.wf_a__v2", "somebody");
    let error = backend.add_table(&id, &tables[1]).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Denied);
    assert!(matches!(cause(&error), BackendError::NotReadable { tables } if tables == &["main.acme.wf_a__v2"]));
    backend.add_table(&id, &tables[0]).await.unwrap();
    let more: Vec<_> = tables.iter().cloned().chain([TableName::from_stored("WF_NEW")]).collect();
    let report = backend.report(&id, &recipient, &more).await.unwrap();
    assert_eq!(report.denied, ["main.acme.wf_a__v2"]);
    assert_eq!(report.missing, ["main.acme.wf_new"]);
    assert!(!report.is_good() && report.access.is_granted());
    assert_eq!((report.tables, report.tables_max, report.room()), (3, TABLES_PER_SHARE_MAX, Room::Enough));
}

#[tokio::test]
async fn a_full_share_takes_no_more_and_says_so_before_asking() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, TABLES_PER_SHARE_MAX + 1);
    world.requests();
    let error = backend.add_tables(&id, &tables).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::ShareFull { tables: 0, more: 1_000 }));
    assert_eq!(world.requests().len(), 1, "nothing was registered");
}

#[tokio::test]
async fn a_full_share_has_a_place_for_the_probe_however_its_removal_ends() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let (tables, probe) = (world.loaded(&id, TABLES_PER_SHARE_MAX + 1), TableName::probe());
    world.tables.put(&id, &probe, &[("probe", "string")]);
    let (one_more, fitting) = tables.split_last().unwrap();
    backend.add_tables(&id, fitting).await.unwrap();

    for time in [FaultTime::Instead, FaultTime::Afterwards] {
        backend.add_table(&id, &probe).await.unwrap();
        let error = backend.add_table(&id, one_more).await.unwrap_err();
        assert!(matches!(cause(&error), BackendError::ShareFull { tables: 999, more: 1 }));

        let (method, status) = (Some(http::Method::PATCH), 504);
        world.fake.add_fault(Fault { method, status, time, times: 5, ..Fault::throttled("/shares/acme", None) });
        backend.remove_table(&id, &probe).await.expect_err("every answer is lost");
        backend.add_table(&id, &probe).await.unwrap();
        backend.remove_table(&id, &probe).await.unwrap();
        let report = backend.report(&id, "", &[]).await.unwrap();
        assert_eq!((report.tables, report.room()), (TABLES_PER_SHARE_MAX, Room::NearlyFull));
        let share = world.workspace.share("acme").await.unwrap().unwrap();
        assert_eq!(share.objects.len(), TABLES_PER_SHARE_MAX, "the probe is out: {time:?}");
    }
}

#[tokio::test]
async fn a_lower_limit_of_the_workspace_is_passed_on() {
    let world = World::with(|options| options.tables_per_share_max = 2).await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let error = backend.add_tables(&id, &world.loaded(&id, 3)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::InvalidData);
    assert!(crate::world::whole(&error).contains("QUOTA_EXCEEDED"));
    assert_eq!(world.workspace.share("acme").await.unwrap().unwrap().objects, [], "whole or not at all");
}

#[tokio::test]
async fn removing_a_table_leaves_its_registration() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, 2);
    backend.add_tables(&id, &tables).await.unwrap();
    backend.remove_table(&id, &tables[0]).await.unwrap();
    let share = world.workspace.share("acme").await.unwrap().unwrap();
    assert_eq!(share.objects.iter().map(|object| object.name.as_str()).collect::<Vec<_>>(), ["main.acme.wf_a__v2"]);
    assert!(world.workspace.table("main.acme.wf_a__v1").await.unwrap().is_some());
    backend.add_tables(&id, &tables).await.unwrap();
    assert_eq!(world.workspace.share("acme").await.unwrap().unwrap().objects.len(), 2);
}

#[tokio::test]
async fn changed_columns_are_refreshed_in_place_by_a_warehouse() {
    for registration in [Registration::TablesApi { refresh_warehouse: Some("warehouse-1".to_owned()) }, warehouse()] {
        let world = World::with(|options| options.statement_polls = 1).await;
        let backend = world.backend_by(registration);
        let id = provisioned(&backend, "acme").await;
        let table = TableName::from_stored("WF_A__LATEST");
        world.tables.put(&id, &table, &[("id", "long")]);
        assert_eq!(backend.refresh_columns(&id, &table).await.unwrap(), Refreshed::Unchanged, "not registered yet");
        backend.add_table(&id, &table).await.unwrap();
        assert_eq!(backend.refresh_columns(&id, &table).await.unwrap(), Refreshed::Unchanged);
        world.tables.put(&id, &table, &[("id", "long"), ("price", "decimal(38,6)")]);
        world.requests();
        assert_eq!(backend.refresh_columns(&id, &table).await.unwrap(), Refreshed::InPlace);
        let registered = world.workspace.table("main.acme.wf_a__latest").await.unwrap().unwrap();
        assert_eq!(registered.columns, ["id bigint", "price decimal(38,6)"]);
        assert!(world.requests().iter().all(|request| request.method != "PATCH"), "the share was left alone");
    }
}

#[tokio::test]
async fn changed_columns_are_registered_anew_without_a_warehouse() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let table = TableName::from_stored("WF_A__LATEST");
    world.tables.put(&id, &table, &[("id", "long")]);
    backend.add_table(&id, &table).await.unwrap();
    world.tables.put(&id, &table, &[("id", "string")]);
    assert_eq!(backend.refresh_columns(&id, &table).await.unwrap(), Refreshed::Anew);
    assert_eq!(world.workspace.table("main.acme.wf_a__latest").await.unwrap().unwrap().columns, ["id string"]);
    let share = world.workspace.share("acme").await.unwrap().unwrap();
    assert_eq!(share.objects.first().map(|object| object.status), Some(ObjectStatus::Active));
}

#[tokio::test]
async fn a_table_that_half_a_refresh_left_out_of_the_share_is_back_after_the_next() {
    // The first PATCH of the share takes the table out, the second puts it back.
    for (method, path, after) in [("DELETE", "/tables/", 0), ("POST", "/tables", 0), ("PATCH", "/shares/acme", 1)] {
        let world = World::new().await;
        let backend = world.backend();
        let id = provisioned(&backend, "acme").await;
        let table = TableName::from_stored("WF_A__LATEST");
        world.tables.put(&id, &table, &[("id", "long")]);
        backend.add_table(&id, &table).await.unwrap();
        world.tables.put(&id, &table, &[("id", "string")]);
        let method = Some(method.parse().unwrap());
        let body = FaultBody::Json { code: "PERMISSION_DENIED".to_owned(), message: "no".to_owned() };
        world.fake.add_fault(Fault { method, after, status: 403, body, ..Fault::throttled(path, None) });
        let error = backend.refresh_table(&id, &table).await.unwrap_err();
        assert_eq!((error.kind, world.fake.faults_left()), (PortErrorKind::Denied, 0), "{path}");
        assert_eq!(world.workspace.share("acme").await.unwrap().unwrap().objects, [], "{path}");
        backend.refresh_table(&id, &table).await.unwrap();
        let share = world.workspace.share("acme").await.unwrap().unwrap();
        let shown: Vec<_> = share.objects.iter().map(|object| (object.shared_as.as_str(), object.status)).collect();
        assert_eq!(shown, [("data.WF_A__LATEST", ObjectStatus::Active)], "{path}");
        assert_eq!(world.workspace.table("main.acme.wf_a__latest").await.unwrap().unwrap().columns, ["id string"]);
    }
}

#[tokio::test]
async fn a_table_that_left_the_share_before_it_was_taken_out_is_registered_anew_all_the_same() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let table = TableName::from_stored("WF_A__LATEST");
    world.tables.put(&id, &table, &[("id", "long")]);
    backend.add_table(&id, &table).await.unwrap();
    world.tables.put(&id, &table, &[("id", "string")]);
    world.fake.add_fault(Fault {
        method: Some(http::Method::PATCH),
        time: FaultTime::Afterwards,
        status: 504,
        body: FaultBody::Text(String::new()),
        ..Fault::throttled("/shares/acme", None)
    });
    backend.refresh_table(&id, &table).await.unwrap();
    assert_eq!(world.fake.faults_left(), 0);
    assert_eq!(world.workspace.share("acme").await.unwrap().unwrap().objects.len(), 1);
}

#[tokio::test]
async fn a_statement_gets_an_id_at_once_and_is_asked_for_until_it_has_ended() {
    let world = World::with(|options| options.statement_polls = 10).await;
    let backend = world.backend_by(warehouse());
    let id = provisioned(&backend, "acme").await;
    world.requests();
    backend.add_tables(&id, &world.loaded(&id, 1)).await.unwrap();
    let requests = world.requests();
    let run = requests.iter().find(|request| request.path.ends_with("/sql/statements")).unwrap();
    assert_eq!(run.body.as_ref().unwrap()["wait_timeout"], json!("0s"));
    assert_eq!(world.pauses(), [2; 10]);
}

#[tokio::test]
async fn a_statement_that_takes_too_long_may_be_run_again() {
    let world = World::with(|options| options.statement_polls = 11).await;
    let backend = world.backend_by(warehouse());
    let id = provisioned(&backend, "acme").await;
    let error = backend.add_tables(&id, &world.loaded(&id, 1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    assert_eq!(world.pauses().iter().sum::<u64>(), 20);
    world.leave(10);
    let error = backend.add_tables(&id, &world.loaded(&id, 1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Unavailable);
    assert_eq!(world.pauses(), [2, 2, 2], "four seconds are kept for a request and for saying what came of it");
}

#[tokio::test]
async fn a_statement_s_end_is_told_by_its_state_and_code() {
    let failed = |code: &str| json!({"state": "FAILED", "error": {"error_code": code, "message": "no"}});
    let ends = [
        (failed("RESOURCE_EXHAUSTED"), Some(ApiErrorKind::Unavailable)),
        (failed("TEMPORARILY_UNAVAILABLE"), Some(ApiErrorKind::Unavailable)),
        (failed("DEADLINE_EXCEEDED"), Some(ApiErrorKind::Unavailable)),
        (failed("INTERNAL_ERROR"), Some(ApiErrorKind::Unavailable)),
        (failed("ABORTED"), Some(ApiErrorKind::Unavailable)),
        (failed("SERVICE_UNDER_MAINTENANCE"), Some(ApiErrorKind::Unavailable)),
        (failed("PERMISSION_DENIED"), Some(ApiErrorKind::Denied)),
        (failed("BAD_REQUEST"), Some(ApiErrorKind::Invalid)),
        (json!({"state": "FAILED"}), Some(ApiErrorKind::Unreadable)),
        (json!({"state": "CANCELED"}), Some(ApiErrorKind::Unavailable)),
        (json!({"state": "CLOSED"}), None),
        (json!({"state": "SUCCEEDED"}), None),
    ];
    let world = World::new().await;
    let statement = Statement::sync_metadata(&["main", "acme", "t"]).unwrap();
    for (status, kind) in ends {
        let body = FaultBody::Text(json!({"statement_id": "x", "status": status}).to_string());
        world.fake.add_fault(Fault { status: 200, body, ..Fault::throttled("/sql/statements", None) });
        let outcome = world.workspace.run_statement("warehouse-1", &statement).await;
        assert_eq!(outcome.err().map(|error| error.kind), kind, "{status}");
    }
}

#[tokio::test]
async fn a_statement_that_fails_says_why() {
    let world = World::new().await;
    let backend = world.backend_by(warehouse());
    let id = provisioned(&backend, "acme").await;
    let error = backend.add_table(&id, &TableName::from_stored("WF_A__V1")).await.unwrap_err();
    assert!(crate::world::whole(&error).contains("DELTA_TABLE_NOT_FOUND"), "{}", crate::world::whole(&error));
}

#[tokio::test]
async fn lacking_privileges_are_named() {
    let world = World::with(|options| {
        options.external_data_access = Switch::Off;
        options.catalog = Some(ReadyCatalog { name: "main".to_owned(), location_url: format!("{BUCKET}/connectors") });
    })
    .await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let error = backend.add_tables(&id, &world.loaded(&id, 1)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Denied);
    assert!(crate::world::whole(&error).contains("External data access is not enabled"));
}

#[tokio::test]
async fn a_table_under_another_alias_is_not_taken_for_shared() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&backend, "acme").await;
    let tables = world.loaded(&id, 1);
    backend.add_tables(&id, &tables).await.unwrap();
    let name = "main.acme.wf_a__v1".to_owned();
    world.workspace.update_share("acme", &[ShareUpdate::RemoveTable { name: name.clone() }]).await.unwrap();
    let odd = ShareUpdate::AddTable { name, shared_as: "other.name".to_owned() };
    world.workspace.update_share("acme", &[odd]).await.unwrap();
    let error = backend.add_tables(&id, &tables).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::InvalidData);
    assert!(crate::world::whole(&error).contains("already exists"));
    assert_ne!(shared_as(&tables[0]), "other.name");
}

#[tokio::test]
async fn a_share_that_was_made_without_an_answer_is_ours() {
    let world = World::new().await;
    for path in ["/shares", "/schemas"] {
        world.fake.add_fault(Fault {
            method: Some(http::Method::POST),
            time: FaultTime::Afterwards,
            status: 500,
            ..Fault::throttled(path, None)
        });
    }
    let _ = provisioned(&world.backend(), "acme").await;
    assert_eq!(world.fake.faults_left(), 0);
}

#[tokio::test]
async fn schemas_come_from_the_newest_version_of_a_log() {
    use delivery::ports::{Commit, DataChange, TableLog as _};
    use testkit::lake::InMemoryLake;
    use unity_catalog::ports::{LoggedSchemas, TableSchemas as _};

    let lake = Arc::new(InMemoryLake::default());
    let schemas = LoggedSchemas::new(lake.clone());
    let (id, table) = (connector_id("acme"), TableName::from_stored("WF_A__LATEST"));
    assert_eq!(schemas.schema_text(&id, &table).await.unwrap(), None);
    for (version, text) in [(0, "first"), (1, "second")] {
        let commit = Commit {
            schema_string: Some(text.to_owned()),
            removes: Vec::new(),
            adds: Vec::new(),
            transactions: Vec::new(),
            timestamp: testkit::builders::instant(0),
            operation: "CREATE TABLE",
            change: DataChange::Rows,
        };
        let _ = lake.write(&id, &table, version, &commit).await.unwrap();
        assert_eq!(schemas.schema_text(&id, &table).await.unwrap().as_deref(), Some(text));
    }
}
