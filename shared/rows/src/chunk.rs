//! One leaf column of a row group: values in, pages out. Decides for each row group by its first values whether a
//! dictionary is worth it, and for each chunk whether compression is.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;

use crate::bounds::{Bounds, extremes};
use crate::dictionary::Dictionary;
use crate::encode::{delta, hybrid, pack_flags, width_of};
use crate::levels::LevelSizes;

/// The zstd level of all pages.
const ZSTD_LEVEL: i32 = 1;

/// The values of a leaf since the last page, and which of them are not null.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values<'a> {
    Text { bytes: &'a [u8], offsets: &'a [i32], bounded: bool },
    Double(&'a [f64]),
    Boolean(&'a [bool]),
    Date(&'a [i32]),
    Timestamp(&'a [i64]),
    Amount(&'a [i128]),
}

/// What a lane keeps between pages.
pub(crate) struct Scratch {
    zstd: Compressor<'static>,
    pub(crate) levels: Vec<u8>,
    pub(crate) numbers: Vec<u32>,
    values: Vec<u8>,
    compressed: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            zstd: Compressor::new(ZSTD_LEVEL)?,
            levels: Vec::new(),
            numbers: Vec::new(),
            values: Vec::new(),
            compressed: Vec::new(),
        })
    }
}

#[derive(Debug, Default)]
enum Coding {
    /// No value has been seen.
    #[default]
    Open,
    Dictionary(Dictionary),
    /// Earlier pages have indexes into the dictionary, later ones plain values.
    Closed(Dictionary),
    Plain,
}

/// How many values decide about the dictionary.
const SAMPLE: usize = 1_024;

/// A leaf column of the row group that is being filled.
pub(crate) struct Chunk {
    descriptor: ColumnDescPtr,
    coding: Coding,
    pages: Vec<CompressedPage>,
    bounds: Bounds,
    /// Whether anybody asks for the bounds of these texts.
    bounded: bool,
    entries: usize,
    nulls: usize,
    page_bytes: usize,
    /// Pages that are left as they are, because the last attempt at compression gained too little.
    uncompressed_left: u32,
    encodings: Vec<Encoding>,
}

impl Chunk {
    pub(crate) fn new(descriptor: ColumnDescPtr) -> Self {
        Self {
            descriptor,
            coding: Coding::Open,
            pages: Vec::new(),
            bounds: Bounds::None,
            bounded: true,
            entries: 0,
            nulls: 0,
            page_bytes: 0,
            uncompressed_left: 0,
            encodings: vec![Encoding::RLE],
        }
    }

    /// Bytes of the pages.
    pub(crate) fn bytes(&self) -> usize {
        self.page_bytes + if let Coding::Dictionary(d) | Coding::Closed(d) = &self.coding { d.byte_len() } else { 0 }
    }

    /// Encodes one page. Its levels are in `scratch.levels`.
    pub(crate) fn page(
        &mut self,
        sizes: LevelSizes,
        values: Values<'_>,
        valid: &[bool],
        scratch: &mut Scratch,
    ) -> Result<()> {
        if let Values::Text { bounded, .. } = values {
            self.bounded = bounded;
        }
        scratch.values.clear();
        let encoding = if self.indexes(values, valid, scratch) {
            Encoding::RLE_DICTIONARY
        } else {
            scratch.values.clear();
            self.plain(values, valid, scratch)
        };
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        let mut body = scratch.values.as_slice();
        let mut is_compressed = false;
        if self.uncompressed_left > 0 {
            self.uncompressed_left -= 1;
        } else if !body.is_empty() {
            compress(&mut scratch.zstd, body, &mut scratch.compressed)?;
            is_compressed = scratch.compressed.len() + scratch.compressed.len() / 10 < body.len();
            if is_compressed {
                body = &scratch.compressed;
            } else {
                self.uncompressed_left = UNCOMPRESSED_PAGES;
            }
        }
        let uncompressed = scratch.levels.len() + scratch.values.len();
        let page = Page::DataPageV2 {
            buf: Bytes::from([scratch.levels.as_slice(), body].concat()),
            num_values: count(sizes.entries)?,
            encoding,
            num_nulls: count(sizes.nulls)?,
            num_rows: count(sizes.rows)?,
            def_levels_byte_len: count(sizes.definition_bytes)?,
            rep_levels_byte_len: count(sizes.repetition_bytes)?,
            is_compressed,
            statistics: None,
        };
        self.entries += sizes.entries;
        self.nulls += sizes.nulls;
        self.page_bytes += page.buffer().len();
        self.pages.push(CompressedPage::new(page, uncompressed));
        Ok(())
    }

    /// Writes the values as indexes into the dictionary, if that is worth it and they all fit.
    fn indexes(&mut self, values: Values<'_>, valid: &[bool], scratch: &mut Scratch) -> bool {
        if let Coding::Open = self.coding {
            if matches!(values, Values::Boolean(_)) {
                self.coding = Coding::Plain;
            } else {
                let mut sample = Dictionary::new();
                let mut seen = 0_usize;
                let fits = each(values, valid, SAMPLE, |value| {
                    seen += 1;
                    sample.index(value).is_some()
                });
                // Half of the values new means that most of the column will be.
                self.coding = if fits && sample.len() * 2 <= seen {
                    Coding::Dictionary(sample)
                } else if seen == 0 {
                    Coding::Open
                } else {
                    Coding::Plain
                };
            }
        }
        let Coding::Dictionary(dictionary) = &mut self.coding else { return false };
        let indexes = &mut scratch.numbers;
        indexes.clear();
        let fits = each(values, valid, usize::MAX, |value| match dictionary.index(value) {
            Some(index) => {
                indexes.push(index);
                true
            }
            None => false,
        });
        if !fits {
            if let Coding::Dictionary(dictionary) = std::mem::take(&mut self.coding) {
                let used = self.pages.iter().any(|page| page.encoding() == Encoding::RLE_DICTIONARY);
                self.coding = if used { Coding::Closed(dictionary) } else { Coding::Plain };
            }
            return false;
        }
        // Some readers do not take a width of 0.
        let width = width_of(u32::try_from(dictionary.len().saturating_sub(1)).unwrap_or(u32::MAX)).max(1);
        scratch.values.push(width.to_le_bytes()[0]);
        hybrid(indexes, width, &mut scratch.values);
        self.add_bounds(values, valid, true);
        true
    }

    fn add_bounds(&mut self, values: Values<'_>, valid: &[bool], in_dictionary: bool) {
        match values {
            // The values of a dictionary are looked at once, when the chunk is closed.
            Values::Text { .. } => {
                if self.bounded && !in_dictionary {
                    each(values, valid, usize::MAX, |text| {
                        self.bounds.add_text(text);
                        true
                    });
                }
            }
            Values::Boolean(_) => {}
            Values::Double(values) => {
                let before = if let Bounds::Double(min, max) = self.bounds { Some((min, max)) } else { None };
                if let Some((min, max)) = extremes(before, present(values, valid)) {
                    self.bounds = Bounds::Double(min, max);
                }
            }
            Values::Date(values) => {
                let before = if let Bounds::Date(min, max) = self.bounds { Some((min, max)) } else { None };
                if let Some((min, max)) = extremes(before, present(values, valid)) {
                    self.bounds = Bounds::Date(min, max);
                }
            }
            Values::Timestamp(values) => {
                let before = if let Bounds::Timestamp(min, max) = self.bounds { Some((min, max)) } else { None };
                if let Some((min, max)) = extremes(before, present(values, valid)) {
                    self.bounds = Bounds::Timestamp(min, max);
                }
            }
            Values::Amount(values) => {
                let before = if let Bounds::Amount(min, max) = self.bounds { Some((min, max)) } else { None };
                if let Some((min, max)) = extremes(before, present(values, valid)) {
                    self.bounds = Bounds::Amount(min, max);
                }
            }
        }
    }

    fn plain(&mut self, values: Values<'_>, valid: &[bool], scratch: &mut Scratch) -> Encoding {
        self.add_bounds(values, valid, false);
        let out = &mut scratch.values;
        match values {
            Values::Text { bytes, offsets, .. } => {
                scratch.numbers.clear();
                let lengths = offsets.array_windows().map(|[start, end]| (end - start).cast_unsigned());
                scratch.numbers.extend(lengths.zip(valid).filter_map(|(length, valid)| valid.then_some(length)));
                delta(&scratch.numbers, out);
                out.extend_from_slice(bytes);
                return Encoding::DELTA_LENGTH_BYTE_ARRAY;
            }
            Values::Boolean(values) => pack_flags(present(values, valid), out),
            Values::Double(values) => present(values, valid).for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
            Values::Date(values) => present(values, valid).for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
            Values::Timestamp(values) => present(values, valid).for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
            Values::Amount(values) => present(values, valid).for_each(|v| out.extend_from_slice(&v.to_be_bytes())),
        }
        Encoding::PLAIN
    }

    /// Writes the dictionary and the pages, and says what the footer needs to know.
    pub(crate) fn close(mut self, rows: usize, scratch: &mut Scratch) -> Result<(Bytes, ColumnCloseResult)> {
        let mut sink = TrackedWrite::new(Vec::with_capacity(self.page_bytes + self.page_bytes / 64));
        let mut writer = SerializedPageWriter::new(&mut sink);
        let mut uncompressed = 0;
        let mut data_at = 0;
        let coding = std::mem::take(&mut self.coding);
        let used = self.encodings.contains(&Encoding::RLE_DICTIONARY);
        if let Coding::Dictionary(dictionary) | Coding::Closed(dictionary) = coding
            && used
        {
            let text = self.descriptor.physical_type() == parquet::basic::Type::BYTE_ARRAY;
            scratch.values.clear();
            for value in dictionary.values() {
                if text {
                    scratch.values.extend_from_slice(&count(value.len())?.to_le_bytes());
                    if self.bounded {
                        self.bounds.add_text(value);
                    }
                }
                scratch.values.extend_from_slice(value);
            }
            compress(&mut scratch.zstd, &scratch.values, &mut scratch.compressed)?;
            let page = Page::DictionaryPage {
                buf: Bytes::copy_from_slice(&scratch.compressed),
                num_values: count(dictionary.len())?,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            if !self.encodings.contains(&Encoding::PLAIN) {
                self.encodings.push(Encoding::PLAIN);
            }
            let spec = writer.write_page(CompressedPage::new(page, scratch.values.len()))?;
            uncompressed += spec.uncompressed_size;
            data_at = spec.bytes_written;
        }
        for page in self.pages {
            uncompressed += writer.write_page(page)?.uncompressed_size;
        }
        let bytes = Bytes::from(sink.into_inner()?);
        let physical = self.descriptor.physical_type();
        let metadata = ColumnChunkMetaData::builder(self.descriptor)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
            .set_encodings(self.encodings)
            .set_num_values(number(self.entries)?)
            .set_total_compressed_size(number(bytes.len())?)
            .set_total_uncompressed_size(number(uncompressed)?)
            .set_data_page_offset(i64::try_from(data_at).map_err(too_large)?)
            .set_dictionary_page_offset((data_at > 0).then_some(0))
            .set_statistics(self.bounds.statistics(physical, self.nulls as u64))
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((bytes, close))
    }
}

/// How many pages follow without an attempt at compression behind one that gained less than a tenth.
const UNCOMPRESSED_PAGES: u32 = 7;

fn compress(zstd: &mut Compressor<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    out.clear();
    out.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
    zstd.compress_to_buffer(bytes, out)?;
    Ok(())
}

fn too_large(_: std::num::TryFromIntError) -> ParquetError {
    ParquetError::General("a page has more values or bytes than parquet can say".to_owned())
}

fn count(value: usize) -> Result<u32> {
    i32::try_from(value).map(i32::cast_unsigned).map_err(too_large)
}

fn number(value: usize) -> Result<i64> {
    i64::try_from(value).map_err(too_large)
}

/// The values that are not null.
fn present<'a, T: Copy>(values: &'a [T], valid: &'a [bool]) -> impl Iterator<Item = T> + 'a {
    values.iter().zip(valid).filter_map(|(value, valid)| valid.then_some(*value))
}

/// Visits the first `most` values that are not null as their plain bytes, for as long as the visitor returns true.
#[inline]
fn each(values: Values<'_>, valid: &[bool], most: usize, mut visit: impl FnMut(&[u8]) -> bool) -> bool {
    match values {
        Values::Text { bytes, offsets, .. } => {
            offsets.array_windows().zip(valid).filter(|(_, valid)| **valid).take(most).all(|([start, end], _)| {
                visit(bytes.get(start.cast_unsigned() as usize..end.cast_unsigned() as usize).unwrap_or_default())
            })
        }
        Values::Double(values) => present(values, valid).take(most).all(|value| visit(&value.to_le_bytes())),
        Values::Date(values) => present(values, valid).take(most).all(|value| visit(&value.to_le_bytes())),
        Values::Timestamp(values) => present(values, valid).take(most).all(|value| visit(&value.to_le_bytes())),
        Values::Amount(values) => present(values, valid).take(most).all(|value| visit(&value.to_be_bytes())),
        Values::Boolean(_) => false,
    }
}
