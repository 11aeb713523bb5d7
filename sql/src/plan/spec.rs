//! The streaming plan: what a statement does, as plain data.
//!
//! A plan is stored in the catalog beside the SQL text and lowered anew at every start,
//! so nothing in it may depend on the version of an optimizer: operators, stores and
//! exchanges have ids that never change, and expressions are our own
//! [`ScalarExpr`](super::ScalarExpr). Columns are addressed by position in the
//! operator's input; every operator states its output columns.

use super::{ColumnSpec, ScalarExpr};
use serde::{Deserialize, Serialize};

/// The version that [`StreamPlan::version`] has when this code wrote it.
pub const PLAN_VERSION: u32 = 1;

/// A whole streaming query, from topics to a view, a sink or a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamPlan {
    /// The format; see [`PLAN_VERSION`].
    pub version: u32,
    /// Sub-topologies, upstream first. They meet only at exchanges.
    pub fragments: Vec<Fragment>,
    /// What the last fragment delivers, visible columns first, then hidden key columns.
    pub columns: Vec<ColumnSpec>,
    /// How many of `columns` a user sees; the rest complete the stream key.
    pub visible: usize,
    /// The positions in `columns` that identify a row.
    pub stream_key: Vec<usize>,
    /// Whether rows are only ever inserted, or also changed and deleted.
    pub mode: ChangelogMode,
}

/// One sub-topology: operators in an order in which inputs precede their readers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fragment {
    /// Stable id; the sub-topology's id.
    pub id: u32,
    /// The operators; the last one is the fragment's end (exchange, view, sink, client).
    pub operators: Vec<Operator>,
    /// The stores the operators use.
    #[serde(default)]
    pub stores: Vec<StoreDesc>,
}

/// One operator of a fragment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operator {
    /// Stable id, unique in the plan.
    pub id: u32,
    /// What it does.
    pub kind: OperatorKind,
    /// The ids of the operators it reads, in port order. Empty for sources.
    #[serde(default)]
    pub inputs: Vec<u32>,
    /// The columns it puts out. An end operator repeats its input's.
    pub columns: Vec<ColumnSpec>,
    /// The positions in `columns` that identify a row of its output.
    pub stream_key: Vec<usize>,
    /// The kinds of row it puts out.
    pub mode: ChangelogMode,
    /// The column whose values lie below the watermark once it has passed, if any.
    #[serde(default)]
    pub watermark: Option<usize>,
}

/// Whether a relation only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangelogMode {
    /// Inserts only.
    AppendOnly,
    /// Inserts, updates (before and after) and deletes.
    Retract,
}

/// What an operator does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum OperatorKind {
    /// Reads a topic whose records are rows of their own.
    Source(SourceOp),
    /// Reads a topic in which a later record replaces an earlier one of the same key, and
    /// null deletes it: an upsert source, or a view.
    TableSource(TableSourceOp),
    /// Reads the chunks of an exchange.
    ExchangeSource {
        /// Which exchange.
        exchange: ExchangeDesc,
    },
    /// Keeps the rows for which the predicate is true. An update of which only one half
    /// passes becomes an insert or a delete.
    Filter {
        /// A boolean expression over the input's columns.
        predicate: ScalarExpr,
    },
    /// Computes each output column from the input's columns.
    Project {
        /// One expression an output column.
        exprs: Vec<ScalarExpr>,
    },
    /// Puts out each row once for every window that holds it, with `window_start`
    /// appended. Tumbling windows are plain expressions and need no operator.
    Hop(HopOp),
    /// Aggregates insert-only rows inside a chunk ahead of an exchange, to send less.
    /// Its output is the keys followed by the partial states, one column a call
    /// (binary, versioned); the `GroupAggregate` behind it has `partial_input` set.
    PartialAggregate(PartialAggregateOp),
    /// Aggregates by group, with retractions in and out.
    GroupAggregate(GroupAggregateOp),
    /// End: sends each row to the task of its key.
    ExchangeSink {
        /// Which exchange.
        exchange: ExchangeDesc,
    },
    /// End: keeps the rows of a view by stream key.
    Materialize(MaterializeOp),
    /// End: encodes rows into a topic.
    Sink(SinkOp),
    /// End: hands rows to a client. Never stored.
    Push,
}

/// What a [`OperatorKind::Source`] reads. Its output is the columns of `projection`,
/// then `_partition` (int32), then `_offset` (int64).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceOp {
    /// The relation's name in the catalog, for people.
    pub relation: String,
    /// The topic.
    pub topic: String,
    /// How a record becomes a row.
    pub format: RowFormat,
    /// All declared columns.
    pub columns: Vec<ColumnSpec>,
    /// The declared columns that are put out, in output order.
    pub projection: Vec<usize>,
    /// The event time of the topic.
    #[serde(default)]
    pub watermark: Option<WatermarkDesc>,
    /// What to do with a record that cannot be read.
    #[serde(default)]
    pub on_error: OnBadRecord,
}

/// What a [`OperatorKind::TableSource`] reads. Its output is the columns of `projection`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableSourceOp {
    /// The relation's name in the catalog, for people.
    pub relation: String,
    /// The topic.
    pub topic: String,
    /// How a record becomes a row.
    pub format: RowFormat,
    /// All columns of the relation, hidden ones included.
    pub columns: Vec<ColumnSpec>,
    /// The columns that are put out, in output order; holds the whole `key`.
    pub projection: Vec<usize>,
    /// The declared columns that identify a row.
    pub key: Vec<usize>,
    /// The store of the raw newest record of every key, backed by the topic itself. With
    /// it a change is put out as the row before and the row after.
    pub store: u32,
    /// The event time of the topic.
    #[serde(default)]
    pub watermark: Option<WatermarkDesc>,
    /// What to do with a record that cannot be read.
    #[serde(default)]
    pub on_error: OnBadRecord,
}

/// The event time of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatermarkDesc {
    /// The declared column that carries the time (a timestamp).
    pub column: usize,
    /// How far rows may be out of order: the watermark is the newest time less this.
    pub delay_ms: i64,
    /// After how long without data a partition holds nothing back any more.
    #[serde(default)]
    pub idle_timeout_ms: Option<i64>,
}

/// What happens to a record that cannot be read as a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRecord {
    /// The job stops and says where.
    #[default]
    Fail,
    /// The record is left out, counted and logged with its place.
    Skip,
}

/// How bytes become rows and rows become bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "encode", rename_all = "snake_case")]
pub enum RowFormat {
    /// One JSON object a record.
    Json,
    /// One CSV line a record, without a header.
    Csv {
        /// The separator of fields, one ASCII character.
        #[serde(default = "comma")]
        delimiter: char,
        /// The text that stands for null; an empty field when unset.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        null: Option<String>,
    },
    /// The row codec of views: memcomparable key columns in the key, a versioned row of
    /// all columns in the value.
    View,
}

fn comma() -> char {
    ','
}

/// Windows that overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopOp {
    /// The input column with the time (a timestamp).
    pub time: usize,
    /// The distance between the starts of two windows.
    pub slide_ms: i64,
    /// The length of a window.
    pub size_ms: i64,
}

/// Where rows change their task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeDesc {
    /// Stable id, unique in the plan.
    pub id: u32,
    /// The topic's name within the job, as in `<application.id>-<name>-repartition`.
    pub name: String,
    /// The columns that choose the partition; empty sends every row to partition 0.
    pub keys: Vec<usize>,
    /// How many partitions; as many as the job's widest input when unset.
    #[serde(default)]
    pub partitions: Option<i32>,
}

/// An aggregate ahead of an exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialAggregateOp {
    /// The input columns to group by.
    pub keys: Vec<usize>,
    /// What to compute.
    pub calls: Vec<AggregateCall>,
}

/// An aggregate by group. Its output is the keys followed by one column a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupAggregateOp {
    /// The input columns to group by. Empty: one group, which exists from the start.
    pub keys: Vec<usize>,
    /// What to compute.
    pub calls: Vec<AggregateCall>,
    /// The store of the groups: key columns to row count and state of all calls.
    pub store: u32,
    /// The window in the key, by which groups are closed.
    #[serde(default)]
    pub window: Option<WindowKey>,
    /// The input consists of partial states of these calls, not of their arguments.
    #[serde(default)]
    pub partial_input: bool,
    /// The input never retracts, so MIN and MAX need no more than their newest value.
    pub append_only_input: bool,
}

/// The window that a group belongs to. It ends at the key's value + `until_end_ms`. When
/// the watermark reaches end + `grace_ms`, its state goes, and what still comes is late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowKey {
    /// The position in `keys` of the window's start or end (a timestamp).
    pub key: usize,
    /// The distance from that column's value to the window's end.
    pub until_end_ms: i64,
    /// The length of the window.
    pub size_ms: i64,
    /// How long after its end the window still takes rows.
    #[serde(default)]
    pub grace_ms: i64,
}

/// One aggregate function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AggregateCall {
    /// Which function.
    pub function: AggregateFunction,
    /// The input column it takes; none for `COUNT(*)`.
    pub argument: Option<usize>,
    /// Whether each value counts once.
    #[serde(default)]
    pub distinct: bool,
    /// A boolean input column; rows for which it is not true are left out.
    #[serde(default)]
    pub filter: Option<usize>,
    /// The result.
    pub output: ColumnSpec,
    /// The store of this call's values with their multiplicity (key: group, value; scanned
    /// in order): set where the function is DISTINCT, or MIN or MAX of rows that retract.
    #[serde(default)]
    pub store: Option<u32>,
}

/// The aggregate functions of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AggregateFunction {
    /// Rows, or rows in which the argument is not null.
    Count,
    /// The sum; null without a value.
    Sum,
    /// The mean; null without a value.
    Avg,
    /// The smallest value.
    Min,
    /// The greatest value.
    Max,
}

/// A store of a fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreDesc {
    /// Stable id, unique in the plan.
    pub id: u32,
    /// The store's name within the job, as in `<application.id>-<name>-changelog`.
    pub name: String,
    /// Whether the store is scanned in key order, not only read by key.
    #[serde(default)]
    pub scanned: bool,
    /// The topic that backs the store; an internal changelog when unset.
    #[serde(default)]
    pub topic: Option<StoreTopic>,
    /// The columns of its key, for people.
    #[serde(default)]
    pub key: Vec<String>,
    /// Why the store grows without bound, if it does.
    #[serde(default)]
    pub unbounded: Option<String>,
}

/// A topic of its own name behind a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreTopic {
    /// The topic.
    pub name: String,
    /// Whether the store writes it (a view) or only reads it back (a table source).
    pub written: bool,
}

/// The rows of a view, kept under their stream key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaterializeOp {
    /// The view.
    pub view: String,
    /// The columns of the key.
    pub key: Vec<usize>,
    /// The store, whose changelog is the view's topic.
    pub store: u32,
}

/// Rows encoded into a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkOp {
    /// The sink.
    pub sink: String,
    /// The topic.
    pub topic: String,
    /// How rows become bytes.
    pub format: RowFormat,
    /// How changes are written.
    pub style: SinkStyle,
    /// The columns of the record's key; empty writes records without a key.
    pub key: Vec<usize>,
    /// The columns of the record's value.
    pub value: Vec<usize>,
    /// The column that becomes the record's timestamp, if any.
    #[serde(default)]
    pub timestamp: Option<usize>,
}

/// How a sink writes changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SinkStyle {
    /// One record a row; takes inserts only.
    Plain,
    /// The newest row under its key, null for a delete; before-images are left out.
    Upsert,
}

impl StreamPlan {
    /// All operators, upstream first.
    pub fn operators(&self) -> impl Iterator<Item = &Operator> {
        self.fragments.iter().flat_map(|f| f.operators.iter())
    }

    /// The external topics the plan reads, each once.
    pub fn input_topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = Vec::new();
        for operator in self.operators() {
            let topic = match &operator.kind {
                OperatorKind::Source(source) => &source.topic,
                OperatorKind::TableSource(source) => &source.topic,
                _ => continue,
            };
            if !topics.contains(&topic.as_str()) {
                topics.push(topic);
            }
        }
        topics
    }
}

impl Operator {
    /// The relation that a source reads.
    pub fn relation(&self) -> Option<&str> {
        match &self.kind {
            OperatorKind::Source(source) => Some(&source.relation),
            OperatorKind::TableSource(source) => Some(&source.relation),
            _ => None,
        }
    }
}
