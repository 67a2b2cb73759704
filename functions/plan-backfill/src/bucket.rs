//! The history in the run-output bucket: `kadoa/<team>/<workflow>/<folder>/…` and `kadoa/<team>/activity/*.jsonl`.

use std::sync::Arc;

use async_trait::async_trait;
use delivery::backfill::FOLDERS_MAX;
use delivery::failure::{FailureCode, StepError};
use delivery::ids::{TeamId, WorkflowId};
use delivery::ports::{ActivityLine, ActivityPage, ActivityPlace, FolderPage, HistoryBucket, PortError, RunFolder};
use delivery::run::Announcement;
use events::{activity, run_completed};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tables::log::port_error;

/// The most objects of one page of folders; a folder that begun is read to its end.
pub const OBJECTS_MAX: usize = 20_000;

/// The most lines of activity of one page.
pub const LINES_MAX: usize = 2_000;

/// The most bytes of activity of one page.
pub const ACTIVITY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Bytes of activity that are read at once: more than a message may have.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// Messages that are read at once.
const READS_AT_ONCE: usize = 16;

/// The name of the message in a run's folder.
const MESSAGE: &str = "run.json";

const LIST: &str = "list the history in the run-output bucket";
const READ: &str = "read the history in the run-output bucket";

/// The history in an object store.
#[derive(Debug)]
pub struct ObjectStoreHistory {
    store: Arc<dyn ObjectStore>,
}

impl ObjectStoreHistory {
    /// The history in a store, such as the run-output bucket.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    async fn announcement(&self, folder: &RunFolder) -> Result<Result<Announcement, StepError>, PortError> {
        let limit = run_completed::MESSAGE_BYTES_MAX;
        if folder.message_bytes.is_some_and(|bytes| bytes > limit as u64) {
            let message = format!("the message has more than {limit} bytes");
            return Ok(Err(StepError::new(FailureCode::MessageTooLarge, message)));
        }
        let key = path(&format!("{}/{MESSAGE}", folder.key))?;
        let found = self.store.get(&key).await.map_err(|error| port_error(READ, error))?;
        let bytes = found.bytes().await.map_err(|error| port_error(READ, error))?;
        Ok(run_completed::parse(&bytes))
    }

    /// The object of a place, or the first behind it.
    async fn activity_object(&self, team: &TeamId, place: &ActivityPlace) -> Result<Option<ObjectMeta>, PortError> {
        let folder = format!("kadoa/{team}/activity");
        if !place.key.is_empty() {
            match self.store.head(&path(&place.key)?).await {
                Ok(found) if place.offset < found.size => return Ok(Some(found)),
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(port_error(READ, error)),
            }
        }
        let prefix = path(&folder)?;
        let mut objects = if place.key.is_empty() {
            self.store.list(Some(&prefix))
        } else {
            self.store.list_with_offset(Some(&prefix), &path(&place.key)?)
        };
        while let Some(object) = objects.try_next().await.map_err(|error| port_error(LIST, error))? {
            let name = object.location.as_ref().strip_prefix(&folder).and_then(|name| name.strip_prefix('/'));
            let is_activity = name.is_some_and(|name| !name.contains('/') && name.ends_with(".jsonl"));
            if is_activity && object.size > 0 {
                return Ok(Some(object));
            }
        }
        Ok(None)
    }

    /// Reads a piece of an object: whole lines, and what is said of each. Moves the place behind them.
    async fn piece(
        &self,
        object: &ObjectMeta,
        place: &mut ActivityPlace,
        lines: &mut Vec<ActivityLine>,
    ) -> Result<(), PortError> {
        let end = place.offset.saturating_add(CHUNK_BYTES).min(object.size);
        let piece = self.store.get_range(&object.location, place.offset..end).await;
        let piece = piece.map_err(|error| port_error(READ, error))?;
        let whole = match piece.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => piece.get(..=last).unwrap_or_default(),
            None if end == object.size => &piece,
            // No message is as long as a piece.
            None => return self.over_long(object, place, lines).await,
        };
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            place.offset += line.len() as u64;
            place.lines += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let event = activity::parse(line.trim_ascii());
            lines.push(ActivityLine { key: place.key.clone(), line: place.lines, event });
            if lines.len() >= LINES_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Passes over a line that is longer than a message may be.
    async fn over_long(
        &self,
        object: &ObjectMeta,
        place: &mut ActivityPlace,
        lines: &mut Vec<ActivityLine>,
    ) -> Result<(), PortError> {
        place.lines += 1;
        let message = format!("the line has more than {} bytes", activity::MESSAGE_BYTES_MAX);
        let event = Err(StepError::new(FailureCode::MessageTooLarge, message));
        lines.push(ActivityLine { key: place.key.clone(), line: place.lines, event });
        while place.offset < object.size {
            let end = place.offset.saturating_add(CHUNK_BYTES).min(object.size);
            let piece = self.store.get_range(&object.location, place.offset..end).await;
            let piece = piece.map_err(|error| port_error(READ, error))?;
            if let Some(last) = piece.iter().position(|byte| *byte == b'\n') {
                place.offset += last as u64 + 1;
                return Ok(());
            }
            place.offset = end;
        }
        Ok(())
    }
}

#[async_trait]
impl HistoryBucket for ObjectStoreHistory {
    async fn run_folders(
        &self,
        team: &TeamId,
        workflow: Option<&WorkflowId>,
        after: Option<&str>,
    ) -> Result<FolderPage, PortError> {
        let of_team = format!("kadoa/{team}");
        let prefix = workflow.map_or_else(|| of_team.clone(), |workflow| format!("{of_team}/{workflow}"));
        let prefix = path(&prefix)?;
        let mut objects = match after {
            Some(after) => self.store.list_with_offset(Some(&prefix), &path(after)?),
            None => self.store.list(Some(&prefix)),
        };
        let mut folders: Vec<RunFolder> = Vec::new();
        let (mut seen, mut newest) = (0_usize, None);
        while let Some(object) = objects.try_next().await.map_err(|error| port_error(LIST, error))? {
            seen += 1;
            let key = object.location.as_ref();
            let Some((folder, name)) = run_folder(key, &of_team) else { continue };
            if folders.last().is_none_or(|known| known.key != folder.key) {
                // The folders of the page are whole.
                if folders.len() >= FOLDERS_MAX || (seen > OBJECTS_MAX && !folders.is_empty()) {
                    return Ok(FolderPage { folders, after: newest });
                }
                folders.push(folder);
            }
            if let Some(folder) = folders.last_mut() {
                if name == MESSAGE {
                    folder.message_bytes = Some(object.size);
                } else {
                    folder.output_bytes = folder.output_bytes.saturating_add(object.size);
                }
            }
            newest = Some(key.to_owned());
        }
        Ok(FolderPage { folders, after: None })
    }

    async fn announcements(&self, folders: &[RunFolder]) -> Result<Vec<Result<Announcement, StepError>>, PortError> {
        let reads: Vec<_> = folders.iter().map(|folder| self.announcement(folder)).collect();
        futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }

    async fn activity(&self, team: &TeamId, after: &ActivityPlace) -> Result<ActivityPage, PortError> {
        let (mut place, mut lines, mut read) = (after.clone(), Vec::new(), 0);
        while lines.len() < LINES_MAX && read < ACTIVITY_BYTES_MAX {
            let Some(object) = self.activity_object(team, &place).await? else {
                return Ok(ActivityPage { lines, after: None });
            };
            if object.location.as_ref() != place.key {
                place = ActivityPlace { key: object.location.as_ref().to_owned(), offset: 0, lines: 0 };
            }
            let before = place.offset;
            self.piece(&object, &mut place, &mut lines).await?;
            read += place.offset.saturating_sub(before);
        }
        Ok(ActivityPage { lines, after: Some(place) })
    }
}

/// The run folder of an object, and the object's name in it. The team's activity is no run.
fn run_folder<'a>(key: &'a str, of_team: &str) -> Option<(RunFolder, &'a str)> {
    let below = key.strip_prefix(of_team)?.strip_prefix('/')?;
    let (workflow, rest) = below.split_once('/')?;
    let (name, object) = rest.split_once('/')?;
    let folder = RunFolder {
        key: format!("{of_team}/{workflow}/{name}"),
        workflow: WorkflowId::new(workflow).ok(),
        name: name.to_owned(),
        message_bytes: None,
        output_bytes: 0,
    };
    Some((folder, object))
}

fn path(key: &str) -> Result<Path, PortError> {
    Path::parse(key).map_err(|error| port_error(LIST, error.into()))
}

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
