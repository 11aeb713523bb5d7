//! The catalog: which relations there are, in memory and as a topic.

mod relation;

pub use relation::{Body, Relation, SinkDef, SourceDef, ViewDef};
