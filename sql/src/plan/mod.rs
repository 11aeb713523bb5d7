//! What the catalog stores of a query: the versioned streaming plan, its expressions,
//! types and constants. Plain data with a stable JSON form; knows no optimizer.

mod expr;
mod literal;
mod spec;
pub mod types;

pub use expr::{ExprError, LikeKind, ScalarExpr};
pub use literal::Literal;
pub use spec::*;
pub use types::{ColumnSpec, arrow_schema};
