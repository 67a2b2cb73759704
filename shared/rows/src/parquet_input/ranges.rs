//! A seekable object as the Parquet reader wants it: reads ahead in windows, so that the pages of a column do not cost a
//! request each, and holds few of them.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::SeekableObject;
use crate::input::InputError;

/// What all windows may hold together.
const HELD_BYTES: usize = 64 << 20;
/// The largest window: what is read ahead.
const WINDOW_BYTES_MAX: usize = 4 << 20;
/// The smallest window.
const WINDOW_BYTES_MIN: usize = 64 << 10;
/// The largest page or footer as it is stored.
const PART_BYTES_MAX: usize = 64 << 20;
/// The largest page without its compression.
const PAGE_BYTES_MAX: u64 = 128 << 20;

#[derive(Clone)]
pub(super) struct Ranges(Arc<Shared>);

struct Shared {
    object: Box<dyn SeekableObject>,
    size: u64,
    held: Mutex<Held>,
}

struct Held {
    window_bytes: usize,
    windows: BTreeMap<u64, Window>,
    bytes: usize,
    /// Counts uses, so that the window that was not used for longest can go.
    uses: u64,
    /// What went wrong first: the Parquet reader turns errors into texts.
    failure: Option<Failure>,
}

struct Window {
    bytes: Bytes,
    used: u64,
}

enum Failure {
    Read(io::Error),
    TooLarge { what: &'static str, limit_bytes: u64 },
}

impl Ranges {
    pub(super) fn new(object: Box<dyn SeekableObject>) -> Self {
        let held = Held { window_bytes: WINDOW_BYTES_MIN, windows: BTreeMap::new(), bytes: 0, uses: 0, failure: None };
        Self(Arc::new(Shared { size: object.size_bytes(), object, held: Mutex::new(held) }))
    }

    /// Chooses the windows so that each of so many columns can have one.
    pub(super) fn share_among(&self, columns: usize) {
        let window = HELD_BYTES / columns.max(1);
        self.held().window_bytes = window.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
    }

    /// What reading failed with, if it was not the file's fault alone.
    pub(super) fn failure(&self, object: u64) -> Option<InputError> {
        self.held().failure.take().map(|failure| match failure {
            Failure::Read(error) => InputError::Read(error),
            Failure::TooLarge { what, limit_bytes } => {
                let fault =
                    format!("{what} of more than {} MiB; have the producer write smaller pages", limit_bytes >> 20);
                InputError::TooLarge { object, fault: fault.into() }
            }
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A reader that panicked left nothing half done here.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// At least one byte from `start` on, and `length` of them unless the object ends before.
    fn fetch(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut held = self.held();
        if let Some(bytes) = held.find(start, length) {
            return Ok(bytes);
        }
        let wanted = length.max(held.window_bytes) as u64;
        let end = start.saturating_add(wanted).min(self.0.size);
        if length > PART_BYTES_MAX {
            let what = "has a stored Parquet page or footer";
            held.failure = Some(Failure::TooLarge { what, limit_bytes: PART_BYTES_MAX as u64 });
            return Err(ParquetError::General("a part of the file is too large".to_owned()));
        }
        let bytes = self.0.object.read(start..end).and_then(|bytes| {
            let expected = end - start;
            if bytes.len() as u64 == expected { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        });
        match bytes {
            Ok(bytes) => {
                held.keep(start, bytes.clone());
                Ok(bytes)
            }
            Err(error) => {
                held.failure = Some(Failure::Read(error));
                Err(ParquetError::General("the file could not be read".to_owned()))
            }
        }
    }
}

impl Held {
    /// Bytes that are held, from `start` on.
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

    fn keep(&mut self, start: u64, bytes: Bytes) {
        // Large parts are read once.
        if bytes.len() > self.window_bytes {
            return;
        }
        self.bytes += bytes.len();
        let window = Window { bytes, used: self.uses };
        if let Some(before) = self.windows.insert(start, window) {
            self.bytes -= before.bytes.len();
        }
        while self.bytes > HELD_BYTES + self.window_bytes {
            let oldest = self.windows.iter().min_by_key(|(_, window)| window.used).map(|(start, _)| *start);
            let Some(gone) = oldest.and_then(|oldest| self.windows.remove(&oldest)) else { break };
            self.bytes -= gone.bytes.len();
        }
    }
}

impl Length for Ranges {
    fn len(&self) -> u64 {
        self.0.size
    }
}

impl ChunkReader for Ranges {
    type T = RangeReader;

    /// Reads on from `start`. Only the headers of pages are read so, and what a page will take is looked at here,
    /// before the Parquet reader makes room for it.
    fn get_read(&self, start: u64) -> Result<RangeReader, ParquetError> {
        let reader = RangeReader { ranges: self.clone(), at: start, rest: Bytes::new() };
        if start < self.0.size {
            let begin = self.get_bytes(start, HEADER_BYTES.min(usize::try_from(self.0.size - start).unwrap_or(0)))?;
            if page_bytes(&begin).is_some_and(|bytes| bytes > PAGE_BYTES_MAX) {
                let what = "has a Parquet page that holds values";
                self.held().failure = Some(Failure::TooLarge { what, limit_bytes: PAGE_BYTES_MAX });
                return Err(ParquetError::General("a page is too large".to_owned()));
            }
        }
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64).filter(|end| *end <= self.0.size);
        if end.is_none() {
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

/// How many bytes the first two numbers of a page's header take at most.
const HEADER_BYTES: usize = 12;

/// The uncompressed size that a page's header says: its second field (parquet.thrift, `PageHeader`), behind the type, as
/// the compact protocol of Thrift writes it. `None` for anything else.
fn page_bytes(header: &[u8]) -> Option<u64> {
    /// The next field, a 32-bit number.
    const NEXT_I32: u8 = 0x15;
    let mut bytes = header.iter().copied();
    let mut number = || {
        if bytes.next()? != NEXT_I32 {
            return None;
        }
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // Zigzag: negative numbers are odd.
                return (value % 2 == 0).then_some(value / 2);
            }
        }
        None
    };
    number()?;
    number()
}

/// Reads on from one place.
pub(super) struct RangeReader {
    ranges: Ranges,
    at: u64,
    rest: Bytes,
}

impl Read for RangeReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            if self.at >= self.ranges.0.size || out.is_empty() {
                return Ok(0);
            }
            self.rest = self.ranges.fetch(self.at, 1).map_err(io::Error::other)?;
        }
        let read = (&self.rest[..]).read(out)?;
        self.rest.advance(read);
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Bytes);

    impl SeekableObject for Fixed {
        fn size_bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn read(&self, range: std::ops::Range<u64>) -> io::Result<Bytes> {
            Ok(self.0.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()))
        }
    }

    /// The beginning of a data page's header.
    fn header(uncompressed: u64) -> Vec<u8> {
        let mut bytes = vec![0x15, 0, 0x15];
        let mut rest = uncompressed * 2;
        while rest >= 0x80 {
            bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        bytes.push(u8::try_from(rest).unwrap());
        bytes.extend_from_slice(&[0x15, 2, 0, 0]);
        bytes
    }

    #[test]
    fn a_page_that_would_take_too_much_is_refused_before_there_is_room_for_it() {
        for (size, fits) in [(0, true), (1 << 20, true), (PAGE_BYTES_MAX, true), (PAGE_BYTES_MAX + 1, false)] {
            let ranges = Ranges::new(Box::new(Fixed(header(size).into())));
            assert_eq!(page_bytes(&header(size)), Some(size));
            assert_eq!(ranges.get_read(0).is_ok(), fits, "{size}");
            let failure = ranges.failure(3);
            assert_eq!(matches!(failure, Some(InputError::TooLarge { object: 3, .. })), !fits, "{failure:?}");
        }
        for other in [&b""[..], b"\x15", b"\x15\x00\x15\xff", b"\x16\x00\x15\x02", b"\x15\x00\x15\x01", &[0xff; 12]] {
            assert_eq!(page_bytes(other), None);
        }
    }

    #[test]
    fn a_part_over_the_limit_is_not_fetched() {
        struct Endless;
        impl SeekableObject for Endless {
            fn size_bytes(&self) -> u64 {
                1 << 40
            }
            fn read(&self, range: std::ops::Range<u64>) -> io::Result<Bytes> {
                assert!(range.end - range.start <= PART_BYTES_MAX as u64);
                Ok(vec![0; usize::try_from(range.end - range.start).unwrap()].into())
            }
        }
        let ranges = Ranges::new(Box::new(Endless));
        assert!(ranges.get_bytes(7, PART_BYTES_MAX + 1).is_err());
        assert!(matches!(ranges.failure(1), Some(InputError::TooLarge { .. })));
        ranges.share_among(10);
        for column in 0..200_u64 {
            assert_eq!(ranges.get_bytes(column << 30, 10).unwrap().len(), 10);
            assert!(ranges.held().bytes <= HELD_BYTES + WINDOW_BYTES_MAX);
        }
        let held = |ranges: &Ranges| ranges.held().windows.values().map(|window| window.bytes.len()).sum::<usize>();
        assert_eq!(held(&ranges), ranges.held().bytes);
    }
}
