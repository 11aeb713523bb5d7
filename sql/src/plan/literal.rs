//! Constants of a plan: a type by name and a value as text or number.

use super::types::data_type;
use arrow::array::types::IntervalMonthDayNano;
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use serde::{Deserialize, Serialize};

/// A typed constant, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Literal {
    /// The type.
    #[serde(rename = "type", with = "data_type")]
    pub data_type: DataType,
    /// The value in its canonical text; `None` is null. Times are counts of their unit,
    /// bytes are hexadecimal, an interval is `months/days/nanoseconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

impl Literal {
    /// Takes a constant of DataFusion over; `None` for a type that plans cannot hold.
    pub fn from_scalar(scalar: &ScalarValue) -> Option<Self> {
        let data_type = scalar.data_type();
        super::types::type_name(&data_type)?;
        if scalar.is_null() {
            return Some(Self {
                data_type,
                value: None,
            });
        }
        let value = match scalar {
            ScalarValue::Boolean(Some(v)) => v.to_string(),
            ScalarValue::Int8(Some(v)) => v.to_string(),
            ScalarValue::Int16(Some(v)) => v.to_string(),
            ScalarValue::Int32(Some(v)) | ScalarValue::Date32(Some(v)) => v.to_string(),
            ScalarValue::Int64(Some(v))
            | ScalarValue::Time64Microsecond(Some(v))
            | ScalarValue::Time64Nanosecond(Some(v))
            | ScalarValue::TimestampSecond(Some(v), _)
            | ScalarValue::TimestampMillisecond(Some(v), _)
            | ScalarValue::TimestampMicrosecond(Some(v), _)
            | ScalarValue::TimestampNanosecond(Some(v), _)
            | ScalarValue::DurationSecond(Some(v))
            | ScalarValue::DurationMillisecond(Some(v))
            | ScalarValue::DurationMicrosecond(Some(v))
            | ScalarValue::DurationNanosecond(Some(v)) => v.to_string(),
            ScalarValue::UInt8(Some(v)) => v.to_string(),
            ScalarValue::UInt16(Some(v)) => v.to_string(),
            ScalarValue::UInt32(Some(v)) => v.to_string(),
            ScalarValue::UInt64(Some(v)) => v.to_string(),
            // `{:?}` prints the shortest text that reads back as the same number.
            ScalarValue::Float32(Some(v)) => format!("{v:?}"),
            ScalarValue::Float64(Some(v)) => format!("{v:?}"),
            ScalarValue::Decimal128(Some(v), _, _) => v.to_string(),
            ScalarValue::Utf8(Some(v))
            | ScalarValue::LargeUtf8(Some(v))
            | ScalarValue::Utf8View(Some(v)) => v.clone(),
            ScalarValue::Binary(Some(v)) => v.iter().map(|b| format!("{b:02x}")).collect(),
            ScalarValue::IntervalMonthDayNano(Some(v)) => {
                format!("{}/{}/{}", v.months, v.days, v.nanoseconds)
            }
            _ => return None,
        };
        Some(Self {
            data_type,
            value: Some(value),
        })
    }

    /// A constant of DataFusion; `None` if the text is no value of the type.
    pub fn to_scalar(&self) -> Option<ScalarValue> {
        let Some(text) = &self.value else {
            return ScalarValue::try_from(&self.data_type).ok();
        };
        Some(match &self.data_type {
            DataType::Boolean => ScalarValue::Boolean(Some(text.parse().ok()?)),
            DataType::Int8 => ScalarValue::Int8(Some(text.parse().ok()?)),
            DataType::Int16 => ScalarValue::Int16(Some(text.parse().ok()?)),
            DataType::Int32 => ScalarValue::Int32(Some(text.parse().ok()?)),
            DataType::Int64 => ScalarValue::Int64(Some(text.parse().ok()?)),
            DataType::UInt8 => ScalarValue::UInt8(Some(text.parse().ok()?)),
            DataType::UInt16 => ScalarValue::UInt16(Some(text.parse().ok()?)),
            DataType::UInt32 => ScalarValue::UInt32(Some(text.parse().ok()?)),
            DataType::UInt64 => ScalarValue::UInt64(Some(text.parse().ok()?)),
            DataType::Float32 => ScalarValue::Float32(Some(text.parse().ok()?)),
            DataType::Float64 => ScalarValue::Float64(Some(text.parse().ok()?)),
            DataType::Date32 => ScalarValue::Date32(Some(text.parse().ok()?)),
            DataType::Decimal128(precision, scale) => {
                ScalarValue::Decimal128(Some(text.parse().ok()?), *precision, *scale)
            }
            DataType::Utf8 => ScalarValue::Utf8(Some(text.clone())),
            DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(text.clone())),
            DataType::Utf8View => ScalarValue::Utf8View(Some(text.clone())),
            DataType::Binary => ScalarValue::Binary(Some(unhex(text)?)),
            DataType::Time64(TimeUnit::Microsecond) => {
                ScalarValue::Time64Microsecond(Some(text.parse().ok()?))
            }
            DataType::Time64(TimeUnit::Nanosecond) => {
                ScalarValue::Time64Nanosecond(Some(text.parse().ok()?))
            }
            DataType::Timestamp(unit, zone) => {
                let value = Some(text.parse().ok()?);
                let zone = zone.clone();
                match unit {
                    TimeUnit::Second => ScalarValue::TimestampSecond(value, zone),
                    TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(value, zone),
                    TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(value, zone),
                    TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(value, zone),
                }
            }
            DataType::Duration(unit) => {
                let value = Some(text.parse().ok()?);
                match unit {
                    TimeUnit::Second => ScalarValue::DurationSecond(value),
                    TimeUnit::Millisecond => ScalarValue::DurationMillisecond(value),
                    TimeUnit::Microsecond => ScalarValue::DurationMicrosecond(value),
                    TimeUnit::Nanosecond => ScalarValue::DurationNanosecond(value),
                }
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let mut parts = text.split('/');
                let months = parts.next()?.parse().ok()?;
                let days = parts.next()?.parse().ok()?;
                let nanoseconds = parts.next()?.parse().ok()?;
                ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(
                    months,
                    days,
                    nanoseconds,
                )))
            }
            _ => return None,
        })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_survive_the_catalog() {
        let scalars = [
            ScalarValue::Boolean(Some(true)),
            ScalarValue::Int64(Some(i64::MIN)),
            ScalarValue::Float64(Some(0.1)),
            ScalarValue::Float64(Some(f64::INFINITY)),
            ScalarValue::Utf8(Some("it's \u{1F30A}".into())),
            ScalarValue::Utf8(None),
            ScalarValue::Binary(Some(vec![0, 255, 16])),
            ScalarValue::Decimal128(Some(-12345), 10, 2),
            ScalarValue::TimestampMicrosecond(Some(-1), Some("+00:00".into())),
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(1, -2, 3))),
        ];
        for scalar in scalars {
            let literal = Literal::from_scalar(&scalar).expect("storable");
            let text = serde_json::to_string(&literal).expect("json");
            let back: Literal = serde_json::from_str(&text).expect("json");
            assert_eq!(back.to_scalar(), Some(scalar), "{text}");
        }
    }
}
