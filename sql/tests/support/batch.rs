//! The batch side: DataFusion over what the stream took, and the comparison.

use super::events::batch;
use super::{Event, Outcome, Pipeline};
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::array_value_to_string;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::BTreeMap;

impl Pipeline {
    /// Runs the batch over what the stream took, and compares.
    pub(crate) fn assert_batch_equal(&self, outcome: &Outcome) {
        let events: Vec<&Event> = outcome.taken.iter().map(|t| &t.0).collect();
        let windows = self
            .window
            .map(|_| outcome.taken.iter().filter_map(|t| t.1).collect());
        let table = batch(&events, windows);
        let first = self.first.sql("events");
        let having = self
            .having
            .as_ref()
            .map_or(String::new(), |h| format!(" WHERE {h}"));
        let sql = match &self.second {
            None => first,
            Some(second) => second.sql(&format!("(SELECT * FROM ({first}){having})")),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let batches = runtime.block_on(async {
            let config = SessionConfig::new().with_target_partitions(1);
            let context = SessionContext::new_with_config(config);
            context.register_batch("events", table).unwrap();
            context.sql(&sql).await.unwrap().collect().await.unwrap()
        });
        let columns = self.view_columns();
        for (batch, spec) in batches.iter().flat_map(|b| {
            let schema = b.schema();
            let types: Vec<DataType> = schema
                .fields()
                .iter()
                .map(|f| f.data_type().clone())
                .collect();
            types.into_iter().zip(&columns)
        }) {
            let text = |t: &DataType| matches!(t, DataType::Utf8 | DataType::Utf8View);
            assert!(
                batch == spec.data_type || (text(&batch) && text(&spec.data_type)),
                "{}",
                spec.name
            );
        }
        let keys = self.last().keys.len();
        let expected = cells(&batches, keys);
        let actual = cells(std::slice::from_ref(&outcome.rows), keys);
        let names = |m: &BTreeMap<Vec<String>, Vec<Cell>>| m.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&actual), names(&expected), "groups of {sql}");
        for (key, actual) in &actual {
            for ((actual, expected), column) in
                actual.iter().zip(&expected[key]).zip(&columns[keys..])
            {
                assert!(
                    actual.close_to(expected),
                    "{} of {key:?}: {actual:?}, not {expected:?} in {sql}",
                    column.name
                );
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Float(f64),
    Text(String),
}

impl Cell {
    fn close_to(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => {
                (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
            }
            _ => self == other,
        }
    }
}

/// Rows by their key.
fn cells(batches: &[RecordBatch], keys: usize) -> BTreeMap<Vec<String>, Vec<Cell>> {
    let mut rows = BTreeMap::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let text = |c: &ArrayRef| {
                if c.is_null(row) {
                    "NULL".to_owned()
                } else {
                    array_value_to_string(c, row).unwrap()
                }
            };
            let key: Vec<String> = batch.columns()[..keys].iter().map(text).collect();
            let values = batch.columns()[keys..]
                .iter()
                .map(|c| match c.data_type() {
                    DataType::Float64 if c.is_valid(row) => {
                        Cell::Float(c.as_primitive::<Float64Type>().value(row))
                    }
                    _ => Cell::Text(text(c)),
                })
                .collect();
            assert!(rows.insert(key, values).is_none(), "two rows of one group");
        }
    }
    rows
}
