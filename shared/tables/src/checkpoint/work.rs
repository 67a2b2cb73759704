//! An object that is read in ranges by a thread, for the Parquet reader cannot await: what the thread lacks is fetched by
//! whoever awaits its results. Few ranges are held, so the memory does not grow with the object.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes};
use delivery::ports::{PortError, PortErrorKind};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use tokio::sync::mpsc;

use crate::object::Object;

/// What all windows of one object hold together.
const HELD_BYTES: usize = 8 << 20;

/// The largest window: what is read ahead in a column.
const WINDOW_BYTES_MAX: usize = 1 << 20;

/// The smallest window.
const WINDOW_BYTES_MIN: usize = 64 << 10;

/// The largest page or footer.
const PART_BYTES_MAX: usize = 64 << 20;

const OPERATION: &str = "read a checkpoint";

enum Message<T> {
    /// The thread waits for these bytes.
    Needs(Range<u64>),
    Made(T),
    Ended(Result<(), PortError>),
}

/// A thread that makes `T`s of an object. It goes on as long as somebody asks for the next, and ends with this.
#[derive(Debug)]
pub(super) struct Work<T> {
    object: Object,
    messages: mpsc::Receiver<Message<T>>,
    answers: std::sync::mpsc::Sender<Bytes>,
    /// What the thread waits for. Kept until it is answered, so that a call may be dropped half-way, or made again.
    needed: Option<Range<u64>>,
    ended: bool,
}

/// Where the thread puts what it makes.
pub(super) struct Out<T>(mpsc::Sender<Message<T>>);

/// Nobody waits for more.
#[derive(Debug)]
pub(super) struct Gone;

impl<T> Out<T> {
    pub(super) fn put(&self, made: T) -> Result<(), Gone> {
        self.0.blocking_send(Message::Made(made)).map_err(|_| Gone)
    }
}

impl<T: Send + 'static> Work<T> {
    /// Starts the thread.
    pub(super) fn start(
        object: Object,
        work: impl FnOnce(Ranged, &Out<T>) -> Result<(), PortError> + Send + 'static,
    ) -> Result<Self, PortError> {
        let (sender, messages) = mpsc::channel(1);
        let (answers, answered) = std::sync::mpsc::channel();
        let asks = sender.clone();
        // One lock around question and answer: the reader of one object asks from one thread.
        let answered = Mutex::new(answered);
        let ask = move |range| {
            let answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
            asks.blocking_send(Message::Needs(range)).ok()?;
            answered.recv().ok()
        };
        let ranged = Ranged::new(&object, Box::new(ask));
        let run = move || {
            let out = Out(sender);
            let outcome = work(ranged, &out);
            // Whoever is gone does not need to know.
            let _ = out.0.blocking_send(Message::Ended(outcome));
        };
        std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(run)
            .map_err(|error| PortError::new(PortErrorKind::Unavailable, OPERATION, error))?;
        Ok(Self { object, messages, answers, needed: None, ended: false })
    }

    /// The next that the thread makes; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<T>, PortError> {
        while !self.ended {
            if let Some(range) = self.needed.clone() {
                let bytes = self.object.fetch(range).await?;
                self.needed = None;
                // A thread that has ended says so below.
                let _ = self.answers.send(bytes);
            }
            match self.messages.recv().await {
                Some(Message::Needs(range)) => self.needed = Some(range),
                Some(Message::Made(made)) => return Ok(Some(made)),
                Some(Message::Ended(outcome)) => {
                    self.ended = outcome.is_ok();
                    outcome?;
                }
                None => return Err(PortError::new(PortErrorKind::InvalidData, OPERATION, "its reader ended early")),
            }
        }
        Ok(None)
    }
}

type Ask = Box<dyn Fn(Range<u64>) -> Option<Bytes> + Send + Sync>;

/// The object as the Parquet reader wants it.
#[derive(Clone)]
pub(super) struct Ranged(Arc<Shared>);

struct Shared {
    size: u64,
    whole: Option<Bytes>,
    ask: Ask,
    held: Mutex<Held>,
}

struct Held {
    window_bytes: usize,
    windows: BTreeMap<u64, Window>,
    bytes: usize,
    /// Counts uses, so that the window that was not used for longest can go.
    uses: u64,
}

struct Window {
    bytes: Bytes,
    used: u64,
}

impl Ranged {
    fn new(object: &Object, ask: Ask) -> Self {
        let held = Held { window_bytes: WINDOW_BYTES_MAX, windows: BTreeMap::new(), bytes: 0, uses: 0 };
        Self(Arc::new(Shared { size: object.size, whole: object.whole().cloned(), ask, held: Mutex::new(held) }))
    }

    /// Chooses the windows so that each of so many columns can have one, and one of them another.
    pub(super) fn share_among(&self, columns: usize) {
        let window = HELD_BYTES / (columns + 1);
        self.held().window_bytes = window.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes from `start` on, at least so many.
    fn fetch(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if let Some(whole) = &self.0.whole {
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            return Ok(whole.slice(start.min(whole.len())..));
        }
        let mut held = self.held();
        if let Some(bytes) = held.find(start, length) {
            return Ok(bytes);
        }
        if length > PART_BYTES_MAX {
            return Err(ParquetError::General("a page or the footer is too large".to_owned()));
        }
        let end = start.saturating_add(length.max(held.window_bytes) as u64).min(self.0.size);
        // The last window goes back from the end: a footer lies before the length that is read first.
        let begin = start.min(end.saturating_sub(held.window_bytes as u64));
        let bytes = (self.0.ask)(begin..end).filter(|bytes| bytes.len() as u64 == end - begin);
        let bytes = bytes.ok_or_else(|| ParquetError::General("a part of the file did not come".to_owned()))?;
        held.keep(begin, bytes.clone());
        Ok(bytes.slice(usize::try_from(start - begin).unwrap_or(usize::MAX).min(bytes.len())..))
    }
}

impl Held {
    fn find(&mut self, start: u64, length: usize) -> Option<Bytes> {
        self.uses += 1;
        let (begin, window) = self.windows.range_mut(..=start).next_back()?;
        let skipped = usize::try_from(start - begin).ok()?;
        if window.bytes.len().checked_sub(skipped)? < length.max(1) {
            return None;
        }
        window.used = self.uses;
        Some(window.bytes.slice(skipped..))
    }

    fn keep(&mut self, begin: u64, bytes: Bytes) {
        // Large parts are read once.
        if bytes.len() > self.window_bytes {
            return;
        }
        self.bytes += bytes.len();
        if let Some(before) = self.windows.insert(begin, Window { bytes, used: self.uses }) {
            self.bytes -= before.bytes.len();
        }
        while self.bytes > HELD_BYTES {
            let oldest = self.windows.iter().min_by_key(|(_, window)| window.used).map(|(begin, _)| *begin);
            let Some(gone) = oldest.and_then(|oldest| self.windows.remove(&oldest)) else { break };
            self.bytes -= gone.bytes.len();
        }
    }
}

impl Length for Ranged {
    fn len(&self) -> u64 {
        self.0.size
    }
}

impl ChunkReader for Ranged {
    type T = RangeReader;

    fn get_read(&self, start: u64) -> Result<RangeReader, ParquetError> {
        Ok(RangeReader { ranged: self.clone(), at: start, rest: Bytes::new() })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.0.size) {
            return Err(ParquetError::EOF("a part lies behind the end of the file".to_owned()));
        }
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = self.fetch(start, length)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// Reads on from a place: the headers of pages are read so.
pub(super) struct RangeReader {
    ranged: Ranged,
    at: u64,
    rest: Bytes,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() && self.at < self.ranged.0.size {
            self.rest = self.ranged.fetch(self.at, 1).map_err(io::Error::other)?;
        }
        let length = buffer.len().min(self.rest.len());
        if let Some(buffer) = buffer.get_mut(..length) {
            self.rest.copy_to_slice(buffer);
        }
        self.at += length as u64;
        Ok(length)
    }
}
