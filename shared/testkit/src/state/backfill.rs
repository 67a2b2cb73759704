//! The history of teams, and how far backfills are.

use async_trait::async_trait;
use delivery::backfill::BackfillId;
use delivery::failure::FailureCode;
use delivery::ids::{ConnectorId, DeliveryKey, RunKey, TeamId};
use delivery::ports::{
    BackfillNote, BackfillStore, DeliverySummary, FoundBy, FoundRun, Known, PortError, RecordedRun, RunConnectors,
    RunOrigin,
};
use delivery::run::Run;
use delivery::schema::PublicSchema;
use delivery::state::Ended;
use delivery::timestamp::Timestamp;

use super::{DeliveryRecord, InMemoryState, Inner};

impl InMemoryState {
    /// How far a backfill is.
    #[must_use]
    pub fn note(&self, connector: &ConnectorId, backfill: &BackfillId) -> Option<BackfillNote> {
        self.with(|inner| inner.notes.get(&(connector.clone(), backfill.clone())).cloned())
    }

    /// The runs that are recorded.
    #[must_use]
    pub fn recorded_runs(&self) -> Vec<RunKey> {
        self.with(|inner| inner.runs.keys().cloned().collect())
    }
}

impl Inner {
    /// Records a run that is not recorded, and its entry in the team's history.
    pub(super) fn record_run(
        &mut self,
        run: &Run,
        connectors: &RunConnectors,
        origin: RunOrigin,
        bytes: Option<u64>,
        now: Timestamp,
    ) {
        self.runs.insert(run.key.clone(), (run.clone(), connectors.clone()));
        let place = format!("{}#{:016}#{}", run.key.workflow, run.finished_at.micros().max(0), run.key.run);
        let recorded = RecordedRun {
            workflow: run.key.workflow.clone(),
            run: run.key.run.clone(),
            finished_at: run.finished_at,
            accepted_at: now,
            origin,
            fingerprint: PublicSchema::of(&run.fields).ok().map(|schema| schema.fingerprint()),
            bytes,
            place: place.clone(),
        };
        self.history.insert((run.key.team.clone(), place), recorded);
    }

    /// Announces a run that was found.
    pub(super) fn announce(&mut self, key: &RunKey, connectors: &RunConnectors, now: Timestamp) {
        if let Some((_, known)) = self.runs.get_mut(key) {
            known.clone_from(connectors);
        }
        for ((team, _), run) in &mut self.history {
            if *team == key.team && run.workflow == key.workflow && run.run == key.run {
                run.origin = RunOrigin::Announced;
                run.accepted_at = now;
            }
        }
    }

    pub(super) fn was_found(&self, key: &RunKey) -> bool {
        let of_run = |((team, _), run): &(&(TeamId, String), &RecordedRun)| {
            *team == key.team && run.workflow == key.workflow && run.run == key.run
        };
        self.history.iter().find(of_run).is_some_and(|(_, run)| run.origin == RunOrigin::Found)
    }
}

fn code(record: &DeliveryRecord) -> Option<FailureCode> {
    match &record.ended {
        Some(Ended::Failed(failure)) => Some(failure.code),
        Some(Ended::Shared(_)) | None => None,
    }
}

#[async_trait]
impl BackfillStore for InMemoryState {
    async fn history(&self, team: &TeamId, after: Option<&str>, max: usize) -> Result<Vec<RecordedRun>, PortError> {
        self.call("list the team's recorded runs", |inner| {
            let of_team = inner.history.iter().filter(|((of, _), _)| of == team);
            let behind = of_team.filter(|((_, place), _)| after.is_none_or(|after| place.as_str() > after));
            Ok(behind.take(max).map(|(_, run)| run.clone()).collect())
        })
    }

    async fn recorded(&self, runs: &[RunKey]) -> Result<Vec<Known>, PortError> {
        self.call("read which runs are recorded", |inner| {
            let known = |run: &RunKey| {
                if inner.runs.contains_key(run) { Known::Yes(inner.found_by.get(run).cloned()) } else { Known::No }
            };
            Ok(runs.iter().map(known).collect())
        })
    }

    async fn record_found(&self, runs: &[FoundRun], by: &FoundBy, now: Timestamp) -> Result<(), PortError> {
        self.call("record runs that were found", |inner| {
            for found in runs {
                if !inner.runs.contains_key(&found.run.key) {
                    inner.record_run(&found.run, &RunConnectors::default(), RunOrigin::Found, Some(found.bytes), now);
                    inner.found_by.insert(found.run.key.clone(), by.clone());
                }
            }
            Ok(())
        })
    }

    async fn deliveries(
        &self,
        connector: &ConnectorId,
        runs: &[RunKey],
    ) -> Result<Vec<Option<DeliverySummary>>, PortError> {
        self.call("read what became of deliveries", |inner| {
            let summary = |run: &RunKey| {
                let record = inner.deliveries.get(&DeliveryKey { connector: connector.clone(), run: run.clone() })?;
                Some(DeliverySummary { state: record.delivery.state, code: code(record) })
            };
            Ok(runs.iter().map(summary).collect())
        })
    }

    async fn note_backfill(
        &self,
        connector: &ConnectorId,
        backfill: &BackfillId,
        note: &BackfillNote,
        _now: Timestamp,
    ) -> Result<(), PortError> {
        self.call("note how far a backfill is", |inner| {
            inner.notes.insert((connector.clone(), backfill.clone()), note.clone());
            Ok(())
        })
    }
}
