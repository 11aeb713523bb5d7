//! Which Postgres type a column has, and which column type a parameter has.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use pgwire::api::Type;
use pgwire::messages::data::{FieldDescription, RowDescription};

/// The Postgres type of a column. What Postgres has no type of ours for goes as text.
pub(super) fn pg_type(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 => Type::INT8,
        DataType::UInt64 | DataType::Decimal128(..) | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        DataType::Dictionary(_, value) => pg_type(value),
        _ => Type::TEXT,
    }
}

/// The bytes of a value of a type, -1 if they differ.
fn type_size(pg_type: &Type) -> i16 {
    match *pg_type {
        Type::BOOL => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL => 16,
        _ => -1,
    }
}

/// What is said of the columns before their rows.
pub(super) fn describe(schema: &Schema, formats: &Formats) -> RowDescription {
    let fields = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let pg_type = pg_type(field.data_type());
            let modifier = match field.data_type() {
                // A numeric's precision and scale, as `atttypmod` packs them.
                DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)
                    if *scale >= 0 =>
                {
                    ((i32::from(*precision) << 16) | i32::from(*scale)) + 4
                }
                _ => -1,
            };
            FieldDescription::new(
                field.name().clone(),
                0,
                0,
                pg_type.oid(),
                type_size(&pg_type),
                modifier,
                i16::from(formats.is_binary(index)),
            )
        })
        .collect();
    RowDescription::new(fields)
}

/// The column type that a parameter of a Postgres type is read as.
pub(super) fn arrow_type(pg_type: &Type) -> Option<DataType> {
    Some(match *pg_type {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Type::INTERVAL => DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano),
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::UNKNOWN
        | Type::JSON
        | Type::JSONB
        | Type::UUID => DataType::Utf8,
        _ => return None,
    })
}

/// Which of the columns, or of the parameters, are binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Formats {
    /// All, or none.
    All(bool),
    /// Each for itself.
    Each(Vec<bool>),
}

impl Formats {
    /// From the codes of a `Bind`: none is text, one is for all.
    pub(super) fn of(codes: &[i16]) -> Self {
        match codes {
            [] => Self::All(false),
            [code] => Self::All(*code == 1),
            codes => Self::Each(codes.iter().map(|code| *code == 1).collect()),
        }
    }

    /// Whether they are given for `count` values.
    pub(super) fn fits(&self, count: usize) -> bool {
        match self {
            Self::All(_) => true,
            Self::Each(each) => each.len() == count,
        }
    }

    pub(super) fn is_binary(&self, index: usize) -> bool {
        match self {
            Self::All(binary) => *binary,
            Self::Each(each) => each.get(index).copied().unwrap_or(false),
        }
    }
}
