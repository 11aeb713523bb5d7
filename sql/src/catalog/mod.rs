//! The catalog: which relations there are, as a fold of the log of all DDL statements.

mod relation;
mod state;
mod topic;

pub use relation::{Body, Relation, SinkDef, SourceDef, ViewDef};
pub use state::{CatalogState, Change, EVENT_VERSION, Event};
pub use topic::CATALOG_TOPIC;

pub(crate) use state::{already_exists, still_read};
pub(crate) use topic::{CatalogReader, CatalogWriter, log_error, open};
