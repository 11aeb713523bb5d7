//! Events, and what is asked about them.

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use std::sync::Arc;
use thalweg_sql::operators::nullable_schema;
use thalweg_sql::plan::ColumnSpec;

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) partition: i32,
    pub(crate) ts: Option<i64>,
    pub(crate) k: Option<String>,
    pub(crate) i: Option<i64>,
    pub(crate) f: Option<f64>,
    pub(crate) d: Option<i128>,
    pub(crate) s: Option<String>,
    pub(crate) b: Option<bool>,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Event(Event),
    /// Work off what is there, in the order of the seed.
    Run,
    /// Commit and build everything anew.
    Restart,
    /// Build everything anew from the last commit.
    Crash,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) size_ms: i64,
    pub(crate) slide_ms: i64,
    pub(crate) delay_ms: i64,
    pub(crate) grace_ms: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) keys: Vec<String>,
    pub(crate) aggregates: Vec<(String, String)>,
}

impl Query {
    pub(crate) fn new(keys: &[&str], aggregates: &[(&str, &str)]) -> Self {
        Self {
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
            aggregates: aggregates
                .iter()
                .map(|(n, a)| ((*n).to_owned(), (*a).to_owned()))
                .collect(),
        }
    }

    pub(crate) fn sql(&self, from: &str) -> String {
        let items: Vec<_> = self
            .keys
            .iter()
            .cloned()
            .chain(
                self.aggregates
                    .iter()
                    .map(|(name, call)| format!("{call} AS {name}")),
            )
            .collect();
        let group = match self.keys.is_empty() {
            true => String::new(),
            false => format!(" GROUP BY {}", self.keys.join(", ")),
        };
        format!("SELECT {} FROM {from}{group}", items.join(", "))
    }
}

pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, None)
}

/// The columns of events.
pub(crate) fn columns() -> Vec<ColumnSpec> {
    [
        ("ts", timestamp()),
        ("k", DataType::Utf8),
        ("i", DataType::Int64),
        ("f", DataType::Float64),
        ("d", DataType::Decimal128(10, 2)),
        ("s", DataType::Utf8),
        ("b", DataType::Boolean),
    ]
    .map(|(name, data_type)| ColumnSpec::new(name, data_type))
    .to_vec()
}

pub(crate) fn batch(events: &[&Event], windows: Option<Vec<i64>>) -> RecordBatch {
    let mut specs = columns();
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(
            events
                .iter()
                .map(|e| e.ts)
                .collect::<TimestampMillisecondArray>(),
        ),
        Arc::new(
            events
                .iter()
                .map(|e| e.k.as_deref())
                .collect::<StringArray>(),
        ),
        Arc::new(events.iter().map(|e| e.i).collect::<Int64Array>()),
        Arc::new(events.iter().map(|e| e.f).collect::<Float64Array>()),
        Arc::new(
            events
                .iter()
                .map(|e| e.d)
                .collect::<Decimal128Array>()
                .with_precision_and_scale(10, 2)
                .unwrap(),
        ),
        Arc::new(
            events
                .iter()
                .map(|e| e.s.as_deref())
                .collect::<StringArray>(),
        ),
        Arc::new(events.iter().map(|e| e.b).collect::<BooleanArray>()),
    ];
    if let Some(windows) = windows {
        specs.push(ColumnSpec::new("w", timestamp()));
        arrays.push(Arc::new(TimestampMillisecondArray::from(windows)));
    }
    RecordBatch::try_new(nullable_schema(&specs), arrays).unwrap()
}
