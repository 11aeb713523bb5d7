//! From what was declared to a topology: sub-topologies, their rims and descriptions.
//!
//! Nodes belong to one sub-topology if an edge, a store or a source topic connects them.
//! Sub-topologies are numbered as in Kafka Streams, by their first source's name, so that
//! numbers (and with them task ids and offsets) stay the same as long as the program does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thalweg_state::StoreSpec;

use super::draft::{DraftInner, DraftNode, Role};
use crate::StreamsError;
use crate::topology::{
    InputOrder, NodeDescription, SinkSpec, SourceSpec, SubTopology, TopicRef, Topology,
};
use crate::typed::graph::{Blueprint, Graph, NodeId};

/// Sets that grow together: each node points to one of its set, the root to itself.
struct Components(Vec<NodeId>);

impl Components {
    fn root(&self, mut id: NodeId) -> NodeId {
        while let Some(parent) = self.0.get(id).copied().filter(|parent| *parent != id) {
            id = parent;
        }
        id
    }

    fn join(&mut self, a: NodeId, b: NodeId) {
        let (a, b) = (self.root(a), self.root(b));
        if let Some(place) = self.0.get_mut(a.max(b)) {
            *place = a.min(b);
        }
    }
}

pub(crate) fn lower(draft: &DraftInner) -> Result<Topology, StreamsError> {
    let mut problems = draft.problems.clone();
    let mut names = BTreeSet::new();
    for node in &draft.nodes {
        if !names.insert(&node.name) {
            problems.push(format!(
                "the name `{}` is used for two processors",
                node.name
            ));
        }
    }
    if draft.nodes.is_empty() {
        problems.push("nothing is declared: begin with StreamsBuilder::stream".to_owned());
    }
    if !problems.is_empty() {
        return Err(StreamsError::Topology(problems.join("; ")));
    }
    let mut sub_topologies = Vec::new();
    for (id, nodes) in (0..).zip(components(draft)) {
        sub_topologies.push(sub_topology(draft, id, &nodes)?);
    }
    Ok(Topology { sub_topologies })
}

/// The nodes of each sub-topology, in the order of the sub-topologies' numbers.
fn components(draft: &DraftInner) -> Vec<BTreeSet<NodeId>> {
    let mut components = Components((0..draft.nodes.len()).collect());
    let mut by_store: BTreeMap<&str, NodeId> = BTreeMap::new();
    let mut by_topic: BTreeMap<&TopicRef, NodeId> = BTreeMap::new();
    for (id, node) in draft.nodes.iter().enumerate() {
        for (child, _) in &node.children {
            components.join(id, *child);
        }
        for store in &node.stores {
            let first = *by_store.entry(store).or_insert(id);
            components.join(first, id);
        }
        if let Role::Source { topic, .. } = &node.role {
            let first = *by_topic.entry(topic).or_insert(id);
            components.join(first, id);
        }
    }
    let mut members: BTreeMap<NodeId, BTreeSet<NodeId>> = BTreeMap::new();
    for id in 0..draft.nodes.len() {
        members.entry(components.root(id)).or_default().insert(id);
    }
    let mut sources: Vec<(&str, NodeId)> = draft
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| matches!(node.role, Role::Source { .. }))
        .map(|(id, node)| (node.name.as_str(), id))
        .collect();
    sources.sort_unstable();
    sources
        .iter()
        .filter_map(|(_, id)| members.remove(&components.root(*id)))
        .collect()
}

fn sub_topology(
    draft: &DraftInner,
    id: u32,
    members: &BTreeSet<NodeId>,
) -> Result<SubTopology, StreamsError> {
    let nodes: Vec<(NodeId, &DraftNode)> = members
        .iter()
        .filter_map(|id| Some((*id, draft.nodes.get(*id)?)))
        .collect();
    let mut sources: Vec<SourceSpec> = Vec::new();
    let mut readers: Vec<Vec<NodeId>> = Vec::new();
    let mut source_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut sinks = Vec::new();
    let mut stores: Vec<StoreSpec> = Vec::new();
    let mut blueprints = BTreeMap::new();
    for (id, node) in &nodes {
        let mut sink = 0;
        match &node.role {
            Role::Source {
                topic,
                reset,
                idle_timeout,
                extracted,
            } => {
                let index = match sources.iter().position(|source| source.topic == *topic) {
                    Some(index) => index,
                    None => {
                        sources.push(SourceSpec {
                            name: node.name.clone(),
                            topic: topic.clone(),
                            order: InputOrder::RecordTime,
                            idle_timeout: *idle_timeout,
                            reset: *reset,
                        });
                        readers.push(Vec::new());
                        sources.len() - 1
                    }
                };
                if let (Some(source), Some(readers)) =
                    (sources.get_mut(index), readers.get_mut(index))
                {
                    if source.reset != *reset {
                        return Err(StreamsError::Topology(format!(
                            "`{}` and `{}` both read {topic} but begin at different ends: give them one Consumed::offset_reset",
                            source.name, node.name
                        )));
                    }
                    if *extracted {
                        source.order = InputOrder::Extracted;
                    }
                    // A stream that reads the topic as well does hold time back.
                    source.idle_timeout = match (source.idle_timeout, *idle_timeout) {
                        (Some(a), Some(b)) => Some(a.max(b)),
                        _ => None,
                    };
                    readers.push(*id);
                }
                source_of.insert(*id, index);
            }
            Role::Sink { topic } => {
                sink = sinks.len();
                sinks.push(SinkSpec {
                    name: node.name.clone(),
                    topic: topic.clone(),
                });
            }
            Role::Processor => {}
        }
        for name in &node.stores {
            if let Some(spec) = draft.stores.get(name)
                && !stores.contains(spec)
            {
                stores.push(spec.clone());
            }
        }
        blueprints.insert(
            *id,
            Blueprint {
                name: node.name.clone(),
                build: node.build.clone(),
                children: node.children.clone(),
                sink,
                tells_time: None,
            },
        );
    }
    // Every reader of a source tells its time as soon as one extracts it.
    for (id, index) in &source_of {
        let extracted =
            sources.get(*index).map(|source| source.order) == Some(InputOrder::Extracted);
        if let (true, Some(blueprint)) = (extracted, blueprints.get_mut(id)) {
            blueprint.tells_time = Some(*index);
        }
    }
    let copartitioned = copartitioned(draft, &source_of);
    Ok(SubTopology {
        id,
        sources,
        sinks,
        stores,
        copartitioned,
        factory: Arc::new(Graph {
            nodes: blueprints,
            readers,
        }),
        description: describe(draft, &nodes),
    })
}

/// The groups of co-partitioned sources within one sub-topology, overlapping ones joined.
fn copartitioned(draft: &DraftInner, source_of: &BTreeMap<NodeId, usize>) -> Vec<Vec<usize>> {
    let mut groups: Vec<BTreeSet<usize>> = Vec::new();
    for group in &draft.copartitioned {
        let mut joined: BTreeSet<usize> = group
            .iter()
            .filter_map(|id| source_of.get(id))
            .copied()
            .collect();
        groups.retain(|other| {
            let apart = other.is_disjoint(&joined);
            if !apart {
                joined.extend(other);
            }
            apart
        });
        if joined.len() > 1 {
            groups.push(joined);
        }
    }
    groups
        .into_iter()
        .map(|group| group.into_iter().collect())
        .collect()
}

/// The nodes as Kafka Streams shows them, sources first, each followed by its children.
fn describe(draft: &DraftInner, nodes: &[(NodeId, &DraftNode)]) -> Vec<NodeDescription> {
    let mut described = Vec::new();
    // What a parent forwards to: of a sink with a filter before it, the filter.
    let entry = |id: NodeId| {
        draft
            .nodes
            .get(id)
            .map(|node| match (&node.role, &node.also) {
                (Role::Sink { .. }, Some(filter)) => filter.clone(),
                _ => node.name.clone(),
            })
    };
    let (sources, others): (Vec<_>, Vec<_>) = nodes
        .iter()
        .partition(|(_, node)| matches!(node.role, Role::Source { .. }));
    for (_, node) in sources.into_iter().chain(others) {
        let successors: Vec<String> = node
            .children
            .iter()
            .filter_map(|(child, _)| entry(*child))
            .collect();
        let line = |kind: &str, name: &str, detail: Vec<String>, successors: Vec<String>| {
            NodeDescription {
                kind: kind.to_owned(),
                name: name.to_owned(),
                detail,
                successors,
            }
        };
        match (&node.role, &node.also) {
            (Role::Source { topic, .. }, None) => {
                described.push(line(
                    "Source",
                    &node.name,
                    vec![topic.to_string()],
                    successors,
                ));
            }
            (Role::Source { topic, .. }, Some(table)) => {
                let topics = vec![topic.to_string()];
                described.push(line("Source", &node.name, topics, vec![table.clone()]));
                described.push(line("Processor", table, node.stores.clone(), successors));
            }
            (Role::Processor, _) => {
                let stores = node.stores.clone();
                described.push(line("Processor", &node.name, stores, successors));
            }
            (Role::Sink { topic }, also) => {
                if let Some(filter) = also {
                    let to = vec![node.name.clone()];
                    described.push(line("Processor", filter, vec![], to));
                }
                described.push(line("Sink", &node.name, vec![topic.to_string()], vec![]));
            }
        }
    }
    described
}
