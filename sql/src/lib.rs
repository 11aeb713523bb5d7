//! Streaming SQL: the parser's extensions, the catalog, the planner, the columnar
//! operators, materialized views, pull and push queries, and the Postgres wire.
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod catalog;
pub mod engine;
mod error;
pub mod functions;
pub mod lower;
pub mod operators;
pub mod parse;
mod pg;
pub mod plan;
pub mod planner;

pub use engine::{Engine, EngineConfig, RowStream, Session, StatementResult};
pub use error::{Place, SqlError, SqlState};
pub use pg::PgServer;
