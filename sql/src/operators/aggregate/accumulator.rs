//! The aggregates themselves: typed vectors, one slot a group.
//!
//! Every state is a sum over signed rows (a commutative group), so that taking a row
//! back is adding it with the sign turned; MIN and MAX, which are not, keep the best value
//! here and rely on the multiset beside them when rows are taken back. Results have the
//! types and values of DataFusion's batch aggregates, and an integer sum that does
//! not fit is an error instead of wrapping around.

use super::codec::{Input, put_bytes, put_float, put_int};
use crate::operators::OperatorError;
use crate::plan::AggregateFunction;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int64Array,
    PrimitiveArray, UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    is_validate_decimal_precision,
};
use std::sync::Arc;
use thalweg_streams::columnar::{KeyCodec, KeyVersion};

/// Rows on their way into groups.
pub(super) struct Rows<'a> {
    /// The group of each row.
    pub(super) groups: &'a [u32],
    /// Whether each row is added or taken back; all are added when there are none.
    pub(super) signs: Option<&'a [i8]>,
    /// Rows for which this is not true are left out.
    pub(super) filter: Option<&'a BooleanArray>,
}

impl Rows<'_> {
    /// Calls `each` with row, group and sign of every row that counts.
    #[inline]
    pub(super) fn for_each(
        &self,
        nulls: Option<&NullBuffer>,
        mut each: impl FnMut(usize, usize, i64),
    ) {
        let sign = |row: usize| {
            self.signs
                .and_then(|s| s.get(row))
                .map_or(1, |s| i64::from(*s))
        };
        match (nulls, self.filter) {
            (None, None) => {
                for (row, group) in self.groups.iter().enumerate() {
                    each(row, *group as usize, sign(row));
                }
            }
            _ => {
                for (row, group) in self.groups.iter().enumerate() {
                    let counts = nulls.is_none_or(|n| n.is_valid(row))
                        && self.filter.is_none_or(|f| f.is_valid(row) && f.value(row));
                    if counts {
                        each(row, *group as usize, sign(row));
                    }
                }
            }
        }
    }
}

/// The states of one aggregate call for the groups in the cache.
pub(super) trait Accumulator {
    /// Makes room for `groups` groups; new ones are empty.
    fn grow(&mut self, groups: usize);
    /// Adds and takes back rows.
    fn update(&mut self, rows: &Rows<'_>, argument: Option<&ArrayRef>)
    -> Result<(), OperatorError>;
    /// The results of `groups`.
    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError>;
    /// Appends the state of a group.
    fn encode(&self, group: usize, out: &mut Vec<u8>);
    /// Adds an encoded state to a group.
    fn merge(&mut self, group: usize, input: &mut Input<'_>) -> Result<(), OperatorError>;
    /// Whether the group's state is that of no rows at all, as far as that can be told.
    fn is_empty(&self, group: usize) -> bool;
    /// MIN or MAX behind this call, which a multiset may correct.
    fn best_mut(&mut self) -> Option<&mut Best> {
        None
    }
}

/// The accumulator of `function` over an argument of type `argument`.
pub(super) fn accumulator(
    function: AggregateFunction,
    argument: Option<&DataType>,
    result: &DataType,
) -> Result<Box<dyn Accumulator>, OperatorError> {
    let unsupported = || OperatorError::UnsupportedAggregate {
        function: format!("{function:?}").to_uppercase(),
        data_type: argument.cloned().unwrap_or(DataType::Null),
    };
    Ok(match (function, argument, result) {
        (AggregateFunction::Count, _, DataType::Int64) => Box::new(Count::default()),
        (AggregateFunction::Sum, Some(arg), _) if Exact::takes(arg) => {
            Box::new(Exact::new(result, None).ok_or_else(unsupported)?)
        }
        (
            AggregateFunction::Avg,
            Some(DataType::Decimal128(_, scale)),
            DataType::Decimal128(..),
        ) => Box::new(Exact::new(result, Some(*scale)).ok_or_else(unsupported)?),
        (AggregateFunction::Sum | AggregateFunction::Avg, Some(arg), DataType::Float64)
            if matches!(arg, DataType::Float32 | DataType::Float64)
                || (Exact::takes(arg) && !matches!(arg, DataType::Decimal128(..))) =>
        {
            Box::new(Float {
                mean: function == AggregateFunction::Avg,
                groups: Vec::new(),
            })
        }
        (AggregateFunction::Min | AggregateFunction::Max, Some(arg), _) if arg == result => {
            Box::new(Best::new(function == AggregateFunction::Max, arg)?)
        }
        _ => return Err(unsupported()),
    })
}

fn slot<T>(all: &[T], group: usize) -> Option<&T> {
    all.get(group)
}

/// COUNT(*) and COUNT(x).
#[derive(Default)]
struct Count {
    counts: Vec<i64>,
}

impl Accumulator for Count {
    fn grow(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(
        &mut self,
        rows: &Rows<'_>,
        argument: Option<&ArrayRef>,
    ) -> Result<(), OperatorError> {
        let nulls = argument.and_then(|a| a.logical_nulls());
        rows.for_each(nulls.as_ref(), |_, group, sign| {
            if let Some(count) = self.counts.get_mut(group) {
                *count += sign;
            }
        });
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let count = |g: &u32| slot(&self.counts, *g as usize).copied().unwrap_or(0);
        Ok(Arc::new(Int64Array::from_iter_values(
            groups.iter().map(count),
        )))
    }

    fn encode(&self, group: usize, out: &mut Vec<u8>) {
        put_int(
            i128::from(slot(&self.counts, group).copied().unwrap_or(0)),
            out,
        );
    }

    fn merge(&mut self, group: usize, input: &mut Input<'_>) -> Result<(), OperatorError> {
        let n = input.int64()?;
        if let Some(count) = self.counts.get_mut(group) {
            *count = count.wrapping_add(n);
        }
        Ok(())
    }

    fn is_empty(&self, group: usize) -> bool {
        slot(&self.counts, group).is_none_or(|c| *c == 0)
    }
}

/// What becomes of an exact sum and its count.
enum ExactResult {
    Int64,
    UInt64,
    /// A decimal sum of this type.
    Decimal(DataType, u8, i8),
    /// A decimal mean of this type, and what the sum is multiplied with first.
    Mean(DataType, u8, i8, i128),
}

/// SUM of integers and decimals, AVG of decimals: exact in 128 bits, so that the order of
/// additions and retractions does not matter and only the result may overflow.
struct Exact {
    result: ExactResult,
    groups: Vec<(i128, i64)>,
}

impl Exact {
    fn takes(argument: &DataType) -> bool {
        argument.is_integer() || matches!(argument, DataType::Decimal128(..))
    }

    fn new(result: &DataType, mean_of_scale: Option<i8>) -> Option<Self> {
        let result = match (result, mean_of_scale) {
            (DataType::Int64, None) => ExactResult::Int64,
            (DataType::UInt64, None) => ExactResult::UInt64,
            (DataType::Decimal128(p, s), None) => ExactResult::Decimal(result.clone(), *p, *s),
            (DataType::Decimal128(p, s), Some(scale)) => {
                let shift = u32::try_from(s.checked_sub(scale)?).ok()?;
                ExactResult::Mean(result.clone(), *p, *s, 10i128.checked_pow(shift)?)
            }
            _ => return None,
        };
        Some(Self {
            result,
            groups: Vec::new(),
        })
    }

    fn add<T: ArrowPrimitiveType>(&mut self, rows: &Rows<'_>, argument: &PrimitiveArray<T>)
    where
        T::Native: Into<i128>,
    {
        rows.for_each(argument.nulls(), |row, group, sign| {
            if let Some((sum, count)) = self.groups.get_mut(group) {
                let value: i128 = argument.value(row).into();
                // 128 bits hold 2^63 values of 64 bits; decimals are checked at the end.
                *sum = sum.wrapping_add(value.wrapping_mul(i128::from(sign)));
                *count += sign;
            }
        });
    }

    fn decimals(
        &self,
        groups: &[u32],
        data_type: &DataType,
        precision: u8,
        scale: i8,
        value: impl Fn(i128, i64) -> Option<i128>,
        function: &'static str,
    ) -> Result<ArrayRef, OperatorError> {
        let overflow = || OperatorError::Overflow {
            function,
            data_type: data_type.clone(),
        };
        let values: Vec<Option<i128>> = groups
            .iter()
            .map(|g| match slot(&self.groups, *g as usize) {
                Some((sum, count)) if *count != 0 => {
                    let value = value(*sum, *count).ok_or_else(overflow)?;
                    if !is_validate_decimal_precision(value, precision) {
                        return Err(overflow());
                    }
                    Ok(Some(value))
                }
                _ => Ok(None),
            })
            .collect::<Result<_, _>>()?;
        Ok(Arc::new(
            Decimal128Array::from(values).with_precision_and_scale(precision, scale)?,
        ))
    }

    fn integers<T: TryFrom<i128>>(
        &self,
        groups: &[u32],
        data_type: &DataType,
    ) -> Result<Vec<Option<T>>, OperatorError> {
        groups
            .iter()
            .map(|g| match slot(&self.groups, *g as usize) {
                Some((sum, count)) if *count != 0 => {
                    T::try_from(*sum)
                        .map(Some)
                        .map_err(|_| OperatorError::Overflow {
                            function: "SUM",
                            data_type: data_type.clone(),
                        })
                }
                _ => Ok(None),
            })
            .collect()
    }
}

/// Calls `$self.add` with the array as its own type.
macro_rules! add_as {
    ($self:ident, $rows:ident, $array:ident, $($pattern:pat => $ty:ty),*) => {
        match $array.data_type() {
            $($pattern => $self.add::<$ty>($rows, $array.as_primitive()),)*
            other => return Err(OperatorError::UnsupportedAggregate {
                function: "SUM".to_owned(),
                data_type: other.clone(),
            }),
        }
    };
}

impl Accumulator for Exact {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, (0, 0));
    }

    fn update(
        &mut self,
        rows: &Rows<'_>,
        argument: Option<&ArrayRef>,
    ) -> Result<(), OperatorError> {
        let Some(array) = argument else { return Ok(()) };
        add_as!(self, rows, array,
            DataType::Int8 => Int8Type, DataType::Int16 => Int16Type,
            DataType::Int32 => Int32Type, DataType::Int64 => Int64Type,
            DataType::UInt8 => UInt8Type, DataType::UInt16 => UInt16Type,
            DataType::UInt32 => UInt32Type, DataType::UInt64 => UInt64Type,
            DataType::Decimal128(_, _) => Decimal128Type
        );
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        Ok(match &self.result {
            ExactResult::Int64 => {
                Arc::new(Int64Array::from(self.integers(groups, &DataType::Int64)?))
            }
            ExactResult::UInt64 => {
                Arc::new(UInt64Array::from(self.integers(groups, &DataType::UInt64)?))
            }
            ExactResult::Decimal(t, p, s) => {
                self.decimals(groups, t, *p, *s, |sum, _| Some(sum), "SUM")?
            }
            ExactResult::Mean(t, p, s, factor) => self.decimals(
                groups,
                t,
                *p,
                *s,
                |sum, count| {
                    sum.checked_mul(*factor)
                        .map(|v| v.wrapping_div(i128::from(count)))
                },
                "AVG",
            )?,
        })
    }

    fn encode(&self, group: usize, out: &mut Vec<u8>) {
        let (sum, count) = slot(&self.groups, group).copied().unwrap_or((0, 0));
        put_int(sum, out);
        put_int(i128::from(count), out);
    }

    fn merge(&mut self, group: usize, input: &mut Input<'_>) -> Result<(), OperatorError> {
        let (sum, count) = (input.int()?, input.int64()?);
        if let Some(state) = self.groups.get_mut(group) {
            state.0 = state.0.wrapping_add(sum);
            state.1 = state.1.wrapping_add(count);
        }
        Ok(())
    }

    fn is_empty(&self, group: usize) -> bool {
        slot(&self.groups, group).is_none_or(|s| *s == (0, 0))
    }
}

/// A sum of floats that forgives retraction: rounding is compensated (Neumaier), and what
/// is not finite is counted apart, so that it can leave again.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct FloatSum {
    sum: f64,
    compensation: f64,
    count: i64,
    nans: i64,
    infinities: i64,
    negative_infinities: i64,
}

impl FloatSum {
    fn add_finite(&mut self, value: f64) {
        let sum = self.sum + value;
        self.compensation += if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
    }

    fn add(&mut self, value: f64, sign: i64) {
        self.count += sign;
        if value.is_finite() {
            self.add_finite(if sign < 0 { -value } else { value });
        } else if value.is_nan() {
            self.nans += sign;
        } else if value > 0.0 {
            self.infinities += sign;
        } else {
            self.negative_infinities += sign;
        }
    }

    fn total(&self) -> f64 {
        match (
            self.nans != 0,
            self.infinities != 0,
            self.negative_infinities != 0,
        ) {
            (true, _, _) | (_, true, true) => f64::NAN,
            (_, true, _) => f64::INFINITY,
            (_, _, true) => f64::NEG_INFINITY,
            // A sum of finite values can still leave the range of floats.
            _ if self.sum.is_finite() => self.sum + self.compensation,
            _ => self.sum,
        }
    }
}

/// SUM and AVG of floats.
struct Float {
    mean: bool,
    groups: Vec<FloatSum>,
}

impl Float {
    fn add<T: ArrowPrimitiveType>(
        &mut self,
        rows: &Rows<'_>,
        argument: &PrimitiveArray<T>,
        float: impl Fn(T::Native) -> f64,
    ) {
        rows.for_each(argument.nulls(), |row, group, sign| {
            if let Some(state) = self.groups.get_mut(group) {
                state.add(float(argument.value(row)), sign);
            }
        });
    }
}

impl Accumulator for Float {
    fn grow(&mut self, groups: usize) {
        self.groups.resize(groups, FloatSum::default());
    }

    fn update(
        &mut self,
        rows: &Rows<'_>,
        argument: Option<&ArrayRef>,
    ) -> Result<(), OperatorError> {
        let Some(array) = argument else { return Ok(()) };
        match array.data_type() {
            DataType::Float64 => self.add::<Float64Type>(rows, array.as_primitive(), |v| v),
            DataType::Float32 => self.add::<Float32Type>(rows, array.as_primitive(), f64::from),
            _ => {
                let array = arrow::compute::cast(array, &DataType::Float64)?;
                self.add::<Float64Type>(rows, array.as_primitive(), |v| v);
            }
        }
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        let value = |g: &u32| {
            slot(&self.groups, *g as usize)
                .filter(|s| s.count != 0)
                .map(|s| {
                    if self.mean {
                        s.total() / s.count as f64
                    } else {
                        s.total()
                    }
                })
        };
        Ok(Arc::new(groups.iter().map(value).collect::<Float64Array>()))
    }

    fn encode(&self, group: usize, out: &mut Vec<u8>) {
        let state = slot(&self.groups, group).copied().unwrap_or_default();
        put_float(state.sum, out);
        put_float(state.compensation, out);
        for n in [
            state.count,
            state.nans,
            state.infinities,
            state.negative_infinities,
        ] {
            put_int(i128::from(n), out);
        }
    }

    fn merge(&mut self, group: usize, input: &mut Input<'_>) -> Result<(), OperatorError> {
        let (sum, compensation) = (input.float()?, input.float()?);
        let counts = [
            input.int64()?,
            input.int64()?,
            input.int64()?,
            input.int64()?,
        ];
        if let Some(state) = self.groups.get_mut(group) {
            let [count, nans, infinities, negative_infinities] = counts;
            if state.count == 0 && state.sum == 0.0 {
                // Into an empty group: bit for bit what was written.
                state.sum = sum;
                state.compensation = compensation;
            } else {
                state.add_finite(sum);
                state.compensation += compensation;
            }
            state.count += count;
            state.nans += nans;
            state.infinities += infinities;
            state.negative_infinities += negative_infinities;
        }
        Ok(())
    }

    fn is_empty(&self, group: usize) -> bool {
        // The sum may keep a rounding error; the counts tell.
        slot(&self.groups, group)
            .is_none_or(|s| (s.count, s.nans, s.infinities, s.negative_infinities) == (0, 0, 0, 0))
    }
}

/// MIN and MAX: the best value of each group as memcomparable bytes, turned around for
/// MAX, so that the best is always the least.
pub(super) struct Best {
    descending: bool,
    codec: KeyCodec,
    best: Vec<Option<Vec<u8>>>,
    scratch: Vec<u8>,
}

impl Best {
    fn new(descending: bool, data_type: &DataType) -> Result<Self, OperatorError> {
        let codec = KeyCodec::new(KeyVersion::V1, vec![data_type.clone()])?;
        Ok(Self {
            descending,
            codec,
            best: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Takes a value that has entered.
    pub(super) fn offer(&mut self, group: usize, value: &[u8]) {
        if let Some(best) = self.best.get_mut(group) {
            match best {
                Some(best) if best.as_slice() <= value => {}
                Some(best) => {
                    best.clear();
                    best.extend_from_slice(value);
                }
                None => *best = Some(value.to_vec()),
            }
        }
    }

    /// Whether `value` is the group's best.
    pub(super) fn is_best(&self, group: usize, value: &[u8]) -> bool {
        slot(&self.best, group).is_some_and(|b| b.as_deref() == Some(value))
    }

    /// Sets what the multiset knows to be the best.
    pub(super) fn set(&mut self, group: usize, value: Option<&[u8]>) {
        if let Some(best) = self.best.get_mut(group) {
            *best = value.map(<[u8]>::to_vec);
        }
    }

    /// Whether the greatest value is the best, and bytes are turned around.
    pub(super) fn is_descending(&self) -> bool {
        self.descending
    }

    /// Turns the bytes of a value around if the greatest is wanted.
    fn order(&self, value: &mut [u8]) {
        if self.descending {
            value.iter_mut().for_each(|b| *b = !*b);
        }
    }
}

impl Accumulator for Best {
    fn grow(&mut self, groups: usize) {
        self.best.resize(groups, None);
    }

    fn update(
        &mut self,
        rows: &Rows<'_>,
        argument: Option<&ArrayRef>,
    ) -> Result<(), OperatorError> {
        let Some(array) = argument else { return Ok(()) };
        if rows.signs.is_some_and(|signs| signs.iter().any(|s| *s < 0)) {
            return Err(OperatorError::UnexpectedRetraction);
        }
        let columns = std::slice::from_ref(array);
        let codec = self.codec.clone();
        let columns = codec.columns(columns)?;
        let mut scratch = std::mem::take(&mut self.scratch);
        rows.for_each(array.logical_nulls().as_ref(), |row, group, _| {
            scratch.clear();
            columns.put(row, &mut scratch);
            self.order(&mut scratch);
            self.offer(group, &scratch);
        });
        self.scratch = scratch;
        Ok(())
    }

    fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef, OperatorError> {
        // A null is encoded as a zero byte.
        let values: Vec<Vec<u8>> = groups
            .iter()
            .map(|g| match slot(&self.best, *g as usize) {
                Some(Some(best)) => {
                    let mut value = best.clone();
                    self.order(&mut value);
                    value
                }
                _ => vec![0],
            })
            .collect();
        let columns = self.codec.decode(values.iter().map(Vec::as_slice))?;
        columns
            .into_iter()
            .next()
            .ok_or(OperatorError::State("no column"))
    }

    fn encode(&self, group: usize, out: &mut Vec<u8>) {
        put_bytes(slot(&self.best, group).and_then(|b| b.as_deref()), out);
    }

    fn merge(&mut self, group: usize, input: &mut Input<'_>) -> Result<(), OperatorError> {
        if let Some(value) = input.bytes()? {
            self.offer(group, value);
        }
        Ok(())
    }

    fn is_empty(&self, group: usize) -> bool {
        slot(&self.best, group).is_none_or(Option::is_none)
    }

    fn best_mut(&mut self) -> Option<&mut Best> {
        Some(self)
    }
}
