//! Objects that are read out of order, as Parquet is: by ranges from the store, or, if gzip is around them, from a
//! temporary file that their content was written to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use rows::{InputError, SeekableObject, SeekableSource, inflate};
use tokio::runtime::Handle;

use crate::input::{ObjectBlocks, StoredObject};

/// The most bytes that an object may have within gzip: a function's temporary storage is 512 MiB unless it is asked
/// for more.
pub const SPOOL_BYTES_MAX: u64 = 448 << 20;

/// How much of an object is read to see what it is: small objects are read whole with it.
const HEAD_BYTES: u64 = 64 << 10;

/// Objects, opened one after the other. Used on a thread that may block.
#[derive(Debug)]
pub struct SeekableObjects {
    objects: std::vec::IntoIter<StoredObject>,
    /// Objects so far.
    number: u64,
    spool_bytes_max: u64,
    runtime: Handle,
}

impl SeekableObjects {
    /// Objects that are read on the current runtime.
    #[must_use]
    pub fn new(objects: Vec<StoredObject>) -> Self {
        Self::with_spool(objects, SPOOL_BYTES_MAX)
    }

    /// With another limit than [`SPOOL_BYTES_MAX`].
    #[must_use]
    pub fn with_spool(objects: Vec<StoredObject>, spool_bytes_max: u64) -> Self {
        Self { objects: objects.into_iter(), number: 0, spool_bytes_max, runtime: Handle::current() }
    }

    fn open(&self, object: StoredObject) -> Result<Box<dyn SeekableObject>, InputError> {
        let StoredObject { store, path } = &object;
        let stored = self.runtime.block_on(Ranged::open(store, path, &self.runtime)).map_err(InputError::Read)?;
        if !stored.head.starts_with(b"\x1f\x8b") {
            return Ok(Box::new(stored));
        }
        let _runtime = self.runtime.enter();
        let mut blocks = ObjectBlocks::begin(vec![object]);
        let mut file = temporary_file().map_err(InputError::Read)?;
        let size = inflate(&mut blocks, self.number, self.spool_bytes_max, &mut file)?;
        Ok(Box::new(Spooled { file: Mutex::new(file), size }))
    }
}

impl SeekableSource for SeekableObjects {
    fn next_object(&mut self) -> Result<Option<Box<dyn SeekableObject>>, InputError> {
        let Some(object) = self.objects.next() else { return Ok(None) };
        self.number += 1;
        self.open(object).map(Some)
    }
}

/// An object that is read by ranges. It must not change meanwhile.
#[derive(Debug)]
struct Ranged {
    store: Arc<dyn ObjectStore>,
    path: Path,
    version: Option<String>,
    size: u64,
    head: Bytes,
    runtime: Handle,
}

impl Ranged {
    async fn open(store: &Arc<dyn ObjectStore>, path: &Path, runtime: &Handle) -> io::Result<Self> {
        let range = Some(GetRange::Bounded(0..HEAD_BYTES));
        let (meta, head) = match store.get_opts(path, GetOptions { range, ..GetOptions::default() }).await {
            Ok(found) => (found.meta.clone(), found.bytes().await.map_err(io::Error::other)?),
            // An empty object has no range.
            Err(error) => match store.head(path).await {
                Ok(meta) if meta.size == 0 => (meta, Bytes::new()),
                _ => return Err(io::Error::other(error)),
            },
        };
        Ok(Self {
            store: Arc::clone(store),
            path: path.clone(),
            version: meta.e_tag,
            size: meta.size,
            head,
            runtime: runtime.clone(),
        })
    }
}

impl SeekableObject for Ranged {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.end <= self.head.len() as u64
            && let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end))
        {
            return Ok(self.head.slice(start.min(end)..end));
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            if_match: self.version.clone(),
            ..GetOptions::default()
        };
        let read = async { self.store.get_opts(&self.path, options).await?.bytes().await };
        self.runtime.block_on(read).map_err(io::Error::other)
    }
}

/// An object's content in a temporary file.
#[derive(Debug)]
struct Spooled {
    file: Mutex<File>,
    size: u64,
}

impl SeekableObject for Spooled {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let length = range.end.saturating_sub(range.start);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
        (&*file).take(length).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// A file that is nowhere: its name is taken away at once, so that it goes with the process, however that ends.
fn temporary_file() -> io::Result<File> {
    static FILES: AtomicU64 = AtomicU64::new(0);
    loop {
        let name = format!("spillway-{}-{}.parquet", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
            Ok(file) => return fs::remove_file(&path).map(|()| file),
            // Another process had this one's id and ended between the two calls.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
