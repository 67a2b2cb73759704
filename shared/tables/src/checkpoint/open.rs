//! A checkpoint of any form, opened: what it says of the table at once, its files batch by batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectMeta, ObjectStore};
use parquet::arrow::arrow_reader::ArrowReaderMetadata;

use super::read::{self, Columns, unreadable};
use super::work::Work;
use crate::object::Object;
use crate::snapshot::action_lines::ActionLines;
use crate::snapshot::actions::CommitActions;

/// A checkpoint that is not larger is fetched whole, a request for each part; a larger one in ranges.
const WHOLE_BYTES_MAX: u64 = 8 << 20;

/// What a file takes in memory for each of its bytes, at the least, where its footer was not read: texts are compressed.
const UNPACKED_TIMES: u64 = 2;

/// Parts that are fetched at once.
const FETCHES_AT_ONCE: usize = 8;

/// The files that a checkpoint is made of, as the log lists them.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointFiles {
    pub(crate) version: u64,
    /// The parts of a classic checkpoint in order, or the top-level file of a V2 one.
    pub(crate) parts: Vec<ObjectMeta>,
    /// The files of the sidecars' folder by name.
    pub(crate) sidecars: Arc<BTreeMap<String, ObjectMeta>>,
}

/// A checkpoint of which the protocol and the metadata were read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    /// `protocol` and `metaData`.
    pub(crate) head: CommitActions,
    /// About what its files take in memory; less than that if the checkpoint does not say it all.
    pub(crate) files_bytes: u64,
    parts: Vec<Part>,
    sidecars: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Parquet { object: Object, footer: Option<ArrowReaderMetadata> },
    Text(Object),
}

impl Checkpoint {
    /// Opens a checkpoint. `timestamp` is what its actions get.
    ///
    /// # Errors
    ///
    /// `InvalidData` if it cannot be understood or a sidecar is missing, `NotFound` if a part is gone, else what the
    /// store failed with.
    pub(crate) async fn open(
        store: &Arc<dyn ObjectStore>,
        files: &CheckpointFiles,
        timestamp: Timestamp,
    ) -> Result<Self, PortError> {
        let mut head = CommitActions::at(timestamp);
        let (mut parts, mut files_bytes) = (Vec::new(), 0);
        let small = total(&files.parts) <= WHOLE_BYTES_MAX;
        for object in objects(store, files.parts.iter().cloned(), small).await? {
            parts.push(if object.location.as_ref().ends_with(".json") {
                let mut lines = ActionLines::new(object.clone(), timestamp);
                while let Some(mut found) = lines.next().await? {
                    found.keep_head();
                    head.join(found);
                }
                files_bytes += object.size;
                Part::Text(object)
            } else if head.protocol.is_none() || head.metadata.is_none() {
                let mut reading = Work::start(object.clone(), move |ranged, out| {
                    // Whoever does not wait for it needs no answer.
                    let _ = out.put(read::head(&ranged, timestamp)?);
                    Ok(())
                })?;
                let (footer, found) =
                    reading.next().await?.ok_or_else(|| unreadable("a part of the checkpoint has no footer"))?;
                files_bytes += read::files_bytes(&footer);
                head.join(found);
                Part::Parquet { object, footer: Some(footer) }
            } else {
                files_bytes += object.size * UNPACKED_TIMES;
                Part::Parquet { object, footer: None }
            });
        }
        let sidecars = head.sidecars.iter().map(|sidecar| {
            // It always lies in the sidecars' folder; a path may be said before its name.
            let name = sidecar.path.rsplit('/').next().unwrap_or_default();
            files.sidecars.get(name).cloned().ok_or_else(|| unreadable("a sidecar is missing"))
        });
        let sidecars = sidecars.collect::<Result<Vec<_>, _>>()?;
        let small = small && total(&files.parts) + total(&sidecars) <= WHOLE_BYTES_MAX;
        files_bytes += total(&sidecars) * UNPACKED_TIMES;
        let sidecars = objects(store, sidecars.into_iter(), small).await?;
        let sidecars = sidecars.into_iter().map(|object| Part::Parquet { object, footer: None }).collect();
        Ok(Self { head, files_bytes, parts, sidecars })
    }

    /// Reads it from the beginning, in the order of parts and sidecars.
    pub(crate) fn read(&self, columns: Columns) -> Reading {
        let mut parts: VecDeque<Part> = self.parts.iter().cloned().collect();
        if columns != Columns::Transactions {
            parts.extend(self.sidecars.iter().cloned());
        }
        Reading { columns, timestamp: self.head.timestamp, parts, current: Current::None }
    }
}

fn total(files: &[ObjectMeta]) -> u64 {
    files.iter().map(|file| file.size).sum()
}

/// The objects of these files in order, fetched side by side if they are small.
async fn objects(
    store: &Arc<dyn ObjectStore>,
    files: impl Iterator<Item = ObjectMeta>,
    small: bool,
) -> Result<Vec<Object>, PortError> {
    let objects = files.map(|file| Object::listed(store, file));
    if !small {
        return Ok(objects.collect());
    }
    let loads: Vec<_> = objects.map(Object::load).collect();
    futures::stream::iter(loads).buffered(FETCHES_AT_ONCE).try_collect().await
}

/// A checkpoint while it is read: a few thousand actions are in memory at a time.
#[derive(Debug)]
pub(crate) struct Reading {
    columns: Columns,
    timestamp: Timestamp,
    parts: VecDeque<Part>,
    current: Current,
}

#[derive(Debug)]
enum Current {
    None,
    Parquet(Work<CommitActions>),
    Text(ActionLines),
}

impl Reading {
    /// The next actions; `None` at the end.
    ///
    /// # Errors
    ///
    /// `InvalidData` if they cannot be understood, `NotFound` if the file is gone, else what the store failed with.
    pub(crate) async fn next(&mut self) -> Result<Option<CommitActions>, PortError> {
        loop {
            match &mut self.current {
                Current::Parquet(work) => {
                    if let Some(actions) = work.next().await? {
                        return Ok(Some(actions));
                    }
                }
                Current::Text(lines) => {
                    if let Some(mut actions) = lines.next().await? {
                        (actions.protocol, actions.metadata) = (None, None);
                        return Ok(Some(actions));
                    }
                }
                Current::None => {}
            }
            let Some(part) = self.parts.pop_front() else { return Ok(None) };
            self.current = match part {
                Part::Text(object) => Current::Text(ActionLines::new(object, self.timestamp)),
                Part::Parquet { object, footer } => {
                    let (columns, timestamp) = (self.columns, self.timestamp);
                    Current::Parquet(Work::start(object, move |ranged, out| {
                        read::batches(&ranged, footer, columns, timestamp, out)
                    })?)
                }
            };
        }
    }

    /// Everything that is left, at once.
    pub(crate) async fn all(mut self) -> Result<CommitActions, PortError> {
        let mut whole = CommitActions::at(self.timestamp);
        while let Some(some) = self.next().await? {
            whole.join(some);
        }
        Ok(whole)
    }
}

/// Whether a checkpoint that fails so is passed over: another way may lead to the version.
pub(crate) fn is_useless(error: &PortError) -> bool {
    matches!(error.kind, PortErrorKind::InvalidData | PortErrorKind::NotFound)
}
