//! A chunk: rows as Arrow columns, and what each row does to the relation.
//!
//! Invariants: there are as many row operations as rows (or none, which means that all
//! rows are inserts); every [`RowOp::UpdateBefore`] is directly followed by its
//! [`RowOp::UpdateAfter`], and no [`RowOp::UpdateAfter`] stands without one. Every helper
//! here keeps them: a filter that keeps one half of a pair turns it into a delete or an
//! insert, and a cut never falls between the halves.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use std::sync::Arc;

/// What a row does to its relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RowOp {
    /// The row is new.
    Insert = 0,
    /// The row is gone.
    Delete = 1,
    /// The row as it was; the next row is what it became.
    UpdateBefore = 2,
    /// The row as it became; the row before is what it was.
    UpdateAfter = 3,
}

impl RowOp {
    /// How the row counts: 1 when it enters the relation, -1 when it leaves.
    #[must_use]
    pub fn sign(self) -> i8 {
        match self {
            Self::Insert | Self::UpdateAfter => 1,
            Self::Delete | Self::UpdateBefore => -1,
        }
    }

    /// Whether the row leaves the relation.
    #[must_use]
    pub fn is_retraction(self) -> bool {
        self.sign() < 0
    }

    /// The operation whose number this is.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        Some(match n {
            0 => Self::Insert,
            1 => Self::Delete,
            2 => Self::UpdateBefore,
            3 => Self::UpdateAfter,
            _ => return None,
        })
    }
}

/// The operations of a chunk's rows, cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOps(Arc<[RowOp]>);

impl RowOps {
    /// Checks that updates come in adjacent pairs.
    pub fn try_new(ops: Vec<RowOp>) -> Result<Self, ChunkError> {
        let mut before = false;
        for (row, op) in ops.iter().enumerate() {
            if before != (*op == RowOp::UpdateAfter) {
                return Err(ChunkError::BrokenPair { row });
            }
            before = *op == RowOp::UpdateBefore;
        }
        if before {
            return Err(ChunkError::BrokenPair { row: ops.len() });
        }
        Ok(Self(ops.into()))
    }
}

impl std::ops::Deref for RowOps {
    type Target = [RowOp];
    fn deref(&self) -> &[RowOp] {
        &self.0
    }
}

/// A chunk that would break its invariants.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// Operations and rows differ in number.
    #[error("a chunk of {rows} rows has {ops} row operations")]
    Length {
        /// Rows of the batch.
        rows: usize,
        /// Operations given.
        ops: usize,
    },
    /// An update with one half only.
    #[error("the update at row {row} has one half only")]
    BrokenPair {
        /// Where.
        row: usize,
    },
    /// Arrow refused.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}

/// Rows and what they do. See the module.
#[derive(Debug, Clone)]
pub struct Chunk {
    batch: RecordBatch,
    ops: Option<RowOps>,
}

impl From<RecordBatch> for Chunk {
    /// A chunk of inserts.
    fn from(batch: RecordBatch) -> Self {
        Self { batch, ops: None }
    }
}

impl Chunk {
    /// A chunk of `batch` whose rows do `ops`.
    pub fn try_new(batch: RecordBatch, ops: Option<RowOps>) -> Result<Self, ChunkError> {
        if let Some(ops) = &ops
            && ops.len() != batch.num_rows()
        {
            return Err(ChunkError::Length {
                rows: batch.num_rows(),
                ops: ops.len(),
            });
        }
        // Nothing but inserts needs no operations, and the fast paths look for that.
        let ops = ops.filter(|ops| ops.iter().any(|op| *op != RowOp::Insert));
        Ok(Self { batch, ops })
    }

    /// Checks `ops` and makes the chunk.
    pub fn with_ops(batch: RecordBatch, ops: Vec<RowOp>) -> Result<Self, ChunkError> {
        Self::try_new(batch, Some(RowOps::try_new(ops)?))
    }

    /// The rows.
    #[must_use]
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The operations; `None` when all rows are inserts.
    #[must_use]
    pub fn ops(&self) -> Option<&RowOps> {
        self.ops.as_ref()
    }

    /// The operation of a row.
    #[must_use]
    pub fn op(&self, row: usize) -> RowOp {
        self.ops
            .as_ref()
            .and_then(|ops| ops.get(row))
            .copied()
            .unwrap_or(RowOp::Insert)
    }

    /// Both parts.
    #[must_use]
    pub fn into_parts(self) -> (RecordBatch, Option<RowOps>) {
        (self.batch, self.ops)
    }

    /// Rows in the chunk.
    #[must_use]
    pub fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether the chunk has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.num_rows() == 0
    }

    /// The columns' names and types.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema()
    }

    /// Column `i`, or an error naming it.
    pub fn column(&self, i: usize) -> Result<&ArrayRef, ChunkError> {
        self.batch.columns().get(i).ok_or_else(|| {
            ArrowError::InvalidArgumentError(format!(
                "no column {i} in a chunk of {} columns",
                self.batch.num_columns()
            ))
            .into()
        })
    }

    /// Same operations, other columns (as many rows).
    pub fn with_batch(self, batch: RecordBatch) -> Result<Self, ChunkError> {
        Self::try_new(batch, self.ops)
    }

    /// Keeps the rows where `keep` is true. An update of which one half is kept becomes
    /// a delete or an insert.
    pub fn filter(self, keep: &BooleanArray) -> Result<Self, ChunkError> {
        if keep.len() != self.num_rows() {
            return Err(ChunkError::Length {
                rows: self.num_rows(),
                ops: keep.len(),
            });
        }
        if keep.null_count() == 0 && keep.true_count() == keep.len() {
            return Ok(self);
        }
        let batch = compute::filter_record_batch(&self.batch, keep)?;
        let Some(ops) = &self.ops else {
            return Ok(batch.into());
        };
        let kept = |row: usize| row < keep.len() && keep.is_valid(row) && keep.value(row);
        let mut out = Vec::with_capacity(batch.num_rows());
        for (row, op) in ops.iter().enumerate() {
            if kept(row) {
                out.push(match op {
                    RowOp::UpdateBefore if !kept(row + 1) => RowOp::Delete,
                    RowOp::UpdateAfter if !kept(row.wrapping_sub(1)) => RowOp::Insert,
                    op => *op,
                });
            }
        }
        Self::with_ops(batch, out)
    }

    /// The rows at `rows`, in that order, repeats allowed. Update pairs that do not stay
    /// adjacent become a delete and an insert.
    pub fn take(&self, rows: &[u32]) -> Result<Self, ChunkError> {
        let indices = UInt32Array::from(rows.to_vec());
        let batch = compute::take_record_batch(&self.batch, &indices)?;
        let Some(ops) = &self.ops else {
            return Ok(batch.into());
        };
        let mut out = Vec::with_capacity(rows.len());
        let mut paired = false;
        for (i, row) in rows.iter().enumerate() {
            let op = ops.get(*row as usize).copied().unwrap_or(RowOp::Insert);
            out.push(match op {
                RowOp::UpdateBefore => {
                    paired = rows.get(i + 1) == Some(&(row + 1));
                    if paired {
                        RowOp::UpdateBefore
                    } else {
                        RowOp::Delete
                    }
                }
                RowOp::UpdateAfter => {
                    if std::mem::take(&mut paired) {
                        RowOp::UpdateAfter
                    } else {
                        RowOp::Insert
                    }
                }
                op => op,
            });
        }
        Self::with_ops(batch, out)
    }

    /// The first rows, at least one and about `rows`, and the rest: cut so that no update
    /// is torn. The rest is empty when everything fits.
    #[must_use]
    pub fn split(&self, rows: usize) -> (Self, Self) {
        let mut at = rows.max(1).min(self.num_rows());
        if at < self.num_rows() && self.op(at) == RowOp::UpdateAfter {
            at = if at > 1 { at - 1 } else { at + 1 };
        }
        (self.cut(0, at), self.cut(at, self.num_rows() - at))
    }

    fn cut(&self, offset: usize, length: usize) -> Self {
        Self {
            batch: self.batch.slice(offset, length),
            ops: self
                .ops
                .as_ref()
                .map(|ops| RowOps(ops.iter().skip(offset).take(length).copied().collect()))
                .filter(|ops| ops.iter().any(|op| *op != RowOp::Insert)),
        }
    }

    /// One chunk of all rows of `chunks`, in order. They must have one schema.
    pub fn concat(schema: &SchemaRef, chunks: &[Self]) -> Result<Self, ChunkError> {
        if let [one] = chunks {
            return Ok(one.clone());
        }
        let batch = compute::concat_batches(schema, chunks.iter().map(|c| &c.batch))?;
        if chunks.iter().all(|c| c.ops.is_none()) {
            return Ok(batch.into());
        }
        let mut ops = Vec::with_capacity(batch.num_rows());
        for chunk in chunks {
            match &chunk.ops {
                Some(o) => ops.extend_from_slice(o),
                None => ops.resize(ops.len() + chunk.num_rows(), RowOp::Insert),
            }
        }
        Self::with_ops(batch, ops)
    }

    /// The signs of the rows, or `None` when all rows are inserts.
    #[must_use]
    pub fn signs(&self) -> Option<Vec<i8>> {
        self.ops
            .as_ref()
            .map(|ops| ops.iter().map(|op| op.sign()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RowOp::{Delete, Insert, UpdateAfter, UpdateBefore};
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, false)]))
    }

    fn chunk(rows: &[(RowOp, i64)]) -> Chunk {
        let values = Int64Array::from_iter_values(rows.iter().map(|r| r.1));
        let batch = RecordBatch::try_new(schema(), vec![Arc::new(values)]).unwrap();
        Chunk::with_ops(batch, rows.iter().map(|r| r.0).collect()).unwrap()
    }

    fn rows(chunk: &Chunk) -> Vec<(RowOp, i64)> {
        let values = chunk.batch().column(0).as_primitive::<Int64Type>();
        (0..chunk.num_rows())
            .map(|i| (chunk.op(i), values.value(i)))
            .collect()
    }

    #[test]
    fn torn_pairs_are_refused() {
        for ops in [
            vec![UpdateBefore],
            vec![UpdateAfter],
            vec![UpdateBefore, Insert],
            vec![UpdateBefore, UpdateBefore, UpdateAfter],
            vec![Insert, UpdateAfter],
        ] {
            assert!(RowOps::try_new(ops.clone()).is_err(), "{ops:?}");
        }
    }

    #[test]
    fn a_half_kept_pair_degrades() {
        let c = chunk(&[
            (UpdateBefore, 1),
            (UpdateAfter, 2),
            (UpdateBefore, 3),
            (UpdateAfter, 4),
            (Insert, 5),
        ]);
        let kept = c
            .filter(&BooleanArray::from(vec![true, false, false, true, true]))
            .unwrap();
        assert_eq!(rows(&kept), [(Delete, 1), (Insert, 4), (Insert, 5)]);
    }

    fn any_rows() -> impl Strategy<Value = Vec<(RowOp, i64)>> {
        let item = prop_oneof![
            any::<i8>().prop_map(|v| vec![(Insert, i64::from(v))]),
            any::<i8>().prop_map(|v| vec![(Delete, i64::from(v))]),
            any::<(i8, i8)>()
                .prop_map(|(a, b)| vec![(UpdateBefore, i64::from(a)), (UpdateAfter, i64::from(b))]),
        ];
        proptest::collection::vec(item, 0..10).prop_map(|v| v.concat())
    }

    /// The multiset a sequence of changes amounts to.
    fn weight(rows: &[(RowOp, i64)]) -> std::collections::BTreeMap<i64, i64> {
        let mut w = std::collections::BTreeMap::new();
        for (op, v) in rows {
            *w.entry(*v).or_default() += i64::from(op.sign());
        }
        w.retain(|_, n| *n != 0);
        w
    }

    proptest! {
        #[test]
        fn splits_concatenate_to_the_whole(all in any_rows(), cut in 0..12usize) {
            let c = chunk(&all);
            let (a, b) = c.split(cut);
            prop_assert!(RowOps::try_new(rows(&a).iter().map(|r| r.0).collect()).is_ok());
            prop_assert!(RowOps::try_new(rows(&b).iter().map(|r| r.0).collect()).is_ok());
            prop_assert!(c.is_empty() || !a.is_empty());
            prop_assert_eq!(rows(&Chunk::concat(&schema(), &[a, b]).unwrap()), all);
        }

        #[test]
        fn a_filter_keeps_the_weight_of_what_passes(all in any_rows(), mask in any::<u32>()) {
            let keep: Vec<bool> = (0..all.len()).map(|i| mask >> (i % 32) & 1 == 1).collect();
            let kept = chunk(&all).filter(&BooleanArray::from(keep.clone())).unwrap();
            let model: Vec<_> = all.iter().zip(&keep).filter(|(_, k)| **k).map(|(r, _)| *r).collect();
            prop_assert_eq!(weight(&rows(&kept)), weight(&model));
            let indices: Vec<u32> = (0u32..).zip(&keep).filter(|(_, k)| **k).map(|(i, _)| i).collect();
            prop_assert_eq!(rows(&chunk(&all).take(&indices).unwrap()), rows(&kept));
        }
    }
}
