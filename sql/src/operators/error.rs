//! What can go wrong in an operator.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use thalweg_streams::columnar::{ChunkError, KeyError};

/// An error of an operator; the node's name is added where it leaves the operator.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// An aggregate that streams cannot compute over this type.
    #[error("{function} over {data_type} is not supported")]
    UnsupportedAggregate {
        /// The function.
        function: String,
        /// The type of its argument.
        data_type: DataType,
    },
    /// A result that its type cannot hold.
    #[error(
        "{function} overflows {data_type}; cast the argument to a wider type, such as DECIMAL(38, 0)"
    )]
    Overflow {
        /// The function.
        function: &'static str,
        /// The type of the result.
        data_type: DataType,
    },
    /// A row that takes back what was never given, where the plan promises that none does.
    #[error(
        "the plan says that rows are never taken back, but one is; this is a fault of the plan"
    )]
    UnexpectedRetraction,
    /// A column that the plan names and the input does not have.
    #[error("the plan reads column {column} of an input with {columns} columns")]
    NoColumn {
        /// The position.
        column: usize,
        /// How many there are.
        columns: usize,
    },
    /// A column of a type that the operator cannot take.
    #[error("column {column} is of type {found}, where {expected} is needed")]
    ColumnType {
        /// The position.
        column: usize,
        /// Its type.
        found: DataType,
        /// What is needed.
        expected: &'static str,
    },
    /// Stored state that this release did not write.
    #[error("stored state is malformed: {0}")]
    State(&'static str),
    /// A type that rows of views cannot carry.
    #[error("a column of type {0} cannot be stored in a view")]
    UnsupportedColumn(DataType),
    /// A value of a stored row that does not fit its column.
    #[error("field {field:?} of a stored row: {what}")]
    StoredRow {
        /// The column.
        field: String,
        /// What is wrong.
        what: String,
    },
    /// Keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Chunks.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// Arrow refused.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    /// An expression failed.
    #[error(transparent)]
    DataFusion(#[from] datafusion::error::DataFusionError),
    /// A format refused.
    #[error(transparent)]
    Encode(#[from] thalweg_schema::EncodeError),
    /// A store failed.
    #[error(transparent)]
    Store(#[from] thalweg_state::StateError),
}
