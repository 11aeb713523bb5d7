//! Aggregation inside a chunk, ahead of an exchange, to send less.
//!
//! Invariant: nothing is held back. The groups of each chunk go out as partial states
//! right behind it, so the watermark never overtakes them.

use super::calls::Calls;
use super::group::put_partial;
use super::groups::GroupTable;
use crate::operators::{OperatorError, nullable_schema};
use crate::plan::{AggregateCall, AggregateFunction, ColumnSpec, PartialAggregateOp};
use arrow::array::{ArrayRef, BinaryBuilder, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;
use thalweg_state::TaskState;
use thalweg_streams::StreamsError;
use thalweg_streams::columnar::{
    Chunk, ColumnarNode, EncodedKeys, KeyCodec, KeyVersion, NodeName, Outputs,
};
use thalweg_streams::task::TaskContext;

/// Splits an aggregate of insert-only rows at the exchange: gives the operator ahead of it
/// with its output columns, and makes `calls` those of the operator behind it. `None`, and
/// nothing changed, where a call cannot be merged.
pub fn split_aggregate(
    keys: &[usize],
    calls: &mut [AggregateCall],
    input: &[ColumnSpec],
) -> Option<(PartialAggregateOp, Vec<ColumnSpec>)> {
    if calls.is_empty() || !calls.iter().all(|call| is_mergeable(call, input)) {
        return None;
    }
    let mut columns = keys
        .iter()
        .map(|k| input.get(*k).cloned())
        .collect::<Option<Vec<_>>>()?;
    let op = PartialAggregateOp {
        keys: keys.to_vec(),
        calls: calls.to_vec(),
    };
    for call in calls {
        // What is the greatest or least of distinct values is so of all.
        call.distinct = false;
        call.argument = Some(columns.len());
        call.filter = None;
        columns.push(ColumnSpec::required(&call.output.name, DataType::Binary));
    }
    Some((op, columns))
}

/// All but DISTINCT, and means of decimals whose scale the result does not tell.
fn is_mergeable(call: &AggregateCall, input: &[ColumnSpec]) -> bool {
    let argument = call
        .argument
        .and_then(|a| input.get(a))
        .map(|c| &c.data_type);
    match (call.function, argument, &call.output.data_type) {
        (AggregateFunction::Min | AggregateFunction::Max, _, _) => true,
        (
            AggregateFunction::Avg,
            Some(DataType::Decimal128(_, scale)),
            DataType::Decimal128(_, result),
        ) => !call.distinct && scale.checked_add(4) == Some(*result),
        _ => !call.distinct,
    }
}

/// Puts out keys and one binary column of partial states a call. Takes inserts only.
pub struct PartialAggregate {
    name: NodeName,
    op: PartialAggregateOp,
    input: SchemaRef,
    output: SchemaRef,
    key_codec: KeyCodec,
    calls: Calls,
    table: GroupTable,
    keys: EncodedKeys,
}

impl PartialAggregate {
    /// The operator `op` over rows of `input`, putting out `columns`.
    pub fn new(
        name: &str,
        op: PartialAggregateOp,
        input: SchemaRef,
        columns: &[ColumnSpec],
    ) -> Result<Self, StreamsError> {
        let name = NodeName::new(name);
        let calls = Calls::new(&op.calls, &input, |_| {
            Err(OperatorError::State(
                "DISTINCT cannot be aggregated partially",
            ))
        });
        let mut types = Vec::new();
        for key in &op.keys {
            let columns = input.fields().len();
            let field = input.fields().get(*key).ok_or(OperatorError::NoColumn {
                column: *key,
                columns,
            });
            types.push(field.map_err(|e| name.error(e))?.data_type().clone());
        }
        Ok(Self {
            calls: calls.map_err(|e| name.error(e))?,
            key_codec: KeyCodec::new(KeyVersion::V1, types).map_err(|e| name.error(e))?,
            output: nullable_schema(columns),
            name,
            op,
            input,
            table: GroupTable::default(),
            keys: EncodedKeys::default(),
        })
    }

    fn aggregate(&mut self, chunk: &Chunk, state: &mut TaskState) -> Result<Chunk, OperatorError> {
        if chunk.ops().is_some() {
            return Err(OperatorError::UnexpectedRetraction);
        }
        let columns: Vec<ArrayRef> = self
            .op
            .keys
            .iter()
            .map(|k| chunk.column(*k).cloned())
            .collect::<Result<_, _>>()?;
        self.key_codec
            .encode(&columns, chunk.num_rows(), &mut self.keys)?;
        self.table.clear();
        self.calls.grow(0);
        let mut row_groups = Vec::with_capacity(chunk.num_rows());
        for key in self.keys.iter() {
            let (group, _) = self.table.find_or_insert(key);
            if let Some(slot) = self.table.get_mut(group) {
                slot.rows += 1;
            }
            row_groups.push(group);
        }
        self.calls.grow(self.table.len());
        self.calls
            .update(chunk.batch(), &row_groups, None, &self.table, state)?;
        let groups = self.table.len();
        let mut columns = self
            .key_codec
            .decode((0..groups).map(|g| self.table.key(g)))?;
        let mut scratch = Vec::new();
        for call in 0..self.calls.len() {
            let mut states = BinaryBuilder::new();
            for group in 0..groups {
                let rows = self.table.get(group as u32).rows;
                scratch.clear();
                put_partial(&self.calls, call, group, rows, &mut scratch);
                states.append_value(&scratch);
            }
            columns.push(Arc::new(states.finish()));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(groups));
        Ok(RecordBatch::try_new_with_options(self.output.clone(), columns, &options)?.into())
    }
}

impl ColumnarNode for PartialAggregate {
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
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        let partial = self
            .aggregate(&chunk, cx.state())
            .map_err(|e| self.name.error(e))?;
        out.push(partial);
        Ok(())
    }
}
