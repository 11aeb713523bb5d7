use super::{ViewRowDecoder, ViewRowEncoder};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use proptest::prelude::*;
use std::sync::Arc;
use thalweg_schema::{RowDecoder, RowEncoder};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<_> = columns
        .iter()
        .map(|(n, a)| Field::new(*n, a.data_type().clone(), true))
        .collect();
    let columns = columns.into_iter().map(|c| c.1).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let mut encoder = ViewRowEncoder::new(&batch.schema()).unwrap();
    let rows = encoder.encode(batch).unwrap();
    rows.iter()
        .map(|r| String::from_utf8(r.to_vec()).unwrap())
        .collect()
}

fn decode(schema: &SchemaRef, rows: &[&str]) -> thalweg_schema::Decoded {
    let bytes: Vec<&[u8]> = rows.iter().map(|r| r.as_bytes()).collect();
    ViewRowDecoder::new(schema, None).unwrap().decode(&bytes)
}

#[test]
fn the_text_is_what_a_kafka_client_expects() {
    let batch = batch(vec![
        (
            "s",
            Arc::new(StringArray::from(vec![Some("a\"\\\n\u{1}é"), None])),
        ),
        (
            "n",
            Arc::new(Int64Array::from(vec![Some(i64::MAX), Some(-1)])),
        ),
        ("f", Arc::new(Float64Array::from(vec![0.1, f64::NAN]))),
        (
            "d",
            Arc::new(
                Decimal128Array::from(vec![Some(-1205), Some(7)])
                    .with_precision_and_scale(10, 2)
                    .unwrap(),
            ),
        ),
        (
            "t",
            Arc::new(TimestampMillisecondArray::from(vec![1_500, i64::MIN]).with_timezone("UTC")),
        ),
        (
            "b",
            Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""])),
        ),
        ("y", Arc::new(Date32Array::from(vec![19_000, i32::MAX]))),
    ]);
    assert_eq!(
        texts(&batch),
        [
            r#"{"s":"a\"\\\n\u0001é","n":9223372036854775807,"f":0.1,"d":-12.05,"t":"1970-01-01T00:00:01.500Z","b":"00ff","y":"2022-01-08"}"#,
            r#"{"s":null,"n":-1,"f":"NaN","d":0.07,"t":-9223372036854775808,"b":"","y":2147483647}"#,
        ]
    );
}

#[test]
fn other_orders_and_unknown_fields_are_read() {
    let schema = batch(vec![
        ("a", Arc::new(Int64Array::from(vec![1]))),
        ("b", Arc::new(StringArray::from(vec!["x"]))),
    ])
    .schema();
    let decoded = decode(
        &schema,
        &[
            r#" { "b" : "\ud83d\ude00\u00e9\/" , "x":[1,{"y":[]}], "a" : 3 } "#,
            r#"{"a":4}"#,
            "{}",
        ],
    );
    assert!(decoded.errors.is_empty(), "{:?}", decoded.errors);
    let expected = batch(vec![
        (
            "a",
            Arc::new(Int64Array::from(vec![Some(3), Some(4), None])),
        ),
        (
            "b",
            Arc::new(StringArray::from(vec![Some("😀é/"), None, None])),
        ),
    ]);
    assert_eq!(decoded.batch, expected);
}

#[test]
fn bad_rows_are_named_and_good_ones_kept() {
    let schema = batch(vec![("a", Arc::new(Int8Array::from(vec![1])) as ArrayRef)]).schema();
    let rows = [
        r#"{"a":1}"#,
        r#"{"a":300}"#,
        r#"{"a":"x"}"#,
        r#"{"a":1"#,
        r#"{"a":1}}"#,
        r#"{"a":"\ud800"}"#,
        "",
        r#"{"a":2}"#,
    ];
    let decoded = decode(&schema, &rows);
    let bad: Vec<_> = decoded.errors.iter().map(|e| e.message).collect();
    assert_eq!(bad, [1, 2, 3, 4, 5, 6]);
    assert_eq!(
        decoded.batch,
        batch(vec![("a", Arc::new(Int8Array::from(vec![1, 2])))])
    );
}

#[test]
fn a_list_is_refused() {
    let list = Field::new("l", DataType::new_list(DataType::Int8, true), true);
    let schema = Arc::new(Schema::new(vec![list]));
    assert!(ViewRowEncoder::new(&schema).is_err());
    assert!(ViewRowDecoder::new(&schema, None).is_err());
}

type Row = (
    (
        Option<i64>,
        Option<u64>,
        Option<u64>,
        Option<u32>,
        Option<String>,
    ),
    (
        Option<Vec<u8>>,
        Option<i128>,
        Option<i64>,
        Option<i32>,
        Option<bool>,
    ),
);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    use proptest::option::of;
    let row = (
        (
            of(any::<i64>()),
            of(any::<u64>()),
            of(any::<u64>()),
            of(any::<u32>()),
            of(".{0,6}"),
        ),
        (
            of(proptest::collection::vec(any::<u8>(), 0..5)),
            of(-(10i128.pow(37))..10i128.pow(37)),
            of(prop_oneof![
                any::<i64>(),
                -1_000_000_000_000_000..1_000_000_000_000_000i64
            ]),
            of(any::<i32>()),
            of(any::<bool>()),
        ),
    );
    proptest::collection::vec(row, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_type_comes_back(rows in rows()) {
        let canonical = |f: f64| if f.is_nan() { f64::NAN } else { f };
        let day = |t: i64| t.rem_euclid(86_400_000_000);
        let original = batch(vec![
            ("i64", Arc::new(rows.iter().map(|r| r.0.0).collect::<Int64Array>())),
            ("i8", Arc::new(rows.iter().map(|r| r.0.0.map(|v| v as i8)).collect::<Int8Array>())),
            ("u64", Arc::new(rows.iter().map(|r| r.0.1).collect::<UInt64Array>())),
            ("f64", Arc::new(rows.iter().map(|r| r.0.2.map(|v| canonical(f64::from_bits(v)))).collect::<Float64Array>())),
            ("f32", Arc::new(rows.iter().map(|r| r.0.3.map(|v| { let f = f32::from_bits(v); if f.is_nan() { f32::NAN } else { f } })).collect::<Float32Array>())),
            ("s", Arc::new(rows.iter().map(|r| r.0.4.clone()).collect::<StringArray>())),
            ("ls", Arc::new(rows.iter().map(|r| r.0.4.clone()).collect::<LargeStringArray>())),
            ("vs", Arc::new(rows.iter().map(|r| r.0.4.clone()).collect::<StringViewArray>())),
            ("b", Arc::new(rows.iter().map(|r| r.1.0.as_deref()).collect::<BinaryArray>())),
            ("d", Arc::new(rows.iter().map(|r| r.1.1).collect::<Decimal128Array>().with_precision_and_scale(38, 9).unwrap())),
            ("ts", Arc::new(rows.iter().map(|r| r.1.2).collect::<TimestampMicrosecondArray>())),
            ("tz", Arc::new(rows.iter().map(|r| r.1.2).collect::<TimestampMillisecondArray>().with_timezone("UTC"))),
            ("t", Arc::new(rows.iter().map(|r| r.1.2.map(day)).collect::<Time64MicrosecondArray>())),
            ("date", Arc::new(rows.iter().map(|r| r.1.3).collect::<Date32Array>())),
            ("bool", Arc::new(rows.iter().map(|r| r.1.4).collect::<BooleanArray>())),
        ]);
        let texts = texts(&original);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let decoded = decode(&original.schema(), &texts);
        prop_assert!(decoded.errors.is_empty(), "{:?}", decoded.errors);
        for (a, b) in decoded.batch.columns().iter().zip(original.columns()) {
            // Floats by their bits: Debug tells 0.0 from -0.0 and shows NaN.
            prop_assert_eq!(format!("{:?}", a), format!("{:?}", b));
        }
    }

    #[test]
    fn random_text_never_panics(text in "[{}\\[\\]\",:\\\\u0-9a-e\u{20}tn-]{0,30}") {
        let schema = batch(vec![("a", Arc::new(Int8Array::from(vec![1])) as ArrayRef)]).schema();
        let decoded = decode(&schema, &[&text]);
        prop_assert_eq!(decoded.batch.num_rows() + decoded.errors.len(), 1);
    }
}
