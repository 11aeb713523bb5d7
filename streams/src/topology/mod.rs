//! A streams program as data: sub-topologies, their sources, sinks and stores.
//!
//! A [`Topology`] is built by the DSL or by SQL and knows no application id and no
//! partition counts; a [`Plan`] is a topology with both, checked, and is what tasks are
//! made from.

mod describe;
mod plan;

pub use describe::NodeDescription;
pub use plan::{InternalTopic, InternalTopicKind, Plan, ResolvedSource, ResolvedSubTopology};

use crate::task::ProgramFactory;
use std::sync::Arc;
use std::time::Duration;
use thalweg_state::StoreSpec;

/// A streams program.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// The parts that are connected only through topics. Ids are unique.
    pub sub_topologies: Vec<SubTopology>,
}

/// A part of a topology that runs as one task for each partition of its inputs.
#[derive(Clone)]
pub struct SubTopology {
    /// Unique within the topology and stable over restarts.
    pub id: u32,
    /// The inputs. A topic is the source of one sub-topology only, and of it once.
    pub sources: Vec<SourceSpec>,
    /// The outputs.
    pub sinks: Vec<SinkSpec>,
    /// The stores.
    pub stores: Vec<StoreSpec>,
    /// Groups of sources (indexes into `sources`) that are joined by key, and so must
    /// have equally many partitions. Repartition topics without a count take that of
    /// their group.
    pub copartitioned: Vec<Vec<usize>>,
    /// Builds the nodes.
    pub factory: Arc<dyn ProgramFactory>,
    /// The nodes, for people.
    pub description: Vec<NodeDescription>,
}

impl std::fmt::Debug for SubTopology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubTopology")
            .field("id", &self.id)
            .field("sources", &self.sources)
            .field("sinks", &self.sinks)
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

/// An input of a sub-topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSpec {
    /// The node's name.
    pub name: String,
    /// What it reads.
    pub topic: TopicRef,
    /// In which order, against the other sources.
    pub order: InputOrder,
    /// After how long without data, by the wall clock, the source holds nothing back;
    /// `None` is never. A repartition source hears of idleness from upstream.
    pub idle_timeout: Option<Duration>,
    /// Where to begin without a committed offset.
    pub reset: OffsetReset,
}

impl SourceSpec {
    /// A source in record-time order from the beginning of a topic.
    pub fn new(name: impl Into<String>, topic: TopicRef) -> Self {
        Self {
            name: name.into(),
            topic,
            order: InputOrder::RecordTime,
            idle_timeout: None,
            reset: OffsetReset::Earliest,
        }
    }
}

/// An output of a sub-topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSpec {
    /// The node's name.
    pub name: String,
    /// Where it writes.
    pub topic: TopicRef,
}

/// A topic, before the application id is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicRef {
    /// A topic of that very name, which is there already.
    External(String),
    /// The internal topic `<application.id>-<name>-repartition`.
    Repartition {
        /// The name.
        name: String,
        /// The partition count; `None` takes that of the co-partitioned inputs, or else
        /// the greatest among the inputs upstream.
        partitions: Option<i32>,
    },
}

impl TopicRef {
    /// The topic's full name in the job `application_id`.
    pub fn resolve(&self, application_id: &str) -> String {
        match self {
            Self::External(name) => name.clone(),
            Self::Repartition { name, .. } => format!("{application_id}-{name}-repartition"),
        }
    }
}

/// How an input is ordered against the others of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InputOrder {
    /// The input whose next record has the least timestamp goes first; timestamps are
    /// the watermark.
    RecordTime,
    /// The event time is in the payload; the program reads ahead and says it.
    Extracted,
    /// Whatever is at hand, the input furthest behind first; the program says the time.
    Free,
}

/// Where a source begins that has no committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// At the first record of the log.
    #[default]
    Earliest,
    /// Behind the last record of the log.
    Latest,
}
