//! Arrow types under names of our own, so that a stored plan outlives Arrow's spelling.
//!
//! Every type that a relation may carry has exactly one name here; a type without a name
//! cannot enter a plan, and the planner says so before anything is stored.

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The stored name of `data_type`, or `None` for a type that relations cannot carry.
pub fn type_name(data_type: &DataType) -> Option<String> {
    Some(match data_type {
        DataType::Null => "null".into(),
        DataType::Boolean => "boolean".into(),
        DataType::Int8 => "int8".into(),
        DataType::Int16 => "int16".into(),
        DataType::Int32 => "int32".into(),
        DataType::Int64 => "int64".into(),
        DataType::UInt8 => "uint8".into(),
        DataType::UInt16 => "uint16".into(),
        DataType::UInt32 => "uint32".into(),
        DataType::UInt64 => "uint64".into(),
        DataType::Float32 => "float32".into(),
        DataType::Float64 => "float64".into(),
        DataType::Utf8 => "string".into(),
        DataType::LargeUtf8 => "large_string".into(),
        DataType::Utf8View => "string_view".into(),
        DataType::Binary => "binary".into(),
        DataType::Date32 => "date".into(),
        DataType::Time64(TimeUnit::Microsecond) => "time_us".into(),
        DataType::Time64(TimeUnit::Nanosecond) => "time_ns".into(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Timestamp(unit, None) => format!("timestamp({})", unit_name(*unit)),
        DataType::Timestamp(unit, Some(zone)) => {
            format!("timestamp({},{zone})", unit_name(*unit))
        }
        DataType::Duration(unit) => format!("duration({})", unit_name(*unit)),
        DataType::Interval(IntervalUnit::MonthDayNano) => "interval".into(),
        DataType::Interval(IntervalUnit::DayTime) => "interval_day_time".into(),
        DataType::Interval(IntervalUnit::YearMonth) => "interval_year_month".into(),
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())?),
        _ => return None,
    })
}

/// The Arrow type of a stored name.
pub fn parse_type(name: &str) -> Option<DataType> {
    Some(match name {
        "null" => DataType::Null,
        "boolean" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "string" => DataType::Utf8,
        "large_string" => DataType::LargeUtf8,
        "string_view" => DataType::Utf8View,
        "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "time_us" => DataType::Time64(TimeUnit::Microsecond),
        "time_ns" => DataType::Time64(TimeUnit::Nanosecond),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "interval_day_time" => DataType::Interval(IntervalUnit::DayTime),
        "interval_year_month" => DataType::Interval(IntervalUnit::YearMonth),
        _ => return parse_parametrized(name),
    })
}

fn parse_parametrized(name: &str) -> Option<DataType> {
    if let Some(item) = name.strip_prefix("list<").and_then(|r| r.strip_suffix('>')) {
        return Some(DataType::List(list_item(parse_type(item)?)));
    }
    let (kind, rest) = name.split_once('(')?;
    let args = rest.strip_suffix(')')?;
    let (first, second) = match args.split_once(',') {
        Some((first, second)) => (first, Some(second)),
        None => (args, None),
    };
    match (kind, second) {
        ("decimal", Some(scale)) => Some(DataType::Decimal128(
            first.parse().ok()?,
            scale.parse().ok()?,
        )),
        ("timestamp", zone) => Some(DataType::Timestamp(parse_unit(first)?, zone.map(Arc::from))),
        ("duration", None) => Some(DataType::Duration(parse_unit(first)?)),
        _ => None,
    }
}

fn list_item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(data_type, true))
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

fn parse_unit(name: &str) -> Option<TimeUnit> {
    Some(match name {
        "s" => TimeUnit::Second,
        "ms" => TimeUnit::Millisecond,
        "us" => TimeUnit::Microsecond,
        "ns" => TimeUnit::Nanosecond,
        _ => return None,
    })
}

/// `#[serde(with = "data_type")]`: an Arrow type as its stored name.
pub mod data_type {
    use super::{DataType, parse_type, type_name};
    use serde::{Deserialize, Deserializer, Serializer, de, ser};

    /// Writes the stored name.
    pub fn serialize<S: Serializer>(value: &DataType, to: S) -> Result<S::Ok, S::Error> {
        match type_name(value) {
            Some(name) => to.serialize_str(&name),
            None => Err(ser::Error::custom(format!(
                "the type {value} cannot be stored in a plan"
            ))),
        }
    }

    /// Reads the stored name.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DataType, D::Error> {
        let name = String::deserialize(from)?;
        parse_type(&name).ok_or_else(|| {
            de::Error::custom(format!(
                "the plan names the type `{name}`, which this version does not know"
            ))
        })
    }
}

/// A column of a relation, as plans and the catalog store it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ColumnSpec {
    /// The column's name, unique in its relation.
    pub name: String,
    /// Its type.
    #[serde(rename = "type", with = "data_type")]
    pub data_type: DataType,
    /// Whether it may be null.
    #[serde(default = "yes")]
    pub nullable: bool,
}

fn yes() -> bool {
    true
}

impl ColumnSpec {
    /// A nullable column.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self {
            name: name.into(),
            data_type,
            nullable: true,
        }
    }

    /// A column that is never null.
    pub fn required(name: impl Into<String>, data_type: DataType) -> Self {
        Self {
            name: name.into(),
            data_type,
            nullable: false,
        }
    }

    /// The Arrow field of this column.
    pub fn field(&self) -> Field {
        Field::new(&self.name, self.data_type.clone(), self.nullable)
    }
}

/// The Arrow schema of `columns`.
pub fn arrow_schema(columns: &[ColumnSpec]) -> arrow::datatypes::SchemaRef {
    Arc::new(arrow::datatypes::Schema::new(
        columns.iter().map(ColumnSpec::field).collect::<Vec<_>>(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_type_reads_back_as_itself() {
        let types = [
            DataType::Boolean,
            DataType::Int64,
            DataType::UInt64,
            DataType::Float64,
            DataType::Utf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Decimal128(38, 10),
            DataType::Decimal128(5, -2),
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())),
            DataType::Time64(TimeUnit::Microsecond),
            DataType::Duration(TimeUnit::Millisecond),
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::List(list_item(DataType::Timestamp(TimeUnit::Second, None))),
        ];
        for data_type in types {
            let name = type_name(&data_type).expect("named");
            assert_eq!(parse_type(&name), Some(data_type), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_text() {
        let error = serde_json::from_str::<ColumnSpec>(r#"{"name":"a","type":"blob(3)"}"#)
            .expect_err("unknown type");
        assert!(error.to_string().contains("blob(3)"), "{error}");
    }
}
