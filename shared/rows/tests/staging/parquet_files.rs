//! Parquet files: types, projection, privacy, ranges, compressions, and files that are no files.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use arrow_array::builder::{
    BinaryBuilder, Int32Builder, ListBuilder, MapBuilder, StringBuilder, StringDictionaryBuilder,
};
use arrow_array::types::{Int32Type, IntervalDayTimeType};
use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int32Array, Int64Array, IntervalDayTimeArray, LargeStringArray, ListArray,
    NullArray, RecordBatch, StringArray, StringViewArray, StructArray, Time32SecondArray, Time64MicrosecondArray,
    Time64NanosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray,
    TimestampSecondArray, UInt8Array, UInt64Array,
};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use delivery::failure::FailureCode;
use delivery::schema::{ColumnType, StructField};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use rows::{Input, InputError, SeekableObject, SeekableSource};
use serde_json::{Value, json};

use crate::support::{InMemory, Seekable, bits, every_type, lanes, schema, stage_bytes, stage_input, stage_parquet};

pub(crate) fn file(columns: &[(&str, ArrayRef)], properties: WriterProperties) -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.iter().map(|(name, array)| (*name, array.clone(), true)))
            .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

pub(crate) fn plain(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
    file(columns, WriterProperties::builder().build())
}

/// What the values of one array become in a column of a type.
fn cast(column_type: &ColumnType, array: impl Array + 'static) -> Vec<Result<Value, FailureCode>> {
    let length = array.len();
    let bytes = plain(&[("v", Arc::new(array))]);
    let outcome = stage_parquet(&[bytes], &schema(&[("v", column_type.clone())])).unwrap();
    let mut rows = outcome.rows().into_iter();
    let rejected = outcome.rejected();
    (1..=length as u64)
        .map(|place| match rejected.iter().find(|(line, _, _)| *line == place) {
            Some((_, _, code)) => Err(*code),
            None => Ok(rows.next().unwrap()["v"].take()),
        })
        .collect()
}

const REFUSED: Result<Value, FailureCode> = Err(FailureCode::ValueNotCastable);
const TEXT: Result<Value, FailureCode> = Err(FailureCode::TextInvalid);

fn ok(value: Value) -> Result<Value, FailureCode> {
    Ok(value)
}

fn nulls_and<const N: usize>(values: [Value; N]) -> Vec<Result<Value, FailureCode>> {
    values.into_iter().map(Ok).chain([Ok(Value::Null)]).collect()
}

#[test]
fn numbers_are_exact_or_refused() {
    let double = ColumnType::Double;
    assert_eq!(cast(&double, Int8Array::from(vec![Some(-128), None])), nulls_and([bits(-128.0)]));
    assert_eq!(cast(&double, UInt8Array::from(vec![Some(255), None])), nulls_and([bits(255.0)]));
    assert_eq!(
        cast(&double, Int64Array::from(vec![1 << 53, (1 << 53) + 1, i64::MIN, i64::MAX])),
        [ok(bits(9_007_199_254_740_992.0)), REFUSED, ok(bits(-9_223_372_036_854_775_808.0)), REFUSED]
    );
    assert_eq!(
        cast(&double, UInt64Array::from(vec![1 << 63, u64::MAX])),
        [ok(bits(9_223_372_036_854_775_808.0)), REFUSED]
    );
    assert_eq!(cast(&double, Float32Array::from(vec![0.5, f32::NAN])), [ok(bits(0.5)), REFUSED]);
    let doubles = [0.1, -0.0, 1e300, -1e23, 5e-324, f64::MAX, 9_007_199_254_740_993.5, 1e-7];
    assert_eq!(cast(&double, Float64Array::from(doubles.to_vec())), doubles.map(|value| ok(bits(value))));
    assert_eq!(
        cast(&double, Float64Array::from(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY])),
        [REFUSED, REFUSED, REFUSED]
    );
    let decimals =
        |values: Vec<i128>, scale| Decimal128Array::from(values).with_precision_and_scale(38, scale).unwrap();
    assert_eq!(
        cast(&double, decimals(vec![15, -5, 900_719_925_474_099_300, 900_719_925_474_099_200], 2)),
        [ok(bits(0.15)), ok(bits(-0.05)), REFUSED, ok(bits(9_007_199_254_740_992.0))]
    );
    assert_eq!(
        cast(&ColumnType::String, decimals(vec![10_i128.pow(38) - 1, -1], 6)),
        [ok(json!("99999999999999999999999999999999.999999")), ok(json!("-0.000001"))]
    );
    let wide: Decimal256Array = decimals(vec![1_000_000], 6).iter().map(|value| value.map(Into::into)).collect();
    let wide = wide.with_precision_and_scale(76, 6).unwrap();
    assert_eq!(cast(&double, wide), [ok(bits(1.0))]);
    assert_eq!(cast(&double, StringArray::from(vec!["1.5", "1,299.00"])), [ok(bits(1.5)), REFUSED]);
    assert_eq!(cast(&double, BooleanArray::from(vec![true])), [REFUSED]);
    assert_eq!(cast(&ColumnType::String, Int64Array::from(vec![i64::MIN])), [ok(json!("-9223372036854775808"))]);
    assert_eq!(cast(&ColumnType::Boolean, BooleanArray::from(vec![Some(true), None])), nulls_and([json!(true)]));
    assert_eq!(cast(&ColumnType::Boolean, Int32Array::from(vec![1])), [REFUSED]);
}

#[test]
fn texts_come_in_several_types() {
    let string = ColumnType::String;
    let expected = nulls_and([json!("é\"\\\n"), json!("")]);
    let texts = vec![Some("é\"\\\n"), Some(""), None];
    assert_eq!(cast(&string, StringArray::from(texts.clone())), expected);
    assert_eq!(cast(&string, LargeStringArray::from(texts.clone())), expected);
    assert_eq!(cast(&string, StringViewArray::from(texts.clone())), expected);
    let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
    dictionary.extend(texts.clone());
    assert_eq!(cast(&string, dictionary.finish()), expected);
    let mut binary = BinaryBuilder::new();
    binary.extend(texts);
    assert_eq!(cast(&string, binary.finish()), expected);
    assert_eq!(cast(&string, BinaryArray::from(vec![b"ok".as_slice(), b"\xff", b"\0"])), [ok(json!("ok")), TEXT, TEXT]);
    let fixed = FixedSizeBinaryArray::try_from_iter([*b"abc", *b"\xff\xff\xff"].into_iter()).unwrap();
    assert_eq!(cast(&string, fixed), [ok(json!("abc")), TEXT]);
    assert_eq!(cast(&string, NullArray::new(2)), [ok(Value::Null), ok(Value::Null)]);
}

#[test]
fn times_are_utc_and_cut_at_microseconds() {
    let (timestamp, date, string) = (ColumnType::Timestamp, ColumnType::Date, ColumnType::String);
    let at = json!("2026-09-01T06:07:30Z");
    let seconds = 1_788_242_850;
    assert_eq!(cast(&timestamp, TimestampSecondArray::from(vec![Some(seconds), None])), nulls_and([at.clone()]));
    assert_eq!(cast(&timestamp, TimestampMillisecondArray::from(vec![seconds * 1_000])), [ok(at.clone())]);
    assert_eq!(
        cast(&timestamp, TimestampMicrosecondArray::from(vec![seconds * 1_000_000 + 1]).with_timezone("+02:00")),
        [ok(json!("2026-09-01T06:07:30.000001Z"))]
    );
    assert_eq!(
        cast(&timestamp, TimestampNanosecondArray::from(vec![seconds * 1_000_000_000 + 999, -1])),
        [ok(at.clone()), ok(json!("1969-12-31T23:59:59.999999Z"))]
    );
    assert_eq!(
        cast(&string, TimestampNanosecondArray::from(vec![seconds * 1_000_000_000 + 9, -1])),
        [ok(json!("2026-09-01T06:07:30.000000009Z")), ok(json!("1969-12-31T23:59:59.999999999Z"))]
    );
    assert_eq!(cast(&timestamp, TimestampMicrosecondArray::from(vec![i64::MAX])), [REFUSED]);
    assert_eq!(cast(&string, TimestampMicrosecondArray::from(vec![i64::MIN])), [TEXT]);
    let day = 86_400_000_000_000;
    assert_eq!(
        cast(&date, TimestampNanosecondArray::from(vec![day, day + 1, day + 1_000])),
        [ok(json!("1970-01-02")), REFUSED, REFUSED]
    );
    assert_eq!(
        cast(&date, Date32Array::from(vec![Some(0), Some(-719_162), Some(2_932_896), Some(2_932_897), Some(i32::MIN)])),
        [ok(json!("1970-01-01")), ok(json!("0001-01-01")), ok(json!("9999-12-31")), REFUSED, REFUSED]
    );
    assert_eq!(cast(&timestamp, Date32Array::from(vec![0])), [REFUSED], "a date is no time");
    assert_eq!(cast(&timestamp, Int64Array::from(vec![-1])), [ok(json!("1969-12-31T23:59:59.999000Z"))]);
    assert_eq!(cast(&string, Time32SecondArray::from(vec![86_399])), [ok(json!("23:59:59"))]);
    assert_eq!(
        cast(&string, Time64MicrosecondArray::from(vec![1, 0])),
        [ok(json!("00:00:00.000001")), ok(json!("00:00:00"))]
    );
    assert_eq!(cast(&string, Time64NanosecondArray::from(vec![3_600_000_000_001])), [ok(json!("01:00:00.000000001"))]);
    let interval =
        IntervalDayTimeArray::from(vec![<IntervalDayTimeType as arrow_array::ArrowPrimitiveType>::Native::default()]);
    assert_eq!(cast(&string, interval).len(), 1);
}

#[test]
fn old_times_of_twelve_bytes_keep_their_years() {
    let message = parse_message_type("message m { optional int96 v; }").unwrap();
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, Arc::new(message), Arc::new(WriterProperties::builder().build()))
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    // Nanoseconds of the day, and the Julian day: 1970-01-01, and the first and last day that nanoseconds do not reach.
    let values: Vec<_> = [(2_440_588, 1_500_u32), (1_721_426, 0), (5_373_484, 0)]
        .map(|(day, nanos)| Int96::from(vec![nanos, 0, day]))
        .to_vec();
    column.typed::<Int96Type>().write_batch(&values, Some(&[1, 1, 1]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let outcome = stage_parquet(&[bytes], &schema(&[("v", ColumnType::Timestamp)])).unwrap();
    let found: Vec<_> = outcome.rows().iter().map(|row| row["v"].clone()).collect();
    assert_eq!(
        found,
        [json!("1970-01-01T00:00:00.000001Z"), json!("0001-01-01T00:00:00Z"), json!("9999-12-31T00:00:00Z")]
    );
}

fn strings(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn lists_structs_and_maps_are_arrays_and_objects() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![]), None]);
    let numbers = ColumnType::Array(Box::new(ColumnType::Double));
    assert_eq!(cast(&numbers, list.clone()), nulls_and([json!([bits(1.0), null]), json!([])]));
    assert_eq!(cast(&ColumnType::Json, list), nulls_and([json!("[1,null]"), json!("[]")]));

    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for (key, value) in [("a\"", 1), ("_p", 2), ("a\"", 3)] {
        map.keys().append_value(key);
        map.values().append_value(value);
    }
    map.append(true).unwrap();
    map.append(true).unwrap();
    map.append(false).unwrap();
    assert_eq!(cast(&ColumnType::Json, map.finish()), nulls_and([json!(r#"{"a\"":3}"#), json!("{}")]));

    let mut numbered = MapBuilder::new(None, Int32Builder::new(), ListBuilder::new(StringBuilder::new()));
    numbered.keys().append_value(7);
    numbered.values().values().append_value("x");
    numbered.values().append(true);
    numbered.append(true).unwrap();
    assert_eq!(cast(&ColumnType::Json, numbered.finish()), [ok(json!(r#"{"7":["x"]}"#))]);

    let inner = StructArray::from(vec![
        (Arc::new(Field::new("day", DataType::Date32, true)), Arc::new(Date32Array::from(vec![1])) as ArrayRef),
        (Arc::new(Field::new("_deep", DataType::Utf8, true)), strings(&["hidden"])),
    ]);
    let outer = StructArray::from(vec![
        (Arc::new(Field::new("_p", DataType::Utf8, true)), strings(&["hidden"])),
        (Arc::new(Field::new("inner", inner.data_type().clone(), true)), Arc::new(inner) as ArrayRef),
        (Arc::new(Field::new("extra", DataType::Utf8, true)), strings(&["x"])),
    ]);
    assert_eq!(cast(&ColumnType::Json, outer.clone()), [ok(json!(r#"{"inner":{"day":"1970-01-02"},"extra":"x"}"#))]);
    let member = |name: &str, column_type| StructField { source: name.to_owned(), name: name.to_owned(), column_type };
    let shape = ColumnType::Struct(vec![member(
        "inner",
        ColumnType::Struct(vec![member("day", ColumnType::Date), member("more", ColumnType::Double)]),
    )]);
    assert_eq!(cast(&shape, outer), [ok(json!({"inner": {"day": "1970-01-02", "more": null}}))]);
}

#[test]
fn money_is_a_struct_and_texts_stand_for_json() {
    let amount = Decimal128Array::from(vec![12_450_000_000_i128]).with_precision_and_scale(38, 6).unwrap();
    let money = StructArray::from(vec![
        (Arc::new(Field::new("amount", amount.data_type().clone(), true)), Arc::new(amount) as ArrayRef),
        (Arc::new(Field::new("currencyCode", DataType::Utf8, true)), strings(&["USD"])),
    ]);
    let expected = json!({"amount": "12450.000000", "currency_code": "USD"});
    assert_eq!(cast(&ColumnType::Money, money), [ok(expected.clone())]);
    let texts = StringArray::from(vec![r#"{"amount":12450,"currencyCode":"USD","_p":1}"#, "12 EUR", ""]);
    assert_eq!(cast(&ColumnType::Money, texts.clone()), [ok(expected), REFUSED, REFUSED]);
    assert_eq!(
        cast(&ColumnType::Json, texts),
        [ok(json!(r#"{"amount":12450,"currencyCode":"USD"}"#)), ok(json!("\"12 EUR\"")), ok(json!("\"\""))]
    );
    let list = ColumnType::Array(Box::new(ColumnType::String));
    assert_eq!(cast(&list, StringArray::from(vec!["[\"x\"]", "[1", "[]"])), [ok(json!(["x"])), REFUSED, ok(json!([]))]);
}

/// An object that notes what was read of it.
struct Watched(Bytes, Arc<Mutex<Vec<Range<u64>>>>);

impl SeekableObject for Watched {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.1.lock().unwrap().push(range.clone());
        InMemory(self.0.clone()).read(range)
    }
}

struct One(Option<Box<dyn SeekableObject>>);

impl SeekableSource for One {
    fn next_object(&mut self) -> Result<Option<Box<dyn SeekableObject>>, InputError> {
        Ok(self.0.take())
    }
}

fn long_texts(rows: usize, marker: &str) -> ArrayRef {
    // Texts that do not compress, so that pages are large.
    let text = |row: usize| -> String {
        let digits =
            (0..8_u64).map(|part| format!("{:016x}", (row as u64 * 8 + part).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        format!("{marker}{}", digits.collect::<String>())
    };
    Arc::new(StringArray::from_iter_values((0..rows).map(text)))
}

#[test]
fn private_and_undeclared_columns_are_never_fetched_and_large_groups_are_read_in_parts() {
    let marker = "PLANTED-PRIVATE-VALUE";
    let rows = 100_000;
    let seller = StructArray::from(vec![
        (Arc::new(Field::new("_secret", DataType::Utf8, true)), long_texts(rows, marker)),
        (Arc::new(Field::new("name", DataType::Utf8, true)), long_texts(rows, "public")),
    ]);
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(rows))
        .set_data_page_size_limit(100_000)
        .build();
    let bytes = file(
        &[("_p", long_texts(rows, marker)), ("seller", Arc::new(seller)), ("hidden", long_texts(rows, marker))],
        properties,
    );
    assert_eq!(bytes.windows(marker.len()).filter(|window| window == &marker.as_bytes()).count() / rows, 3);
    let reads = Arc::new(Mutex::new(Vec::new()));
    let watched = Watched(Bytes::from(bytes.clone()), Arc::clone(&reads));
    let columns = schema(&[("seller", ColumnType::Json), ("absent", ColumnType::Double)]);
    let outcome = stage_input(Input::Parquet(&mut One(Some(Box::new(watched)))), &columns, &lanes(1)).unwrap();
    assert_eq!((outcome.staged.rows, outcome.staged.rejected), (rows as u64, 0));
    let found = outcome.rows();
    assert!(found.iter().all(|row| row["seller"].as_str().unwrap().starts_with(r#"{"name":"public"#)));
    let reads = reads.lock().unwrap();
    let read: u64 = reads.iter().map(|range| range.end - range.start).sum();
    let largest = reads.iter().map(|range| range.end - range.start).max().unwrap();
    assert!(largest <= 4 << 20, "{largest}");
    // One of four equal columns, and what a window reads beyond it.
    assert!(read < bytes.len() as u64 / 2, "{read} of {}", bytes.len());
    assert!(reads.len() < 20, "pages do not cost a request each: {}", reads.len());
}

#[test]
fn every_usual_compression_is_read() {
    let columns = every_type();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
        Compression::LZ4_RAW,
        Compression::LZ4,
        Compression::BROTLI(BrotliLevel::default()),
    ] {
        let properties = WriterProperties::builder().set_compression(compression).build();
        let bytes =
            file(&[("text", strings(&["a"; 500])), ("number", Arc::new(Int32Array::from(vec![7; 500])))], properties);
        let outcome = stage_parquet(&[bytes], &columns).unwrap();
        assert_eq!(outcome.staged.rows, 500, "{compression}");
        assert_eq!((&outcome.rows()[499]["text"], &outcome.rows()[0]["number"]), (&json!("a"), &bits(7.0)));
    }
}

#[test]
fn several_objects_and_row_groups_are_counted_on() {
    let properties = || WriterProperties::builder().set_max_row_group_row_count(Some(3)).build();
    let of = |texts: &[&str]| file(&[("number", strings(texts))], properties());
    let none = plain(&[("number", strings(&[]))]);
    let parts = [of(&["1", "2", "x", "3", "x", "4", "5"]), none, of(&["6", "x"])];
    let outcome = stage_parquet(&parts, &schema(&[("number", ColumnType::Double)])).unwrap();
    let n = |place| (place, Some("number".to_owned()), FailureCode::ValueNotCastable);
    assert_eq!(outcome.rejected(), [n(3), n(5), n(9)]);
    let found: Vec<_> = outcome.rows().iter().map(|row| row["number"].clone()).collect();
    assert_eq!(found, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].map(bits));
    assert_eq!(stage_parquet(&[], &every_type()).unwrap().staged.rows, 0);
}

#[test]
fn files_that_are_cut_broken_or_something_else_have_their_codes() {
    let columns = schema(&[("a", ColumnType::String)]);
    let whole = plain(&[("a", long_texts(2_000, ""))]);
    let code = |bytes: &[u8]| {
        let error = stage_parquet(&[whole.clone(), bytes.to_vec()], &columns).unwrap_err();
        assert!(error.to_string().starts_with("object 2 of the output "), "{error}");
        error.code().unwrap()
    };
    for end in [0, 1, 4, 11, 12, 100, whole.len() / 2, whole.len() - 1] {
        assert_eq!(code(&whole[..end]), FailureCode::OutputTruncated, "cut at {end}");
    }
    assert_eq!(code(b"{\"a\":\"this is no Parquet file\"}"), FailureCode::OutputInvalid);
    assert_eq!(code(&[b"PAR1".as_slice(), &[0xff; 100], b"PAR1"].concat()), FailureCode::OutputInvalid);
    assert_eq!(code(&[b"PAR1".as_slice(), &whole[whole.len() - 8..]].concat()), FailureCode::OutputInvalid);
    assert_eq!(code(&plain(&[("b", strings(&["x"]))])), FailureCode::OutputInvalid);
    let twice = {
        let message = parse_message_type("message m { optional int32 a; optional int32 a; }").unwrap();
        let mut bytes = Vec::new();
        let properties = Arc::new(WriterProperties::builder().build());
        SerializedFileWriter::new(&mut bytes, Arc::new(message), properties).unwrap().close().unwrap();
        bytes
    };
    let error = stage_parquet(&[twice], &columns).unwrap_err();
    assert_eq!(error.code(), Some(FailureCode::OutputInvalid));
    assert!(error.to_string().contains("has the column a twice"), "{error}");
}

#[test]
fn rows_over_the_limits_are_rejected() {
    let mut limits = lanes(1);
    limits.row_bytes_max = 100;
    let texts = ["short".to_owned(), "x".repeat(200), "short".to_owned()];
    let bytes = plain(&[("a", Arc::new(StringArray::from(texts.to_vec()))), ("b", strings(&["1", "2", "3"]))]);
    let columns = schema(&[("a", ColumnType::String), ("b", ColumnType::String)]);
    let outcome = stage_input(Input::Parquet(&mut Seekable::of(&[bytes])), &columns, &limits).unwrap();
    assert_eq!(outcome.rejected(), [(2, None, FailureCode::RowTooLarge)]);
    assert_eq!(outcome.staged.rows, 2);
    let deep = "[".repeat(64) + &"]".repeat(64);
    let bytes = plain(&[("a", strings(&[&deep, "[]"]))]);
    let outcome = stage_parquet(&[bytes], &schema(&[("a", ColumnType::Json)])).unwrap();
    assert_eq!(outcome.rejected(), [(1, None, FailureCode::RowTooDeep)]);
}

#[test]
fn a_failing_object_ends_staging_with_its_error() {
    struct Away(Bytes);
    impl SeekableObject for Away {
        fn size_bytes(&self) -> u64 {
            self.0.len() as u64
        }
        fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
            if range.start > 1_000 { InMemory(self.0.clone()).read(range) } else { Err(io::Error::other("away")) }
        }
    }
    let bytes = plain(&[("a", long_texts(20_000, ""))]);
    let source = &mut One(Some(Box::new(Away(bytes.into()))));
    let error = stage_input(Input::Parquet(source), &schema(&[("a", ColumnType::String)]), &lanes(2)).unwrap_err();
    assert!(matches!(error, rows::StageError::Input(InputError::Read(_))), "{error}");
}

#[test]
fn a_staged_file_staged_again_has_the_same_rows() {
    let lines = concat!(
        r#"{"text":"a","number":1.5,"flag":true,"day":"2026-09-01","at":"2026-09-01T06:07:30.123456Z","any":{"a":[1]},"#,
        r#""seller":{"name":"n","rating":2,"marks":[[1,null],[],null],"since":"2024-02-29"},"#,
        r#""offers":[{"sku":"s","sold":false,"tags":["x",null]},null,{"tags":[]}],"tags":["t"]}"#,
        "\n{}\n",
        r#"{"text":"","number":-0.0,"seller":{},"offers":[],"tags":[null],"any":"text"}"#,
    );
    let once = stage_bytes(lines.as_bytes(), &every_type()).unwrap();
    let again = stage_parquet(&[once.files[&0].clone()], &every_type()).unwrap();
    assert_eq!(again.rows(), once.rows());
    assert_eq!(again.files, once.files, "byte by byte");
}

#[test]
fn a_long_text_that_a_dictionary_has_once_is_written_for_every_row() {
    let long = "x".repeat(300_000);
    let texts = StringArray::from_iter_values((0..600).map(|_| long.as_str()));
    let bytes = plain(&[("a", Arc::new(texts))]);
    assert!(bytes.len() < 1_000_000);
    let outcome = stage_parquet(&[bytes], &schema(&[("a", ColumnType::String)])).unwrap();
    assert_eq!((outcome.staged.rows, outcome.staged.rejected), (600, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn broken_bytes_do_no_harm(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        at_end in any::<bool>(),
    ) {
        let columns = schema(&[("a", ColumnType::String), ("t", ColumnType::Json), ("n", ColumnType::Double)]);
        let tags = ListArray::from_iter_primitive::<Int32Type, _, _>((0..300).map(|n| (n % 3 > 0).then(|| vec![Some(n); 2])));
        let mut bytes = plain(&[
            ("a", long_texts(300, "")),
            ("t", Arc::new(tags)),
            ("n", Arc::new(Int32Array::from((0..300).map(|n| n % 7).collect::<Vec<_>>()))),
        ]);
        let length = bytes.len();
        for (place, byte) in edits {
            // Most edits shall meet the footer and the headers of pages.
            let at = if at_end { length - 1 - place.index(1_500.min(length)) } else { place.index(length) };
            bytes[at] = byte;
        }
        if let Err(error) = stage_parquet(&[bytes], &columns) {
            prop_assert!(error.code().is_some(), "{}", error);
        }
    }
}
