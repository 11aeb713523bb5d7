//! Data formats of Thalweg between bytes and Arrow.
//!
//! A topic holds messages, a query wants columns. A [`RowDecoder`] turns a slice of
//! message values into one Arrow record batch plus the messages it had to leave out,
//! each with the place of its fault; a [`RowEncoder`] goes the other way, one message a
//! row. Both are made from a [`Format`] and a schema, so that nothing above this crate
//! knows how JSON or CSV look.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::datatypes::{DataType, Field, Schema};
//! use thalweg_schema::Format;
//!
//! let schema = Arc::new(Schema::new(vec![
//!     Field::new("item", DataType::Utf8, true),
//!     Field::new("clicks", DataType::Int64, true),
//! ]));
//! let mut decoder = Format::Json.decoder(&schema, None)?;
//! let decoded = decoder.decode(&[
//!     br#"{"item": "hat", "clicks": 3}"#,
//!     br#"{"item": "hat", "clicks": "many"}"#,
//! ]);
//! assert_eq!(decoded.batch.num_rows(), 1);
//! assert_eq!(decoded.errors[0].message, 1);
//! assert!(decoded.errors[0].error.to_string().contains("clicks"));
//! # Ok::<(), thalweg_schema::FormatError>(())
//! ```
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

mod csv_format;
mod decode;
mod encode;
mod format;
mod json_format;
mod raw_format;

pub use decode::{DecodeError, Decoded, MessageError, RowDecoder};
pub use encode::{EncodeError, RowEncoder};
pub use format::{CsvOptions, Format, FormatError};
