//! The streaming operators of SQL, as columnar nodes made from the plan's plain specs.
//!
//! Every operator keeps the oracle: folding what it has put out equals the batch operator
//! over what it has taken, less the rows it counted as late.

mod aggregate;
mod error;
mod materialize;
mod project;
mod view;

pub use aggregate::{GroupAggregate, PartialAggregate, split_aggregate};
pub use error::OperatorError;
pub use materialize::{Materialize, Sink, view_key_codec};
pub use project::{FilterProject, Hop, Union};
pub use view::{ViewRowDecoder, ViewRowEncoder, ViewRows};

use crate::plan::ColumnSpec;
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::sync::Arc;

/// The Arrow schema of `columns`, all of them nullable: a row that is taken back may come
/// before the row that it takes back, and a batch must be able to carry what comes.
#[must_use]
pub fn nullable_schema(columns: &[ColumnSpec]) -> SchemaRef {
    let field = |c: &ColumnSpec| Field::new(&c.name, c.data_type.clone(), true);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}
