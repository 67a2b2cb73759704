//! A whole set-up whose every request fails once, before or after it was done: starting again comes to the same.

use delivery::connector::Connector;
use delivery::connector::SharingIdentifier;
use delivery::ports::{PortError, SharingBackend as _};
use fake_databricks::{Fault, FaultBody, FaultTime};
use testkit::builders::connector;
use unity_catalog::backend::{BackendError, Reader, Refreshed, Registration, ShareReport};

use crate::world::{World, cause, whole};

/// How often the client sends a request that is refused for a while.
const ATTEMPTS: u32 = 5;

fn reader() -> Reader {
    Reader::Databricks(SharingIdentifier::new("aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016").unwrap())
}

async fn set_up(world: &World, connector: &Connector) -> Result<ShareReport, PortError> {
    let (backend, tables) = (world.backend(), world.loaded(&connector.id, 2));
    let _ = backend.provision(connector).await?;
    let recipient = backend.adopt(&connector.id, &reader()).await?.recipient;
    backend.add_tables(&connector.id, &tables).await?;
    backend.grant(&connector.id, &recipient).await?;
    backend.report(&connector.id, &recipient, &tables).await
}

/// The requests of an undisturbed set-up.
async fn undisturbed() -> u32 {
    let world = World::new().await;
    assert!(set_up(&world, &connector("acme", "team")).await.unwrap().is_good());
    u32::try_from(world.requests().len()).unwrap()
}

#[tokio::test]
async fn a_set_up_that_broke_off_anywhere_is_finished_by_the_next() {
    let requests = undisturbed().await;
    assert!(requests > 10, "{requests} requests");
    for after in 0..requests {
        for time in [FaultTime::Instead, FaultTime::Afterwards] {
            let world = World::new().await;
            let connector = connector("acme", "team");
            let gone = Fault { status: 500, after, times: ATTEMPTS, time, ..Fault::throttled("/api/", None) };
            world.fake.add_fault(Fault { body: FaultBody::Text(String::new()), ..gone });
            set_up(&world, &connector).await.expect_err("all attempts of one request failed");
            assert_eq!(world.fake.faults_left(), 0, "request {after}");
            let report = set_up(&world, &connector).await.unwrap_or_else(|error| {
                panic!("request {after} {time:?}: {}", whole(&error));
            });
            assert!(report.is_good(), "request {after} {time:?}: {report:?}");
            assert_eq!(report.tables, 2);
        }
    }
}

#[tokio::test]
async fn one_fault_of_any_request_is_not_even_noticed() {
    let requests = undisturbed().await;
    for after in 0..requests {
        for (status, time) in [(429, FaultTime::Instead), (503, FaultTime::Instead), (504, FaultTime::Afterwards)] {
            let world = World::new().await;
            let fault = Fault { status, after, time, ..Fault::throttled("/api/", None) };
            world.fake.add_fault(fault);
            let report = set_up(&world, &connector("acme", "team")).await.unwrap_or_else(|error| {
                panic!("request {after} {status}: {}", whole(&error));
            });
            assert!(report.is_good(), "request {after} {status}: {report:?}");
            assert_eq!(world.fake.faults_left(), 0);
        }
    }
}

/// The next change of this path is answered with success, and not done.
fn ignore_next(world: &World, method: http::Method, path: &str, answer: &str) {
    let body = FaultBody::Text(answer.to_owned());
    world.fake.add_fault(Fault { method: Some(method), status: 200, body, ..Fault::throttled(path, None) });
}

#[tokio::test]
async fn a_success_that_did_nothing_is_noticed() {
    use http::Method;
    let world = World::new().await;
    let acme = connector("acme", "team");
    let backend = world.backend_by(Registration::TablesApi { refresh_warehouse: Some("warehouse-1".to_owned()) });
    let tables = world.loaded(&acme.id, 1);

    ignore_next(&world, Method::POST, "/shares", r#"{"name": "acme"}"#);
    let error = backend.provision(&acme).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::NotThere { names } if names == &["acme"]));
    let _ = backend.provision(&acme).await.unwrap();
    let recipient = backend.adopt(&acme.id, &reader()).await.unwrap().recipient;

    ignore_next(&world, Method::PATCH, "/shares/acme", "{}");
    let error = backend.add_tables(&acme.id, &tables).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::NotThere { names } if names == &["main.acme.wf_a__v1"]));
    backend.add_tables(&acme.id, &tables).await.unwrap();

    ignore_next(&world, Method::PATCH, "/permissions", "{}");
    let error = backend.grant(&acme.id, &recipient).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::NotGranted));
    backend.grant(&acme.id, &recipient).await.unwrap();

    ignore_next(&world, Method::PATCH, "/permissions", "{}");
    let error = backend.ungrant(&acme.id, &recipient).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::StillGranted));
    backend.ungrant(&acme.id, &recipient).await.unwrap();

    world.tables.put(&acme.id, &tables[0], &[("id", "string")]);
    ignore_next(&world, Method::POST, "/sql/statements", r#"{"statement_id": "x", "status": {"state": "SUCCEEDED"}}"#);
    let error = backend.refresh_columns(&acme.id, &tables[0]).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::Stale { table } if table == "main.acme.wf_a__v1"));
    assert_eq!(backend.refresh_columns(&acme.id, &tables[0]).await.unwrap(), Refreshed::InPlace);
    assert_eq!(world.fake.faults_left(), 0);
}
