//! A topology with its application id and partition counts: checked, and ready to run.
//!
//! What cannot work is refused here with the way out, before any topic is made: topics
//! that are missing, read twice, or joined with different partition counts.

use super::{InputOrder, OffsetReset, SubTopology, TopicRef, Topology};
use crate::StreamsError;
use crate::task::{ProgramFactory, TaskId};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use thalweg_state::{Changelog, StoreKind, StoreSpec};

pub(crate) use crate::task::Sink;

/// A topology whose names and partition counts are known.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The job.
    pub application_id: String,
    /// The sub-topologies, by id.
    pub sub_topologies: Vec<ResolvedSubTopology>,
    /// The topics the job needs and owns.
    pub internal_topics: Vec<InternalTopic>,
}

/// A sub-topology of a [`Plan`].
#[derive(Clone)]
pub struct ResolvedSubTopology {
    /// Its id.
    pub id: u32,
    /// How many tasks it has: the greatest partition count among its sources.
    pub tasks: i32,
    /// Its inputs, in the order of the specs.
    pub sources: Vec<ResolvedSource>,
    /// Its outputs, in the order of the specs.
    pub(crate) sinks: Vec<Sink>,
    /// Its stores.
    pub stores: Vec<StoreSpec>,
    /// For each store, the topic that backs it.
    pub changelogs: Vec<Option<ResolvedChangelog>>,
    /// Builds the nodes.
    pub factory: Arc<dyn ProgramFactory>,
}

impl std::fmt::Debug for ResolvedSubTopology {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResolvedSubTopology")
            .field("id", &self.id)
            .field("tasks", &self.tasks)
            .field("sources", &self.sources)
            .field("stores", &self.stores)
            .finish_non_exhaustive()
    }
}

/// A source of a [`Plan`].
#[derive(Debug, Clone)]
pub struct ResolvedSource {
    /// The node's name.
    pub name: String,
    /// The topic's full name.
    pub topic: Arc<str>,
    /// The topic's partition count.
    pub partitions: i32,
    /// Order against the other sources.
    pub order: InputOrder,
    /// When the source stops holding time back.
    pub idle_timeout: Option<Duration>,
    /// Where to begin.
    pub reset: OffsetReset,
    /// The sub-topologies that write the topic, if it is a repartition topic.
    pub writers: Option<Vec<u32>>,
}

/// The topic behind a store of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedChangelog {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// Whether the store writes it.
    pub written: bool,
}

/// A topic that a job owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalTopic {
    /// The full name.
    pub name: String,
    /// The partition count.
    pub partitions: i32,
    /// What it is for.
    pub kind: InternalTopicKind,
}

/// What an internal topic is for, which decides its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalTopicKind {
    /// Purged by the reader behind its commits; nothing else may drop a record.
    Repartition,
    /// The newest value of each key.
    Changelog,
    /// The newest value of each key and window, for as long as windows are kept.
    WindowChangelog {
        /// How long windows are kept.
        retention: Duration,
    },
}

impl InternalTopic {
    /// The topic's configuration, in Kafka's names.
    pub fn config(&self) -> Vec<(&'static str, String)> {
        match self.kind {
            InternalTopicKind::Repartition => vec![
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", "-1".to_owned()),
                ("retention.bytes", "-1".to_owned()),
                ("message.timestamp.type", "CreateTime".to_owned()),
            ],
            InternalTopicKind::Changelog => vec![
                ("cleanup.policy", "compact".to_owned()),
                ("message.timestamp.type", "CreateTime".to_owned()),
            ],
            InternalTopicKind::WindowChangelog { retention } => {
                // A day beyond what windows need, as Kafka Streams adds: the broker's
                // clock decides here, and stream time decides in the store.
                let day = Duration::from_secs(24 * 60 * 60);
                let retention = retention.saturating_add(day).as_millis();
                let retention = i64::try_from(retention).unwrap_or(i64::MAX);
                vec![
                    ("cleanup.policy", "compact,delete".to_owned()),
                    ("retention.ms", retention.to_string()),
                    ("message.timestamp.type", "CreateTime".to_owned()),
                ]
            }
        }
    }
}

impl Plan {
    /// Names and counts everything. `partitions_of` knows the topics that are there.
    pub fn resolve(
        topology: &Topology,
        application_id: &str,
        partitions_of: impl Fn(&str) -> Option<i32>,
    ) -> Result<Self, StreamsError> {
        check_names(topology)?;
        let writers = writers(topology);
        let counts = counts(topology, application_id, &writers, &partitions_of)?;
        let count = |topic: &TopicRef| counts.get(topic).copied().unwrap_or(0);

        let mut plan = Self {
            application_id: application_id.to_owned(),
            sub_topologies: Vec::new(),
            internal_topics: Vec::new(),
        };
        for sub in &topology.sub_topologies {
            check_copartitions(sub, &count)?;
            let sources: Vec<_> = sub
                .sources
                .iter()
                .map(|source| ResolvedSource {
                    name: source.name.clone(),
                    topic: source.topic.resolve(application_id).into(),
                    partitions: count(&source.topic),
                    order: source.order,
                    idle_timeout: source.idle_timeout,
                    reset: source.reset,
                    writers: match &source.topic {
                        TopicRef::External(_) => None,
                        topic @ TopicRef::Repartition { .. } => {
                            let writers = writers.get(&topic_key(topic)).cloned();
                            Some(writers.unwrap_or_default().into_iter().collect())
                        }
                    },
                })
                .collect();
            for source in sources.iter().filter(|s| s.writers.is_some()) {
                plan.internal_topics.push(InternalTopic {
                    name: source.topic.to_string(),
                    partitions: source.partitions,
                    kind: InternalTopicKind::Repartition,
                });
            }
            let tasks = sources.iter().map(|s| s.partitions).max().unwrap_or(0);
            let mut changelogs = Vec::new();
            for store in &sub.stores {
                changelogs.push(plan.changelog(store, tasks, &partitions_of)?);
            }
            let sinks = sub.sinks.iter().map(|sink| Sink {
                topic: sink.topic.resolve(application_id).into(),
                partitions: count(&sink.topic),
                repartition: matches!(sink.topic, TopicRef::Repartition { .. }),
            });
            plan.sub_topologies.push(ResolvedSubTopology {
                id: sub.id,
                tasks,
                sources,
                sinks: sinks.collect(),
                stores: sub.stores.clone(),
                changelogs,
                factory: Arc::clone(&sub.factory),
            });
        }
        Ok(plan)
    }

    fn changelog(
        &mut self,
        store: &StoreSpec,
        tasks: i32,
        partitions_of: &impl Fn(&str) -> Option<i32>,
    ) -> Result<Option<ResolvedChangelog>, StreamsError> {
        match &store.changelog {
            Changelog::None => Ok(None),
            Changelog::Internal => {
                let name = format!("{}-{}-changelog", self.application_id, store.name);
                self.internal_topics.push(InternalTopic {
                    name: name.clone(),
                    partitions: tasks,
                    kind: match store.kind {
                        StoreKind::KeyValue { .. } => InternalTopicKind::Changelog,
                        StoreKind::Window { retention } => {
                            InternalTopicKind::WindowChangelog { retention }
                        }
                    },
                });
                Ok(Some(ResolvedChangelog {
                    topic: name.into(),
                    written: true,
                }))
            }
            Changelog::Topic { name, written } => {
                let partitions = partitions_of(name).ok_or_else(|| {
                    StreamsError::Topology(format!(
                        "the topic `{name}` behind the store `{}` does not exist: create it first",
                        store.name
                    ))
                })?;
                if *written && partitions < tasks {
                    return Err(StreamsError::Topology(format!(
                        "the topic `{name}` behind the store `{}` has {partitions} partitions and needs {tasks}, one for each task",
                        store.name
                    )));
                }
                Ok(Some(ResolvedChangelog {
                    topic: name.as_str().into(),
                    written: *written,
                }))
            }
        }
    }

    /// The sub-topology of that id.
    pub fn sub_topology(&self, id: u32) -> Result<&ResolvedSubTopology, StreamsError> {
        self.sub_topologies
            .iter()
            .find(|sub| sub.id == id)
            .ok_or_else(|| StreamsError::Topology(format!("there is no sub-topology {id}")))
    }

    /// Every task.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.sub_topologies.iter().flat_map(|sub| {
            (0..sub.tasks).map(|partition| TaskId {
                sub_topology: sub.id,
                partition,
            })
        })
    }

    /// Every topic that a task reads, with its sub-topology and source index.
    pub fn source_topics(&self) -> HashMap<Arc<str>, (u32, usize)> {
        let mut topics = HashMap::new();
        for sub in &self.sub_topologies {
            for (index, source) in sub.sources.iter().enumerate() {
                topics.insert(Arc::clone(&source.topic), (sub.id, index));
            }
        }
        topics
    }
}

/// What tells topics apart; a repartition topic by its name alone.
fn topic_key(topic: &TopicRef) -> TopicRef {
    match topic {
        TopicRef::External(_) => topic.clone(),
        TopicRef::Repartition { name, .. } => TopicRef::Repartition {
            name: name.clone(),
            partitions: None,
        },
    }
}

fn writers(topology: &Topology) -> BTreeMap<TopicRef, BTreeSet<u32>> {
    let mut writers: BTreeMap<TopicRef, BTreeSet<u32>> = BTreeMap::new();
    for sub in &topology.sub_topologies {
        for sink in &sub.sinks {
            if matches!(sink.topic, TopicRef::Repartition { .. }) {
                writers
                    .entry(topic_key(&sink.topic))
                    .or_default()
                    .insert(sub.id);
            }
        }
    }
    writers
}

fn check_names(topology: &Topology) -> Result<(), StreamsError> {
    let error = |message: String| Err(StreamsError::Topology(message));
    if topology.sub_topologies.is_empty() {
        return error("it has no source: read a topic first".to_owned());
    }
    let mut ids = BTreeSet::new();
    let mut stores = BTreeSet::new();
    let mut read = BTreeMap::new();
    for sub in &topology.sub_topologies {
        if !ids.insert(sub.id) {
            return error(format!("two sub-topologies have the id {}", sub.id));
        }
        if sub.sources.is_empty() {
            return error(format!("sub-topology {} has no source", sub.id));
        }
        for source in &sub.sources {
            if let Some(other) = read.insert(topic_key(&source.topic), &source.name) {
                return error(format!(
                    "the topic `{}` is read by `{other}` and by `{}`: read it once and use the stream twice",
                    source.topic, source.name
                ));
            }
        }
        for store in &sub.stores {
            if !stores.insert(&store.name) {
                return error(format!("two stores are named `{}`", store.name));
            }
        }
    }
    let written = writers(topology);
    for (topic, reader) in &read {
        if matches!(topic, TopicRef::Repartition { .. }) && !written.contains_key(topic) {
            return error(format!("`{reader}` reads `{topic}`, which nothing writes"));
        }
    }
    for topic in written.keys() {
        if !read.contains_key(topic) {
            return error(format!("`{topic}` is written and never read"));
        }
    }
    Ok(())
}

/// The partition counts of all topics of the topology, keyed by the refs as they occur.
fn counts(
    topology: &Topology,
    application_id: &str,
    writers: &BTreeMap<TopicRef, BTreeSet<u32>>,
    partitions_of: &impl Fn(&str) -> Option<i32>,
) -> Result<HashMap<TopicRef, i32>, StreamsError> {
    let mut known: HashMap<TopicRef, i32> = HashMap::new();
    let all = || {
        topology.sub_topologies.iter().flat_map(|sub| {
            let sources = sub.sources.iter().map(|s| &s.topic);
            sources.chain(sub.sinks.iter().map(|s| &s.topic))
        })
    };
    for topic in all() {
        match topic {
            TopicRef::External(name) => match partitions_of(name) {
                Some(count) if count > 0 => {
                    known.insert(topic_key(topic), count);
                }
                _ => {
                    return Err(StreamsError::Topology(format!(
                        "the topic `{name}` does not exist: create it first"
                    )));
                }
            },
            TopicRef::Repartition {
                name,
                partitions: Some(count),
            } => {
                if *count <= 0 {
                    return Err(StreamsError::Topology(format!(
                        "the repartition topic `{name}` is to have {count} partitions: it needs at least one"
                    )));
                }
                known.insert(topic_key(topic), *count);
            }
            TopicRef::Repartition { .. } => {}
        }
    }
    // A job that has run before keeps its partitions: keys would move otherwise.
    for topic in all() {
        if matches!(topic, TopicRef::Repartition { .. })
            && let Some(there) = partitions_of(&topic.resolve(application_id))
        {
            let wanted = *known.entry(topic_key(topic)).or_insert(there);
            if wanted != there {
                return Err(StreamsError::Topology(format!(
                    "the topic `{}` has {there} partitions and {wanted} are wanted: keep the count, or reset the job and delete its internal topics",
                    topic.resolve(application_id)
                )));
            }
        }
    }
    loop {
        let before = known.len();
        for sub in &topology.sub_topologies {
            for (index, source) in sub.sources.iter().enumerate() {
                let key = topic_key(&source.topic);
                if known.contains_key(&key) {
                    continue;
                }
                let group: Vec<&TopicRef> = sub
                    .copartitioned
                    .iter()
                    .filter(|group| group.contains(&index))
                    .flatten()
                    .filter_map(|member| sub.sources.get(*member))
                    .map(|member| &member.topic)
                    .collect();
                let given = group
                    .iter()
                    .filter_map(|t| known.get(&topic_key(t)))
                    .max()
                    .copied();
                // Otherwise the greatest count upstream of the topic and of its group.
                let count = given.or_else(|| {
                    let mut greatest = 0;
                    for topic in group.iter().copied().chain([&source.topic]) {
                        for writer in writers.get(&topic_key(topic))? {
                            let writer =
                                topology.sub_topologies.iter().find(|s| s.id == *writer)?;
                            for source in &writer.sources {
                                greatest = greatest.max(*known.get(&topic_key(&source.topic))?);
                            }
                        }
                    }
                    (greatest > 0).then_some(greatest)
                });
                if let Some(count) = count {
                    known.insert(key, count);
                }
            }
        }
        if known.len() == before {
            break;
        }
    }
    let mut counts = HashMap::new();
    for topic in all() {
        let Some(count) = known.get(&topic_key(topic)) else {
            return Err(StreamsError::Topology(format!(
                "the partition count of `{topic}` does not follow from its inputs: give it one"
            )));
        };
        counts.insert(topic.clone(), *count);
    }
    Ok(counts)
}

fn check_copartitions(
    sub: &SubTopology,
    count: &impl Fn(&TopicRef) -> i32,
) -> Result<(), StreamsError> {
    for group in &sub.copartitioned {
        let topics: Vec<_> = group
            .iter()
            .filter_map(|index| sub.sources.get(*index))
            .map(|source| (&source.topic, count(&source.topic)))
            .collect();
        if topics.windows(2).any(|pair| match pair {
            [(_, a), (_, b)] => a != b,
            _ => false,
        }) {
            let list: Vec<_> = topics
                .iter()
                .map(|(t, n)| format!("`{t}` has {n}"))
                .collect();
            return Err(StreamsError::Topology(format!(
                "topics that are joined by key must have equally many partitions, but {}: repartition one of them",
                list.join(" and ")
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
