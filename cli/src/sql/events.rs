//! What comes back from a statement, whoever runs it: the one shape that an embedded
//! engine and a server behind the Postgres wire are both brought into.

use anyhow::Result;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
}

/// How the text of a column is shown and written as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Number,
    Boolean,
    Text,
}

/// One step of a statement's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Rows of these columns follow.
    Columns(Vec<Column>),
    /// A row, as text; `None` is NULL.
    Row(Vec<Option<String>>),
    /// The statement is done, with its command tag.
    Done(String),
}

/// Runs statements.
pub trait Backend: Send {
    /// Runs the statements of `sql` one after the other. The stream ends with the last of
    /// them or the first that fails; dropping it cancels what still runs.
    fn run<'a>(&'a mut self, sql: &'a str) -> BoxFuture<'a, Result<BoxStream<'a, Result<Event>>>>;

    /// Names of relations and their columns, for completion.
    fn names(&mut self) -> BoxFuture<'_, Vec<String>>;
}
