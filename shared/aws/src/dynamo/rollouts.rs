//! What the rollout of a connector waits for.

use async_trait::async_trait;
use delivery::connector::ConnectorState;
use delivery::failure::FailureCode;
use delivery::ids::{ConnectorId, DeliveryKey, RunId, RunKey, TeamId, WorkflowId};
use delivery::ports::{LiveFailure, PortError, RolloutStore};
use delivery::state::DeliveryState;

use super::DynamoStore;
use super::expression::Write;
use super::item::{Attributes, Item, Key, instant, text};

const NOTE: &str = "note that a live delivery failed";
const READ: &str = "read why a rollout waits";
const FORGET: &str = "forget why a rollout waited";

#[async_trait]
impl RolloutStore for DynamoStore {
    async fn note_live_failure(&self, failure: &LiveFailure) -> Result<(), PortError> {
        let ready = Write::check(Key::connector(&failure.delivery.connector))
            .when("#state = :ready")
            .valued("ready", text(ConnectorState::Ready.as_str()));
        let unproven = Write::check(Key::delivery(&failure.delivery))
            .when("attribute_not_exists(#state) OR #state <> :shared")
            .valued("shared", text(DeliveryState::Shared.as_str()));
        // Refused otherwise: nothing waits for the delivery, or it is proven.
        let _ = self.transact(NOTE, vec![ready, unproven, live_failure_item(failure)]).await?;
        Ok(())
    }

    async fn live_failure(&self, connector: &ConnectorId) -> Result<Option<LiveFailure>, PortError> {
        let item = self.get(READ, Key::live_failure(connector)).await?;
        item.filter(|item| item.contains_key("code")).map(|item| read_live_failure(&item)).transpose()
    }

    async fn forget_live_failure(&self, connector: &ConnectorId) -> Result<(), PortError> {
        // The function may not delete items: one without a code says nothing.
        let forgotten = Write::update(Key::live_failure(connector)).remove("code").when("attribute_exists(#pk)");
        self.update(FORGET, forgotten).await?;
        Ok(())
    }
}

pub(super) fn live_failure_item(failure: &LiveFailure) -> Write {
    let run = &failure.delivery.run;
    let attributes = [
        ("connector_id", text(failure.delivery.connector.as_str())),
        ("team_id", text(run.team.as_str())),
        ("workflow_id", text(run.workflow.as_str())),
        ("run_id", text(run.run.as_str())),
        ("code", text(failure.code.as_str())),
        ("at", instant(failure.at)),
    ];
    Write::put(Key::live_failure(&failure.delivery.connector), attributes)
}

pub(super) fn read_live_failure(item: &Item) -> Result<LiveFailure, PortError> {
    let attributes = Attributes::of(item, READ);
    let run = RunKey {
        team: attributes.read("team_id", |text| TeamId::new(text).ok())?,
        workflow: attributes.read("workflow_id", |text| WorkflowId::new(text).ok())?,
        run: attributes.read("run_id", |text| RunId::new(text).ok())?,
    };
    Ok(LiveFailure {
        delivery: DeliveryKey { connector: attributes.connector_id()?, run },
        code: attributes.read("code", FailureCode::parse)?,
        at: attributes.instant("at")?,
    })
}
