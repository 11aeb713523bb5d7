//! What psql and drivers ask Postgres' own catalog, told by the shape of the question
//! and answered from ours.

use super::variables::Variables;
use crate::engine::{Engine, RowStream};
use crate::error::SqlError;
use crate::planner::{DATABASE, SCHEMA};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// A question that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// One value of the session or the server.
    Fact(Fact),
}

/// Values that drivers ask for at their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    Version,
    Database,
    Schema,
    User,
    Process,
}

const FACTS: [(&str, &str, Fact); 8] = [
    ("version()", "version", Fact::Version),
    ("current_database()", "current_database", Fact::Database),
    ("current_catalog", "current_catalog", Fact::Database),
    ("current_schema()", "current_schema", Fact::Schema),
    ("current_schema", "current_schema", Fact::Schema),
    ("current_user", "current_user", Fact::User),
    ("session_user", "session_user", Fact::User),
    ("pg_backend_pid()", "pg_backend_pid", Fact::Process),
];

impl Question {
    /// The question that a statement is, if it is one of those.
    pub(super) fn recognize(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ").to_lowercase();
        let text = text.trim_end_matches([';', ' ']);
        let asked = text.strip_prefix("select ")?;
        let asked = asked.strip_prefix("pg_catalog.").unwrap_or(asked);
        FACTS
            .iter()
            .find(|(name, _, _)| *name == asked)
            .map(|(_, _, fact)| Self::Fact(*fact))
    }

    /// The columns of the answer.
    pub(super) fn columns(&self) -> SchemaRef {
        match self {
            Self::Fact(fact) => {
                let name = FACTS
                    .iter()
                    .find(|(_, _, known)| known == fact)
                    .map_or("?column?", |(_, name, _)| name);
                Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, true)]))
            }
        }
    }

    /// The answer.
    pub(super) fn answer(
        &self,
        _engine: &Engine,
        variables: &Variables,
    ) -> Result<RowStream, SqlError> {
        match self {
            Self::Fact(fact) => {
                let value = match fact {
                    Fact::Version => format!(
                        "PostgreSQL {} on Thalweg, a streaming database",
                        crate::engine::SERVER_VERSION
                    ),
                    Fact::Database => DATABASE.to_owned(),
                    Fact::Schema => SCHEMA.to_owned(),
                    Fact::User => variables.user().to_owned(),
                    Fact::Process => variables.process.to_string(),
                };
                let column: ArrayRef = Arc::new(StringArray::from(vec![value]));
                RecordBatch::try_new(self.columns(), vec![column])
                    .map(RowStream::of)
                    .map_err(SqlError::internal)
            }
        }
    }
}
