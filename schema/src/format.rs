//! Which format a topic's messages have, and its decoder and encoder for a schema.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::{DataType, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::csv_format::{CsvDecoder, CsvEncoder};
use crate::json_format::{JsonDecoder, JsonEncoder};
use crate::raw_format::{RawDecoder, RawEncoder};
use crate::{RowDecoder, RowEncoder};

/// The format of a topic's message values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a message. Fields that the schema does not name are passed over.
    Json,
    /// One CSV record a message, without a header line.
    Csv(CsvOptions),
    /// The whole value as the one column of the schema (`TEXT` or `BYTEA`).
    Raw,
}

/// How CSV records are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvOptions {
    /// The byte between two fields, `,` by default.
    pub delimiter: u8,
    /// The byte around a field that holds a delimiter, a quote or a line end, `"` by default.
    pub quote: u8,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: b'"',
        }
    }
}

/// A format that cannot be built as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormatError {
    /// No format of this name.
    #[error("unknown format {name:?}: known are JSON, CSV and RAW")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// An option the format does not have, or a value it cannot take.
    #[error("format {format}: {what}")]
    Option {
        /// The format's name.
        format: &'static str,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A schema that the format cannot carry.
    #[error("format {format} cannot carry column {column:?} of type {data_type}: {hint}")]
    Column {
        /// The format's name.
        format: &'static str,
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
        /// The way out.
        hint: &'static str,
    },
    /// A projection that names a column the schema does not have.
    #[error("column {index} is asked for, but the schema has {columns} columns")]
    Projection {
        /// The index asked for.
        index: usize,
        /// How many there are.
        columns: usize,
    },
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Format {
    /// The format's name as SQL writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Csv(_) => "CSV",
            Self::Raw => "RAW",
        }
    }

    /// Makes a format from its name (any case) and its options.
    ///
    /// CSV takes `delimiter` and `quote`, each one ASCII character (`\t` for a tab); the
    /// others take none.
    ///
    /// # Errors
    /// An unknown name, an unknown option or a value that the option cannot take.
    pub fn from_options(
        name: &str,
        options: &BTreeMap<String, String>,
    ) -> Result<Self, FormatError> {
        let format = match name.to_ascii_uppercase().as_str() {
            "JSON" => Self::Json,
            "RAW" | "BYTES" | "TEXT" => Self::Raw,
            "CSV" => return csv_options(options).map(Self::Csv),
            _ => {
                return Err(FormatError::Unknown {
                    name: name.to_owned(),
                });
            }
        };
        match options.keys().next() {
            None => Ok(format),
            Some(key) => Err(FormatError::Option {
                format: format.name(),
                what: format!("has no option {key:?}"),
            }),
        }
    }

    /// A decoder of messages into the columns `projection` of `schema` (all of them for `None`).
    ///
    /// # Errors
    /// A schema that the format cannot carry, or a projection outside the schema.
    pub fn decoder(
        &self,
        schema: &SchemaRef,
        projection: Option<&[usize]>,
    ) -> Result<Box<dyn RowDecoder>, FormatError> {
        if let Some(&index) = projection
            .unwrap_or_default()
            .iter()
            .find(|&&index| index >= schema.fields().len())
        {
            return Err(FormatError::Projection {
                index,
                columns: schema.fields().len(),
            });
        }
        Ok(match self {
            Self::Json => Box::new(JsonDecoder::new(schema, projection)),
            Self::Csv(options) => Box::new(CsvDecoder::new(options, schema, projection)?),
            Self::Raw => Box::new(RawDecoder::new(schema, projection)?),
        })
    }

    /// An encoder of batches of `schema` into messages, one a row.
    ///
    /// # Errors
    /// A schema that the format cannot carry.
    pub fn encoder(&self, schema: &SchemaRef) -> Result<Box<dyn RowEncoder>, FormatError> {
        Ok(match self {
            Self::Json => Box::new(JsonEncoder::new()),
            Self::Csv(options) => Box::new(CsvEncoder::new(options, schema)?),
            Self::Raw => Box::new(RawEncoder::new(schema)?),
        })
    }
}

fn csv_options(options: &BTreeMap<String, String>) -> Result<CsvOptions, FormatError> {
    let mut csv = CsvOptions::default();
    for (key, value) in options {
        let slot = match key.to_ascii_lowercase().as_str() {
            "delimiter" => &mut csv.delimiter,
            "quote" => &mut csv.quote,
            _ => {
                return Err(FormatError::Option {
                    format: "CSV",
                    what: format!("has no option {key:?}; it takes delimiter and quote"),
                });
            }
        };
        *slot = match value.as_bytes() {
            b"\\t" => b'\t',
            [byte] if byte.is_ascii() => *byte,
            _ => {
                return Err(FormatError::Option {
                    format: "CSV",
                    what: format!("{key} must be one ASCII character, not {value:?}"),
                });
            }
        };
    }
    Ok(csv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn names_are_taken_in_any_case_and_unknown_ones_refused() {
        assert_eq!(
            Format::from_options("json", &options(&[])),
            Ok(Format::Json)
        );
        let error = Format::from_options("yaml", &options(&[])).unwrap_err();
        assert!(error.to_string().contains("JSON, CSV and RAW"), "{error}");
    }

    #[test]
    fn csv_takes_a_tab_and_refuses_what_is_not_one_character() {
        let Ok(Format::Csv(csv)) = Format::from_options("CSV", &options(&[("delimiter", "\\t")]))
        else {
            panic!("a tab is a delimiter");
        };
        assert_eq!(csv.delimiter, b'\t');
        assert!(Format::from_options("CSV", &options(&[("quote", "ab")])).is_err());
        assert!(Format::from_options("CSV", &options(&[("headr", "x")])).is_err());
        assert!(Format::from_options("JSON", &options(&[("delimiter", ",")])).is_err());
    }
}
