//! The cast policy, row by row of its table: what each type makes of a value, or the code that refuses it.

use delivery::failure::FailureCode;
use delivery::schema::{ColumnType, StructField};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{bits, every_type, schema, stage_bytes};

fn member(name: &str, column_type: ColumnType) -> StructField {
    StructField { source: name.to_owned(), name: name.to_owned(), column_type }
}

/// Casts one value, given as JSON text, in a row of its own.
fn cast(column_type: &ColumnType, text: &[u8]) -> Result<Value, FailureCode> {
    let line = [b"{\"v\":", text, b"}\n"].concat();
    // Rows around it show that a refusal takes back what it began.
    let lines = [b"{\"v\":null}\n", line.as_slice(), b"{}\n"].concat();
    let outcome = stage_bytes(&lines, &schema(&[("v", column_type.clone())])).unwrap();
    let mut rows = outcome.rows();
    assert_eq!(rows.first().unwrap()["v"], Value::Null);
    assert_eq!(rows.last().unwrap()["v"], Value::Null);
    match outcome.rejected().as_slice() {
        [] => Ok(rows.remove(1)["v"].take()),
        [(2, column, code)] => {
            let of_value = matches!(code, FailureCode::ValueNotCastable | FailureCode::TextInvalid);
            assert_eq!(column.as_deref(), of_value.then_some("v"));
            Err(*code)
        }
        other => panic!("{other:?}"),
    }
}

fn check(column_type: &ColumnType, text: &str, expected: Result<Value, FailureCode>) {
    assert_eq!(cast(column_type, text.as_bytes()), expected, "{column_type:?} of {text}");
}

fn accepts(column_type: &ColumnType, rows: &[(&str, Value)]) {
    for (text, expected) in rows {
        check(column_type, text, Ok(expected.clone()));
    }
}

fn refuses(column_type: &ColumnType, texts: &[&str]) {
    for text in texts {
        check(column_type, text, Err(FailureCode::ValueNotCastable));
    }
}

fn refuses_text(column_type: &ColumnType, texts: &[&str]) {
    for text in texts {
        check(column_type, text, Err(FailureCode::TextInvalid));
    }
}

#[test]
fn null_is_null_in_every_type() {
    for column in every_type().columns() {
        check(&column.column_type, "null", Ok(Value::Null));
    }
}

#[test]
fn strings_take_everything_and_keep_json_text() {
    let string = ColumnType::String;
    accepts(
        &string,
        &[
            (r#""""#, json!("")),
            (r#""é日\u00e9\ud83d\ude00\n\/""#, json!("é日é😀\n/")),
            ("12.50", json!("12.50")),
            ("-0", json!("-0")),
            ("1E+400", json!("1E+400")),
            ("true", json!("true")),
            ("false", json!("false")),
            (r#"{ "a" : 1.0 , "_p" : 2 , "b" : [ ] }"#, json!(r#"{"a":1.0,"b":[]}"#)),
            (r#"[ 1, "x", {"_p":1} ]"#, json!(r#"[1,"x",{}]"#)),
        ],
    );
    refuses_text(&string, &[r#""\u0000""#, r#""\ud800""#, r#""\udc00x""#, r#""\ud800\ud800""#, r#"{"a":"\u0000"}"#]);
    for invalid in [b"\"\xff\"".as_slice(), b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"[\"\xf5\"]"] {
        assert_eq!(cast(&string, invalid), Err(FailureCode::TextInvalid));
    }
    check(&string, "\"\u{0}\"", Err(FailureCode::RowNotJson));
}

#[test]
fn json_takes_everything_as_compact_text() {
    let any = ColumnType::Json;
    accepts(
        &any,
        &[
            (r#""a\u0041""#, json!(r#""a\u0041""#)),
            ("1.50e1", json!("1.50e1")),
            ("true", json!("true")),
            (r#"{"a":{"_p":{"x":"\ud800"},"b":1},"a":{"b":2,"b":3}}"#, json!(r#"{"a":{"b":3}}"#)),
            (r#"{"a":1,"b":{"\u005fp":1}}"#, json!(r#"{"a":1,"b":{}}"#)),
            ("[[[ ]]]", json!("[[[]]]")),
        ],
    );
    refuses_text(&any, &[r#""\u0000""#, r#"{"a":["\ud800"]}"#, r#"{"\ud800":1}"#]);
    check(&any, r#"{"_p":"\u0000"}"#, Ok(json!("{}")));
}

#[test]
fn doubles_take_numbers_without_loss() {
    let double = ColumnType::Double;
    accepts(
        &double,
        &[
            ("0", bits(0.0)),
            ("-0", bits(-0.0)),
            ("0.1", bits(0.1)),
            ("9.97788185410981e-05", bits(9.977_881_854_109_81e-5)),
            ("1e22", bits(1e22)),
            ("9007199254740992", bits(9_007_199_254_740_992.0)),
            ("0.0e-999", bits(0.0)),
            (r#""12""#, bits(12.0)),
            (r#""-1.5e3""#, bits(-1500.0)),
            (r#""\u0031""#, bits(1.0)),
        ],
    );
    refuses(
        &double,
        &[
            "9007199254740993",
            "9007199254740993.0",
            "9.007199254740993e15",
            "1e400",
            "-1e400",
            "1e-400",
            r#""1,299.00""#,
            r#""12 EUR""#,
            r#""NaN""#,
            r#""Infinity""#,
            r#""""#,
            r#"" 1""#,
            r#""+1""#,
            r#""01""#,
            r#""1.""#,
            r#""0x10""#,
            r#""9007199254740993""#,
            "true",
            "[1]",
            r#"{"amount":1}"#,
        ],
    );
    check(&double, "NaN", Err(FailureCode::RowNotJson));
}

#[test]
fn booleans_take_true_and_false_only() {
    let boolean = ColumnType::Boolean;
    accepts(
        &boolean,
        &[
            ("true", json!(true)),
            ("false", json!(false)),
            (r#""true""#, json!(true)),
            (r#""FALSE""#, json!(false)),
            (r#""tR\u0075e""#, json!(true)),
        ],
    );
    refuses(&boolean, &["0", "1", r#""yes""#, r#""1""#, r#""""#, r#"" true""#, "[]", "{}"]);
}

#[test]
fn dates_take_days_and_midnights() {
    let date = ColumnType::Date;
    accepts(
        &date,
        &[
            (r#""2026-02-28""#, json!("2026-02-28")),
            (r#""0001-01-01""#, json!("0001-01-01")),
            (r#""2026-09-01T00:00:00Z""#, json!("2026-09-01")),
            (r#""2026-09-01T00:00:00.000000000Z""#, json!("2026-09-01")),
            (r#""2026-09-01T02:00:00+02:00""#, json!("2026-09-01")),
            (r#""2026-08-31T22:00:00-02:00""#, json!("2026-09-01")),
            (r#""2026-09\u002d01""#, json!("2026-09-01")),
            (r#""2026-09-01t00:00:00z""#, json!("2026-09-01")),
            (r#""2024-02-29""#, json!("2024-02-29")),
            (r#""2000-02-29""#, json!("2000-02-29")),
            (r#""9999-12-31""#, json!("9999-12-31")),
        ],
    );
    refuses(
        &date,
        &[
            r#""2026-02-29""#,
            r#""1900-02-29""#,
            r#""0000-01-01""#,
            r#""10000-01-01""#,
            r#""2026-13-01""#,
            r#""2026-00-01""#,
            r#""2026-09-31""#,
            r#""2026-08-31T24:00:00Z""#,
            r#""01.09.2026""#,
            r#""2026-9-1""#,
            r#""2026-09-01 ""#,
            r#""2026-09-01T06:00:00Z""#,
            r#""2026-09-01T00:00:00+02:00""#,
            r#""2026-09-01T00:00:00.0000001Z""#,
            r#""2026-09-01T00:00:00""#,
            r#""""#,
            "20260901",
            "0",
            "true",
            "[]",
        ],
    );
}

#[test]
fn timestamps_take_rfc_3339_and_epoch_milliseconds() {
    let timestamp = ColumnType::Timestamp;
    accepts(
        &timestamp,
        &[
            (r#""2026-09-01T06:07:30Z""#, json!("2026-09-01T06:07:30Z")),
            (r#""2026-09-01T08:07:30+02:00""#, json!("2026-09-01T06:07:30Z")),
            (r#""2026-09-01T06:07:30""#, json!("2026-09-01T06:07:30Z")),
            (r#""2026-09-01T06:07:30.123456789Z""#, json!("2026-09-01T06:07:30.123456Z")),
            (r#""1969-12-31T23:59:59.999Z""#, json!("1969-12-31T23:59:59.999000Z")),
            (r#""2026-09-01t06:07:30z""#, json!("2026-09-01T06:07:30Z")),
            (r#""0001-01-01T00:00:00Z""#, json!("0001-01-01T00:00:00Z")),
            (r#""9999-12-31T23:59:59.9999999Z""#, json!("9999-12-31T23:59:59.999999Z")),
            (r#""2024-02-29T23:59:59-23:59""#, json!("2024-03-01T23:58:59Z")),
            ("-0", json!("1970-01-01T00:00:00Z")),
            ("-62135596800000", json!("0001-01-01T00:00:00Z")),
            ("1788242850123", json!("2026-09-01T06:07:30.123000Z")),
            ("-1", json!("1969-12-31T23:59:59.999000Z")),
        ],
    );
    refuses(
        &timestamp,
        &[
            r#""2026-09-01""#,
            r#""1788242850123""#,
            "1788242850123.5",
            "1788242850123.0",
            "1.7e12",
            "9223372036854775807",
            "99999999999999999999",
            r#""2026-09-01T25:00:00Z""#,
            r#""2026-09-01T24:00:00Z""#,
            r#""2026-12-31T23:59:60Z""#,
            r#""2026-09-01T06:07:30+24:00""#,
            r#""2026-09-01T06:07:30+0200""#,
            r#""2026-09-01T06:07""#,
            r#""0000-12-31T23:59:59Z""#,
            r#""0001-01-01T00:00:00+00:01""#,
            r#""9999-12-31T23:59:59-00:01""#,
            "-62135596800001",
            "253402300800000",
            r#""""#,
            "true",
            "{}",
        ],
    );
}

#[test]
fn money_takes_an_amount_and_a_currency() {
    let money = ColumnType::Money;
    let of = |amount: &str, code: Value| json!({"amount": amount, "currency_code": code});
    accepts(
        &money,
        &[
            (r#"{"amount":12450,"currencyCode":"USD"}"#, of("12450.000000", json!("USD"))),
            (r#"{"amount":"12450.5","currencyCode":null}"#, of("12450.500000", Value::Null)),
            (r#"{"amount":-0.000001}"#, of("-0.000001", Value::Null)),
            (r#"{"amount":1e3,"currencyCode":"E\u0055R","_p":1,"x":[1]}"#, of("1000.000000", json!("EUR"))),
            (r#"{"amount":1.1000000}"#, of("1.100000", Value::Null)),
            (r#"{"amount":"x","amount":1}"#, of("1.000000", Value::Null)),
            (
                r#"{"amount":99999999999999999999999999999999.999999}"#,
                of("99999999999999999999999999999999.999999", Value::Null),
            ),
        ],
    );
    refuses(
        &money,
        &[
            "{}",
            r#"{"currencyCode":"USD"}"#,
            r#"{"amount":null,"currencyCode":"USD"}"#,
            r#"{"amount":1.0000001}"#,
            r#"{"amount":"1,000"}"#,
            r#"{"amount":true}"#,
            r#"{"amount":100000000000000000000000000000000}"#,
            r#"{"amount":1,"currencyCode":840}"#,
            "12450",
            r#""12450 USD""#,
            "[]",
        ],
    );
    refuses_text(&money, &[r#"{"amount":1,"currencyCode":"\u0000"}"#]);
}

#[test]
fn structs_take_objects_and_fill_what_is_missing() {
    let seller = ColumnType::Struct(vec![
        member("name", ColumnType::String),
        member("rating", ColumnType::Double),
        member("inner", ColumnType::Struct(vec![member("x", ColumnType::Boolean)])),
    ]);
    let of = |name: Value, rating: Value, inner: Value| json!({"name": name, "rating": rating, "inner": inner});
    accepts(
        &seller,
        &[
            ("{}", of(Value::Null, Value::Null, Value::Null)),
            (
                r#"{"rating":1,"name":"a","unknown":{"name":"b"},"_p":[{}],"inner":{"x":true,"y":1}}"#,
                of(json!("a"), bits(1.0), json!({"x": true})),
            ),
            (r#"{"n\u0061me":"a"}"#, of(json!("a"), Value::Null, Value::Null)),
            (r#"{"inner":{"x":true},"inner":{}}"#, of(Value::Null, Value::Null, json!({"x": null}))),
            (r#"{"inner":{"x":true},"inner":null}"#, of(Value::Null, Value::Null, Value::Null)),
            (r#"{"rating":"bad","rating":2}"#, of(Value::Null, bits(2.0), Value::Null)),
        ],
    );
    refuses(&seller, &["1", r#""{}""#, "[]", "true", r#"{"rating":"bad"}"#, r#"{"name":"a","inner":{"x":1}}"#]);
}

#[test]
fn arrays_take_arrays_with_null_elements() {
    let array = |element| ColumnType::Array(Box::new(element));
    accepts(
        &array(ColumnType::String),
        &[("[]", json!([])), (r#"[ "a" , null, 1, {"_p":1} ]"#, json!(["a", null, "1", "{}"]))],
    );
    accepts(&array(array(ColumnType::Double)), &[("[[1],[],null,[null]]", json!([[bits(1.0)], [], null, [null]]))]);
    accepts(
        &array(ColumnType::Struct(vec![member("x", array(ColumnType::Boolean))])),
        &[(r#"[{"x":[true]},{},null,{"y":1,"x":[]}]"#, json!([{"x": [true]}, {"x": null}, null, {"x": []}]))],
    );
    refuses(&array(ColumnType::Double), &["1", r#""[]""#, "{}", "true", r#"[1,2,"x"]"#, "[[1]]"]);
    refuses_text(&array(ColumnType::String), &[r#"["a","\ud800"]"#]);
}

#[test]
fn the_last_of_duplicate_keys_wins_and_keys_may_be_escaped() {
    let columns = schema(&[("a", ColumnType::Double), ("b", ColumnType::String)]);
    let lines = br#"{"a":"no number","b":"x","a":1}
{"\u0061":2,"b":"y"}
{"b":"first","a":3,"\u0062":"second"}
{ "b" : "z" , "a" : 4 }
{"b":"w"}
"#;
    let outcome = stage_bytes(lines, &columns).unwrap();
    let found: Vec<_> = outcome.rows().iter().map(|row| (row["a"].clone(), row["b"].clone())).collect();
    let expected = [
        (bits(1.0), json!("x")),
        (bits(2.0), json!("y")),
        (bits(3.0), json!("second")),
        (bits(4.0), json!("z")),
        (Value::Null, json!("w")),
    ];
    assert_eq!(found, expected);
}

#[test]
fn white_space_may_be_another_in_every_row() {
    let member = ColumnType::Struct(vec![member("x", ColumnType::Double), member("y", ColumnType::String)]);
    let columns = schema(&[("a", ColumnType::Double), ("b", ColumnType::Array(Box::new(member)))]);
    // A row that looks like the one before it up to some white space, at every place where there can be some.
    let places = 14;
    let line = |row: usize| {
        let at = |place: usize| if row % (places + 1) == place + 1 { " \t" } else { "" };
        let inner = |from: usize| {
            let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|place| at(from + place));
            format!(r#"{{{a}"x"{b}:{c}{row},"y":{d}"t"{e}}}"#)
        };
        let (one, two) = (inner(4), inner(9));
        format!("{{{}\"a\":{}1,\"b\"{}:{}[{one},{two}]}}\n", at(0), at(1), at(2), at(3))
    };
    let lines: String = (0..3 * (places + 1)).map(line).collect();
    let outcome = stage_bytes(lines.as_bytes(), &columns).unwrap();
    assert_eq!(outcome.rejected(), []);
    for (number, row) in (0_u32..).zip(outcome.rows()) {
        let element = json!({"x": bits(f64::from(number)), "y": "t"});
        assert_eq!((&row["a"], &row["b"]), (&bits(1.0), &json!([element, element])), "row {number}");
    }
}

#[test]
fn rows_may_be_spaced_differently_from_one_another() {
    let columns = schema(&[("a", ColumnType::Double), ("b", ColumnType::Double)]);
    let lines = concat!(
        "{\"a\":1,\"b\":2}\n",
        "{\"a\": 1,\"b\":\t2}\n",
        " { \"a\" :  1 , \"b\" :\r 2 } \r\n",
        "{\"a\":1,\"b\":2}\n",
        "{\"a\":   1,  \"b\":2}\n",
    );
    let outcome = stage_bytes(lines.as_bytes(), &columns).unwrap();
    assert_eq!(outcome.staged.rejected, 0, "{:?}", outcome.rejects);
    assert!(outcome.rows().iter().all(|row| (&row["a"], &row["b"]) == (&bits(1.0), &bits(2.0))));
}

/// What a value of a type looks like as JSON text, and as it is read back.
fn accepted() -> impl Strategy<Value = (ColumnType, String, Value)> {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    prop_oneof![
        any::<String>()
            .prop_filter("text without NUL", |t| !t.contains('\0'))
            .prop_map(move |text| { (ColumnType::String, quoted(&text), json!(text)) }),
        any::<f64>()
            .prop_filter("fractions", |v| v.fract() != 0.0 && v.is_finite())
            .prop_map(|value| { (ColumnType::Double, serde_json::to_string(&value).unwrap(), bits(value)) }),
        (-9_007_199_254_740_992_i64..=9_007_199_254_740_992).prop_map(|value| {
            #[expect(clippy::cast_precision_loss, reason = "within 2^53")]
            let double = value as f64;
            (ColumnType::Double, value.to_string(), bits(double))
        }),
        any::<bool>().prop_map(|value| (ColumnType::Boolean, value.to_string(), json!(value))),
        (-719_162_i32..2_932_897).prop_map(|days| {
            let text = delivery::timestamp::format_date(days);
            (ColumnType::Date, format!("\"{text}\""), json!(text))
        }),
        (-62_135_596_800_000_000_i64..253_402_300_800_000_000).prop_map(|micros| {
            let text = delivery::timestamp::Timestamp::from_micros(micros).unwrap().to_string();
            (ColumnType::Timestamp, format!("\"{text}\""), json!(text))
        }),
        (-(10_i128.pow(38) - 1)..10_i128.pow(38), "[A-Z]{3}").prop_map(|(value, code)| {
            let sign = if value < 0 { "-" } else { "" };
            let text = format!("{sign}{}.{:06}", value.abs() / 1_000_000, value.abs() % 1_000_000);
            let line = format!(r#"{{"currencyCode":"{code}","amount":{text}}}"#);
            (ColumnType::Money, line, json!({"amount": text, "currency_code": code}))
        }),
    ]
}

proptest! {
    #[test]
    fn accepted_values_are_read_back_as_they_were(
        values in prop::collection::vec(accepted(), 1..6),
        copies in 1_usize..4,
    ) {
        let names: Vec<_> = (0..values.len()).map(|index| format!("c{index}")).collect();
        let columns: Vec<_> = names.iter().zip(&values).map(|(name, (t, _, _))| (name.as_str(), t.clone())).collect();
        let arrays: Vec<_> = names
            .iter()
            .zip(&values)
            .map(|(name, (t, _, _))| (name.as_str(), ColumnType::Array(Box::new(t.clone()))))
            .collect();
        let line = |wrap: &dyn Fn(&str) -> String| {
            let members: Vec<_> =
                names.iter().zip(&values).map(|(name, (_, text, _))| format!("\"{name}\":{}", wrap(text))).collect();
            format!("{{{}}}\n", members.join(","))
        };
        let plain = stage_bytes(line(&str::to_owned).repeat(copies).as_bytes(), &schema(&columns)).unwrap();
        let nested = stage_bytes(line(&|text| format!("[null,{text}]")).as_bytes(), &schema(&arrays)).unwrap();
        prop_assert_eq!(plain.staged.rejected + nested.staged.rejected, 0);
        let nested = nested.rows();
        for row in plain.rows() {
            for (name, (_, _, expected)) in names.iter().zip(&values) {
                prop_assert_eq!(&row[name], expected);
                prop_assert_eq!(&nested[0][name], &json!([null, expected]));
            }
        }
    }
}

/// A struct in an array in a struct, with every kind of value.
fn nested() -> ColumnType {
    let item = ColumnType::Struct(vec![
        member("text", ColumnType::String),
        member("any", ColumnType::Json),
        member("number", ColumnType::Double),
        member("flag", ColumnType::Boolean),
        member("day", ColumnType::Date),
        member("at", ColumnType::Timestamp),
        member("price", ColumnType::Money),
        member("parts", ColumnType::Array(Box::new(ColumnType::Struct(vec![member("price", ColumnType::Money)])))),
    ]);
    ColumnType::Struct(vec![member("items", ColumnType::Array(Box::new(item)))])
}

#[test]
fn nested_values_follow_the_same_table() {
    let one = |item: &str| format!(r#"{{"items":[{item}]}}"#);
    let empty = json!({
        "text": null, "any": null, "number": null, "flag": null, "day": null, "at": null, "price": null, "parts": null,
    });
    let with = |key: &str, value: Value| {
        let mut item = empty.clone();
        item[key] = value;
        Ok(json!({"items": [item]}))
    };
    for (item, expected) in [
        ("{}", Ok(json!({"items": [empty.clone()]}))),
        ("null", Ok(json!({"items": [null]}))),
        (r#"{"unknown":{"text":"x"},"_text":"x","\u005fp":[{}]}"#, Ok(json!({"items": [empty.clone()]}))),
        (r#"{"text":{"_p":1,"a":[{"_q":2}]}}"#, with("text", json!(r#"{"a":[{}]}"#))),
        (r#"{"text":1.50}"#, with("text", json!("1.50"))),
        (r#"{"any":{"_p":1,"a":1,"a":{"_r":0}}}"#, with("any", json!(r#"{"a":{}}"#))),
        (r#"{"number":"1e2"}"#, with("number", bits(100.0))),
        (r#"{"number":"x","number":-0}"#, with("number", bits(-0.0))),
        (r#"{"flag":"False"}"#, with("flag", json!(false))),
        (r#"{"day":"2026-09-01T00:00:00+00:00"}"#, with("day", json!("2026-09-01"))),
        (r#"{"at":-1}"#, with("at", json!("1969-12-31T23:59:59.999000Z"))),
        (r#"{"at":"2026-09-01T06:07:30"}"#, with("at", json!("2026-09-01T06:07:30Z"))),
        (
            r#"{"price":{"currencyCode":"EUR","amount":"1.5","_p":1,"x":2}}"#,
            with("price", json!({"amount": "1.500000", "currency_code": "EUR"})),
        ),
        (
            r#"{"parts":[{"price":{"amount":1}},{},null,{"price":null,"_p":1}]}"#,
            with(
                "parts",
                json!([
                    {"price": {"amount": "1.000000", "currency_code": null}}, {"price": null}, null, {"price": null},
                ]),
            ),
        ),
    ] {
        check(&nested(), &one(item), expected);
    }
    for item in [
        "1",
        "[]",
        r#"{"number":9007199254740993}"#,
        r#"{"number":"1,299.00"}"#,
        r#"{"flag":1}"#,
        r#"{"day":"01.09.2026"}"#,
        r#"{"at":"2026-09-01"}"#,
        r#"{"at":1.5}"#,
        r#"{"price":1}"#,
        r#"{"price":{}}"#,
        r#"{"price":{"amount":0.0000001}}"#,
        r#"{"parts":{}}"#,
        r#"{"parts":[{"price":{"currencyCode":"EUR"}}]}"#,
    ] {
        check(&nested(), &one(item), Err(FailureCode::ValueNotCastable));
    }
    refuses_text(&nested(), &[&one(r#"{"text":"\u0000"}"#), &one(r#"{"any":["\udc00"]}"#)]);
}
