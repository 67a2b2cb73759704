//! What a run's output is read from, and how reading fails. Knows gzip; knows no format.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::mem;

use bytes::{Buf, Bytes};
use delivery::failure::FailureCode;
use flate2::bufread::MultiGzDecoder;

/// What comes next of a run's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// More bytes of the object, of any length.
    Bytes(Bytes),
    /// The object ends here, and so does its last row. Optional behind the last object.
    ObjectEnd,
}

/// Where the bytes of a run's output come from: the objects one after the other, each plain or gzip.
pub trait BlockSource {
    /// The next chunk, or `None` at the end of the last object. Blocks until there is one. Chunks of 64 KiB to 1 MiB
    /// serve best.
    ///
    /// # Errors
    ///
    /// Whatever reading failed with; staging ends with it.
    fn next_block(&mut self) -> io::Result<Option<Chunk>>;
}

/// Why a run's output cannot be read. Objects are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The output could not be read.
    #[error("could not read the run's output")]
    Read(#[source] io::Error),
    /// An object ends before its format may.
    #[error("object {object} of the output ends {place}; have the producer write it again")]
    Truncated {
        /// Which object.
        object: u64,
        /// Where it ends, such as "in the middle of its gzip stream".
        place: Cow<'static, str>,
    },
    /// An object is not in the announced format.
    #[error("object {object} of the output {fault}; have the producer write it in the format that was announced")]
    Invalid {
        /// Which object.
        object: u64,
        /// What is wrong with it, such as "is neither a JSON array nor an object". Holds no value and no private name.
        fault: Cow<'static, str>,
    },
    /// An object, or a part of it that has to be held at once, is over a limit.
    #[error("object {object} of the output {fault}")]
    TooLarge {
        /// Which object.
        object: u64,
        /// What is too large, its limit and what to do.
        fault: Cow<'static, str>,
    },
}

impl InputError {
    /// The failure code if the output itself is at fault; otherwise it depends on what was read from.
    #[must_use]
    pub fn code(&self) -> Option<FailureCode> {
        match self {
            Self::Read(_) => None,
            Self::Truncated { .. } => Some(FailureCode::OutputTruncated),
            Self::Invalid { .. } => Some(FailureCode::OutputInvalid),
            Self::TooLarge { .. } => Some(FailureCode::OutputTooLarge),
        }
    }

    pub(crate) fn truncated(object: u64, place: impl Into<Cow<'static, str>>) -> Self {
        Self::Truncated { object, place: place.into() }
    }

    pub(crate) fn invalid(object: u64, fault: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid { object, fault: fault.into() }
    }
}

/// The bytes that some producers put in front of UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The bytes that begin a gzip member (RFC 1952, 2.3.1).
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// How many bytes of a gzip stream are handed on at once.
const INFLATED_BYTES: usize = 256 << 10;

/// The objects of an output without gzip around them.
pub(crate) struct Objects<'a> {
    state: State<'a>,
    /// The object that the last chunk belongs to, from 1.
    object: u64,
}

enum State<'a> {
    /// At the beginning of an object.
    Begin(Feed<'a>),
    Plain(Feed<'a>),
    Gzip(Box<MultiGzDecoder<Feed<'a>>>),
    Done,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(source: &'a mut dyn BlockSource) -> Self {
        Self::counted_from(source, 1)
    }

    fn counted_from(source: &'a mut dyn BlockSource, object: u64) -> Self {
        let feed = Feed { source, held: Bytes::new(), end: None, failure: None };
        Self { state: State::Begin(feed), object: object.saturating_sub(1) }
    }

    /// The object that the last chunk belongs to, from 1.
    pub(crate) fn object(&self) -> u64 {
        self.object
    }

    /// The next chunk of the objects' content, never empty, or `None` at the end of the last object.
    pub(crate) fn next(&mut self) -> Result<Option<Chunk>, InputError> {
        loop {
            match mem::replace(&mut self.state, State::Done) {
                State::Done => return Ok(None),
                State::Begin(mut feed) => {
                    self.object += 1;
                    self.state = if feed.begins_with_magic().map_err(InputError::Read)? {
                        State::Gzip(Box::new(MultiGzDecoder::new(feed)))
                    } else {
                        State::Plain(feed)
                    };
                }
                State::Plain(mut feed) => {
                    if let Some(bytes) = feed.next().map_err(InputError::Read)? {
                        self.state = State::Plain(feed);
                        return Ok(Some(Chunk::Bytes(bytes)));
                    }
                    return Ok(self.end_object(feed));
                }
                State::Gzip(mut decoder) => {
                    let mut inflated = Vec::with_capacity(INFLATED_BYTES);
                    let limit = INFLATED_BYTES as u64;
                    if let Err(error) = (&mut decoder).take(limit).read_to_end(&mut inflated) {
                        return Err(self.gzip_fault(&error, decoder.get_mut().failure.take()));
                    }
                    if inflated.is_empty() {
                        return Ok(self.end_object(decoder.into_inner()));
                    }
                    self.state = State::Gzip(decoder);
                    return Ok(Some(Chunk::Bytes(inflated.into())));
                }
            }
        }
    }

    fn end_object(&mut self, mut feed: Feed<'a>) -> Option<Chunk> {
        match feed.end.take() {
            Some(End::Output) | None => None,
            Some(End::Object) => {
                self.state = State::Begin(feed);
                Some(Chunk::ObjectEnd)
            }
        }
    }

    fn gzip_fault(&self, error: &io::Error, failure: Option<io::Error>) -> InputError {
        match failure {
            Some(failure) => InputError::Read(failure),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                InputError::truncated(self.object, "in the middle of its gzip stream")
            }
            None => InputError::invalid(self.object, "begins as gzip and is broken gzip further on"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Object,
    Output,
}

/// The bytes of one object as they are stored.
struct Feed<'a> {
    source: &'a mut dyn BlockSource,
    held: Bytes,
    /// Set behind the object's last byte.
    end: Option<End>,
    /// The source's own failure, which a decoder would not pass on whole.
    failure: Option<io::Error>,
}

impl Feed<'_> {
    /// More bytes, or `None` at the object's end.
    fn more(&mut self) -> io::Result<Option<Bytes>> {
        while self.end.is_none() {
            match self.source.next_block()? {
                Some(Chunk::Bytes(bytes)) if bytes.is_empty() => {}
                Some(Chunk::Bytes(bytes)) => return Ok(Some(bytes)),
                Some(Chunk::ObjectEnd) => self.end = Some(End::Object),
                None => self.end = Some(End::Output),
            }
        }
        Ok(None)
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.held.is_empty() { self.more() } else { Ok(Some(mem::take(&mut self.held))) }
    }

    fn begins_with_magic(&mut self) -> io::Result<bool> {
        while self.held.len() < GZIP_MAGIC.len() && GZIP_MAGIC.starts_with(&self.held) {
            let Some(more) = self.more()? else { return Ok(false) };
            self.held = if self.held.is_empty() { more } else { [&self.held[..], &more[..]].concat().into() };
        }
        Ok(self.held.starts_with(GZIP_MAGIC))
    }
}

impl Read for Feed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Feed<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.held.is_empty() {
            match self.more() {
                Ok(more) => self.held = more.unwrap_or_default(),
                Err(error) => {
                    self.failure = Some(error);
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
        Ok(&self.held)
    }

    fn consume(&mut self, count: usize) {
        self.held.advance(count);
    }
}

/// Copies one object without the gzip around it: for formats that have to be sought in. `object` is its number in the
/// output, from 1. Reads to the end of the source.
///
/// # Errors
///
/// [`InputError::TooLarge`] if it has more than `bytes_max` bytes, and whatever reading or writing failed with.
pub fn inflate(
    source: &mut dyn BlockSource,
    object: u64,
    bytes_max: u64,
    out: &mut dyn io::Write,
) -> Result<u64, InputError> {
    let mut objects = Objects::counted_from(source, object);
    let mut written = 0;
    while let Some(chunk) = objects.next()? {
        let Chunk::Bytes(bytes) = chunk else { continue };
        written += bytes.len() as u64;
        if written > bytes_max {
            let fault = format!(
                "has more than {} MiB within its gzip stream; have the producer write it without gzip around it",
                bytes_max >> 20
            );
            return Err(InputError::TooLarge { object, fault: fault.into() });
        }
        out.write_all(&bytes).map_err(InputError::Read)?;
    }
    Ok(written)
}
