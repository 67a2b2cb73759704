//! `ProvisionConnector` and `MarkReady`: a connector's record, share and probe table; then its metadata tables, and the
//! connector takes data.

use std::sync::Arc;

use async_trait::async_trait;
use aws::dynamo::DynamoStore;
use backends::Backends;
use delivery::failure::StepError;
use delivery::ids::ConnectorId;
use delivery::ports::{
    Clock, ConnectorStore, MetadataFiles, RecipientBackend, RunStore, SharingBackend, TableLog, TableStore,
};
use delivery::provision::{Provisioning, make_ready, provision};
use events::command::{StartedAt, command};
use events::steps::ConnectorReport;
use lambda::{Environment, SettingsError, Subject, SystemClock, Task};
use serde::Deserialize;
use serde_json::Value;
use tables::log::ObjectStoreTableLog;
use tables::metadata::ObjectStoreMetadataFiles;

/// The function.
pub struct ProvisionConnector {
    connectors: Arc<dyn ConnectorStore>,
    runs: Arc<dyn RunStore>,
    tables: Arc<dyn TableStore>,
    backend: Arc<dyn SharingBackend>,
    recipients: Arc<dyn RecipientBackend>,
    log: Arc<dyn TableLog>,
    files: Arc<dyn MetadataFiles>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ProvisionConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProvisionConnector")
    }
}

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum Input {
    /// Make the connector and its share.
    Provision {
        /// The operator's words.
        setup: Value,
        /// The execution's ARN.
        execution: String,
        /// When the execution began.
        #[serde(default, rename = "startedAt")]
        started_at: StartedAt,
    },
    /// The share was read back: the connector takes data.
    Ready {
        /// The operator's words.
        setup: Value,
        /// The execution's ARN.
        execution: String,
    },
}

#[async_trait]
impl Task for ProvisionConnector {
    const STEP: &'static str = "ProvisionConnector";
    const SETTINGS: &'static [&'static str] = &["STATE_TABLE_NAME", "TABLES_BUCKET", "DATABRICKS"];
    type Input = Input;
    type Output = ConnectorReport;

    async fn assemble(environment: &Environment) -> Result<Self, SettingsError> {
        let config = aws::connect().await;
        let store = Arc::new(DynamoStore::new(&config, environment.require("STATE_TABLE_NAME")?));
        let backends = Backends::assemble(environment, &config, store.clone())?;
        let bucket = Arc::new(
            environment.require_as("TABLES_BUCKET", "the name of a bucket", |name| aws::s3::bucket(name).ok())?,
        );
        Ok(Self {
            connectors: store.clone(),
            runs: store.clone(),
            tables: store,
            backend: backends.sharing(),
            recipients: backends.recipients(),
            log: Arc::new(ObjectStoreTableLog::new(bucket.clone())),
            files: Arc::new(ObjectStoreMetadataFiles::new(bucket)),
            clock: Arc::new(SystemClock),
        })
    }

    fn subject(input: &Input) -> Subject {
        match input {
            Input::Provision { setup, .. } | Input::Ready { setup, .. } => setup
                .get("connectorId")
                .and_then(Value::as_str)
                .and_then(|id| ConnectorId::new(id).ok())
                .map_or(Subject::Unknown, Subject::Connector),
        }
    }

    async fn handle(&self, input: Input) -> Result<ConnectorReport, StepError> {
        let ports = Provisioning {
            connectors: &*self.connectors,
            runs: &*self.runs,
            tables: &*self.tables,
            log: &*self.log,
            files: &*self.files,
            backend: &*self.backend,
            recipients: &*self.recipients,
            clock: &*self.clock,
        };
        let connector = match input {
            Input::Provision { setup, execution, started_at } => {
                let now = self.clock.now();
                let wanted = events::setup::connector(&setup, now)?;
                let actor = command(&setup, &execution)?.actor;
                provision(ports, wanted, started_at.or(now), &actor).await?
            }
            Input::Ready { setup, execution } => {
                let command = command(&setup, &execution)?;
                make_ready(ports, &command.connector, &command.actor).await?
            }
        };
        Ok(ConnectorReport::of(&connector, connector.state))
    }
}

#[cfg(test)]
mod tests {
    use delivery::connector::Connector;
    use delivery::connector::ConnectorState;
    use delivery::failure::FailureCode;
    use delivery::lifecycle::{Action, Actor, AuditEntry};
    use delivery::metadata::MetadataTable;
    use delivery::ports::{Connected, PortError, ShareReport};
    use delivery::table::{LatestTable, Membership, Mirrored, TableName};
    use delivery::timestamp::Timestamp;
    use serde_json::json;
    use testkit::builders::{PutConnector as _, audit_entry, connector, connector_id, instant, schema_of, workflow_id};
    use testkit::lake::InMemoryLake;
    use testkit::sharing::ManualClock;
    use testkit::state::InMemoryState;

    use super::*;

    /// A backend whose share does not read back as it was made, and otherwise the one behind it.
    struct Broken(Arc<InMemoryState>, ShareReport);

    #[async_trait]
    impl RecipientBackend for Broken {
        async fn connect(&self, connector: &Connector) -> Result<Connected, PortError> {
            self.0.connect(connector).await
        }

        async fn verify(&self, _: &Connector, _: &[TableName]) -> Result<ShareReport, PortError> {
            Ok(self.1.clone())
        }

        async fn expire_tokens(&self, connector: &Connector, seconds: u32, now: Timestamp) -> Result<(), PortError> {
            self.0.expire_tokens(connector, seconds, now).await
        }

        async fn revoke(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError> {
            self.0.revoke(connector, now).await
        }
    }

    fn function(state: &Arc<InMemoryState>, recipients: Arc<dyn RecipientBackend>) -> ProvisionConnector {
        let lake = Arc::new(InMemoryLake::default());
        ProvisionConnector {
            connectors: state.clone(),
            runs: state.clone(),
            tables: state.clone(),
            backend: state.clone(),
            recipients,
            log: lake.clone(),
            files: lake,
            clock: Arc::new(ManualClock::at_seconds(0)),
        }
    }

    fn provisioned(backend: &str) -> Input {
        let input = json!({"action": "provision", "execution": "arn:e", "setup": {
            "connectorId": "acme", "teamId": "t", "workflows": "all", "backend": backend,
            "recipient": {"type": "token", "secureContact": "data@acme.test"},
        }});
        serde_json::from_value(input).unwrap()
    }

    #[tokio::test]
    async fn a_share_that_does_not_read_back_ends_the_set_up_before_any_data() {
        let ready = || {
            let input = json!({"action": "ready", "execution": "arn:e", "setup": {"connectorId": "acme"}});
            serde_json::from_value(input).unwrap()
        };
        let names = || vec!["main.acme.spillway_probe".to_owned()];
        for (report, code) in [
            (ShareReport { denied: names(), ..ShareReport::default() }, FailureCode::ShareNotReadable),
            (ShareReport { missing: names(), ..ShareReport::default() }, FailureCode::ShareIncomplete),
            (ShareReport { ungranted: true, ..ShareReport::default() }, FailureCode::ShareIncomplete),
        ] {
            let state = Arc::new(InMemoryState::default());
            let broken = function(&state, Arc::new(Broken(state.clone(), report)));
            for input in [provisioned("open"), ready()] {
                assert_eq!(broken.handle(input).await.unwrap_err().code, code);
            }
            let connector = state.connector(&connector_id("acme")).await.unwrap().unwrap();
            assert!(!connector.state.takes_data());
        }
    }

    #[tokio::test]
    async fn a_set_up_that_opened_a_revoked_connectors_share_shuts_it_again() {
        let state = Arc::new(InMemoryState::default());
        let function = function(&state, state.clone());
        let ready = || {
            let input = json!({"action": "ready", "execution": "arn:e", "setup": {"connectorId": "acme"}});
            serde_json::from_value(input).unwrap()
        };
        function.handle(provisioned("open")).await.unwrap();
        function.handle(ready()).await.unwrap();
        // A set-up that began before the revocation connects behind it.
        let known = state.connector(&connector_id("acme")).await.unwrap().unwrap();
        let actor = Actor { requested_by: None, execution: "arn:r".to_owned() };
        let entry = AuditEntry { at: instant(0), action: Action::Revoke, actor };
        let revoked = known.moved(ConnectorState::Revoked);
        let _ = state.change_connector(Some(&known), &revoked, &entry).await.unwrap();
        assert!(!state.verify(&revoked, &[]).await.unwrap().ungranted, "it is open");
        assert_eq!(function.handle(ready()).await.unwrap_err().code, FailureCode::ConnectorRevoked);
        assert!(state.verify(&revoked, &[]).await.unwrap().ungranted, "it is shut");
    }

    #[tokio::test]
    async fn a_set_up_that_began_before_a_revocation_does_not_undo_it() {
        let state = Arc::new(InMemoryState::default());
        let function = function(&state, state.clone());
        let provision = |started_at: i64| {
            let mut input = json!({"action": "provision", "execution": "arn:e", "setup": {
                "connectorId": "acme", "teamId": "t", "workflows": "all", "activityLog": false,
                "recipient": {"type": "token", "secureContact": "data@acme.test"},
            }});
            input["startedAt"] = json!(instant(started_at).to_string());
            function.handle(serde_json::from_value(input).unwrap())
        };
        function.handle(provisioned("open")).await.unwrap();
        // The revocation comes between the set-up's reading and its write.
        let known = state.connector(&connector_id("acme")).await.unwrap().unwrap();
        let revoked = known.revoked().unwrap();
        let (rival, before, after) = (state.clone(), known.clone(), revoked.clone());
        let calls = state.faults.calls().len();
        state.faults.meanwhile(calls + 2, move || {
            let entry = audit_entry(Action::Revoke, 5);
            let mut change = Box::pin(rival.change_connector(Some(&before), &after, &entry));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(change.as_mut().poll(&mut context).is_ready());
        });
        assert_eq!(provision(4).await.unwrap_err().code, FailureCode::SetupConflict);
        for started_at in [4, 5] {
            assert_eq!(provision(started_at).await.unwrap_err().code, FailureCode::ConnectorRevoked);
            assert_eq!(state.connector(&known.id).await.unwrap(), Some(revoked.clone()));
            assert!(state.verify(&revoked, &[]).await.unwrap().ungranted, "what was open is shut");
        }
        provision(6).await.unwrap();
        let anew = state.connector(&known.id).await.unwrap().unwrap();
        assert_eq!(anew.state, ConnectorState::Provisioning, "one that began behind it sets up anew");
        assert!(!state.verify(&anew, &[]).await.unwrap().ungranted);
    }

    /// A workflow of acme with so many version tables, which was delivered, and one more that was not shared yet.
    async fn delivered(state: &InMemoryState, workflow: &str, versions: u32) {
        let (acme, workflow) = (connector_id("acme"), workflow_id(workflow));
        let mut newest = None;
        for n in 1..=versions {
            let schema = schema_of(&format!("f-{n}"));
            let table = state.open_schema_version(&acme, &workflow, &schema, instant(0)).await.unwrap();
            state.add_table(&acme, &table.name).await.unwrap();
            state.version_table_shared(&acme, &workflow, &table.fingerprint).await.unwrap();
            newest = Some(table);
        }
        state.open_schema_version(&acme, &workflow, &schema_of("f-0"), instant(0)).await.unwrap();
        let newest = newest.unwrap();
        let mirrored = Mirrored { source: newest.name, source_version: 0, newest_finished_at: instant(0) };
        let latest = LatestTable { table_version: 0, mirrored, shared: Membership::Shared };
        state.put_latest(&acme, &workflow, &latest).await.unwrap();
        state.add_table(&acme, &TableName::latest(&newest.label)).await.unwrap();
    }

    #[tokio::test]
    async fn a_set_up_puts_back_what_is_missing_and_takes_out_what_is_not_in_scope() {
        let state = Arc::new(InMemoryState::default());
        let function = function(&state, state.clone());
        let set_up = async |workflows: serde_json::Value| {
            let input = json!({"action": "provision", "execution": "arn:e", "setup": {
                "connectorId": "acme", "teamId": "t", "workflows": workflows,
                "recipient": {"type": "token", "secureContact": "data@acme.test"},
            }});
            function.handle(serde_json::from_value(input).unwrap()).await.unwrap();
            let opened = state.shared_tables(&connector_id("acme"));
            let ready = json!({"action": "ready", "execution": "arn:e", "setup": {"connectorId": "acme"}});
            function.handle(serde_json::from_value(ready).unwrap()).await.unwrap();
            opened
        };
        let of_workflows = |tables: Vec<TableName>| {
            let names = tables.into_iter().map(|table| table.as_str().to_owned());
            names.filter(|name| name.starts_with("WF_")).collect::<Vec<_>>()
        };
        let shared = || of_workflows(state.shared_tables(&connector_id("acme")));
        let take_out = async |tables: &[&str]| {
            for table in tables {
                state.remove_table(&connector_id("acme"), &TableName::from_stored(*table)).await.unwrap();
            }
        };
        set_up(json!("all")).await;
        delivered(&state, "a", 3).await;
        delivered(&state, "b", 1).await;
        let whole = ["WF_A__LATEST", "WF_A__V1", "WF_A__V2", "WF_A__V3", "WF_B__LATEST", "WF_B__V1"];
        assert_eq!(shared(), whole);

        take_out(&["WF_A__V1", "WF_A__V3", "WF_B__LATEST"]).await;
        set_up(json!("all")).await;
        let without_oldest: Vec<_> = whole.into_iter().filter(|table| *table != "WF_A__V1").collect();
        assert_eq!(shared(), without_oldest, "an older one may have been taken out to make room");
        take_out(&["WF_A__LATEST"]).await;
        set_up(json!("all")).await;
        assert_eq!(shared(), whole);

        let opened = set_up(json!(["b"])).await;
        assert_eq!(of_workflows(opened), whole[4..], "before anybody is let in");
        assert_eq!(shared(), whole[4..]);
        set_up(json!(["a", "c"])).await;
        assert_eq!(shared(), whole[..4], "what comes back into scope comes back whole");
        set_up(json!("all")).await;
        assert_eq!(shared(), whole);
    }

    /// A team with this many connectors of each state, none of which takes part in the test.
    async fn team_of(others: [(ConnectorState, usize); 3]) -> Arc<InMemoryState> {
        let state = Arc::new(InMemoryState::default());
        for (of, number) in others {
            for n in 0..number {
                let other = connector(&format!("{}-{n}", of.as_str()), "t");
                state.put_connector(&Connector { state: of, ..other }).await.unwrap();
            }
        }
        state
    }

    #[tokio::test]
    async fn a_team_has_ninety_connectors_that_are_not_revoked() {
        let (active, asleep) = (ConnectorState::Active, ConnectorState::Disabled);
        let ready = || {
            serde_json::from_value(json!({"action": "ready", "execution": "arn:e", "setup": {"connectorId": "acme"}}))
                .unwrap()
        };
        let others = |disabled| [(active, 80), (asleep, disabled), (ConnectorState::Revoked, 5)];

        let state = team_of(others(9)).await;
        let last = function(&state, state.clone());
        for _ in 0..2 {
            last.handle(provisioned("open")).await.unwrap();
            last.handle(ready()).await.unwrap();
        }
        let mut known = state.connector(&connector_id("acme")).await.unwrap().unwrap();
        assert_eq!(known.state, ConnectorState::Ready, "and it is set up again");

        let state = team_of(others(10)).await;
        let refused = function(&state, state.clone()).handle(provisioned("open")).await.unwrap_err();
        assert_eq!(refused.code, FailureCode::TeamFull);
        assert_eq!(state.connector(&connector_id("acme")).await.unwrap(), None);
        // A revoked one counts again when it is set up anew.
        known.state = ConnectorState::Revoked;
        state.put_connector(&known).await.unwrap();
        let refused = function(&state, state.clone()).handle(provisioned("open")).await.unwrap_err();
        assert_eq!(refused.code, FailureCode::TeamFull);
    }

    #[tokio::test]
    async fn of_two_set_ups_at_once_that_are_one_too_many_no_two_come_to_take_data() {
        let state =
            team_of([(ConnectorState::Active, 89), (ConnectorState::Disabled, 0), (ConnectorState::Revoked, 0)]).await;
        let function = function(&state, state.clone());
        function.handle(provisioned("open")).await.unwrap();
        let rival = Connector { state: ConnectorState::Provisioning, ..connector("rival", "t") };
        state.put_connector(&rival).await.unwrap();
        let ready = json!({"action": "ready", "execution": "arn:e", "setup": {"connectorId": "acme"}});
        let refused = function.handle(serde_json::from_value(ready.clone()).unwrap()).await.unwrap_err();
        assert_eq!(refused.code, FailureCode::TeamFull);
        state.put_connector(&rival.revoked().unwrap()).await.unwrap();
        function.handle(serde_json::from_value(ready).unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn a_connector_keeps_the_backend_of_its_first_set_up() {
        let state = Arc::new(InMemoryState::default());
        let function = function(&state, state.clone());
        function.handle(provisioned("databricks")).await.unwrap();
        let error = function.handle(provisioned("open")).await.unwrap_err();
        assert_eq!(error.code, FailureCode::ConnectorInvalid);
        assert!(error.message.contains("databricks"), "{error}");
    }

    #[tokio::test]
    async fn a_set_up_becomes_a_connector_with_a_probe_and_then_a_ready_one_with_its_metadata_tables() {
        let state = Arc::new(InMemoryState::default());
        let lake = Arc::new(InMemoryLake::default());
        let function = ProvisionConnector {
            connectors: state.clone(),
            runs: state.clone(),
            tables: state.clone(),
            backend: state.clone(),
            recipients: state.clone(),
            log: lake.clone(),
            files: lake.clone(),
            clock: Arc::new(ManualClock::at_seconds(0)),
        };
        let provision = |activity_log: bool| {
            json!({"action": "provision", "execution": "arn:e", "setup": {
                "connectorId": "acme", "teamId": "t", "workflows": "all", "activityLog": activity_log,
                "recipient": {"type": "token", "secureContact": "data@acme.test"},
            }})
        };
        let ready = json!({"action": "ready", "execution": "arn:e", "setup": {"connectorId": "acme"}});
        let report = |state: &str| json!({"connectorId": "acme", "teamId": "t", "shareName": "acme", "state": state});
        let without = ["WORKFLOWS", "WORKFLOW_RUNS", "WORKFLOW_SCHEMA_FIELDS", "WORKFLOW_SCHEMA_VERSIONS"];
        let with: Vec<_> = ["ACTIVITY_LOG"].into_iter().chain(without).collect();
        let probe = "SPILLWAY_PROBE";
        for (input, state_after, shared) in [
            (provision(true), "provisioning", vec![probe]),
            (ready.clone(), "ready", with.clone()),
            (ready.clone(), "ready", with.clone()),
            (provision(false), "ready", [&with[..1], &[probe], &without].concat()),
            (ready.clone(), "ready", without.to_vec()),
            (provision(true), "ready", [&[probe], &without[..]].concat()),
            (ready, "ready", with),
        ] {
            let output = function.handle(serde_json::from_value(input.clone()).unwrap()).await.unwrap();
            assert_eq!(serde_json::to_value(output).unwrap(), report(state_after));
            let shared: Vec<_> = shared.into_iter().map(TableName::from_stored).collect();
            assert_eq!(state.shared_tables(&connector_id("acme")), shared, "{input}");
        }
        let again = function.handle(serde_json::from_value(provision(true)).unwrap()).await.unwrap();
        assert_eq!(serde_json::to_value(again).unwrap(), report("ready"));
        let audit = state.audit(&connector_id("acme"), 10).await.unwrap();
        let audit: Vec<_> = audit.iter().map(|change| change.entry.action).collect();
        assert_eq!(
            audit,
            [Action::SetUp, Action::Verify, Action::SetUp, Action::SetUp],
            "none for what changed nothing"
        );
        for table in MetadataTable::ALL {
            assert_eq!(lake.commit_count(&connector_id("acme"), &table.name()), 1, "made once, of no rows");
            assert_eq!(lake.metadata_rows(&connector_id("acme"), table), Vec::<delivery::metadata::Row>::new());
        }
    }
}
