//! Writes the values of Arrow arrays as JSON: numbers exactly, times as RFC 3339 in UTC, binary as text, maps as objects.
//! Keys that begin with `_` are passed over.

use std::io::Write;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ByteArrayType, ByteViewType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, GenericByteArray, GenericByteViewArray, GenericListArray, OffsetSizeTrait, PrimitiveArray};
use arrow_schema::{DataType, TimeUnit};
use delivery::schema::is_private_name;
use delivery::timestamp::{Timestamp, format_date};

use crate::texts::{Meaning, UNFIT, write_json_or_string, write_string};

/// Appends the value of a row, which is not null.
type Cell<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

/// Writes values of one array.
pub(super) struct Writer<'a> {
    array: &'a dyn Array,
    write: Cell<'a>,
}

impl<'a> Writer<'a> {
    /// What writes the value at `row`, or `None` if there is none.
    pub(super) fn at(&self, row: usize) -> Option<&Cell<'a>> {
        (!self.array.is_null(row)).then_some(&self.write)
    }

    /// Appends the value at `row`, or null.
    fn value(&self, row: usize, out: &mut Vec<u8>) {
        match self.at(row) {
            Some(write) => write(row, out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

/// A writer for an array. Its texts stand for JSON values if they mean that.
pub(super) fn writer(array: &dyn Array, meaning: Meaning) -> Writer<'_> {
    Writer { array, write: write(array, meaning) }
}

fn write(array: &dyn Array, meaning: Meaning) -> Cell<'_> {
    match array.data_type() {
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(move |row, out| out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }))
        }
        DataType::Int8 => integers::<Int8Type>(array),
        DataType::Int16 => integers::<Int16Type>(array),
        DataType::Int32 => integers::<Int32Type>(array),
        DataType::Int64 => integers::<Int64Type>(array),
        DataType::UInt8 => integers::<UInt8Type>(array),
        DataType::UInt16 => integers::<UInt16Type>(array),
        DataType::UInt32 => integers::<UInt32Type>(array),
        DataType::UInt64 => integers::<UInt64Type>(array),
        DataType::Float16 => primitives::<Float16Type>(array, |value, out| write_double(value.to_f64(), out)),
        DataType::Float32 => primitives::<Float32Type>(array, |value, out| write_double(value.into(), out)),
        DataType::Float64 => primitives::<Float64Type>(array, write_double),
        DataType::Decimal32(..) => decimals::<Decimal32Type>(array),
        DataType::Decimal64(..) => decimals::<Decimal64Type>(array),
        DataType::Decimal128(..) => decimals::<Decimal128Type>(array),
        DataType::Decimal256(..) => decimals::<Decimal256Type>(array),
        DataType::Utf8 => texts(array.as_string::<i32>(), meaning),
        DataType::LargeUtf8 => texts(array.as_string::<i64>(), meaning),
        DataType::Utf8View => views(array.as_string_view(), meaning),
        DataType::BinaryView => views(array.as_binary_view(), meaning),
        DataType::Binary => texts(array.as_binary::<i32>(), meaning),
        DataType::LargeBinary => texts(array.as_binary::<i64>(), meaning),
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            Box::new(move |row, out| write_text(array.value(row), meaning, out))
        }
        DataType::Date32 => primitives::<Date32Type>(array, write_date),
        DataType::Date64 => primitives::<Date64Type>(array, write_milli_date),
        DataType::Time32(TimeUnit::Second) => {
            primitives::<Time32SecondType>(array, |value, out| write_time(value.into(), 1, out))
        }
        DataType::Time32(_) => {
            primitives::<Time32MillisecondType>(array, |value, out| write_time(value.into(), 1_000, out))
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            primitives::<Time64NanosecondType>(array, |value, out| write_time(value, 1_000_000_000, out))
        }
        DataType::Time64(_) => {
            primitives::<Time64MicrosecondType>(array, |value, out| write_time(value, 1_000_000, out))
        }
        DataType::Timestamp(TimeUnit::Second, _) => {
            primitives::<TimestampSecondType>(array, |value, out| write_instant(value.into(), 1, out))
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            primitives::<TimestampMillisecondType>(array, |value, out| write_instant(value.into(), 1_000, out))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            primitives::<TimestampMicrosecondType>(array, |value, out| write_instant(value.into(), 1_000_000, out))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            primitives::<TimestampNanosecondType>(array, |value, out| write_instant(value.into(), 1_000_000_000, out))
        }
        DataType::List(_) => lists(array.as_list::<i32>()),
        DataType::LargeList(_) => lists(array.as_list::<i64>()),
        DataType::FixedSizeList(_, length) => {
            let length = usize::try_from(*length).unwrap_or(0);
            let elements = writer(array.as_fixed_size_list().values().as_ref(), Meaning::Text);
            Box::new(move |row, out| write_elements(&elements, row * length..(row + 1) * length, out))
        }
        DataType::Dictionary(..) => dictionary(array, meaning),
        DataType::Struct(fields) => {
            let members: Vec<_> = fields
                .iter()
                .zip(array.as_struct().columns())
                .filter(|(field, _)| !is_private_name(field.name()))
                .map(|(field, member)| {
                    let mut key = Vec::new();
                    write_string(field.name().as_bytes(), &mut key);
                    key.push(b':');
                    (key, writer(member.as_ref(), Meaning::Text))
                })
                .collect();
            Box::new(move |row, out| {
                let mut opener = b'{';
                for (key, member) in &members {
                    out.push(opener);
                    out.extend_from_slice(key);
                    member.value(row, out);
                    opener = b',';
                }
                out.extend_from_slice(if members.is_empty() { b"{}" } else { b"}" });
            })
        }
        DataType::Map(..) => maps(array),
        DataType::Null => Box::new(|_, out| out.extend_from_slice(b"null")),
        // What has no JSON, and what no Parquet file holds.
        DataType::Duration(_)
        | DataType::Interval(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..) => Box::new(|_, out| out.extend_from_slice(UNFIT)),
    }
}

fn primitives<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    write: impl Fn(T::Native, &mut Vec<u8>) + 'a,
) -> Cell<'a> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| write(array.value(row), out))
}

fn integers<T: ArrowPrimitiveType>(array: &dyn Array) -> Cell<'_>
where
    T::Native: std::fmt::Display,
{
    primitives::<T>(array, display)
}

fn decimals<T: DecimalType + ArrowPrimitiveType>(array: &dyn Array) -> Cell<'_> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| out.extend_from_slice(array.value_as_string(row).as_bytes()))
}

fn texts<T: ByteArrayType>(array: &GenericByteArray<T>, meaning: Meaning) -> Cell<'_> {
    Box::new(move |row, out| write_text(array.value(row).as_ref(), meaning, out))
}

fn views<T: ByteViewType>(array: &GenericByteViewArray<T>, meaning: Meaning) -> Cell<'_> {
    Box::new(move |row, out| write_text(array.value(row).as_ref(), meaning, out))
}

fn lists<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Cell<'_> {
    let elements = writer(array.values().as_ref(), Meaning::Text);
    Box::new(move |row, out| {
        write_elements(&elements, span(array.value_offsets(), row), out);
    })
}

fn write_elements(elements: &Writer<'_>, span: Range<usize>, out: &mut Vec<u8>) {
    let mut opener = b'[';
    for element in span {
        out.push(opener);
        elements.value(element, out);
        opener = b',';
    }
    out.extend_from_slice(if opener == b'[' { b"[]" } else { b"]" });
}

fn dictionary(array: &dyn Array, meaning: Meaning) -> Cell<'_> {
    let array = array.as_any_dictionary();
    let values = writer(array.values().as_ref(), meaning);
    let keys = if array.values().is_empty() { Vec::new() } else { array.normalized_keys() };
    Box::new(move |row, out| {
        if let Some(key) = keys.get(row) {
            values.value(*key, out);
        }
    })
}

/// The elements of the list at `row`.
fn span<O: OffsetSizeTrait>(offsets: &[O], row: usize) -> Range<usize> {
    let offset = |at: usize| offsets.get(at).map_or(0, |offset| offset.as_usize());
    offset(row)..offset(row + 1)
}

fn maps(array: &dyn Array) -> Cell<'_> {
    let array = array.as_map();
    let keys = writer(array.keys().as_ref(), Meaning::Text);
    let values = writer(array.values().as_ref(), Meaning::Text);
    Box::new(move |row, out| {
        let mut opener = b'{';
        let mut key = Vec::new();
        for entry in span(array.value_offsets(), row) {
            key.clear();
            keys.value(entry, &mut key);
            if key.first() != Some(&b'"') {
                let text = std::mem::take(&mut key);
                write_string(&text, &mut key);
            }
            if key.starts_with(b"\"_") {
                continue;
            }
            out.push(opener);
            out.extend_from_slice(&key);
            out.push(b':');
            values.value(entry, out);
            opener = b',';
        }
        out.extend_from_slice(if opener == b'{' { b"{}" } else { b"}" });
    })
}

fn display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = write!(out, "{value}");
}

fn write_text(text: &[u8], meaning: Meaning, out: &mut Vec<u8>) {
    match meaning {
        Meaning::Json => write_json_or_string(text, out),
        // An empty text is no null here, and digits are no time: the file says what is null and what is a time.
        Meaning::Text | Meaning::Scalar | Meaning::Time => write_string(text, out),
    }
}

/// Integers from here on are written with all their digits, because the shortest text may be another integer.
const EXACT_FROM: f64 = 9_007_199_254_740_992.0;

fn write_double(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        // Not numbers, so they are refused as numbers.
        write_string(value.to_string().as_bytes(), out);
    } else if value.abs() < EXACT_FROM {
        let _ = write!(out, "{value:?}");
    } else {
        let _ = write!(out, "{value:.0}");
    }
}

const MICROS_PER_DAY: i64 = 86_400_000_000;

fn write_date(days: i32, out: &mut Vec<u8>) {
    match i64::from(days).checked_mul(MICROS_PER_DAY).and_then(Timestamp::from_micros) {
        Some(_) => write_string(format_date(days).as_bytes(), out),
        None => out.extend_from_slice(UNFIT),
    }
}

/// Appends a date that is written as milliseconds.
fn write_milli_date(millis: i64, out: &mut Vec<u8>) {
    const MILLIS_PER_DAY: i64 = MICROS_PER_DAY / 1_000;
    match i32::try_from(millis.div_euclid(MILLIS_PER_DAY)) {
        Ok(days) if millis.rem_euclid(MILLIS_PER_DAY) == 0 => write_date(days, out),
        _ => write_instant(millis.into(), 1_000, out),
    }
}

/// Appends an instant so many units after the epoch, with all its digits.
fn write_instant(value: i128, units_per_second: i128, out: &mut Vec<u8>) {
    let nanos = value * (1_000_000_000 / units_per_second);
    let micros = i64::try_from(nanos.div_euclid(1_000)).ok().and_then(Timestamp::from_micros);
    let Some(instant) = micros else {
        out.extend_from_slice(UNFIT);
        return;
    };
    let text = instant.to_string();
    let finer = nanos.rem_euclid(1_000);
    if finer == 0 {
        write_string(text.as_bytes(), out);
    } else {
        let text = text.trim_end_matches('Z');
        let zeros = if text.contains('.') { "" } else { ".000000" };
        let _ = write!(out, "\"{text}{zeros}{finer:03}Z\"");
    }
}

/// Appends a time of day as text, with a fraction if it has one.
fn write_time(value: i64, units_per_second: i64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (value.div_euclid(units_per_second), value.rem_euclid(units_per_second));
    if !(0..86_400).contains(&seconds) {
        out.extend_from_slice(UNFIT);
        return;
    }
    let _ = write!(out, "\"{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let digits = units_per_second.ilog10() as usize;
        let _ = write!(out, ".{fraction:0digits$}");
    }
    out.push(b'"');
}
