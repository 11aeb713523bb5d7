//! Windows of time as scalar functions: `TUMBLE(t, ts, size)` in FROM becomes a
//! projection of [`TUMBLE`], `HOP(t, ts, slide, size)` an unnested [`HOP`]. So batch and
//! streaming queries assign windows by the same arithmetic, and the planner recognizes
//! a window by the function.
//!
//! Windows are aligned to the epoch; a window holds its start and not its end.

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, PrimitiveArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// `(timestamp, size_ms)`: the start of the tumbling window that holds the time.
pub const TUMBLE: &str = "thalweg_tumble";
/// `(timestamp, slide_ms, size_ms)`: the starts of all windows that hold the time.
pub const HOP: &str = "thalweg_hop";
/// `(timestamp, ms)`: the time so much later; the end of a window from its start.
pub const SHIFT: &str = "thalweg_shift";

/// The functions of this module.
pub fn window_functions() -> Vec<Arc<ScalarUDF>> {
    [Kind::Tumble, Kind::Hop, Kind::Shift]
        .into_iter()
        .map(|kind| Arc::new(ScalarUDF::new_from_impl(WindowFunction::new(kind))))
        .collect()
}

/// The start of the window of `size` that holds `time`, all in one unit.
pub fn window_start(time: i64, size: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(size))
}

/// The starts of the windows of `size`, one every `slide`, that hold `time`, ascending.
pub fn hop_starts(time: i64, slide: i64, size: i64) -> impl Iterator<Item = i64> {
    let newest = window_start(time, slide);
    let oldest = time.saturating_sub(size);
    let count = newest.saturating_sub(oldest).saturating_add(slide - 1) / slide;
    (0..count)
        .rev()
        .map(move |back| newest.saturating_sub(back.saturating_mul(slide)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Tumble,
    Hop,
    Shift,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunction {
    kind: Kind,
    signature: Signature,
}

impl WindowFunction {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Tumble => TUMBLE,
            Kind::Hop => HOP,
            Kind::Shift => SHIFT,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = if self.kind == Kind::Hop { 3 } else { 2 };
        let [time, rest @ ..] = args else {
            return plan_err!("a window takes a time column");
        };
        if args.len() != wanted {
            return plan_err!("{} takes {wanted} arguments", self.name());
        }
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Date32 => DataType::Timestamp(TimeUnit::Millisecond, None),
            other => {
                return plan_err!("a window is over a TIMESTAMP column; this one is {other}");
            }
        };
        let mut types = vec![time];
        types.extend(rest.iter().map(|_| DataType::Int64));
        Ok(types)
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let Some(time) = args.first() else {
            return plan_err!("a window takes a time column");
        };
        Ok(match self.kind {
            Kind::Tumble | Kind::Shift => time.clone(),
            Kind::Hop => DataType::List(Arc::new(Field::new_list_field(time.clone(), true))),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((time, durations)) = args.args.split_first() else {
            return exec_err!("a window takes a time column");
        };
        let time = time.to_array(args.number_rows)?;
        let durations: Vec<i64> = durations
            .iter()
            .map(constant_ms)
            .collect::<Result<Vec<_>>>()?;
        let result = match time.data_type() {
            DataType::Timestamp(unit, _) => {
                let unit = *unit;
                let scaled: Vec<i64> = durations
                    .iter()
                    .map(|ms| from_ms(*ms, unit))
                    .collect::<Result<_>>()?;
                self.apply(&time, unit, &scaled)?
            }
            other => return exec_err!("a window over {other}"),
        };
        Ok(ColumnarValue::Array(result))
    }
}

impl WindowFunction {
    fn apply(&self, time: &ArrayRef, unit: TimeUnit, durations: &[i64]) -> Result<ArrayRef> {
        let ticks = time
            .to_data()
            .into_builder()
            .data_type(DataType::Int64)
            .build()?;
        let ticks = PrimitiveArray::<Int64Type>::from(ticks);
        match (self.kind, durations) {
            (Kind::Tumble, [size]) if *size > 0 => {
                let starts = ticks.unary::<_, Int64Type>(|t| window_start(t, *size));
                retype(&starts, time.data_type())
            }
            (Kind::Shift, [by]) => {
                let ends = ticks.unary::<_, Int64Type>(|t| t.saturating_add(*by));
                retype(&ends, time.data_type())
            }
            (Kind::Hop, [slide, size]) if *slide > 0 && *size > 0 => {
                let mut starts: Vec<i64> = Vec::with_capacity(ticks.len());
                let mut lengths = Vec::with_capacity(ticks.len());
                for tick in &ticks {
                    let before = starts.len();
                    if let Some(tick) = tick {
                        starts.extend(hop_starts(tick, *slide, *size));
                    }
                    lengths.push(starts.len() - before);
                }
                let values = timestamps(starts, unit, time.data_type());
                Ok(Arc::new(ListArray::try_new(
                    Arc::new(Field::new_list_field(time.data_type().clone(), true)),
                    OffsetBuffer::from_lengths(lengths),
                    values,
                    None::<NullBuffer>,
                )?))
            }
            _ => exec_err!("a window's size and slide are greater than zero"),
        }
    }
}

fn retype(ticks: &PrimitiveArray<Int64Type>, data_type: &DataType) -> Result<ArrayRef> {
    let data = ticks
        .to_data()
        .into_builder()
        .data_type(data_type.clone())
        .build()?;
    Ok(arrow::array::make_array(data))
}

fn timestamps(ticks: Vec<i64>, unit: TimeUnit, data_type: &DataType) -> ArrayRef {
    let zone = match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let values = ScalarBuffer::from(ticks);
    match unit {
        TimeUnit::Second => {
            Arc::new(TimestampSecondArray::new(values, None).with_timezone_opt(zone))
        }
        TimeUnit::Millisecond => {
            Arc::new(TimestampMillisecondArray::new(values, None).with_timezone_opt(zone))
        }
        TimeUnit::Microsecond => {
            Arc::new(TimestampMicrosecondArray::new(values, None).with_timezone_opt(zone))
        }
        TimeUnit::Nanosecond => {
            Arc::new(TimestampNanosecondArray::new(values, None).with_timezone_opt(zone))
        }
    }
}

fn constant_ms(value: &ColumnarValue) -> Result<i64> {
    match value {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(ms))) => Ok(*ms),
        ColumnarValue::Array(array) if array.len() == 1 && array.null_count() == 0 => {
            match array.as_primitive_opt::<Int64Type>() {
                Some(values) => Ok(values.value(0)),
                None => exec_err!("a window's size is a number of milliseconds"),
            }
        }
        _ => exec_err!("a window's size and slide are constants"),
    }
}

fn from_ms(ms: i64, unit: TimeUnit) -> Result<i64> {
    let ticks = match unit {
        TimeUnit::Second if ms % 1000 == 0 => Some(ms / 1000),
        TimeUnit::Second => None,
        TimeUnit::Millisecond => Some(ms),
        TimeUnit::Microsecond => ms.checked_mul(1_000),
        TimeUnit::Nanosecond => ms.checked_mul(1_000_000),
    };
    match ticks {
        Some(ticks) => Ok(ticks),
        None => exec_err!("a window of {ms} ms does not fit the unit of its time column"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        assert_eq!(window_start(60, 60), 60);
        assert_eq!(window_start(59, 60), 0);
        assert_eq!(window_start(-1, 60), -60);
    }

    #[test]
    fn every_hop_holds_the_time_and_none_is_missing() {
        for (slide, size) in [(2, 10), (3, 10), (10, 10), (10, 3), (7, 1)] {
            for time in -25..25 {
                let expected: Vec<i64> = (-60..60)
                    .map(|n| n * slide)
                    .filter(|start| *start <= time && time < start + size)
                    .collect();
                let got: Vec<i64> = hop_starts(time, slide, size).collect();
                assert_eq!(got, expected, "time {time}, slide {slide}, size {size}");
            }
        }
    }
}
