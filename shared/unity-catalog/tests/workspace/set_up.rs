//! A connector's set-up by its steps, against a workspace.

use delivery::connector::{Connector, ConnectorState};
use delivery::lifecycle::Actor;
use delivery::metadata::MetadataTable;
use delivery::ports::Clock as _;
use delivery::provision::{Provisioning, make_ready, provision};
use delivery::table::TableName;
use testkit::builders::connector;
use testkit::lake::InMemoryLake;
use testkit::state::InMemoryState;

use crate::world::World;

#[tokio::test]
async fn the_metadata_tables_of_a_connector_are_put_into_its_share_by_one_request() {
    let world = World::new().await;
    let (state, lake, backend) = (InMemoryState::default(), InMemoryLake::default(), world.backend());
    let ports = Provisioning {
        connectors: &state,
        runs: &state,
        tables: &state,
        log: &lake,
        files: &lake,
        backend: &backend,
        recipients: &backend,
        clock: &*world.clock,
    };
    let acme = Connector { state: ConnectorState::Provisioning, ..connector("acme", "team") };
    let tables = MetadataTable::ALL.map(MetadataTable::name);
    for table in tables.iter().chain([&TableName::probe()]) {
        world.tables.put(&acme.id, table, &[("id", "long")]);
    }
    let actor = Actor { requested_by: None, execution: "arn:e".to_owned() };
    provision(ports, acme.clone(), world.clock.now(), &actor).await.unwrap();
    for expected in [vec![1, tables.len()], vec![]] {
        world.requests();
        make_ready(ports, &acme.id, &actor).await.unwrap();
        let requests = world.requests();
        let changes = requests.iter().filter(|request| request.method == "PATCH");
        let sizes = changes.map(|request| request.body.as_ref().unwrap()["updates"].as_array().unwrap().len());
        assert_eq!(sizes.collect::<Vec<_>>(), expected, "the probe leaves, the tables come; and once only");
    }
    let share = world.workspace.share("acme").await.unwrap().unwrap();
    assert_eq!(share.objects.len(), tables.len());
}
