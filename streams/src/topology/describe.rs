//! A topology for people, in the layout of Kafka Streams' `describe()`.

use super::{SubTopology, TopicRef, Topology};
use std::fmt;

/// A node, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDescription {
    /// `Source`, `Processor` or `Sink`.
    pub kind: String,
    /// The node's name.
    pub name: String,
    /// Its topics or stores.
    pub detail: Vec<String>,
    /// The names of the nodes it forwards to.
    pub successors: Vec<String>,
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Topologies:")?;
        for sub in &self.sub_topologies {
            write!(f, "{sub}")?;
        }
        Ok(())
    }
}

impl fmt::Display for SubTopology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "   Sub-topology: {}", self.id)?;
        if self.description.is_empty() {
            for source in &self.sources {
                writeln!(
                    f,
                    "    Source: {} (topics: [{}])",
                    source.name, source.topic
                )?;
            }
            for sink in &self.sinks {
                writeln!(f, "    Sink: {} (topic: {})", sink.name, sink.topic)?;
            }
        }
        for node in &self.description {
            let mut predecessors: Vec<_> = self
                .description
                .iter()
                .filter(|other| other.successors.contains(&node.name))
                .map(|other| other.name.as_str())
                .collect();
            predecessors.sort_unstable();
            let (label, list) = match node.kind.as_str() {
                "Source" => ("topics", format!("[{}]", node.detail.join(", "))),
                "Sink" => ("topic", node.detail.join(", ")),
                _ => ("stores", format!("[{}]", node.detail.join(", "))),
            };
            writeln!(f, "    {}: {} ({label}: {list})", node.kind, node.name)?;
            if node.kind != "Sink" {
                let to = match node.successors.is_empty() {
                    true => "none".to_owned(),
                    false => node.successors.join(", "),
                };
                writeln!(f, "      --> {to}")?;
            }
            if node.kind != "Source" {
                let from = match predecessors.is_empty() {
                    true => "none".to_owned(),
                    false => predecessors.join(", "),
                };
                writeln!(f, "      <-- {from}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for TopicRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External(name) => f.write_str(name),
            Self::Repartition { name, .. } => write!(f, "{name}-repartition"),
        }
    }
}
