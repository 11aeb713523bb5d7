//! Stateless operators: filter, projection, hopping windows, union.
//!
//! They keep row operations as they are, except that an update of which only one half
//! passes a filter becomes an insert or a delete.

use super::{OperatorError, nullable_schema};
use crate::plan::{ColumnSpec, HopOp, ScalarExpr};
use arrow::array::{
    ArrayRef, AsArray, PrimitiveArray, RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, SchemaRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;
use thalweg_streams::StreamsError;
use thalweg_streams::columnar::{Chunk, ColumnarNode, NodeName, Outputs, RowOp};
use thalweg_streams::task::TaskContext;

/// Filters, then projects; either may be left out.
pub struct FilterProject {
    name: NodeName,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    projection: Option<Vec<Arc<dyn PhysicalExpr>>>,
    input: SchemaRef,
    output: SchemaRef,
}

impl FilterProject {
    /// Keeps the rows of `input` for which `predicate` is true.
    pub fn filter(
        name: &str,
        predicate: &ScalarExpr,
        input: &[ColumnSpec],
    ) -> Result<Self, StreamsError> {
        let name = NodeName::new(name);
        let predicate = predicate.to_physical(input).map_err(|e| name.error(e))?;
        let schema = nullable_schema(input);
        Ok(Self {
            name,
            predicate: Some(predicate),
            projection: None,
            input: schema.clone(),
            output: schema,
        })
    }

    /// Computes the columns `output` from rows of `input`.
    pub fn project(
        name: &str,
        exprs: &[ScalarExpr],
        input: &[ColumnSpec],
        output: &[ColumnSpec],
    ) -> Result<Self, StreamsError> {
        let name = NodeName::new(name);
        if exprs.len() != output.len() {
            return Err(name.error(format!(
                "{} expressions for {} columns",
                exprs.len(),
                output.len()
            )));
        }
        let exprs = exprs
            .iter()
            .map(|e| e.to_physical(input))
            .collect::<Result<Vec<_>, _>>();
        Ok(Self {
            projection: Some(exprs.map_err(|e| name.error(e))?),
            name,
            predicate: None,
            input: nullable_schema(input),
            output: nullable_schema(output),
        })
    }

    fn apply(&self, chunk: Chunk) -> Result<Chunk, OperatorError> {
        let chunk = match &self.predicate {
            None => chunk,
            Some(predicate) => {
                let batch = self.as_input(&chunk)?;
                let keep = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
                let keep = keep
                    .as_boolean_opt()
                    .ok_or_else(|| OperatorError::ColumnType {
                        column: 0,
                        found: keep.data_type().clone(),
                        expected: "BOOLEAN",
                    })?;
                chunk.filter(keep)?
            }
        };
        let Some(exprs) = &self.projection else {
            return Ok(chunk);
        };
        if chunk.is_empty() {
            return Ok(RecordBatch::new_empty(self.output.clone()).into());
        }
        let batch = self.as_input(&chunk)?;
        let rows = batch.num_rows();
        let columns = exprs
            .iter()
            .zip(self.output.fields())
            .map(|(expr, field)| {
                let array = expr.evaluate(&batch)?.into_array(rows)?;
                // The stored plan says the type; an expression may differ in its spelling.
                if array.data_type() == field.data_type() {
                    Ok(array)
                } else {
                    Ok(compute::cast(&array, field.data_type())?)
                }
            })
            .collect::<Result<Vec<_>, OperatorError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?;
        Ok(chunk.with_batch(batch)?)
    }

    /// The rows under the names that expressions know them by.
    fn as_input(&self, chunk: &Chunk) -> Result<RecordBatch, OperatorError> {
        let options = RecordBatchOptions::new().with_row_count(Some(chunk.num_rows()));
        let columns = chunk.batch().columns().to_vec();
        Ok(RecordBatch::try_new_with_options(
            self.input.clone(),
            columns,
            &options,
        )?)
    }
}

impl ColumnarNode for FilterProject {
    fn inputs(&self) -> Vec<SchemaRef> {
        vec![self.input.clone()]
    }

    fn outputs(&self) -> Vec<SchemaRef> {
        vec![self.output.clone()]
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        _cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        out.push(self.apply(chunk).map_err(|e| self.name.error(e))?);
        Ok(())
    }
}

/// Puts out each row once for every hopping window that holds it, with the window's start
/// appended. A row without a time is in no window.
pub struct Hop {
    name: NodeName,
    op: HopOp,
    input: SchemaRef,
    output: SchemaRef,
}

impl Hop {
    /// The operator `op` over rows of `input`, putting out `columns`.
    pub fn new(
        name: &str,
        op: HopOp,
        input: SchemaRef,
        columns: &[ColumnSpec],
    ) -> Result<Self, StreamsError> {
        let name = NodeName::new(name);
        if op.slide_ms <= 0 || op.size_ms <= 0 {
            return Err(name.error("a window and its slide must be longer than nothing"));
        }
        Ok(Self {
            name,
            op,
            input,
            output: nullable_schema(columns),
        })
    }

    fn apply(&self, chunk: &Chunk) -> Result<Chunk, OperatorError> {
        let time = chunk.column(self.op.time)?;
        let (rows, starts): (Vec<u32>, ArrayRef) = match time.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => {
                // A window shorter than a second has no start that seconds can tell.
                let (slide, size) = (self.op.slide_ms, self.op.size_ms);
                if slide % 1000 != 0 || size % 1000 != 0 {
                    return Err(OperatorError::ColumnType {
                        column: self.op.time,
                        found: time.data_type().clone(),
                        expected: "a TIMESTAMP as fine as the window",
                    });
                }
                windows::<TimestampSecondType>(time, slide / 1000, size / 1000, chunk)
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                windows::<TimestampMillisecondType>(time, self.op.slide_ms, self.op.size_ms, chunk)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let ms = 1000;
                windows::<TimestampMicrosecondType>(
                    time,
                    self.op.slide_ms * ms,
                    self.op.size_ms * ms,
                    chunk,
                )
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                let ms = 1_000_000;
                windows::<TimestampNanosecondType>(
                    time,
                    self.op.slide_ms * ms,
                    self.op.size_ms * ms,
                    chunk,
                )
            }
            other => {
                return Err(OperatorError::ColumnType {
                    column: self.op.time,
                    found: other.clone(),
                    expected: "TIMESTAMP",
                });
            }
        };
        let ops = chunk.ops().map(|_| paired_ops(chunk, &rows));
        let indices = UInt32Array::from(rows);
        let mut columns = chunk
            .batch()
            .columns()
            .iter()
            .map(|c| compute::take(c, &indices, None))
            .collect::<Result<Vec<_>, _>>()?;
        columns.push(starts);
        let batch = RecordBatch::try_new(self.output.clone(), columns)?;
        Ok(match ops {
            None => batch.into(),
            Some(ops) => Chunk::with_ops(batch, ops)?,
        })
    }
}

/// Rows are repeated apart from their other half, so updates become deletes and inserts.
fn paired_ops(chunk: &Chunk, rows: &[u32]) -> Vec<RowOp> {
    rows.iter()
        .map(|row| match chunk.op(*row as usize) {
            RowOp::Insert | RowOp::UpdateAfter => RowOp::Insert,
            RowOp::Delete | RowOp::UpdateBefore => RowOp::Delete,
        })
        .collect()
}

/// The rows in their windows, and the windows' starts, all in the unit of `T`.
fn windows<T: ArrowPrimitiveType<Native = i64>>(
    time: &ArrayRef,
    slide: i64,
    size: i64,
    chunk: &Chunk,
) -> (Vec<u32>, ArrayRef) {
    let times = time.as_primitive::<T>();
    let per_row = usize::try_from(size.div_euclid(slide.max(1)) + 1).unwrap_or(1);
    let mut rows = Vec::with_capacity(chunk.num_rows().saturating_mul(per_row).min(1 << 20));
    let mut starts = Vec::with_capacity(rows.capacity());
    for (row, time) in (0u32..).zip(times.iter()) {
        let Some(time) = time else { continue };
        // From the oldest window that still holds the row to the newest.
        let newest = time.div_euclid(slide).saturating_mul(slide);
        let mut start = newest.saturating_sub((size - 1).div_euclid(slide) * slide);
        while start <= newest {
            if start.saturating_add(size) > time {
                rows.push(row);
                starts.push(start);
            }
            start = start.saturating_add(slide);
        }
    }
    let starts =
        PrimitiveArray::<T>::from_iter_values(starts).with_data_type(time.data_type().clone());
    (rows, Arc::new(starts))
}

impl ColumnarNode for Hop {
    fn inputs(&self) -> Vec<SchemaRef> {
        vec![self.input.clone()]
    }

    fn outputs(&self) -> Vec<SchemaRef> {
        vec![self.output.clone()]
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        _cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        out.push(self.apply(&chunk).map_err(|e| self.name.error(e))?);
        Ok(())
    }
}

/// UNION ALL: what comes in at any port goes out.
pub struct Union {
    schema: SchemaRef,
    ports: usize,
}

impl Union {
    /// Joins `ports` inputs of the same columns.
    #[must_use]
    pub fn new(ports: usize, columns: &[ColumnSpec]) -> Self {
        Self {
            schema: nullable_schema(columns),
            ports,
        }
    }
}

impl ColumnarNode for Union {
    fn inputs(&self) -> Vec<SchemaRef> {
        vec![self.schema.clone(); self.ports]
    }

    fn outputs(&self) -> Vec<SchemaRef> {
        vec![self.schema.clone()]
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        _cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        out.push(chunk);
        Ok(())
    }
}
