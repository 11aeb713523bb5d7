//! What a format promises: what it writes it reads back, and a bad message is named with
//! its place and takes no good one with it.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use proptest::prelude::*;
use thalweg_schema::{CsvOptions, DecodeError, Decoded, Format};

fn formats() -> [Format; 2] {
    [Format::Json, Format::Csv(CsvOptions::default())]
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("item", DataType::Utf8, true),
        Field::new("clicks", DataType::Int64, false),
        Field::new("score", DataType::Float64, true),
        Field::new("shown", DataType::Boolean, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("slot", DataType::Int32, true),
    ]))
}

type Row = (
    Option<i64>,
    Option<String>,
    i64,
    Option<f64>,
    Option<bool>,
    Option<i128>,
    Option<i32>,
);

fn batch(rows: &[Row]) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter(
            rows.iter().map(|r| r.0),
        )),
        Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1.as_deref()))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2))),
        Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.3))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|r| r.4))),
        Arc::new(
            Decimal128Array::from_iter(rows.iter().map(|r| r.5))
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
        Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.6))),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        prop::option::of(0i64..4_000_000_000_000_000),
        // CSV cannot tell an empty string from NULL.
        prop::option::of("[a-zA-Z,\"\n é{}:\\\\]{1,12}"),
        any::<i64>(),
        prop::option::of(-1.0e12f64..1.0e12),
        any::<Option<bool>>(),
        prop::option::of(-9_999_999_999i128..9_999_999_999),
        any::<Option<i32>>(),
    );
    prop::collection::vec(row, 1..20)
}

fn decode(format: &Format, projection: Option<&[usize]>, messages: &[&[u8]]) -> Decoded {
    format
        .decoder(&schema(), projection)
        .unwrap()
        .decode(messages)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(rows in rows()) {
        let batch = batch(&rows);
        for format in formats() {
            let messages = format.encoder(&schema()).unwrap().encode(&batch).unwrap();
            prop_assert_eq!(messages.len(), rows.len());
            let slices: Vec<&[u8]> = messages.iter().map(AsRef::as_ref).collect();
            let decoded = decode(&format, None, &slices);
            prop_assert_eq!(&decoded.errors, &vec![]);
            prop_assert_eq!(&decoded.batch, &batch);

            let projection = [5, 1];
            let decoded = decode(&format, Some(&projection), &slices);
            prop_assert_eq!(&decoded.errors, &vec![]);
            prop_assert_eq!(&decoded.batch, &batch.project(&projection).unwrap());
        }
    }

    #[test]
    fn bad_messages_take_no_good_one_with_them(rows in rows(), bad in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..30)), 0..5)) {
        let batch = batch(&rows);
        for format in formats() {
            let good = format.encoder(&schema()).unwrap().encode(&batch).unwrap();
            let mut messages: Vec<Vec<u8>> = good.iter().map(|m| m.to_vec()).collect();
            for (at, bytes) in &bad {
                let at = at.index(messages.len() + 1);
                messages.insert(at, bytes.clone());
            }
            let slices: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let decoded = decode(&format, None, &slices);
            prop_assert_eq!(decoded.batch.num_rows() + decoded.errors.len(), messages.len());
            let alive: Vec<usize> = decoded.row_messages(messages.len()).collect();
            prop_assert_eq!(alive.len(), decoded.batch.num_rows());
            for (row, message) in good.iter().map(AsRef::as_ref).enumerate() {
                let at = alive.iter().position(|&index| messages[index] == message);
                prop_assert!(at.is_some(), "row {} was lost", row);
            }
        }
    }
}

#[test]
fn an_empty_projection_still_counts_rows() {
    for (format, message) in [
        (Format::Json, &br#"{"clicks": 1}"#[..]),
        (Format::Csv(CsvOptions::default()), b",,1,,,,"),
    ] {
        let decoded = decode(&format, Some(&[]), &[message, message]);
        assert_eq!(decoded.errors, vec![], "{format}");
        assert_eq!(decoded.batch.num_rows(), 2, "{format}");
        let decoded = decode(&format, Some(&[]), &[message, b"\"{", message]);
        assert_eq!(decoded.errors.len(), 1, "{format}");
        assert_eq!(decoded.batch.num_rows(), 2, "{format}");
    }
}

#[test]
fn no_message_gives_no_row() {
    for format in formats() {
        assert_eq!(decode(&format, None, &[]).batch.num_rows(), 0);
    }
}

#[test]
fn errors_name_the_place() {
    let cases: [(Format, &[u8], &str); 9] = [
        (
            Format::Json,
            br#"{"clicks": 1"#,
            "not JSON: EOF while parsing an object at line 1, column 12",
        ),
        (
            Format::Json,
            br#"{"item": "a"}"#,
            "field \"clicks\": missing, but Int64 is NOT NULL",
        ),
        (
            Format::Json,
            br#"{"clicks": "x1"}"#,
            "field \"clicks\": expected Int64, found string \"x1\"",
        ),
        (
            Format::Json,
            br#"[1]"#,
            "expected a JSON object, found array",
        ),
        (
            Format::Json,
            br#"{"clicks": 1} {"clicks": 2}"#,
            "not JSON: trailing characters at line 1, column 15",
        ),
        (
            Format::Csv(CsvOptions::default()),
            b"a,b",
            "expected 7 fields, found 2",
        ),
        (
            Format::Csv(CsvOptions::default()),
            b",,,,,,",
            "field \"clicks\": empty, but Int64 is NOT NULL",
        ),
        (
            Format::Csv(CsvOptions::default()),
            b",,1,much,,,",
            "field \"score\": expected Float64, found \"much\"",
        ),
        (
            Format::Csv(CsvOptions::default()),
            b",,1,,,,\n,,2,,,,",
            "expected one CSV record, found 2",
        ),
    ];
    for (format, message, expected) in cases {
        let decoded = decode(&format, None, &[message]);
        let errors: Vec<String> = decoded.errors.iter().map(|e| e.error.to_string()).collect();
        assert_eq!(errors, [expected]);
        assert_eq!(decoded.batch.num_rows(), 0);
    }
}

#[test]
fn unknown_json_fields_are_passed_over_and_timestamps_take_a_zone() {
    let decoded = decode(
        &Format::Json,
        Some(&[0, 2]),
        &[br#"{"other": {"deep": [1]}, "clicks": 4, "at": "2019-11-24T01:00:17.004101+01:00"}"#],
    );
    assert_eq!(decoded.errors, vec![]);
    let expected: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_574_553_617_004_101]));
    assert_eq!(decoded.batch.column(0), &expected);
}

#[test]
fn raw_takes_any_bytes_and_text_only_utf8() {
    let text = Arc::new(Schema::new(vec![Field::new("line", DataType::Utf8, false)]));
    let decoded = Format::Raw
        .decoder(&text, None)
        .unwrap()
        .decode(&[b"a", b"\xff", b"c"]);
    assert_eq!(decoded.batch.num_rows(), 2);
    assert!(matches!(decoded.errors[0].error, DecodeError::Shape { .. }));

    let bytes = Arc::new(Schema::new(vec![Field::new(
        "data",
        DataType::Binary,
        false,
    )]));
    let decoded = Format::Raw
        .decoder(&bytes, None)
        .unwrap()
        .decode(&[b"\xff"]);
    assert_eq!(decoded.errors, vec![]);
    assert!(Format::Raw.decoder(&schema(), None).is_err());
}
