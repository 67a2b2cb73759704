//! Deleting data files that no promised version has.

use std::collections::BTreeSet;

use delivery::ports::{PortError, PortErrorKind};
use delivery::timestamp::Timestamp;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore as _;
use object_store::path::Path;

use super::{Maintained, Maintenance, file_name};
use crate::log::port_error;
use crate::snapshot::TableState;

impl Maintenance {
    /// Deletes files of the table's folder that are not in the table, did not leave it within the promise, and were
    /// not written within it: what a delivery is writing right now is never touched, nor is any folder (`_delta_log`).
    pub(super) async fn vacuum(
        &self,
        path: &str,
        state: &TableState,
        now: Timestamp,
        done: &mut Maintained,
    ) -> Result<(), PortError> {
        let cut_off = self.policy.cut_off(now);
        let needed = needed(state, cut_off)?;
        let folder = Path::parse(path)
            .map_err(|error| PortError::new(PortErrorKind::InvalidData, "read a table's path", Box::new(error)))?;
        let found = self.store.list_with_delimiter(Some(&folder)).await;
        let found = found.map_err(|error| port_error("list a table's files", error))?;
        let mut old: Vec<_> = found
            .objects
            .into_iter()
            .filter(|meta| meta.last_modified.timestamp_millis() < cut_off)
            .filter(|meta| {
                let name = meta.location.filename().unwrap_or_default();
                !name.is_empty() && !name.starts_with(['_', '.']) && !needed.contains(name)
            })
            .collect();
        done.unfinished |= old.len() > self.policy.deletes_max;
        old.truncate(self.policy.deletes_max);
        done.bytes_deleted = old.iter().map(|meta| meta.size).sum();
        let old = old.into_iter().map(|meta| meta.location).collect();
        done.data_files_deleted = self.delete("delete old data files", old).await?;
        Ok(())
    }

    /// Deletes objects in bulk. One that is gone already is as good.
    pub(super) async fn delete(&self, operation: &'static str, old: Vec<Path>) -> Result<usize, PortError> {
        let mut outcomes = self.store.delete_stream(futures::stream::iter(old.into_iter().map(Ok)).boxed());
        let mut deleted = 0;
        loop {
            match outcomes.try_next().await {
                Ok(Some(_)) => deleted += 1,
                Ok(None) => return Ok(deleted),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(port_error(operation, error)),
            }
        }
    }
}

/// The names of the files that a promised version has. The log writes names that need no encoding; one that does is
/// kept under both.
fn needed(state: &TableState, cut_off: i64) -> Result<BTreeSet<String>, PortError> {
    let tombstones = state.ledger.tombstones.values();
    let left = tombstones.filter(|remove| remove.deletion_timestamp.unwrap_or_default() >= cut_off);
    let paths = state.snapshot.files().map(|file| &file.path).chain(left.map(|remove| &remove.path));
    let mut needed = BTreeSet::new();
    for path in paths {
        let name = file_name(path).ok_or_else(|| {
            let reason = "the table has files outside its folder";
            PortError::new(PortErrorKind::InvalidData, "find a table's files", reason)
        })?;
        needed.insert(name);
        needed.insert(path.clone());
    }
    Ok(needed)
}
