//! From `CREATE SOURCE` and `FORMAT … ENCODE …` to definitions.

use super::no_such_column;
use super::session::sql_type_of;
use crate::catalog::SourceDef;
use crate::error::{SqlError, SqlState, suggest};
use crate::parse::{CreateSource, FormatClause, Name, Options};
use crate::plan::{ColumnSpec, OnBadRecord, RowFormat, SinkStyle, WatermarkDesc};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::sql::sqlparser::ast::{self, ExactNumberInfo};

/// An option, taken out of the list.
pub(crate) fn take(options: &mut Options, key: &str) -> Option<(String, crate::error::Place)> {
    options.remove(key)
}

/// What a source says of itself, before its topic is looked at.
pub(crate) fn source_def(create: &CreateSource) -> Result<SourceDef, SqlError> {
    let mut columns: Vec<ColumnSpec> = Vec::new();
    for column in &create.columns {
        if columns.iter().any(|c| c.name == column.name.text) {
            return Err(SqlError::new(
                SqlState::DuplicateColumn,
                format!("the column `{}` is declared twice", column.name.text),
            )
            .at(Some(column.name.place)));
        }
        columns.push(ColumnSpec {
            name: column.name.text.clone(),
            data_type: column_type(&column.data_type).ok_or_else(|| {
                SqlError::unsupported(format!(
                    "the column `{}` cannot have the type {}",
                    column.name.text, column.data_type
                ))
                .at(Some(column.name.place))
                .hint("the types are BOOLEAN, SMALLINT, INT, BIGINT, REAL, DOUBLE PRECISION, NUMERIC(p, s), VARCHAR, BYTEA, DATE, TIMESTAMP and TIMESTAMPTZ")
            })?,
            nullable: !column.not_null,
        });
    }
    let find = |name: &Name| {
        columns
            .iter()
            .position(|c| c.name == name.text)
            .ok_or_else(|| no_such_column(name, &columns))
    };
    let primary_key = create
        .primary_key
        .iter()
        .map(find)
        .collect::<Result<Vec<_>, _>>()?;
    let mut options = create.options.clone();
    let connector = match take(&mut options, "connector") {
        Some((connector, _)) => connector.to_lowercase(),
        None => {
            return Err(SqlError::new(
                SqlState::InvalidParameter,
                "a source needs a connector",
            )
            .at(Some(create.name.place))
            .hint("add WITH (connector = 'kafka', topic = '…') or WITH (connector = 'file', path = '…')"));
        }
    };
    let idle_timeout_ms = match take(&mut options, "idle_timeout") {
        None => None,
        Some((text, place)) => Some(duration_ms(&text).ok_or_else(|| {
            SqlError::new(
                SqlState::InvalidParameter,
                format!("`{text}` is not a duration"),
            )
            .at(Some(place))
            .hint("write '10 seconds'")
        })?),
    };
    let watermark = match &create.watermark {
        None => None,
        Some(clause) => {
            let column = find(&clause.column)?;
            let is_time = columns
                .get(column)
                .is_some_and(|c| matches!(c.data_type, DataType::Timestamp(..)));
            if !is_time {
                return Err(SqlError::new(
                    SqlState::DatatypeMismatch,
                    format!(
                        "the time column `{}` is not a TIMESTAMP",
                        clause.column.text
                    ),
                )
                .at(Some(clause.column.place))
                .hint("declare it as TIMESTAMP or TIMESTAMPTZ"));
            }
            Some(WatermarkDesc {
                column,
                delay_ms: clause.delay_ms,
                idle_timeout_ms,
            })
        }
    };
    let on_error = match take(&mut options, "on_error") {
        None => OnBadRecord::default(),
        Some((text, place)) => match text.to_lowercase().as_str() {
            "fail" => OnBadRecord::Fail,
            "skip" => OnBadRecord::Skip,
            _ => {
                return Err(SqlError::new(
                    SqlState::InvalidParameter,
                    format!("on_error cannot be `{text}`"),
                )
                .at(Some(place))
                .hint("it is 'fail' or 'skip'"));
            }
        },
    };
    let (style, format) = row_format(create.format.as_ref())?;
    let place = create.format.as_ref().map(|f| f.style.place);
    match (style, primary_key.is_empty()) {
        (SinkStyle::Upsert, true) => {
            return Err(SqlError::new(
                SqlState::InvalidTableDefinition,
                "FORMAT UPSERT needs to know which columns identify a row",
            )
            .at(place)
            .hint("add PRIMARY KEY (…) to the columns"));
        }
        (SinkStyle::Plain, false) => {
            return Err(SqlError::new(
                SqlState::InvalidTableDefinition,
                "a source of FORMAT PLAIN only grows, so that it has no PRIMARY KEY",
            )
            .at(create.primary_key.first().map(|name| name.place))
            .hint("write FORMAT UPSERT if a later record of a key replaces the earlier one"));
        }
        _ => {}
    }
    let topic = match options.get("topic") {
        Some((topic, _)) => topic.clone(),
        None => create.name.text.clone(),
    };
    Ok(SourceDef {
        topic,
        columns,
        primary_key,
        watermark,
        format,
        on_error,
        connector,
        options: options
            .into_iter()
            .map(|(key, (value, _))| (key, value))
            .collect(),
    })
}

/// What `FORMAT … ENCODE …` says; plain JSON without it.
pub(crate) fn row_format(
    clause: Option<&FormatClause>,
) -> Result<(SinkStyle, RowFormat), SqlError> {
    let Some(clause) = clause else {
        return Ok((SinkStyle::Plain, RowFormat::Json));
    };
    let style = match clause.style.text.as_str() {
        "PLAIN" => SinkStyle::Plain,
        "UPSERT" => SinkStyle::Upsert,
        other => {
            return Err(
                SqlError::unsupported(format!("FORMAT {other} is not supported yet"))
                    .at(Some(clause.style.place))
                    .hint("FORMAT PLAIN and FORMAT UPSERT are"),
            );
        }
    };
    let mut options = clause.options.clone();
    let format = match clause.encode.text.as_str() {
        "JSON" => RowFormat::Json,
        "CSV" => {
            let delimiter = match take(&mut options, "delimiter") {
                None => ',',
                Some((text, place)) => {
                    let mut chars = text.chars();
                    match (text.as_str(), chars.next(), chars.next()) {
                        ("\\t", ..) => '\t',
                        (_, Some(c), None) if c.is_ascii() => c,
                        _ => {
                            return Err(SqlError::new(
                                SqlState::InvalidParameter,
                                "a delimiter is one ASCII character",
                            )
                            .at(Some(place)));
                        }
                    }
                }
            };
            RowFormat::Csv {
                delimiter,
                null: None,
            }
        }
        other => {
            return Err(
                SqlError::unsupported(format!("ENCODE {other} is not supported yet"))
                    .at(Some(clause.encode.place))
                    .hint("ENCODE JSON and ENCODE CSV are"),
            );
        }
    };
    if let Some((key, (_, place))) = options.into_iter().next() {
        let error = SqlError::new(
            SqlState::InvalidParameter,
            format!("ENCODE {} has no option `{key}`", clause.encode.text),
        )
        .at(Some(place));
        return Err(
            match (&format, suggest(&key, "its options are", ["delimiter"])) {
                (RowFormat::Csv { .. }, Some(hint)) => error.hint(hint),
                _ => error,
            },
        );
    }
    Ok((style, format))
}

/// A duration such as `10 seconds`.
pub(crate) fn duration_ms(text: &str) -> Option<i64> {
    let interval = arrow::compute::kernels::cast_utils::parse_interval_month_day_nano(text).ok()?;
    let ms = i64::from(interval.days) * 86_400_000 + interval.nanoseconds / 1_000_000;
    (interval.months == 0 && ms >= 0).then_some(ms)
}

/// The type of a declared column.
fn column_type(sql_type: &ast::DataType) -> Option<DataType> {
    if let Some(data_type) = sql_type_of(sql_type) {
        return Some(data_type);
    }
    Some(match sql_type {
        ast::DataType::Boolean | ast::DataType::Bool => DataType::Boolean,
        ast::DataType::TinyInt(_) => DataType::Int8,
        ast::DataType::SmallInt(_) | ast::DataType::Int2(_) => DataType::Int16,
        ast::DataType::Int(_) | ast::DataType::Integer(_) | ast::DataType::Int4(_) => {
            DataType::Int32
        }
        ast::DataType::BigInt(_) | ast::DataType::Int8(_) => DataType::Int64,
        ast::DataType::Real | ast::DataType::Float4 => DataType::Float32,
        ast::DataType::Double(_)
        | ast::DataType::DoublePrecision
        | ast::DataType::Float8
        | ast::DataType::Float(_) => DataType::Float64,
        ast::DataType::Decimal(info) | ast::DataType::Numeric(info) => match info {
            ExactNumberInfo::Precision(precision) => {
                DataType::Decimal128(u8::try_from(*precision).ok()?, 0)
            }
            ExactNumberInfo::PrecisionAndScale(precision, scale) => DataType::Decimal128(
                u8::try_from(*precision).ok().filter(|p| *p <= 38)?,
                i8::try_from(*scale).ok()?,
            ),
            ExactNumberInfo::None => DataType::Decimal128(38, 10),
        },
        ast::DataType::Bytea | ast::DataType::Blob(_) | ast::DataType::Binary(_) => {
            DataType::Binary
        }
        ast::DataType::Date => DataType::Date32,
        ast::DataType::Time(..) => DataType::Time64(TimeUnit::Microsecond),
        _ => return None,
    })
}
