//! Records the runs that lie in the run-output bucket and that nobody announced.
//!
//! A run's folder is `kadoa/<team>/<workflow>/<finishedAtSafe>-<run>`, and the message in it has to be of that team,
//! workflow and run: an object that somebody copied elsewhere is delivered to nobody.

use std::collections::BTreeMap;

use super::{BackfillFailure, Counts, Coverage, classify};
use crate::connector::Scope;
use crate::failure::{FailureCode, StepError};
use crate::ids::{RunId, RunKey, WorkflowId};
use crate::ports::{BackfillStore, FoundBy, FoundRun, HistoryBucket, Known, RunFolder};
use crate::run::Announcement;
use crate::timestamp::Timestamp;

/// The most run folders of one page.
pub const FOLDERS_MAX: usize = 1_000;

/// What a page of the bucket held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Behind which place there is more.
    pub after: Option<String>,
    /// What it counted.
    pub counts: Counts,
    /// What will never be delivered as it is.
    pub failures: Vec<BackfillFailure>,
}

/// Looks through a page of the team's run folders and records those runs that are finished, in scope and not recorded.
/// A page that is done again counts what it found before: the record of a run says which page found it.
///
/// # Errors
///
/// Codes of phase `backfill`; a message that announces nothing is a failure of the page instead.
pub async fn find(
    store: &dyn BackfillStore,
    bucket: &dyn HistoryBucket,
    coverage: &Coverage,
    by: &FoundBy,
    after: Option<&str>,
    now: Timestamp,
) -> Result<Found, StepError> {
    // One workflow has its own folder; several are picked out of all.
    let only = match &coverage.workflows {
        Scope::Only(workflows) if workflows.len() == 1 => workflows.first(),
        Scope::Only(_) | Scope::All => None,
    };
    let page = bucket.run_folders(&coverage.team, only, after).await.map_err(classify)?;
    let (mut counts, mut failures) = (Counts::default(), Vec::new());
    let mut candidates: BTreeMap<RunKey, RunFolder> = BTreeMap::new();
    for folder in page.folders {
        match placed(coverage, &folder) {
            Placed::OutOfScope => {}
            Placed::Nowhere => failures.push(misplaced(None, None, &folder)),
            // A run has one record, so of two folders the first that has a message counts.
            Placed::At(key) => {
                let known = candidates.entry(key).or_insert_with(|| folder.clone());
                if known.message_bytes.is_none() {
                    *known = folder;
                }
            }
        }
    }
    let keys: Vec<_> = candidates.keys().cloned().collect();
    let recorded = store.recorded(&keys).await.map_err(classify)?;
    counts.found = found_by(by, &recorded);
    let unrecorded = candidates.into_iter().zip(recorded).filter(|(_, known)| *known == Known::No);
    let (with, without): (Vec<_>, Vec<_>) =
        unrecorded.map(|(candidate, _)| candidate).partition(|(_, folder)| folder.message_bytes.is_some());
    // Output that nobody announced, here or by a message.
    failures.extend(without.iter().map(|(key, folder)| misplaced(Some(&key.workflow), Some(&key.run), folder)));
    let (keys, folders): (Vec<_>, Vec<_>) = with.into_iter().unzip();
    let announcements = bucket.announcements(&folders).await.map_err(classify)?;
    let mut runs = Vec::new();
    for ((key, folder), announced) in keys.into_iter().zip(&folders).zip(announcements) {
        match announced {
            Ok(Announcement::NotFinished { .. }) => counts.unfinished += 1,
            Ok(Announcement::Finished(run)) if run.key == key => {
                runs.push(FoundRun { run: *run, bytes: folder.output_bytes });
            }
            Ok(Announcement::Finished(_)) => failures.push(misplaced(Some(&key.workflow), Some(&key.run), folder)),
            Err(error) => {
                let code = error.code;
                failures.push(BackfillFailure { code, ..misplaced(Some(&key.workflow), Some(&key.run), folder) });
            }
        }
    }
    store.record_found(&runs, by, now).await.map_err(classify)?;
    // Somebody else may have been first.
    let keys: Vec<_> = runs.iter().map(|found| found.run.key.clone()).collect();
    counts.found += found_by(by, &store.recorded(&keys).await.map_err(classify)?);
    counts.failed = failures.len() as u64;
    Ok(Found { after: page.after, counts, failures })
}

fn found_by(by: &FoundBy, runs: &[Known]) -> u64 {
    runs.iter().filter(|known| **known == Known::Yes(Some(by.clone()))).count() as u64
}

enum Placed {
    OutOfScope,
    Nowhere,
    At(RunKey),
}

fn placed(coverage: &Coverage, folder: &RunFolder) -> Placed {
    let Some(workflow) = &folder.workflow else { return Placed::Nowhere };
    if !coverage.workflows.contains(workflow) {
        return Placed::OutOfScope;
    }
    let Some((time, run)) = folder_name(&folder.name) else { return Placed::Nowhere };
    // A time that cannot be read is the message's to say.
    if time.is_some_and(|time| !coverage.takes_time(time)) {
        return Placed::OutOfScope;
    }
    Placed::At(RunKey { team: coverage.team.clone(), workflow: workflow.clone(), run })
}

/// `<finishedAtSafe>-<run>`: the time is RFC 3339 in UTC with `-` for `:`, and for the point before a fraction.
fn folder_name(name: &str) -> Option<(Option<Timestamp>, RunId)> {
    let (time, run) = name.split_once("Z-")?;
    let run = RunId::new(run).ok()?;
    let (date, time) = time.split_once('T')?;
    let mut parts = time.splitn(4, ['-', '.']);
    let (hour, minute, second) = (parts.next()?, parts.next()?, parts.next()?);
    let fraction = parts.next().map(|fraction| format!(".{fraction}")).unwrap_or_default();
    Some((Timestamp::parse(&format!("{date}T{hour}:{minute}:{second}{fraction}Z")), run))
}

fn misplaced(workflow: Option<&WorkflowId>, run: Option<&RunId>, folder: &RunFolder) -> BackfillFailure {
    BackfillFailure {
        workflow: workflow.or(folder.workflow.as_ref()).cloned(),
        run: run.cloned(),
        place: Some(folder.key.clone()),
        code: FailureCode::HistoryMismatch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_says_when_its_run_finished_and_which_it_is() {
        for (name, time, run) in [
            ("2026-09-01T06-07-30Z-a-b", "2026-09-01T06:07:30Z", "a-b"),
            ("2026-09-01T06-07-30-123Z-r", "2026-09-01T06:07:30.123Z", "r"),
            ("2026-09-01T06-07-30.5Z-r", "2026-09-01T06:07:30.5Z", "r"),
        ] {
            let run = RunId::new(run).unwrap();
            assert_eq!(folder_name(name), Some((Some(Timestamp::parse(time).unwrap()), run)), "{name}");
        }
        assert_eq!(folder_name("2026-99-01T06-07-30Z-r"), Some((None, RunId::new("r").unwrap())));
        for name in ["", "r", "2026-09-01Z-r", "2026-09-01T06-07-30Z-", "2026-09-01T06-07-30Z-a/b", "x2026Z"] {
            assert_eq!(folder_name(name), None, "{name}");
        }
    }
}
