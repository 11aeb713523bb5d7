//! GROUP BY as a streaming operator: rows in, changes of the groups' results out.
//!
//! Invariants: what has been put out for a group is what its stored state evaluates to at
//! the last flush, so that folding the output gives the result of the batch query over
//! the rows taken so far; a change of a group is put out once a flush, as one insert,
//! delete or update pair; a group's state goes when its row count is zero and nothing
//! is left in it, or when its window is closed. A row whose window is closed already is
//! late: it is counted, put on port 1, and changes nothing.

use super::calls::Calls;
use super::codec::{Input, put_int};
use super::groups::GroupTable;
use super::window::{Windows, prefix, without_prefix};
use crate::operators::{OperatorError, nullable_schema};
use crate::plan::{AggregateFunction, ColumnSpec, GroupAggregateOp};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::datatypes::{DataType, SchemaRef};
use std::collections::{BTreeSet, HashMap, VecDeque};
use thalweg_state::StoreId;
use thalweg_streams::StreamsError;
use thalweg_streams::columnar::{
    Chunk, ColumnarNode, EncodedKeys, KeyCodec, KeyVersion, NodeName, Outputs, RowOp,
};
use thalweg_streams::task::{Progress, TaskContext};

/// How many groups are put out at a time.
const FLUSH_GROUPS: usize = 4096;
/// With so many changed groups the operator puts out without waiting for a commit.
const MAX_DIRTY: usize = 1 << 17;
/// With more groups than that the cache starts anew behind a flush.
const MAX_CACHED: usize = 1 << 16;
/// The version of stored group rows.
const VERSION: u8 = 1;

/// Groups that became dirty together, and the results that are downstream for them.
struct Segment {
    groups: Vec<u32>,
    old: Vec<ArrayRef>,
}

/// GROUP BY. Port 0 carries the results, port 1 late rows.
///
/// The store of groups, and those of the calls, are window stores exactly if the plan's
/// operator has a window: their entries lie under the end of the window.
pub struct GroupAggregate {
    name: NodeName,
    op: GroupAggregateOp,
    input: SchemaRef,
    output: SchemaRef,
    store_names: HashMap<u32, String>,
    key_codec: KeyCodec,
    windows: Option<Windows>,
    calls: Calls,
    store: StoreId,
    call_stores: Vec<StoreId>,
    table: GroupTable,
    dirty: VecDeque<Segment>,
    dirty_groups: usize,
    watermark: i64,
    /// Ends of windows that have state, as far as seen since the start.
    ends: BTreeSet<i64>,
    /// Windows from before the start may be there too.
    ends_unknown: bool,
    // Reused from chunk to chunk.
    keys: EncodedKeys,
    row_ends: Vec<i64>,
    row_groups: Vec<u32>,
    scratch: Vec<u8>,
}

impl GroupAggregate {
    /// The operator `op` over rows of `input`, with results `columns`. `stores` names the
    /// plan's stores.
    pub fn new(
        name: &str,
        op: GroupAggregateOp,
        input: SchemaRef,
        columns: &[ColumnSpec],
        stores: HashMap<u32, String>,
    ) -> Result<Self, StreamsError> {
        let name = NodeName::new(name);
        let named = |e: OperatorError| name.error(e);
        let mut types = Vec::new();
        for key in &op.keys {
            let columns = input.fields().len();
            let field = input.fields().get(*key);
            let field = field.ok_or_else(|| {
                named(OperatorError::NoColumn {
                    column: *key,
                    columns,
                })
            })?;
            types.push(field.data_type().clone());
        }
        let key_codec = KeyCodec::new(KeyVersion::V1, types).map_err(|e| name.error(e))?;
        let windows = op
            .window
            .as_ref()
            .map(|w| Windows::new(w, &op.keys))
            .transpose();
        // Built again at init, when stores are known; here it finds what is not supported.
        let calls = make_calls(&op, &input, |_| Ok(StoreId(0))).map_err(named)?;
        Ok(Self {
            windows: windows.map_err(named)?,
            key_codec,
            calls,
            output: nullable_schema(columns),
            name,
            op,
            input,
            store_names: stores,
            store: StoreId(0),
            call_stores: Vec::new(),
            table: GroupTable::default(),
            dirty: VecDeque::new(),
            dirty_groups: 0,
            watermark: i64::MIN,
            ends: BTreeSet::new(),
            ends_unknown: true,
            keys: EncodedKeys::default(),
            row_ends: Vec::new(),
            row_groups: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// The one group without keys exists from the start, even without rows.
    fn is_global(&self) -> bool {
        self.op.keys.is_empty()
    }

    fn take_rows(
        &mut self,
        chunk: &Chunk,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<(), OperatorError> {
        let mut kept = None;
        if let Some(windows) = &self.windows {
            windows.ends(chunk.column(windows.column)?, &mut self.row_ends)?;
            if let Some(in_time) = windows.in_time(&self.row_ends, self.watermark) {
                let late = chunk.clone().filter(&compute::not(&in_time)?)?;
                cx.late_record(self.rows_behind(&late)?);
                out.push_to(1, late);
                let chunk = chunk.clone().filter(&in_time)?;
                windows.ends(chunk.column(windows.column)?, &mut self.row_ends)?;
                kept = Some(chunk);
            }
        }
        let chunk = kept.as_ref().unwrap_or(chunk);
        if chunk.is_empty() {
            return Ok(());
        }
        let columns: Vec<ArrayRef> = self
            .op
            .keys
            .iter()
            .map(|k| chunk.column(*k).cloned())
            .collect::<Result<_, _>>()?;
        self.key_codec
            .encode(&columns, chunk.num_rows(), &mut self.keys)?;
        let mut fresh = Vec::new();
        let mut touched = Vec::new();
        self.row_groups.clear();
        for row in 0..chunk.num_rows() {
            let key = self.keys.key(row);
            let (group, new) = match (&self.windows, self.row_ends.get(row)) {
                (Some(_), Some(end)) => {
                    self.scratch.clear();
                    self.scratch.extend_from_slice(&prefix(*end));
                    self.scratch.extend_from_slice(key);
                    self.table.find_or_insert(&self.scratch)
                }
                _ => self.table.find_or_insert(key),
            };
            if new {
                fresh.push(group);
                if let Some(end) = self.row_ends.get(row).filter(|_| self.windows.is_some()) {
                    self.ends.insert(*end);
                }
            }
            if let Some(slot) = self.table.get_mut(group)
                && !std::mem::replace(&mut slot.dirty, true)
            {
                touched.push(group);
            }
            self.row_groups.push(group);
        }
        self.load(&fresh, cx)?;
        self.touch(touched)?;
        let signs = chunk.signs();
        if self.op.append_only_input && signs.is_some() {
            return Err(OperatorError::UnexpectedRetraction);
        }
        for (row, group) in self.row_groups.iter().enumerate() {
            let sign = signs
                .as_ref()
                .and_then(|s| s.get(row))
                .map_or(1, |s| i64::from(*s));
            if let Some(slot) = self.table.get_mut(*group) {
                slot.rows += sign;
            }
        }
        if self.op.partial_input {
            self.merge_partials(chunk)?;
        } else {
            let (groups, signs) = (&self.row_groups, signs.as_deref());
            self.calls
                .update(chunk.batch(), groups, signs, &self.table, cx.state())?;
        }
        if self.dirty_groups > MAX_DIRTY {
            while self.put_out(cx, out)? == Progress::More {}
        }
        Ok(())
    }

    /// How many source rows these are: partial states stand for several.
    fn rows_behind(&self, chunk: &Chunk) -> Result<u64, OperatorError> {
        let states = chunk.batch().columns().get(self.op.keys.len());
        let Some(states) = states.filter(|_| self.op.partial_input) else {
            return Ok(chunk.num_rows() as u64);
        };
        let mut rows = 0;
        for state in states.as_binary_opt::<i32>().into_iter().flatten() {
            rows += partial_state(state)?.0;
        }
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    fn merge_partials(&mut self, chunk: &Chunk) -> Result<(), OperatorError> {
        for call in 0..self.calls.len() {
            let column = self.op.keys.len() + call;
            let array = chunk.column(column)?;
            let states = array
                .as_binary_opt::<i32>()
                .ok_or_else(|| OperatorError::ColumnType {
                    column,
                    found: array.data_type().clone(),
                    expected: "BYTEA (partial states)",
                })?;
            for (group, state) in self.row_groups.iter().zip(states) {
                let (_, mut input) = partial_state(state)?;
                self.calls.merge_call(call, *group as usize, &mut input)?;
            }
        }
        Ok(())
    }

    /// Reads groups that were not in the cache.
    fn load(&mut self, fresh: &[u32], cx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        self.calls.grow(self.table.len());
        let global = self.is_global();
        for group in fresh {
            let at = *group as usize;
            let Some(row) = cx.state().get(self.store, self.table.key(at))? else {
                continue;
            };
            let mut input = Input(&row);
            let (version, rest) = input
                .0
                .split_first()
                .ok_or(OperatorError::State("an empty group row"))?;
            if *version != VERSION {
                return Err(OperatorError::State("a group row of another version"));
            }
            input.0 = rest;
            let rows = input.int64()?;
            self.calls.merge(at, &mut input)?;
            if let Some(slot) = self.table.get_mut(*group) {
                slot.rows = rows;
                slot.visible = global || rows > 0;
            }
        }
        Ok(())
    }

    /// Keeps what is downstream for groups that are about to change.
    fn touch(&mut self, groups: Vec<u32>) -> Result<(), OperatorError> {
        if !groups.is_empty() {
            let old = self.calls.evaluate(&groups)?;
            self.dirty_groups += groups.len();
            self.dirty.push_back(Segment { groups, old });
        }
        Ok(())
    }

    /// Writes and puts out some of the changed groups.
    fn put_out(
        &mut self,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, OperatorError> {
        let mut groups = Vec::new();
        let mut old: Vec<Vec<ArrayRef>> = Vec::new();
        while groups.len() < FLUSH_GROUPS {
            let Some(segment) = self.dirty.pop_front() else {
                break;
            };
            groups.extend_from_slice(&segment.groups);
            old.push(segment.old);
        }
        self.dirty_groups -= groups.len();
        if groups.is_empty() {
            return Ok(Progress::Done);
        }
        self.calls.repair(&groups, &self.table, cx.state())?;
        let new = self.calls.evaluate(&groups)?;
        let old = (0..new.len())
            .map(|call| {
                let parts: Vec<&dyn Array> = old
                    .iter()
                    .filter_map(|s| s.get(call))
                    .map(|a| a.as_ref())
                    .collect();
                Ok(compute::concat(&parts)?)
            })
            .collect::<Result<Vec<_>, OperatorError>>()?;
        let same = equal_rows(&old, &new, groups.len())?;
        let mut rows: Vec<u32> = Vec::new();
        let mut ops = Vec::new();
        let total = groups.len() as u32;
        let global = self.is_global();
        for (i, group) in (0u32..).zip(&groups) {
            let slot = self.table.get(*group);
            let visible = global || slot.rows > 0;
            match (slot.visible, visible) {
                (false, true) => {
                    rows.push(total + i);
                    ops.push(RowOp::Insert);
                }
                (true, false) => {
                    rows.push(i);
                    ops.push(RowOp::Delete);
                }
                (true, true) if !same.value(i as usize) => {
                    rows.extend([i, total + i]);
                    ops.extend([RowOp::UpdateBefore, RowOp::UpdateAfter]);
                }
                _ => {}
            }
            self.store_group(*group, cx)?;
            if let Some(slot) = self.table.get_mut(*group) {
                slot.visible = visible;
                slot.dirty = false;
            }
        }
        if !rows.is_empty() {
            out.push(self.chunk(&groups, &old, &new, rows, ops)?);
        }
        if !self.dirty.is_empty() {
            return Ok(Progress::More);
        }
        if self.table.len() > MAX_CACHED {
            self.forget();
        }
        Ok(Progress::Done)
    }

    /// Writes the state of a group, or removes it when nothing is left.
    fn store_group(&mut self, group: u32, cx: &mut TaskContext<'_>) -> Result<(), OperatorError> {
        let (slot, at) = (self.table.get(group), group as usize);
        if slot.rows == 0 && !self.is_global() && self.calls.is_empty(at) {
            cx.state().delete(self.store, self.table.key(at))?;
        } else {
            self.scratch.clear();
            self.scratch.push(VERSION);
            put_int(i128::from(slot.rows), &mut self.scratch);
            self.calls.encode(at, &mut self.scratch);
            cx.state()
                .put(self.store, self.table.key(at), &self.scratch)?;
        }
        Ok(())
    }

    /// The rows `rows` of the old results followed by the new ones, with their keys.
    fn chunk(
        &self,
        groups: &[u32],
        old: &[ArrayRef],
        new: &[ArrayRef],
        rows: Vec<u32>,
        ops: Vec<RowOp>,
    ) -> Result<Chunk, OperatorError> {
        let total = groups.len() as u32;
        let key = |row: &u32| groups.get((row % total) as usize).copied().unwrap_or(0);
        let windowed = self.windows.is_some();
        let mut columns = self.key_codec.decode(rows.iter().map(|row| {
            let key = self.table.key(key(row) as usize);
            if windowed { without_prefix(key) } else { key }
        }))?;
        let rows = UInt32Array::from(rows);
        for (old, new) in old.iter().zip(new) {
            let both = compute::concat(&[old.as_ref(), new.as_ref()])?;
            columns.push(compute::take(&both, &rows, None)?);
        }
        let batch = RecordBatch::try_new(self.output.clone(), columns)?;
        Ok(Chunk::with_ops(batch, ops)?)
    }

    /// Empties the cache, in which nothing is dirty.
    fn forget(&mut self) {
        self.table.clear();
        self.calls.grow(0);
    }

    fn close_windows(
        &mut self,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, OperatorError> {
        let Some(windows) = &self.windows else {
            return Ok(Progress::Done);
        };
        let closed = |end: &i64| windows.is_closed(*end, self.watermark);
        if !self.ends_unknown && !self.ends.first().is_some_and(closed) {
            return Ok(Progress::Done);
        }
        let first_open = windows.first_open(self.watermark);
        if !self.dirty.is_empty() && self.put_out(cx, out)? == Progress::More {
            return Ok(Progress::More);
        }
        for store in std::iter::once(&self.store).chain(&self.call_stores) {
            cx.state().window(*store).expire_before(first_open)?;
        }
        self.ends = self.ends.split_off(&first_open);
        self.ends_unknown = false;
        self.forget();
        Ok(Progress::Done)
    }
}

/// The rows behind a partial state, and the state.
fn partial_state(state: Option<&[u8]>) -> Result<(i64, Input<'_>), OperatorError> {
    let (version, rest) = state
        .and_then(|s| s.split_first())
        .ok_or(OperatorError::State("an empty partial state"))?;
    if *version != VERSION {
        return Err(OperatorError::State("a partial state of another version"));
    }
    let mut input = Input(rest);
    Ok((input.int64()?, input))
}

/// Appends a partial state; see [`partial_state`].
pub(super) fn put_partial(calls: &Calls, call: usize, group: usize, rows: i64, out: &mut Vec<u8>) {
    out.push(VERSION);
    put_int(i128::from(rows), out);
    calls.encode_call(call, group, out);
}

fn make_calls(
    op: &GroupAggregateOp,
    input: &SchemaRef,
    store: impl FnMut(u32) -> Result<StoreId, OperatorError>,
) -> Result<Calls, OperatorError> {
    if !op.partial_input {
        return Calls::new(&op.calls, input, store);
    }
    let arguments: Vec<_> = op
        .calls
        .iter()
        .map(|call| match (call.function, &call.output.data_type) {
            (AggregateFunction::Count, _) => None,
            // The mean of decimals has four digits more than its argument.
            (AggregateFunction::Avg, DataType::Decimal128(p, s)) => {
                Some(DataType::Decimal128(*p, s.saturating_sub(4)))
            }
            (_, result) => Some(result.clone()),
        })
        .collect();
    Calls::of_partials(&op.calls, &arguments)
}

/// Where old and new results are the same, nulls and NaN included.
fn equal_rows(
    old: &[ArrayRef],
    new: &[ArrayRef],
    rows: usize,
) -> Result<BooleanArray, OperatorError> {
    let mut same: Option<BooleanArray> = None;
    for (old, new) in old.iter().zip(new) {
        let equal = compute::kernels::cmp::not_distinct(old, new)?;
        same = Some(match same {
            None => equal,
            Some(same) => compute::and(&same, &equal)?,
        });
    }
    Ok(same.unwrap_or_else(|| BooleanArray::from(vec![true; rows])))
}

impl ColumnarNode for GroupAggregate {
    fn inputs(&self) -> Vec<SchemaRef> {
        vec![self.input.clone()]
    }

    fn outputs(&self) -> Vec<SchemaRef> {
        vec![self.output.clone(), self.input.clone()]
    }

    fn init(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        let resolve = |id: u32| match self.store_names.get(&id) {
            Some(name) => cx.store(name),
            None => Err(self.name.error(format!("the plan has no store {id}"))),
        };
        self.store = resolve(self.op.store)?;
        let mut by_id = HashMap::new();
        for id in self.op.calls.iter().filter_map(|c| c.store) {
            by_id.insert(id, resolve(id)?);
        }
        self.call_stores = by_id.values().copied().collect();
        let store = |id| {
            by_id
                .get(&id)
                .copied()
                .ok_or(OperatorError::State("a call without its store"))
        };
        self.calls = make_calls(&self.op, &self.input, store).map_err(|e| self.name.error(e))?;
        self.watermark = cx.watermark();
        if self.is_global() && cx.task().partition == 0 {
            let (group, _) = self.table.find_or_insert(&[]);
            self.load(&[group], cx).map_err(|e| self.name.error(e))?;
            if !self.table.get(group).visible {
                // A write makes the task commit, and so puts the group out, without input.
                self.store_group(group, cx)
                    .map_err(|e| self.name.error(e))?;
                if let Some(slot) = self.table.get_mut(group) {
                    slot.dirty = true;
                }
                self.touch(vec![group]).map_err(|e| self.name.error(e))?;
            }
        }
        Ok(())
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        self.take_rows(&chunk, cx, out)
            .map_err(|e| self.name.error(e))
    }

    fn on_watermark(
        &mut self,
        watermark: i64,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, StreamsError> {
        self.watermark = self.watermark.max(watermark);
        self.close_windows(cx, out).map_err(|e| self.name.error(e))
    }

    fn flush(
        &mut self,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, StreamsError> {
        self.put_out(cx, out).map_err(|e| self.name.error(e))
    }
}
