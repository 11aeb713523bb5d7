//! What the catalog knows of a source, a view or a sink.

use crate::parse::RelationKind;
use crate::plan::{ChangelogMode, ColumnSpec, OnBadRecord, RowFormat, StreamPlan, WatermarkDesc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A relation by name. Its id never changes and is never used again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// The id of the statement that made it; jobs, internal topics and state are under it.
    pub id: String,
    /// The name.
    pub name: String,
    /// The statement as it was written.
    pub sql: String,
    /// What it is.
    #[serde(flatten)]
    pub body: Body,
}

/// The kinds of relation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body {
    /// Rows from outside.
    Source(SourceDef),
    /// The result of a query, kept up to date.
    View(ViewDef),
    /// The result of a query, written outside.
    Sink(SinkDef),
}

/// A source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceDef {
    /// The topic with its records.
    pub topic: String,
    /// Its columns.
    pub columns: Vec<ColumnSpec>,
    /// The columns that identify a row; empty for a source that only grows.
    #[serde(default)]
    pub primary_key: Vec<usize>,
    /// Its event time.
    #[serde(default)]
    pub watermark: Option<WatermarkDesc>,
    /// How a record becomes a row.
    pub format: RowFormat,
    /// What to do with a record that cannot be read.
    #[serde(default)]
    pub on_error: OnBadRecord,
    /// Who fills the topic: `kafka` for nobody of ours, else a connector.
    pub connector: String,
    /// The options as given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl SourceDef {
    /// Whether a later record of a key replaces the earlier one.
    pub fn is_upsert(&self) -> bool {
        !self.primary_key.is_empty()
    }
}

/// A materialized view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewDef {
    /// The compacted topic with its rows.
    pub topic: String,
    /// How its rows come to be.
    pub plan: StreamPlan,
}

/// A sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SinkDef {
    /// The topic it writes.
    pub topic: String,
    /// Who reads the topic: `kafka` for nobody of ours, else a connector.
    pub connector: String,
    /// The options as given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// How its rows come to be.
    pub plan: StreamPlan,
}

impl Relation {
    /// What it is, in a word for messages.
    pub fn kind(&self) -> RelationKind {
        match self.body {
            Body::Source(_) => RelationKind::Source,
            Body::View(_) => RelationKind::View,
            Body::Sink(_) => RelationKind::Sink,
        }
    }

    /// All columns; hidden ones last.
    pub fn columns(&self) -> &[ColumnSpec] {
        match &self.body {
            Body::Source(source) => &source.columns,
            Body::View(view) => &view.plan.columns,
            Body::Sink(sink) => &sink.plan.columns,
        }
    }

    /// The columns that `SELECT *` shows.
    pub fn visible_columns(&self) -> &[ColumnSpec] {
        let visible = match &self.body {
            Body::Source(source) => source.columns.len(),
            Body::View(view) => view.plan.visible,
            Body::Sink(sink) => sink.plan.visible,
        };
        self.columns().get(..visible).unwrap_or_default()
    }

    /// The topic it is read from or written to.
    pub fn topic(&self) -> &str {
        match &self.body {
            Body::Source(source) => &source.topic,
            Body::View(view) => &view.topic,
            Body::Sink(sink) => &sink.topic,
        }
    }

    /// The plan of its job, if it has one.
    pub fn plan(&self) -> Option<&StreamPlan> {
        match &self.body {
            Body::Source(_) => None,
            Body::View(view) => Some(&view.plan),
            Body::Sink(sink) => Some(&sink.plan),
        }
    }

    /// The names of the columns that identify a row; empty for a growing source.
    pub fn key_columns(&self) -> Vec<&str> {
        let key = match &self.body {
            Body::Source(source) => &source.primary_key,
            Body::View(view) => &view.plan.stream_key,
            Body::Sink(sink) => &sink.plan.stream_key,
        };
        key.iter()
            .filter_map(|index| self.columns().get(*index))
            .map(|column| column.name.as_str())
            .collect()
    }

    /// Whether its rows change, or are only added to.
    pub fn mode(&self) -> ChangelogMode {
        match &self.body {
            Body::Source(source) if source.is_upsert() => ChangelogMode::Retract,
            Body::Source(_) => ChangelogMode::AppendOnly,
            Body::View(view) => view.plan.mode,
            Body::Sink(sink) => sink.plan.mode,
        }
    }

    /// The relations its plan reads, each once.
    pub fn reads(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for operator in self.plan().into_iter().flat_map(StreamPlan::operators) {
            if let Some(name) = operator.relation()
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }
}
