//! What redriving needs of the state in memory.

use async_trait::async_trait;
use delivery::batch::Origin;
use delivery::ids::{ConnectorId, DeliveryKey};
use delivery::ports::{DeliveryRestarter, PortError, UndeliveredDeliveries};
use delivery::redrive::{Undelivered, UndeliveredPosition, restart_name};
use delivery::state::{DeliveryState, Ended};
use delivery::timestamp::Timestamp;

use super::{DeliveryRecord, InMemoryState};

#[async_trait]
impl UndeliveredDeliveries for InMemoryState {
    async fn undelivered(
        &self,
        connector: &ConnectorId,
        after: Option<&UndeliveredPosition>,
        limit: usize,
    ) -> Result<Vec<Undelivered>, PortError> {
        self.call("list the deliveries that are not shared", |inner| {
            let of_connector = inner.deliveries.values().filter(|record| record.delivery.key.connector == *connector);
            let mut found: Vec<_> = of_connector.filter_map(undelivered).collect();
            let place = |position: &UndeliveredPosition| {
                (position.since, position.workflow.as_str().to_owned(), position.run.as_str().to_owned())
            };
            found.sort_by_key(|delivery| place(&delivery.position()));
            let behind = |delivery: &Undelivered| after.is_none_or(|after| place(&delivery.position()) > place(after));
            Ok(found.into_iter().filter(behind).take(limit).collect())
        })
    }
}

fn undelivered(record: &DeliveryRecord) -> Option<Undelivered> {
    let state = record.delivery.state;
    let failed = match &record.ended {
        Some(Ended::Failed(failure)) => Some((failure.code, *record.entered_at.get(&DeliveryState::Failed)?)),
        Some(Ended::Shared(_)) | None => None,
    };
    let since = record.owed_since?;
    (state != DeliveryState::Shared).then(|| Undelivered { key: record.delivery.key.clone(), since, state, failed })
}

#[async_trait]
impl DeliveryRestarter for InMemoryState {
    async fn start_again(
        &self,
        delivery: &DeliveryKey,
        origin: Origin,
        stopped_at: Timestamp,
    ) -> Result<(), PortError> {
        self.call("start an execution", |inner| {
            let name = restart_name(delivery, stopped_at, 1);
            let started = (delivery.run.clone(), vec![delivery.connector.clone()]);
            inner.started.entry(name.clone()).or_insert(started);
            inner.origins.entry(name).or_insert(origin);
            Ok(())
        })
    }
}
