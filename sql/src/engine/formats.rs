//! The formats of plans as those of the format crate.

use crate::error::{SqlError, SqlState};
use crate::plan::{ColumnSpec, RowFormat, arrow_schema};
use thalweg_schema::{CsvOptions, Format, RowDecoder, RowEncoder};

/// The message format of a row format; `None` for the rows of views.
pub(crate) fn message_format(format: &RowFormat) -> Option<Format> {
    match format {
        RowFormat::Json => Some(Format::Json),
        RowFormat::Csv { delimiter, .. } => Some(Format::Csv(CsvOptions {
            delimiter: u8::try_from(*delimiter).unwrap_or(b','),
            ..CsvOptions::default()
        })),
        RowFormat::View => None,
    }
}

/// A decoder of the columns `projection`.
pub(crate) fn decoder(
    format: &RowFormat,
    columns: &[ColumnSpec],
    projection: &[usize],
) -> Result<Box<dyn RowDecoder>, SqlError> {
    crate::lower::decoder(format, columns, projection)
        .map_err(|error| SqlError::new(SqlState::InvalidTableDefinition, error.to_string()))
}

/// An encoder of rows of `columns`.
pub(crate) fn encoder(
    format: &RowFormat,
    columns: &[ColumnSpec],
) -> Result<Box<dyn RowEncoder>, SqlError> {
    let format = message_format(format)
        .ok_or_else(|| SqlError::internal("rows of views are written by their jobs"))?;
    format
        .encoder(&arrow_schema(columns))
        .map_err(|error| SqlError::new(SqlState::InvalidTableDefinition, error.to_string()))
}
