//! The values of a statement's parameters, as a client binds them.

use super::error::WireError;
use super::types::arrow_type;
use super::values::{EPOCH_DAYS, EPOCH_MICROS};
use arrow::datatypes::{DataType, IntervalMonthDayNano};
use bytes::Buf;
use datafusion::common::ScalarValue;
use pgwire::api::Type;

/// One parameter's value.
pub(super) fn value(
    number: usize,
    pg_type: &Type,
    binary: bool,
    bytes: Option<&[u8]>,
) -> Result<ScalarValue, WireError> {
    let Some(data_type) = arrow_type(pg_type) else {
        return Err(WireError::new(
            "0A000",
            format!("the parameter ${number} has the type {pg_type}, which is not supported"),
        )
        .hint("cast it to a supported type, such as text"));
    };
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(&data_type)
            .map_err(|error| WireError::new("22023", error.to_string()));
    };
    let read = if binary && !is_text(pg_type) {
        from_bytes(pg_type, bytes)
    } else {
        from_text(pg_type, &data_type, bytes)
    };
    read.ok_or_else(|| {
        WireError::new(
            if binary { "22P03" } else { "22P02" },
            format!(
                "the value of the parameter ${number} is no valid {}",
                pg_type.name()
            ),
        )
    })
}

fn is_text(pg_type: &Type) -> bool {
    matches!(
        *pg_type,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON
    )
}

fn from_text(pg_type: &Type, data_type: &DataType, bytes: &[u8]) -> Option<ScalarValue> {
    let text = std::str::from_utf8(bytes).ok()?;
    match *pg_type {
        Type::BOOL => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Some(ScalarValue::from(true)),
            "f" | "false" | "n" | "no" | "off" | "0" => Some(ScalarValue::from(false)),
            _ => None,
        },
        Type::BYTEA => match text.strip_prefix("\\x") {
            Some(hex) => Some(ScalarValue::Binary(Some(unhex(hex)?))),
            None => Some(ScalarValue::Binary(Some(bytes.to_vec()))),
        },
        Type::NUMERIC => decimal(text.trim()),
        _ if *data_type == DataType::Utf8 => Some(ScalarValue::Utf8(Some(text.to_owned()))),
        _ => {
            let value = ScalarValue::try_from_string(text.trim().to_owned(), data_type).ok()?;
            (!value.is_null()).then_some(value)
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|start| u8::from_str_radix(text.get(start..start + 2)?, 16).ok())
        .collect()
}

/// A decimal with the scale that it is written with.
fn decimal(text: &str) -> Option<ScalarValue> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i128 = all.parse().ok()?;
    let scale = i8::try_from(fraction.len()).ok().filter(|s| *s <= 38)?;
    if value.unsigned_abs() >= 10u128.pow(38) {
        return None;
    }
    Some(ScalarValue::Decimal128(Some(sign * value), 38, scale))
}

fn from_bytes(pg_type: &Type, mut bytes: &[u8]) -> Option<ScalarValue> {
    let size = match *pg_type {
        Type::BOOL => Some(1),
        Type::INT2 => Some(2),
        Type::INT4 | Type::OID | Type::FLOAT4 | Type::DATE => Some(4),
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => Some(8),
        Type::INTERVAL | Type::UUID => Some(16),
        _ => None,
    };
    if size.is_some_and(|size| size != bytes.len()) {
        return None;
    }
    Some(match *pg_type {
        Type::BOOL => ScalarValue::from(bytes.get_u8() != 0),
        Type::INT2 => ScalarValue::from(bytes.get_i16()),
        Type::INT4 => ScalarValue::from(bytes.get_i32()),
        Type::INT8 => ScalarValue::from(bytes.get_i64()),
        Type::OID => ScalarValue::from(i64::from(bytes.get_u32())),
        Type::FLOAT4 => ScalarValue::from(bytes.get_f32()),
        Type::FLOAT8 => ScalarValue::from(bytes.get_f64()),
        Type::BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        Type::DATE => ScalarValue::Date32(Some(bytes.get_i32().checked_add(EPOCH_DAYS)?)),
        Type::TIME => ScalarValue::Time64Microsecond(Some(bytes.get_i64())),
        Type::TIMESTAMP => ScalarValue::TimestampMicrosecond(
            Some(bytes.get_i64().checked_add(EPOCH_MICROS)?),
            None,
        ),
        Type::TIMESTAMPTZ => ScalarValue::TimestampMicrosecond(
            Some(bytes.get_i64().checked_add(EPOCH_MICROS)?),
            Some("+00:00".into()),
        ),
        Type::INTERVAL => {
            let nanoseconds = bytes.get_i64().checked_mul(1000)?;
            let days = bytes.get_i32();
            let months = bytes.get_i32();
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano {
                months,
                days,
                nanoseconds,
            }))
        }
        Type::UUID => {
            let uuid = uuid::Uuid::from_slice(bytes).ok()?;
            ScalarValue::Utf8(Some(uuid.to_string()))
        }
        Type::JSONB => {
            let text = bytes.strip_prefix(&[1])?;
            ScalarValue::Utf8(Some(std::str::from_utf8(text).ok()?.to_owned()))
        }
        Type::NUMERIC => numeric(bytes)?,
        _ => return None,
    })
}

/// A numeric from its groups of four digits.
fn numeric(mut bytes: &[u8]) -> Option<ScalarValue> {
    if bytes.len() < 8 {
        return None;
    }
    let count = bytes.get_u16();
    let weight = i32::from(bytes.get_i16());
    let sign = bytes.get_u16();
    let scale = i32::from(bytes.get_u16());
    if scale > 38 || !matches!(sign, 0 | 0x4000) || bytes.len() != usize::from(count) * 2 {
        return None;
    }
    let mut value: i128 = 0;
    for index in 0..i32::from(count) {
        let group = i128::from(bytes.get_u16());
        let power = (weight - index) * 4 + scale;
        let part = if power >= 0 {
            group.checked_mul(10i128.checked_pow(power.unsigned_abs())?)?
        } else {
            group / 10i128.checked_pow(power.unsigned_abs())?
        };
        value = value.checked_add(part)?;
    }
    if value.unsigned_abs() >= 10u128.pow(38) {
        return None;
    }
    let value = if sign == 0x4000 { -value } else { value };
    Some(ScalarValue::Decimal128(
        Some(value),
        38,
        i8::try_from(scale).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::values;
    use bytes::BytesMut;
    use proptest::prelude::*;

    #[test]
    fn text_is_read_as_its_type() {
        let read = |pg_type: Type, text: &str| value(1, &pg_type, false, Some(text.as_bytes()));
        assert_eq!(read(Type::INT4, "42"), Ok(ScalarValue::from(42i32)));
        assert_eq!(read(Type::BOOL, "t"), Ok(ScalarValue::from(true)));
        assert_eq!(
            read(Type::NUMERIC, "-1.50"),
            Ok(ScalarValue::Decimal128(Some(-150), 38, 2))
        );
        assert_eq!(
            read(Type::BYTEA, "\\x01ff"),
            Ok(ScalarValue::Binary(Some(vec![1, 255])))
        );
        assert_eq!(
            read(Type::TIMESTAMP, "2024-01-01 00:00:01"),
            Ok(ScalarValue::TimestampMicrosecond(
                Some(1_704_067_201_000_000),
                None
            ))
        );
        for (pg_type, text) in [
            (Type::INT4, "4x"),
            (Type::BYTEA, "\\x0"),
            (Type::NUMERIC, "."),
            (Type::DATE, "soon"),
        ] {
            assert!(read(pg_type, text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_numeric_survives_its_bytes(number in -10i128.pow(28)..10i128.pow(28), scale in 0i8..10) {
            let mut text = BytesMut::new();
            values::decimal(&mut text, number, scale);
            let text = String::from_utf8(text.to_vec()).expect("text");
            let mut bytes = BytesMut::new();
            values::numeric_bytes(&mut bytes, &text);
            prop_assert_eq!(
                value(1, &Type::NUMERIC, true, Some(&bytes)),
                Ok(ScalarValue::Decimal128(Some(number), 38, scale))
            );
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), oid in 16u32..3000, binary: bool) {
            if let Some(pg_type) = Type::from_oid(oid) {
                let _ = value(1, &pg_type, binary, Some(&bytes));
            }
        }
    }
}
