//! The statements of the dialect.

use crate::error::Place;
use datafusion::sql::sqlparser::ast;
use std::collections::BTreeMap;

/// A name and where it stands in the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name, lower-cased unless it was quoted.
    pub text: String,
    /// Its place.
    pub place: Place,
}

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `CREATE SOURCE`
    CreateSource(CreateSource),
    /// `CREATE MATERIALIZED VIEW`
    CreateView(CreateView),
    /// `CREATE SINK`
    CreateSink(CreateSink),
    /// `DROP SOURCE | MATERIALIZED VIEW | SINK`
    Drop(Drop),
    /// `SHOW` of a list
    Show(ShowKind),
    /// `SHOW CREATE name`
    ShowCreate(Name),
    /// `DESCRIBE name`
    Describe(Name),
    /// `EXPLAIN statement`
    Explain(Box<Statement>),
    /// `FLUSH`
    Flush,
    /// A pull query, or a push query.
    Query(Select),
    /// `INSERT INTO source`
    Insert(Insert),
    /// `SET`, `BEGIN` and what else drivers send and streams need not obey; holds the tag.
    Accepted(&'static str),
    /// `SHOW variable`
    ShowVariable(String),
}

/// A query, with its windows rewritten to expressions.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// The query.
    pub query: Box<ast::Query>,
    /// `EMIT CHANGES`: the query goes on and sends every change.
    pub emit_changes: bool,
}

/// Options of a `WITH (…)`, in the order of their names.
pub type Options = BTreeMap<String, (String, Place)>;

/// `CREATE SOURCE`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSource {
    /// The source.
    pub name: Name,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The columns.
    pub columns: Vec<SourceColumn>,
    /// `PRIMARY KEY`, of the table or of a column.
    pub primary_key: Vec<Name>,
    /// `WATERMARK FOR`
    pub watermark: Option<WatermarkClause>,
    /// `WITH (…)`
    pub options: Options,
    /// `FORMAT … ENCODE …`
    pub format: Option<FormatClause>,
}

/// A declared column.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceColumn {
    /// The column.
    pub name: Name,
    /// The type as written.
    pub data_type: ast::DataType,
    /// `NOT NULL`
    pub not_null: bool,
}

/// `WATERMARK FOR column AS column - INTERVAL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkClause {
    /// The column.
    pub column: Name,
    /// The delay.
    pub delay_ms: i64,
}

/// `FORMAT style ENCODE encoding (options)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatClause {
    /// `PLAIN`, `UPSERT`, …, in upper case.
    pub style: Name,
    /// `JSON`, `CSV`, …, in upper case.
    pub encode: Name,
    /// The options of the encoding.
    pub options: Options,
}

/// `CREATE MATERIALIZED VIEW`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    /// The view.
    pub name: Name,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// Names for the columns.
    pub columns: Vec<Name>,
    /// `WITH (…)`
    pub options: Options,
    /// The query.
    pub query: Box<ast::Query>,
}

/// `CREATE SINK`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSink {
    /// The sink.
    pub name: Name,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The query; `FROM v` is `SELECT * FROM v`.
    pub query: Box<ast::Query>,
    /// `WITH (…)`
    pub options: Options,
    /// `FORMAT … ENCODE …`
    pub format: Option<FormatClause>,
}

/// What can be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A source.
    Source,
    /// A materialized view.
    View,
    /// A sink.
    Sink,
}

impl RelationKind {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::View => "materialized view",
            Self::Sink => "sink",
        }
    }
}

/// `DROP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    /// Of which kind.
    pub kind: RelationKind,
    /// What.
    pub names: Vec<Name>,
    /// `IF EXISTS`
    pub if_exists: bool,
    /// `CASCADE`: with all that reads it.
    pub cascade: bool,
}

/// The lists of `SHOW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowKind {
    /// Sources.
    Sources,
    /// Materialized views.
    Views,
    /// Sinks.
    Sinks,
    /// Everything that can be queried.
    Tables,
    /// Running jobs.
    Jobs,
    /// Topics of the log.
    Topics,
}

/// `INSERT INTO source`.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    /// The source.
    pub target: Name,
    /// The columns given; all when empty.
    pub columns: Vec<Name>,
    /// The rows.
    pub query: Box<ast::Query>,
}
