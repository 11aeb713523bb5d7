//! The topology while it is declared: nodes, names, stores, and what is wrong so far.
//!
//! Operators cannot fail, so that they chain; what is wrong is noted here and reported
//! by [`StreamsBuilder::build`](super::StreamsBuilder::build), all of it at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use thalweg_state::{Changelog, StoreKind, StoreSpec};

use super::options::Materialized;
use crate::StreamsError;
use crate::serdes::{Deserializer, SerdeError, Serializer, SharedSerde};
use crate::topology::{OffsetReset, TopicRef};
use crate::typed::graph::{Assembly, Build, NodeId, erase};
use crate::typed::{BoxNode, Node};

/// What a node is at the rim of a sub-topology.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    Source {
        topic: TopicRef,
        reset: OffsetReset,
        idle_timeout: Option<Duration>,
        /// Whether the event time is read out of the records.
        extracted: bool,
    },
    Processor,
    Sink {
        topic: TopicRef,
    },
}

pub(crate) struct DraftNode {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) build: Build,
    /// Children with the port each is entered through.
    pub(crate) children: Vec<(NodeId, usize)>,
    /// The stores that the node reads or writes.
    pub(crate) stores: Vec<String>,
    /// A processor of Kafka Streams that this node does the work of as well: behind a
    /// source the writer of its table, before a sink the filter of records without a key.
    pub(crate) also: Option<String>,
}

#[derive(Default)]
pub(crate) struct DraftInner {
    pub(crate) nodes: Vec<DraftNode>,
    pub(crate) stores: BTreeMap<String, StoreSpec>,
    /// Groups of sources whose topics must have equally many partitions.
    pub(crate) copartitioned: Vec<BTreeSet<NodeId>>,
    pub(crate) problems: Vec<String>,
    repartitions: BTreeMap<String, Repartition>,
    counter: usize,
}

/// A repartition topic: from which node it is written, and which source reads it.
#[derive(Debug, Clone, Copy)]
struct Repartition {
    parent: NodeId,
    needs_key: bool,
    source: NodeId,
}

/// The topology while it is declared, shared by the builder and all its streams.
#[derive(Clone, Default)]
pub(crate) struct Draft(Arc<Mutex<DraftInner>>);

impl Draft {
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut DraftInner) -> R) -> R {
        f(&mut self.0.lock())
    }

    /// A generated name: the prefix and the next number, as Kafka Streams counts.
    pub(crate) fn name(&self, prefix: &str) -> String {
        self.with(|draft| {
            let name = format!("{prefix}{:010}", draft.counter);
            draft.counter += 1;
            name
        })
    }

    pub(crate) fn problem(&self, problem: impl Into<String>) {
        self.with(|draft| draft.problems.push(problem.into()));
    }

    /// Declares a node below `parents`.
    pub(crate) fn add(
        &self,
        name: String,
        role: Role,
        parents: &[NodeId],
        stores: Vec<String>,
        build: impl FnOnce(NodeId) -> Build,
    ) -> NodeId {
        self.with(|draft| {
            let id = draft.nodes.len();
            for (port, parent) in parents.iter().enumerate() {
                if let Some(parent) = draft.nodes.get_mut(*parent) {
                    parent.children.push((id, port));
                }
            }
            draft.nodes.push(DraftNode {
                name,
                role,
                build: build(id),
                children: Vec::new(),
                stores,
                also: None,
            });
            id
        })
    }

    /// Declares a processor with one parent.
    pub(crate) fn processor<KI, VI, N>(
        &self,
        name: String,
        parent: NodeId,
        stores: Vec<String>,
        make: impl Fn(NodeId, &mut Assembly<'_>) -> Result<N, StreamsError> + Send + Sync + 'static,
    ) -> NodeId
    where
        KI: 'static,
        VI: 'static,
        N: Node<KI, VI> + 'static,
    {
        self.add(name, Role::Processor, &[parent], stores, |id| {
            node_build::<KI, VI, N>(move |assembly| make(id, assembly))
        })
    }

    /// Notes that a node also does the work of the processor `also`.
    pub(crate) fn also(&self, id: NodeId, also: String) {
        self.with(|draft| {
            if let Some(node) = draft.nodes.get_mut(id) {
                node.also = Some(also);
            }
        });
    }

    /// Declares a store.
    pub(crate) fn store(&self, spec: StoreSpec) {
        self.with(|draft| {
            if draft.stores.contains_key(&spec.name) {
                draft.problems.push(format!(
                    "the store name `{}` is used twice: choose another one with Materialized::as_",
                    spec.name
                ));
            }
            draft.stores.insert(spec.name.clone(), spec);
        });
    }

    /// Declares the key-value store of a table.
    pub(crate) fn table_store<K, V>(&self, name: &str, materialized: &Materialized<K, V>) {
        self.store(spec(
            name,
            StoreKind::KeyValue { scanned: false },
            materialized,
        ));
    }

    /// Declares the store of a windowed table.
    pub(crate) fn window_store<K, V>(
        &self,
        name: &str,
        retention: Duration,
        materialized: &Materialized<K, V>,
    ) {
        self.store(spec(name, StoreKind::Window { retention }, materialized));
    }

    /// The serde that an operator needs, or one that never gets to run.
    pub(crate) fn required<T: 'static>(
        &self,
        serde: Option<SharedSerde<T>>,
        part: &str,
        operator: &str,
        hint: &str,
    ) -> SharedSerde<T> {
        serde.unwrap_or_else(|| {
            self.problem(format!(
                "{operator} does not know how to write its {part}s ({}): name a serde with {hint}",
                std::any::type_name::<T>()
            ));
            Arc::new(Missing)
        })
    }

    /// Notes that the topics of these sources must be partitioned alike.
    pub(crate) fn copartition(&self, sources: BTreeSet<NodeId>) {
        if sources.len() > 1 {
            self.with(|draft| draft.copartitioned.push(sources));
        }
    }

    /// The source behind the repartition topic `name` of `parent`, if it is there already:
    /// a stream is written through a topic once, however many operators read it back.
    pub(crate) fn repartitioned(
        &self,
        name: &str,
        parent: NodeId,
        needs_key: bool,
    ) -> Option<NodeId> {
        self.with(|draft| {
            let known = draft.repartitions.get(name).copied()?;
            if known.parent == parent && known.needs_key == needs_key {
                return Some(known.source);
            }
            draft.problems.push(format!(
                "the name `{name}` is used for two repartition topics: choose another one"
            ));
            None
        })
    }

    /// Notes a repartition topic.
    pub(crate) fn add_repartition(
        &self,
        name: String,
        parent: NodeId,
        needs_key: bool,
        source: NodeId,
    ) {
        self.with(|draft| {
            let repartition = Repartition {
                parent,
                needs_key,
                source,
            };
            draft.repartitions.insert(name, repartition);
        });
    }

    pub(crate) fn node_name(&self, id: NodeId) -> String {
        self.with(|draft| {
            draft
                .nodes
                .get(id)
                .map(|node| node.name.clone())
                .unwrap_or_default()
        })
    }

    pub(crate) fn rename(&self, id: NodeId, name: String) {
        self.with(|draft| {
            if let Some(node) = draft.nodes.get_mut(id) {
                node.name = name;
            }
        });
    }
}

fn spec<K, V>(name: &str, kind: StoreKind, materialized: &Materialized<K, V>) -> StoreSpec {
    StoreSpec {
        name: name.to_owned(),
        kind,
        backend: materialized.backend,
        changelog: if materialized.logging {
            Changelog::Internal
        } else {
            Changelog::None
        },
    }
}

/// The build of a node with one parent.
pub(crate) fn node_build<KI, VI, N>(
    make: impl Fn(&mut Assembly<'_>) -> Result<N, StreamsError> + Send + Sync + 'static,
) -> Build
where
    KI: 'static,
    VI: 'static,
    N: Node<KI, VI> + 'static,
{
    Build::Node(Arc::new(move |assembly| {
        let node: BoxNode<KI, VI> = Box::new(make(assembly)?);
        Ok(erase(node))
    }))
}

/// Stands in for a serde that is missing, in a topology that cannot be built.
struct Missing;

impl<T> Serializer<T> for Missing {
    fn serialize(&self, _value: &T, _out: &mut Vec<u8>) -> Result<(), SerdeError> {
        Err(SerdeError::Custom("no serde".to_owned()))
    }
}

impl<T> Deserializer<T> for Missing {
    fn deserialize(&self, _bytes: &Bytes) -> Result<T, SerdeError> {
        Err(SerdeError::Custom("no serde".to_owned()))
    }
}
