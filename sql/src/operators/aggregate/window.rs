//! The window a group belongs to: when it ends, and when it is closed.

use crate::operators::OperatorError;
use crate::plan::WindowKey;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use thalweg_state::window::{START_LEN, encode_start};

/// A group without a window (its time is null) is never closed.
const NEVER: i64 = i64::MAX;

/// The ends of windows, from the column that carries their start or end.
pub(super) struct Windows {
    /// The input column.
    pub(super) column: usize,
    until_end_ms: i64,
    pub(super) grace_ms: i64,
}

impl Windows {
    pub(super) fn new(window: &WindowKey, keys: &[usize]) -> Result<Self, OperatorError> {
        let column = keys.get(window.key).ok_or(OperatorError::NoColumn {
            column: window.key,
            columns: keys.len(),
        })?;
        Ok(Self {
            column: *column,
            until_end_ms: window.until_end_ms,
            grace_ms: window.grace_ms,
        })
    }

    /// The end of each row's window in milliseconds, rounded up.
    pub(super) fn ends(&self, column: &ArrayRef, ends: &mut Vec<i64>) -> Result<(), OperatorError> {
        ends.clear();
        let nulls = column.logical_nulls();
        let mut push = |row: usize, ms: i64| {
            let null = nulls.as_ref().is_some_and(|n| n.is_null(row));
            ends.push(if null {
                NEVER
            } else {
                ms.saturating_add(self.until_end_ms)
            });
        };
        macro_rules! each {
            ($ty:ty, $ms:expr) => {
                for (row, value) in column.as_primitive::<$ty>().values().iter().enumerate() {
                    push(row, $ms(*value));
                }
            };
        }
        let up = |v: i64, n: i64| v.div_euclid(n) + i64::from(v.rem_euclid(n) != 0);
        match column.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => {
                each!(TimestampSecondType, |v: i64| v.saturating_mul(1000));
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => each!(TimestampMillisecondType, |v| v),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                each!(TimestampMicrosecondType, |v| up(v, 1000));
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                each!(TimestampNanosecondType, |v| up(v, 1_000_000));
            }
            other => {
                return Err(OperatorError::ColumnType {
                    column: self.column,
                    found: other.clone(),
                    expected: "TIMESTAMP",
                });
            }
        }
        Ok(())
    }

    /// Whether a window that ends at `end` is closed at `watermark`.
    pub(super) fn is_closed(&self, end: i64, watermark: i64) -> bool {
        end != NEVER && end.saturating_add(self.grace_ms) <= watermark
    }

    /// The first end that is still open at `watermark`: everything before may go.
    pub(super) fn first_open(&self, watermark: i64) -> i64 {
        watermark.saturating_sub(self.grace_ms).saturating_add(1)
    }

    /// Which rows are in time, or `None` when all are.
    pub(super) fn in_time(&self, ends: &[i64], watermark: i64) -> Option<BooleanArray> {
        if !ends.iter().any(|end| self.is_closed(*end, watermark)) {
            return None;
        }
        Some(
            ends.iter()
                .map(|end| Some(!self.is_closed(*end, watermark)))
                .collect(),
        )
    }
}

/// The bytes in front of a group's key in a store of windows.
pub(super) fn prefix(end: i64) -> [u8; START_LEN] {
    encode_start(end)
}

/// A stored key without its window.
pub(super) fn without_prefix(key: &[u8]) -> &[u8] {
    key.get(START_LEN..).unwrap_or_default()
}
