//! Cleaning up the log: commits and checkpoints that no promised version needs.

use delivery::ports::PortError;
use delivery::timestamp::Timestamp;
use object_store::path::Path;

use super::{Maintained, Maintenance};
use crate::snapshot::Listing;

impl Maintenance {
    /// Deletes what lies before the checkpoint from which the oldest promised version can be read.
    pub(super) async fn clean_log(&self, path: &str, now: Timestamp, done: &mut Maintained) -> Result<(), PortError> {
        let listing = self.reader.list(path, None).await?;
        let hinted = self.reader.hint(path).await?.map(|hint| hint.version);
        let Some(keep_from) = keep_from(&listing, self.policy.cut_off(now), hinted) else { return Ok(()) };
        let commits = listing.commits().range(..keep_from).map(|(_, meta)| meta.location.clone());
        let checkpoints = listing.checkpoint_files().filter(|(version, _)| *version < keep_from);
        let mut old: Vec<Path> = commits.chain(checkpoints.map(|(_, meta)| meta.location.clone())).collect();
        done.unfinished |= old.len() > self.policy.deletes_max;
        old.truncate(self.policy.deletes_max);
        done.log_files_deleted = self.delete("delete old log entries", old).await?;
        Ok(())
    }
}

/// The checkpoint before which nothing is needed. The version that was the newest at the cut-off is promised, and
/// every later one: the checkpoint is not newer than it. A hint never points at what is deleted.
fn keep_from(listing: &Listing, cut_off: i64, hinted: Option<u64>) -> Option<u64> {
    let promised = listing
        .commits()
        .iter()
        .take_while(|(_, meta)| meta.last_modified.timestamp_millis() < cut_off)
        .last()
        .map(|(version, _)| *version)?;
    let until = hinted.map_or(promised, |hinted| hinted.min(promised));
    listing.complete(until).next().map(|checkpoint| checkpoint.version)
}
