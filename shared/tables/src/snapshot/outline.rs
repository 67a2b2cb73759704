//! Which files of commits are void, where the commits hold more than can be kept: found by reading them once before
//! their files are handed on.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};

use delivery::timestamp::Timestamp;
use fastbloom::BloomFilter;

use super::actions::CommitActions;
use super::replay::Head;
use super::{AddedFile, File, key};

/// Bits of the filter, 4 MiB: of a million files it takes one in ten thousand for another.
const FILTER_BITS: usize = 1 << 25;

/// Places in the filter for each file.
const FILTER_HASHES: u32 = 4;

/// A file's key in 16 bytes that no two files of a table have in common but by a chance that never comes.
pub(super) type Digest = (u64, u64);

/// The last version that touched a file, of files that were touched. An earlier entry of such a file is void; in the
/// version itself an addition goes before a removal.
#[derive(Debug, Default)]
pub(super) struct Touched {
    hashers: (RandomState, RandomState),
    last: HashMap<Digest, u64>,
}

impl Touched {
    /// What a key is known by here.
    pub(super) fn digest(&self, key: &str) -> Digest {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// Notes that a version touched a file; whether none did before. Versions come in order.
    pub(super) fn touch(&mut self, digest: Digest, version: u64) -> bool {
        self.last.insert(digest, version).is_none()
    }

    /// Whether no file was touched.
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Whether an entry of a file is void.
    pub(super) fn voids(&self, file: &File) -> bool {
        self.last.get(&self.digest(&file.key())).is_some_and(|last| file.version < *last)
    }

    /// Whether an entry of a file counts, asked once of each. Of equal ones in one commit, which there must not be, the
    /// first does.
    pub(super) fn admits(&mut self, file: &File) -> bool {
        let digest = self.digest(&file.key());
        let Some(last) = self.last.get_mut(&digest) else { return true };
        let counts = *last <= file.version;
        if counts {
            *last = file.version + 1;
        }
        counts
    }
}

/// Commits that were read for what they make void. Grows with the files that left or were entered again, by some 50 bytes
/// for each, and not with those that only came, up to some millions.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) head: Head,
    /// Every file that was met.
    met: BloomFilter,
    touched: Touched,
    /// When commits were made that come in parts: the first part may not say it.
    times: BTreeMap<u64, Timestamp>,
    /// Files before the commits, files that came, about what these take in memory, and files that left.
    before: u64,
    came: u64,
    came_bytes: u64,
    left: u64,
}

impl Outline {
    pub(super) fn new() -> Self {
        let met = BloomFilter::with_num_bits(FILTER_BITS).hashes(FILTER_HASHES);
        let (head, touched, times) = (Head::default(), Touched::default(), BTreeMap::new());
        Self { head, met, touched, times, before: 0, came: 0, came_bytes: 0, left: 0 }
    }

    /// Notes the files that are before the commits.
    pub(super) fn meet(&mut self, before: &[AddedFile]) {
        for add in before {
            self.met.insert(&*add.key());
        }
        self.before += before.len() as u64;
    }

    /// Adds a part of a commit, the first or another.
    pub(super) fn apply(&mut self, version: u64, mut part: CommitActions, is_first: bool) {
        self.head.apply(version, &mut part);
        if !is_first {
            self.times.insert(version, part.timestamp);
        }
        for remove in &part.removes {
            let key = key(&remove.path, remove.deletion_vector.as_deref());
            if self.met.contains(&*key) {
                self.touched.touch(self.touched.digest(&key), version);
                self.left += 1;
            }
        }
        for add in &part.adds {
            let key = add.key();
            self.came += 1;
            self.came_bytes += add.kept_bytes();
            if self.met.insert(&*key) {
                self.touched.touch(self.touched.digest(&key), version);
            }
        }
    }

    /// What the files that stayed take in memory, by a guess: files that left twice, or were entered again, mislead it.
    pub(super) fn stayed_bytes(&self) -> u64 {
        let each = self.came_bytes.checked_div(self.came).unwrap_or_default();
        (self.before + self.came).saturating_sub(self.left) * each
    }

    /// What is needed to read the commits' files: those that are void, and the times of commits that come in parts.
    pub(super) fn into_parts(self) -> (Head, Touched, BTreeMap<u64, Timestamp>) {
        (self.head, self.touched, self.times)
    }
}
