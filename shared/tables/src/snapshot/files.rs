//! Lists of files that are cheap to change into their successors, and what they take in memory.

use std::sync::Arc;

use super::outline::Touched;
use super::{AddedFile, DeletionVector, File, PartitionValues};

/// Files in one chunk of a snapshot's list: what is copied when a file joins or leaves.
const CHUNK_FILES_MAX: usize = 1_024;

/// What a file takes in memory beside its texts: itself, its places in a list, and what an allocator adds.
pub(crate) const FILE_BYTES: u64 = (size_of::<File>() + 80) as u64;

impl File {
    /// About what the file takes in memory.
    pub(super) fn kept_bytes(&self) -> u64 {
        kept_bytes(&self.path, self.stats.as_deref(), &self.partition_values, self.deletion_vector.as_deref())
    }
}

impl AddedFile {
    /// About what the file will take in memory.
    pub(super) fn kept_bytes(&self) -> u64 {
        kept_bytes(&self.path, self.stats.as_deref(), &self.partition_values, self.deletion_vector.as_deref())
    }
}

fn kept_bytes(path: &str, stats: Option<&str>, partition: &PartitionValues, vector: Option<&DeletionVector>) -> u64 {
    let values = |(name, value): (&String, &Option<String>)| name.len() + value.as_ref().map_or(0, String::len) + 48;
    let partition: usize = partition.iter().map(values).sum();
    let vector = vector.map_or(0, |vector| vector.path_or_inline_dv.len() + 96);
    FILE_BYTES + (path.len() + stats.map_or(0, str::len) + partition + vector) as u64
}

/// A list of files that is cheap to change into its successor: chunks are shared, never changed.
#[derive(Debug, Clone, Default)]
pub(super) struct FileList {
    chunks: Vec<Arc<[Arc<File>]>>,
    /// What each chunk comes to.
    sums: Vec<Sums>,
    total: Sums,
}

/// What some files come to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) files: usize,
    /// Their sizes.
    pub(super) bytes: u64,
    /// How many of them have a deletion vector.
    pub(super) vectors: usize,
    /// About what they take in memory.
    pub(super) kept_bytes: u64,
}

impl Sums {
    fn of(files: &[Arc<File>]) -> Self {
        Self {
            files: files.len(),
            bytes: files.iter().map(|file| file.size).sum(),
            vectors: files.iter().filter(|file| file.deletion_vector.is_some()).count(),
            kept_bytes: files.iter().map(|file| file.kept_bytes()).sum(),
        }
    }
}

impl FileList {
    /// The list without the touched files and with the added files at its end.
    pub(super) fn changed(&self, touched: &Touched, added: Vec<Arc<File>>) -> Self {
        let mut next = Self::default();
        for chunk in &self.chunks {
            let stays = |file: &Arc<File>| !touched.voids(file);
            if !touched.is_empty() && !chunk.iter().all(stays) {
                let kept: Vec<_> = chunk.iter().filter(|file| stays(file)).cloned().collect();
                if !kept.is_empty() {
                    next.push(kept.into());
                }
            } else {
                next.push(chunk.clone());
            }
        }
        next.extend(added);
        next
    }

    /// The chunks, in order.
    pub(super) fn chunks(&self) -> &[Arc<[Arc<File>]>] {
        &self.chunks
    }

    /// What all files come to.
    pub(super) fn total(&self) -> Sums {
        self.total
    }

    /// Each chunk with what it takes in memory.
    pub(super) fn weighed(&self) -> impl Iterator<Item = (&Arc<[Arc<File>]>, u64)> {
        self.chunks.iter().zip(self.sums.iter().map(|sums| sums.kept_bytes))
    }

    fn push(&mut self, chunk: Arc<[Arc<File>]>) {
        let sums = Sums::of(&chunk);
        self.total.files += sums.files;
        self.total.bytes += sums.bytes;
        self.total.vectors += sums.vectors;
        self.total.kept_bytes += sums.kept_bytes;
        self.sums.push(sums);
        self.chunks.push(chunk);
    }

    /// Fills the last chunk up before it opens another, so that single appends do not make single chunks.
    pub(super) fn extend(&mut self, added: Vec<Arc<File>>) {
        let mut added = added;
        if added.is_empty() {
            return;
        }
        if self.chunks.last().is_some_and(|last| last.len() < CHUNK_FILES_MAX)
            && let (Some(last), Some(sums)) = (self.chunks.pop(), self.sums.pop())
        {
            self.total.files -= sums.files;
            self.total.bytes -= sums.bytes;
            self.total.vectors -= sums.vectors;
            self.total.kept_bytes -= sums.kept_bytes;
            added.splice(0..0, last.iter().cloned());
        }
        for chunk in added.chunks(CHUNK_FILES_MAX) {
            self.push(chunk.into());
        }
    }
}
