//! Merging small files: which, into what, and the one commit that swaps them.

use std::collections::BTreeSet;
use std::sync::Arc;

use delivery::ports::{Commit, DataChange, DataFile, LoggedCommit, PortError};
use delivery::timestamp::Timestamp;
use uuid::Uuid;

use super::rewrite::Rewritten;
use super::{Maintained, Maintenance, Policy, Work, is_mirror};
use crate::snapshot::{File, Snapshot, TableState};

/// The most versions that the commit is offered as; a table so busy is merged another time.
pub(super) const RACES_MAX: u64 = 256;

/// Part of a merged file's name: another way of writing makes other files.
const ENCODING: &str = concat!("zstd-1 ", env!("CARGO_PKG_VERSION"));

/// What a commit that was first means for one that swaps files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// It leaves the swapped files alone.
    Unrelated,
    /// It is the same swap.
    Ours,
    /// It took a file that was to be swapped, or changed the schema.
    InTheWay,
}

/// Files of which each set becomes one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    sets: Vec<Vec<Arc<File>>>,
    /// Whether the limits of one call left some out.
    unfinished: bool,
}

impl Maintenance {
    /// Merges small files if there are enough. Rows stay in the order in which they came, and the commit says that no
    /// row changed.
    pub(super) async fn compact(
        &self,
        path: &str,
        state: &TableState,
        work: Work,
        now: Timestamp,
        done: &mut Maintained,
    ) -> Result<(), PortError> {
        if is_mirror(path) || !state.snapshot.metadata.partition_columns.is_empty() {
            return Ok(());
        }
        let plan = plan(&state.snapshot, &self.policy, work);
        let (mut removes, mut adds) = (Vec::new(), Vec::new());
        for set in plan.sets {
            for (files, merged) in self.merge(path, &state.snapshot, set).await? {
                removes.extend(files.iter().map(|file| DataFile {
                    name: file.path.clone(),
                    size_bytes: file.size,
                    statistics: file.stats.clone().unwrap_or_default(),
                }));
                adds.push(merged);
            }
        }
        if adds.is_empty() {
            return Ok(());
        }
        let commit = Commit {
            schema_string: None,
            removes,
            adds,
            transactions: Vec::new(),
            timestamp: now,
            operation: "OPTIMIZE",
            change: DataChange::Layout,
        };
        let stands = |taken: &LoggedCommit| meanwhile(&commit, taken);
        if self.commit_behind(path, state.snapshot.version, &commit, stands).await? {
            done.files_merged = commit.removes.len();
            done.files_made = commit.adds.len();
            done.bytes_merged = commit.removes.iter().map(|file| file.size_bytes).sum();
            done.unfinished |= plan.unfinished;
        }
        Ok(())
    }

    /// Writes a set of files as one; as several if their columns differ.
    async fn merge(
        &self,
        path: &str,
        snapshot: &Snapshot,
        set: Vec<Arc<File>>,
    ) -> Result<Vec<(Vec<Arc<File>>, DataFile)>, PortError> {
        let mut merged = Vec::new();
        let mut rest = set;
        while rest.len() > 1 {
            let name = merged_name(&rest);
            match self.rewrite(path, &snapshot.metadata.schema_string, &rest, &name).await? {
                Rewritten::Whole { size_bytes, statistics } => {
                    merged.push((std::mem::take(&mut rest), DataFile { name, size_bytes, statistics }));
                }
                Rewritten::Differs { at } => {
                    let behind = rest.split_off(at);
                    let before = std::mem::replace(&mut rest, behind);
                    if before.len() > 1 {
                        let name = merged_name(&before);
                        let schema = &snapshot.metadata.schema_string;
                        if let Rewritten::Whole { size_bytes, statistics } =
                            self.rewrite(path, schema, &before, &name).await?
                        {
                            merged.push((before, DataFile { name, size_bytes, statistics }));
                        }
                    }
                }
            }
        }
        Ok(merged)
    }
}

/// A name that says what the file was made of: a second attempt overwrites the file with the same bytes.
fn merged_name(files: &[Arc<File>]) -> String {
    let mut of = ENCODING.to_owned();
    for file in files {
        of.push('\n');
        of.push_str(&file.path);
    }
    format!("merged-{}.parquet", Uuid::new_v5(&Uuid::NAMESPACE_URL, of.as_bytes()))
}

fn meanwhile(commit: &Commit, taken: &LoggedCommit) -> Meanwhile {
    let of = |files: &[DataFile]| files.iter().map(|file| file.name.clone()).collect::<BTreeSet<_>>();
    let (ours, theirs) = (of(&commit.removes), of(&taken.removes));
    if of(&commit.adds) == of(&taken.adds) && ours == theirs {
        return Meanwhile::Ours;
    }
    // An overwriting retry re-adds files of the same names.
    let touched = !ours.is_disjoint(&theirs) || !ours.is_disjoint(&of(&taken.adds));
    if touched || taken.schema_string.is_some() { Meanwhile::InTheWay } else { Meanwhile::Unrelated }
}

/// Chooses small files. A merged file that is still small joins others only when they are as large together: each row
/// is rewritten a logarithmic number of times, not once a call.
fn plan(snapshot: &Snapshot, policy: &Policy, work: Work) -> Plan {
    let mut small: Vec<_> =
        snapshot.files().enumerate().filter(|(_, file)| file.size < policy.small_file_bytes).collect();
    small.sort_by_key(|(place, file)| (file.size, *place));
    let mut chosen = 0;
    let mut below = 0_u64;
    for (rank, (_, file)) in small.iter().enumerate() {
        if rank == 0 || file.size <= below {
            chosen = rank + 1;
        }
        below = below.saturating_add(file.size);
    }
    let fewest = match work {
        Work::AfterCommits => policy.small_files_after_commits,
        Work::Full => policy.small_files_full,
    };
    if chosen < fewest.max(2) {
        return Plan::default();
    }
    small.truncate(chosen);
    small.sort_by_key(|(place, _)| *place);
    let mut plan = Plan::default();
    let mut set: Vec<Arc<File>> = Vec::new();
    let (mut set_bytes, mut bytes) = (0, 0);
    for (count, (_, file)) in small.into_iter().enumerate() {
        bytes += file.size;
        if count >= policy.merged_files_max || bytes > policy.merged_bytes_max && count > 1 {
            plan.unfinished = true;
            break;
        }
        if set_bytes + file.size > policy.target_file_bytes && !set.is_empty() {
            plan.sets.push(std::mem::take(&mut set));
            set_bytes = 0;
        }
        set_bytes += file.size;
        set.push(file.clone());
    }
    plan.sets.push(set);
    plan.sets.retain(|set| set.len() > 1);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::tests::snapshot_of;

    fn sizes(sets: &Plan) -> Vec<Vec<u64>> {
        sets.sets.iter().map(|set| set.iter().map(|file| file.size).collect()).collect()
    }

    #[test]
    fn files_are_merged_in_the_order_of_the_log_and_up_to_the_target() {
        let policy = Policy { small_file_bytes: 40, target_file_bytes: 60, small_files_full: 3, ..Policy::keeping(30) };
        let snapshot = snapshot_of(&[20, 50, 21, 22, 23]);
        assert_eq!(sizes(&plan(&snapshot, &policy, Work::Full)), [[20, 21], [22, 23]]);
        assert_eq!(plan(&snapshot, &policy, Work::AfterCommits), Plan::default());
    }

    #[test]
    fn a_file_waits_until_the_smaller_ones_are_as_large_together() {
        let policy = Policy { small_files_full: 3, ..Policy::keeping(30) };
        assert_eq!(sizes(&plan(&snapshot_of(&[100, 10, 10, 10]), &policy, Work::Full)), [[10, 10, 10]]);
        assert_eq!(sizes(&plan(&snapshot_of(&[30, 10, 10, 10]), &policy, Work::Full)), [[30, 10, 10, 10]]);
        assert_eq!(plan(&snapshot_of(&[40, 20, 10]), &policy, Work::Full), Plan::default());
    }

    #[test]
    fn one_call_has_its_limits_and_says_so() {
        let policy = Policy { merged_files_max: 4, small_files_full: 3, ..Policy::keeping(30) };
        let first = plan(&snapshot_of(&[10; 9]), &policy, Work::Full);
        assert_eq!((sizes(&first), first.unfinished), (vec![vec![10; 4]], true));
        let policy = Policy { merged_bytes_max: 35, small_files_full: 3, ..Policy::keeping(30) };
        let first = plan(&snapshot_of(&[10; 9]), &policy, Work::Full);
        assert_eq!((sizes(&first), first.unfinished), (vec![vec![10; 3]], true));
    }
}
