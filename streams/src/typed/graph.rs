//! The declared graph, and how a task's nodes are built from it.
//!
//! Nodes are numbered in the order in which they are declared, so a parent always has a
//! smaller number than its children and the numbers are a topological order. Types are
//! erased only here, between declaring and building: each node's factory knows them, and
//! an edge whose ends disagree is an error while the task is built, never at a record.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Arena, BoxNode, Outputs, SlotNode, SourceNode, TypedProgram, internal};
use crate::StreamsError;
use crate::task::{ProgramFactory, TaskId, TaskProgram};

/// A node's number.
pub(crate) type NodeId = usize;

/// Builds a source.
pub(crate) type BuildSource =
    Arc<dyn Fn(&mut Assembly<'_>) -> Result<Box<dyn SourceNode>, StreamsError> + Send + Sync>;
/// Builds a node with one parent: a [`BoxNode`] of its input type, erased.
pub(crate) type BuildNode =
    Arc<dyn Fn(&mut Assembly<'_>) -> Result<Box<dyn Any>, StreamsError> + Send + Sync>;
/// Builds a node with several parents.
pub(crate) type BuildSlot =
    Arc<dyn Fn(&mut Assembly<'_>) -> Result<Box<dyn SlotNode>, StreamsError> + Send + Sync>;
/// Makes the entry of one parent into a slot: a [`BoxNode`] of its input type, erased.
pub(crate) type BuildPort = Arc<dyn Fn(usize) -> Box<dyn Any> + Send + Sync>;

/// How a node comes to life.
#[derive(Clone)]
pub(crate) enum Build {
    Source(BuildSource),
    Node(BuildNode),
    Slot {
        node: BuildSlot,
        /// One for each parent, in the order in which they are connected.
        ports: Vec<BuildPort>,
    },
}

/// A node's children with the port each is entered through.
pub(crate) type Children = Vec<(NodeId, usize)>;

/// What building needs to know of one node.
pub(crate) struct Blueprint {
    pub(crate) name: String,
    pub(crate) build: Build,
    pub(crate) children: Children,
    /// For a sink, its index in the sub-topology.
    pub(crate) sink: usize,
    /// For a source whose program tells the event time, its index in the sub-topology.
    pub(crate) tells_time: Option<usize>,
}

/// Erases a node's type for the way through [`Assembly`].
pub(crate) fn erase<K: 'static, V: 'static>(node: BoxNode<K, V>) -> Box<dyn Any> {
    Box::new(node)
}

/// The nodes of one task while they are built, children before parents.
pub(crate) struct Assembly<'g> {
    nodes: &'g BTreeMap<NodeId, Blueprint>,
    slots: Vec<Option<Box<dyn SlotNode>>>,
    slot_of: BTreeMap<NodeId, usize>,
}

impl Assembly<'_> {
    fn node(&self, id: NodeId) -> Result<&Blueprint, StreamsError> {
        self.nodes
            .get(&id)
            .ok_or_else(|| internal(format!("node {id} is not part of the sub-topology")))
    }

    /// The index of sink `id` in its sub-topology.
    pub(crate) fn sink(&self, id: NodeId) -> Result<usize, StreamsError> {
        Ok(self.node(id)?.sink)
    }

    /// The source that reader `id` has to tell the event time for.
    pub(crate) fn tells_time(&self, id: NodeId) -> Result<Option<usize>, StreamsError> {
        Ok(self.node(id)?.tells_time)
    }

    /// Builds the outputs of node `id`, whose records are of `K` and `V`.
    pub(crate) fn outputs<K: 'static, V: 'static>(
        &mut self,
        id: NodeId,
    ) -> Result<Outputs<K, V>, StreamsError> {
        let children = self.node(id)?.children.clone();
        let mut built = Vec::with_capacity(children.len());
        for (child, port) in children {
            let node = self.child(child, port)?;
            match node.downcast::<BoxNode<K, V>>() {
                Ok(node) => built.push(*node),
                Err(_) => {
                    return Err(internal(format!(
                        "node {} does not take the records of node {}",
                        self.node(child)?.name,
                        self.node(id)?.name,
                    )));
                }
            }
        }
        Ok(Outputs::new(built))
    }

    fn child(&mut self, id: NodeId, port: usize) -> Result<Box<dyn Any>, StreamsError> {
        match self.node(id)?.build.clone() {
            Build::Node(build) => build(self),
            Build::Slot { node, ports } => {
                let slot = self.slot(id, &node)?;
                match ports.get(port) {
                    Some(entry) => Ok(entry(slot)),
                    None => Err(internal(format!(
                        "node {} has no port {port}",
                        self.node(id)?.name
                    ))),
                }
            }
            Build::Source(_) => Err(internal(format!(
                "the source {} cannot have a parent",
                self.node(id)?.name
            ))),
        }
    }

    /// The slot of node `id`; the first parent to ask has it built.
    fn slot(&mut self, id: NodeId, build: &BuildSlot) -> Result<usize, StreamsError> {
        if let Some(slot) = self.slot_of.get(&id) {
            return Ok(*slot);
        }
        let slot = self.slots.len();
        self.slots.push(None);
        self.slot_of.insert(id, slot);
        let node = build(self)?;
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(node);
        }
        Ok(slot)
    }
}

/// The nodes of one sub-topology, ready to be built for any of its tasks.
pub(crate) struct Graph {
    pub(crate) nodes: BTreeMap<NodeId, Blueprint>,
    /// For each source topic of the sub-topology, the nodes that read it, in the order
    /// in which they were declared.
    pub(crate) readers: Vec<Vec<NodeId>>,
}

impl ProgramFactory for Graph {
    fn create(&self, _task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError> {
        let mut assembly = Assembly {
            nodes: &self.nodes,
            slots: Vec::new(),
            slot_of: BTreeMap::new(),
        };
        let mut sources = Vec::with_capacity(self.readers.len());
        for readers in &self.readers {
            let mut built = Vec::with_capacity(readers.len());
            for id in readers {
                match assembly.node(*id)?.build.clone() {
                    Build::Source(build) => built.push(build(&mut assembly)?),
                    Build::Node(_) | Build::Slot { .. } => {
                        return Err(internal(format!("node {id} is no source")));
                    }
                }
            }
            sources.push(built);
        }
        // By node number, which is a topological order.
        let order = assembly.slot_of.values().copied().collect();
        let arena = Arena::new(assembly.slots);
        Ok(Box::new(TypedProgram::new(sources, order, arena)))
    }
}
