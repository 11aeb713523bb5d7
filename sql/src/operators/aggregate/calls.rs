//! The aggregate calls of a GROUP BY over the groups in the cache: each an accumulator,
//! with a multiset where values must be told apart.

use super::accumulator::{Accumulator, Rows, accumulator};
use super::codec::Input;
use super::groups::GroupTable;
use super::multiset::Multiset;
use crate::operators::OperatorError;
use crate::plan::{AggregateCall, AggregateFunction};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use thalweg_state::{StoreId, TaskState};
use thalweg_streams::columnar::{KeyCodec, KeyVersion};

/// How a call comes to its result.
enum Method {
    /// Each row changes the accumulator.
    Plain,
    /// A row changes the accumulator when its value comes into the group or leaves it.
    Distinct(Values),
    /// A value that leaves may make another one the best.
    Best(Values, Vec<bool>),
}

/// The multiset of a call's values.
struct Values {
    multiset: Multiset,
    codec: KeyCodec,
    scratch: Vec<u8>,
}

/// One call.
struct Call {
    argument: Option<usize>,
    filter: Option<usize>,
    accumulator: Box<dyn Accumulator>,
    method: Method,
}

/// All calls of an operator.
pub(super) struct Calls {
    calls: Vec<Call>,
}

fn column(schema: &Schema, column: usize) -> Result<&DataType, OperatorError> {
    let columns = schema.fields().len();
    let field = schema
        .fields()
        .get(column)
        .ok_or(OperatorError::NoColumn { column, columns })?;
    Ok(field.data_type())
}

impl Calls {
    /// The calls over rows of `input`. `store` resolves the store ids of the plan.
    pub(super) fn new(
        calls: &[AggregateCall],
        input: &Schema,
        mut store: impl FnMut(u32) -> Result<StoreId, OperatorError>,
    ) -> Result<Self, OperatorError> {
        let calls = calls
            .iter()
            .map(|call| {
                let data_type = call.argument.map(|a| column(input, a)).transpose()?;
                if let Some(filter) = call.filter
                    && column(input, filter)? != &DataType::Boolean
                {
                    return Err(OperatorError::ColumnType {
                        column: filter,
                        found: column(input, filter)?.clone(),
                        expected: "BOOLEAN",
                    });
                }
                let values = match (call.store, data_type) {
                    (Some(id), Some(data_type)) => Some(Values {
                        multiset: Multiset::new(store(id)?),
                        codec: KeyCodec::new(KeyVersion::V1, vec![data_type.clone()])?,
                        scratch: Vec::new(),
                    }),
                    _ => None,
                };
                let best = matches!(
                    call.function,
                    AggregateFunction::Min | AggregateFunction::Max
                );
                let method = match values {
                    Some(values) if best => Method::Best(values, Vec::new()),
                    Some(values) if call.distinct => Method::Distinct(values),
                    // The best of all values is the best of the distinct ones.
                    _ if best || !call.distinct => Method::Plain,
                    _ => {
                        return Err(OperatorError::UnsupportedAggregate {
                            function: format!("{:?} DISTINCT without a store", call.function),
                            data_type: data_type.cloned().unwrap_or(DataType::Null),
                        });
                    }
                };
                Ok(Call {
                    argument: call.argument,
                    filter: call.filter,
                    accumulator: accumulator(call.function, data_type, &call.output.data_type)?,
                    method,
                })
            })
            .collect::<Result<_, OperatorError>>()?;
        Ok(Self { calls })
    }

    /// The calls over partial states: arguments are not looked at.
    pub(super) fn of_partials(
        calls: &[AggregateCall],
        arguments: &[Option<DataType>],
    ) -> Result<Self, OperatorError> {
        let calls = calls.iter().zip(arguments).map(|(call, data_type)| {
            if call.store.is_some() || call.distinct {
                return Err(OperatorError::UnsupportedAggregate {
                    function: format!("{:?} DISTINCT of partial states", call.function),
                    data_type: data_type.clone().unwrap_or(DataType::Null),
                });
            }
            Ok(Call {
                argument: None,
                filter: None,
                accumulator: accumulator(
                    call.function,
                    data_type.as_ref(),
                    &call.output.data_type,
                )?,
                method: Method::Plain,
            })
        });
        Ok(Self {
            calls: calls.collect::<Result<_, OperatorError>>()?,
        })
    }

    pub(super) fn grow(&mut self, groups: usize) {
        for call in &mut self.calls {
            call.accumulator.grow(groups);
            if let Method::Best(_, stale) = &mut call.method {
                stale.resize(groups, false);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Takes rows into their groups.
    pub(super) fn update(
        &mut self,
        batch: &RecordBatch,
        row_groups: &[u32],
        signs: Option<&[i8]>,
        groups: &GroupTable,
        state: &mut TaskState,
    ) -> Result<(), OperatorError> {
        let columns = batch.num_columns();
        for call in &mut self.calls {
            let get = |c: usize| {
                batch
                    .columns()
                    .get(c)
                    .ok_or(OperatorError::NoColumn { column: c, columns })
            };
            let argument = call.argument.map(get).transpose()?;
            let filter = call
                .filter
                .map(get)
                .transpose()?
                .and_then(|f| f.as_boolean_opt());
            let rows = Rows {
                groups: row_groups,
                signs,
                filter,
            };
            match (&mut call.method, argument) {
                (Method::Distinct(values), Some(array)) => {
                    let (enters, turned) = values.transitions(array, &rows, groups, state)?;
                    let rows = Rows {
                        groups: row_groups,
                        signs: Some(&turned),
                        filter: Some(&enters),
                    };
                    call.accumulator.update(&rows, argument)?;
                }
                (Method::Best(values, stale), Some(array)) => {
                    values.track(
                        array,
                        &rows,
                        groups,
                        state,
                        call.accumulator.as_mut(),
                        stale,
                    )?;
                }
                _ => call.accumulator.update(&rows, argument)?,
            }
        }
        Ok(())
    }

    /// Finds the best value anew in groups that lost it. Ahead of every look at results.
    pub(super) fn repair(
        &mut self,
        wanted: &[u32],
        groups: &GroupTable,
        state: &mut TaskState,
    ) -> Result<(), OperatorError> {
        for call in &mut self.calls {
            let Method::Best(values, stale) = &mut call.method else {
                continue;
            };
            let Some(best) = call.accumulator.best_mut() else {
                continue;
            };
            for group in wanted {
                let group = *group as usize;
                if let Some(stale) = stale.get_mut(group)
                    && std::mem::take(stale)
                {
                    let least = values.multiset.least(state, groups.key(group))?;
                    best.set(group, least.as_deref());
                }
            }
        }
        Ok(())
    }

    /// The results of `groups`, a column a call.
    pub(super) fn evaluate(&self, groups: &[u32]) -> Result<Vec<ArrayRef>, OperatorError> {
        self.calls
            .iter()
            .map(|c| c.accumulator.evaluate(groups))
            .collect()
    }

    /// Appends the state of one call.
    pub(super) fn encode_call(&self, call: usize, group: usize, out: &mut Vec<u8>) {
        if let Some(call) = self.calls.get(call) {
            call.accumulator.encode(group, out);
        }
    }

    /// Adds the state of one call.
    pub(super) fn merge_call(
        &mut self,
        call: usize,
        group: usize,
        input: &mut Input<'_>,
    ) -> Result<(), OperatorError> {
        match self.calls.get_mut(call) {
            Some(call) => call.accumulator.merge(group, input),
            None => Ok(()),
        }
    }

    pub(super) fn encode(&self, group: usize, out: &mut Vec<u8>) {
        self.calls
            .iter()
            .for_each(|c| c.accumulator.encode(group, out));
    }

    pub(super) fn merge(
        &mut self,
        group: usize,
        input: &mut Input<'_>,
    ) -> Result<(), OperatorError> {
        self.calls
            .iter_mut()
            .try_for_each(|c| c.accumulator.merge(group, input))
    }

    pub(super) fn is_empty(&self, group: usize) -> bool {
        self.calls.iter().all(|c| c.accumulator.is_empty(group))
    }
}

impl Values {
    /// The rows whose value enters its group or leaves it, and with which sign.
    fn transitions(
        &mut self,
        array: &ArrayRef,
        rows: &Rows<'_>,
        groups: &GroupTable,
        state: &mut TaskState,
    ) -> Result<(BooleanArray, Vec<i8>), OperatorError> {
        let mut signs = vec![0i8; array.len()];
        self.for_each(array, rows, groups, state, |row, _, _, before, after| {
            let turn = i8::from(after > 0) - i8::from(before > 0);
            if let Some(sign) = signs.get_mut(row) {
                *sign = turn;
            }
        })?;
        let counts = BooleanArray::from_iter(signs.iter().map(|s| Some(*s != 0)));
        Ok((counts, signs))
    }

    /// Keeps the best value of each group, and notes the groups that have lost theirs.
    fn track(
        &mut self,
        array: &ArrayRef,
        rows: &Rows<'_>,
        groups: &GroupTable,
        state: &mut TaskState,
        accumulator: &mut dyn Accumulator,
        stale: &mut [bool],
    ) -> Result<(), OperatorError> {
        let Some(best) = accumulator.best_mut() else {
            return Ok(());
        };
        let descending = best.is_descending();
        self.for_each_ordered(
            array,
            rows,
            groups,
            state,
            descending,
            |_, group, value, before, after| {
                if before <= 0 && after > 0 {
                    best.offer(group, value);
                } else if before > 0
                    && after <= 0
                    && best.is_best(group, value)
                    && let Some(stale) = stale.get_mut(group)
                {
                    *stale = true;
                }
            },
        )
    }

    fn for_each(
        &mut self,
        array: &ArrayRef,
        rows: &Rows<'_>,
        groups: &GroupTable,
        state: &mut TaskState,
        each: impl FnMut(usize, usize, &[u8], i64, i64),
    ) -> Result<(), OperatorError> {
        self.for_each_ordered(array, rows, groups, state, false, each)
    }

    /// Counts each value in the multiset, its bytes turned around when `descending`.
    fn for_each_ordered(
        &mut self,
        array: &ArrayRef,
        rows: &Rows<'_>,
        groups: &GroupTable,
        state: &mut TaskState,
        descending: bool,
        mut each: impl FnMut(usize, usize, &[u8], i64, i64),
    ) -> Result<(), OperatorError> {
        let columns = self.codec.columns(std::slice::from_ref(array))?;
        let (multiset, scratch) = (&mut self.multiset, &mut self.scratch);
        let mut failed = None;
        rows.for_each(array.logical_nulls().as_ref(), |row, group, sign| {
            if failed.is_some() {
                return;
            }
            scratch.clear();
            columns.put(row, scratch);
            if descending {
                scratch.iter_mut().for_each(|b| *b = !*b);
            }
            match multiset.add(state, groups.key(group), scratch, sign) {
                Ok(change) => each(row, group, scratch, change.before, change.after),
                Err(error) => failed = Some(error),
            }
        });
        failed.map_or(Ok(()), Err)
    }
}
