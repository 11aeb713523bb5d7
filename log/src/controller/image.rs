//! The metadata state machine: what the cluster is, and how a command changes it.
//!
//! Invariants: applying is deterministic (no clock, no randomness, no I/O), so every replica that
//! applied the same log holds the same image; a refused command changes nothing; topic ids are
//! never reused for another name; leader epochs, broker epochs and producer ids only grow.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::codec::{DecodeError, Reader, Writer};
use super::command::{
    Command, ConfigChange, ConfigScope, Endpoint, read_endpoints, read_features, write_endpoints,
    write_features,
};
use super::features::supported_feature;
use super::quotas::{self, QuotaChange, Quotas};

/// Version of the snapshot encoding; 2 brought features and quotas, at the end.
const SNAPSHOT_VERSION: u8 = 2;

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionImage {
    /// Brokers that hold the partition, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Brokers whose copy is complete.
    pub isr: Vec<i32>,
    /// The broker that leads, `-1` if none.
    pub leader: i32,
    /// Grows with each change of leader and each registration of the leader's broker.
    pub leader_epoch: i32,
    /// Grows with each change of the partition.
    pub partition_epoch: i32,
}

impl PartitionImage {
    /// The leader, where it is a broker that is registered; else -1.
    pub fn alive_leader(&self, image: &MetadataImage) -> i32 {
        match image.broker(self.leader) {
            Some(leader) => leader.id,
            None => -1,
        }
    }

    /// The replicas whose brokers are not registered.
    pub fn offline_replicas(&self, image: &MetadataImage) -> Vec<i32> {
        let replicas = self.replicas.iter().copied();
        replicas.filter(|id| image.broker(*id).is_none()).collect()
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: Uuid,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionImage>,
}

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerImage {
    /// Broker id.
    pub id: i32,
    /// The index of the registration in the metadata log; grows with each start.
    pub epoch: i64,
    /// Identity of the broker's run.
    pub incarnation: Uuid,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// Rack, if any.
    pub rack: Option<String>,
}

/// What applying a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The change was made.
    Done,
    /// A broker registration, with the broker's new epoch.
    Registered {
        /// The epoch.
        epoch: i64,
    },
    /// A block of producer ids: `first .. first + count`.
    ProducerIds {
        /// First id of the block.
        first: i64,
        /// Ids in the block.
        count: i32,
    },
    /// The command was refused and changed nothing.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A topic has the name already.
    #[error("Topic '{0}' already exists.")]
    TopicExists(String),
    /// No topic has the id.
    #[error("This server does not host topic ID {0}.")]
    UnknownTopicId(Uuid),
    /// No topic has the name.
    #[error("The topic '{0}' does not exist.")]
    UnknownTopic(String),
    /// The partition count is not what the proposer saw, or is too small.
    #[error("{0}")]
    InvalidPartitions(String),
    /// A replica assignment is empty, has duplicates or names an unknown broker.
    #[error("{0}")]
    InvalidAssignment(String),
    /// A config change names something that does not exist.
    #[error("{0}")]
    InvalidConfig(String),
    /// The request is out of its domain.
    #[error("{0}")]
    InvalidRequest(String),
    /// Another run of the broker registered since.
    #[error("Broker {0} was registered by another run since; this run must stop.")]
    StaleBroker(i32),
    /// No broker has the id.
    #[error("Broker ID {0} is not currently registered")]
    BrokerNotRegistered(i32),
}

/// The cluster's metadata at one index of the metadata log. Cheap to clone: topics are shared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataImage {
    topics: BTreeMap<Arc<str>, Arc<TopicImage>>,
    names: HashMap<Uuid, Arc<str>>,
    brokers: BTreeMap<i32, Arc<BrokerImage>>,
    configs: BTreeMap<(ConfigScope, String), Arc<BTreeMap<String, String>>>,
    next_producer_id: i64,
    features: BTreeMap<String, i16>,
    quotas: Arc<Quotas>,
}

impl MetadataImage {
    /// The topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// The broker with this id.
    pub fn broker(&self, id: i32) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&id)
    }

    /// All registered brokers, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerImage>> {
        self.brokers.values()
    }

    /// The overrides of a topic or broker.
    pub fn configs(
        &self,
        scope: ConfigScope,
        resource: &str,
    ) -> Option<&Arc<BTreeMap<String, String>>> {
        self.configs.get(&(scope, resource.to_owned()))
    }

    /// The finalized features that are switched on, with their levels.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features
            .iter()
            .map(|(name, level)| (name.as_str(), *level))
    }

    /// The finalized level of a feature, 0 if it is switched off.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The client quotas.
    pub fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// Every resource of a kind that has overrides, by name.
    pub fn config_resources(&self, scope: ConfigScope) -> impl Iterator<Item = &str> {
        self.configs
            .keys()
            .filter(move |(s, _)| *s == scope)
            .map(|(_, name)| name.as_str())
    }

    /// The first producer id not handed out yet.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Applies the command at `index` of the log. A refusal changes nothing.
    pub fn apply(&mut self, index: u64, command: &Command) -> Outcome {
        let result = match command {
            Command::CreateTopic {
                name,
                id,
                assignment,
                configs,
            } => self.create_topic(name, *id, assignment, configs),
            Command::DeleteTopic { id } => self.delete_topic(*id),
            Command::CreatePartitions {
                id,
                expected,
                assignment,
            } => self.create_partitions(*id, *expected, assignment),
            Command::AlterConfigs { changes } => self.alter_configs(changes),
            Command::RegisterBroker {
                id,
                incarnation,
                endpoints,
                rack,
            } => Ok(self.register_broker(index, *id, *incarnation, endpoints, rack.as_ref())),
            Command::SetEndpoints {
                id,
                incarnation,
                endpoints,
            } => self.set_endpoints(*id, *incarnation, endpoints),
            Command::AllocateProducerIds { broker, count } => {
                self.allocate_producer_ids(*broker, *count)
            }
            Command::AlterClientQuotas { changes } => Ok(self.alter_client_quotas(changes)),
            Command::UpdateFeatures { updates } => self.update_features(updates),
            Command::UnregisterBroker { id } => self.unregister_broker(*id),
        };
        result.unwrap_or_else(Outcome::Refused)
    }

    fn create_topic(
        &mut self,
        name: &str,
        id: Uuid,
        assignment: &[Vec<i32>],
        configs: &[(String, String)],
    ) -> Result<Outcome, Refusal> {
        if self.topics.contains_key(name) {
            return Err(Refusal::TopicExists(name.to_owned()));
        }
        if id.is_nil() || self.names.contains_key(&id) {
            return Err(Refusal::InvalidRequest(format!(
                "Topic ID {id} is already in use."
            )));
        }
        if assignment.is_empty() {
            return Err(Refusal::InvalidPartitions(
                "Number of partitions must be larger than 0.".to_owned(),
            ));
        }
        let partitions = self.new_partitions(assignment)?;
        let name: Arc<str> = Arc::from(name);
        self.names.insert(id, Arc::clone(&name));
        self.topics.insert(
            Arc::clone(&name),
            Arc::new(TopicImage {
                name: Arc::clone(&name),
                id,
                partitions,
            }),
        );
        if !configs.is_empty() {
            self.configs.insert(
                (ConfigScope::Topic, name.to_string()),
                Arc::new(configs.iter().cloned().collect()),
            );
        }
        Ok(Outcome::Done)
    }

    fn new_partitions(&self, assignment: &[Vec<i32>]) -> Result<Vec<PartitionImage>, Refusal> {
        assignment
            .iter()
            .map(|replicas| {
                let Some(leader) = replicas.first().copied() else {
                    return Err(Refusal::InvalidAssignment(
                        "A partition must have at least one replica.".to_owned(),
                    ));
                };
                for (i, id) in replicas.iter().enumerate() {
                    if !self.brokers.contains_key(id) {
                        return Err(Refusal::InvalidAssignment(format!(
                            "The manual partition assignment includes broker {id}, but no such broker is registered."
                        )));
                    }
                    if replicas.iter().take(i).any(|other| other == id) {
                        return Err(Refusal::InvalidAssignment(format!(
                            "The manual partition assignment includes the broker {id} more than once."
                        )));
                    }
                }
                Ok(PartitionImage {
                    replicas: replicas.clone(),
                    isr: replicas.clone(),
                    leader,
                    leader_epoch: 0,
                    partition_epoch: 0,
                })
            })
            .collect()
    }

    fn delete_topic(&mut self, id: Uuid) -> Result<Outcome, Refusal> {
        let name = self.names.remove(&id).ok_or(Refusal::UnknownTopicId(id))?;
        self.topics.remove(&name);
        self.configs.remove(&(ConfigScope::Topic, name.to_string()));
        Ok(Outcome::Done)
    }

    fn create_partitions(
        &mut self,
        id: Uuid,
        expected: i32,
        assignment: &[Vec<i32>],
    ) -> Result<Outcome, Refusal> {
        let topic = self.topic_by_id(id).ok_or(Refusal::UnknownTopicId(id))?;
        let current = topic.partitions.len();
        if i32::try_from(current) != Ok(expected) {
            return Err(Refusal::InvalidPartitions(format!(
                "The topic has {current} partitions now, not {expected}: it changed meanwhile."
            )));
        }
        if assignment.is_empty() {
            return Err(Refusal::InvalidPartitions(format!(
                "Topic already has {current} partition(s)."
            )));
        }
        let new = self.new_partitions(assignment)?;
        let mut topic = TopicImage::clone(topic);
        topic.partitions.extend(new);
        self.topics.insert(Arc::clone(&topic.name), Arc::new(topic));
        Ok(Outcome::Done)
    }

    fn alter_configs(&mut self, changes: &[ConfigChange]) -> Result<Outcome, Refusal> {
        for change in changes {
            if change.scope == ConfigScope::Topic
                && !self.topics.contains_key(change.resource.as_str())
            {
                return Err(Refusal::UnknownTopic(change.resource.clone()));
            }
        }
        for change in changes {
            let at = (change.scope, change.resource.clone());
            let mut entries = self
                .configs
                .get(&at)
                .map(|m| BTreeMap::clone(m))
                .unwrap_or_default();
            match &change.value {
                Some(value) => {
                    entries.insert(change.key.clone(), value.clone());
                }
                None => {
                    entries.remove(&change.key);
                }
            }
            if entries.is_empty() {
                self.configs.remove(&at);
            } else {
                self.configs.insert(at, Arc::new(entries));
            }
        }
        Ok(Outcome::Done)
    }

    fn register_broker(
        &mut self,
        index: u64,
        id: i32,
        incarnation: Uuid,
        endpoints: &[Endpoint],
        rack: Option<&String>,
    ) -> Outcome {
        let epoch = i64::try_from(index).unwrap_or(i64::MAX);
        self.brokers.insert(
            id,
            Arc::new(BrokerImage {
                id,
                epoch,
                incarnation,
                endpoints: endpoints.to_vec(),
                rack: rack.cloned(),
            }),
        );
        self.lead(id, |p| {
            p.leader == id || (p.leader == -1 && p.isr.contains(&id))
        });
        Outcome::Registered { epoch }
    }

    /// Makes a broker (or nobody, -1) the leader of partitions, in a new epoch.
    fn lead(&mut self, leader: i32, of: impl Fn(&PartitionImage) -> bool) {
        for topic in self.topics.values_mut() {
            if topic.partitions.iter().any(&of) {
                for partition in &mut Arc::make_mut(topic).partitions {
                    if of(partition) {
                        partition.leader = leader;
                        partition.leader_epoch = partition.leader_epoch.saturating_add(1);
                        partition.partition_epoch = partition.partition_epoch.saturating_add(1);
                    }
                }
            }
        }
    }

    fn unregister_broker(&mut self, id: i32) -> Result<Outcome, Refusal> {
        if self.brokers.remove(&id).is_none() {
            return Err(Refusal::BrokerNotRegistered(id));
        }
        self.lead(-1, |p| p.leader == id);
        Ok(Outcome::Done)
    }

    fn alter_client_quotas(&mut self, changes: &[QuotaChange]) -> Outcome {
        let quotas = Arc::make_mut(&mut self.quotas);
        for change in changes {
            quotas::apply(quotas, change);
        }
        Outcome::Done
    }

    fn update_features(&mut self, updates: &[(String, i16)]) -> Result<Outcome, Refusal> {
        for (name, level) in updates {
            let supported = supported_feature(name)
                .is_some_and(|feature| (feature.min..=feature.max).contains(level));
            if !supported {
                return Err(Refusal::InvalidRequest(format!(
                    "Feature {name} has no level {level}."
                )));
            }
        }
        for (name, level) in updates {
            if *level == 0 {
                self.features.remove(name);
            } else {
                self.features.insert(name.clone(), *level);
            }
        }
        Ok(Outcome::Done)
    }

    fn set_endpoints(
        &mut self,
        id: i32,
        incarnation: Uuid,
        endpoints: &[Endpoint],
    ) -> Result<Outcome, Refusal> {
        match self.brokers.get_mut(&id) {
            Some(broker) if broker.incarnation == incarnation => {
                Arc::make_mut(broker).endpoints = endpoints.to_vec();
                Ok(Outcome::Done)
            }
            _ => Err(Refusal::StaleBroker(id)),
        }
    }

    fn allocate_producer_ids(&mut self, broker: i32, count: i32) -> Result<Outcome, Refusal> {
        if count <= 0 {
            return Err(Refusal::InvalidRequest(format!(
                "A block of {count} producer ids was asked for; it must be positive."
            )));
        }
        if !self.brokers.contains_key(&broker) {
            return Err(Refusal::StaleBroker(broker));
        }
        let first = self.next_producer_id;
        self.next_producer_id = first
            .checked_add(i64::from(count))
            .ok_or_else(|| Refusal::InvalidRequest("All producer ids are used up.".to_owned()))?;
        Ok(Outcome::ProducerIds { first, count })
    }

    /// The whole image as bytes, for a snapshot file.
    pub fn encode(&self) -> Bytes {
        let mut w = Writer::new();
        w.u8(SNAPSHOT_VERSION);
        w.i64(self.next_producer_id);
        w.count(self.brokers.len());
        for broker in self.brokers.values() {
            w.i32(broker.id);
            w.i64(broker.epoch);
            w.uuid(broker.incarnation);
            write_endpoints(&mut w, &broker.endpoints);
            w.opt_str(broker.rack.as_deref());
        }
        w.count(self.topics.len());
        for topic in self.topics.values() {
            w.str(&topic.name);
            w.uuid(topic.id);
            w.count(topic.partitions.len());
            for p in &topic.partitions {
                w.i32s(&p.replicas);
                w.i32s(&p.isr);
                w.i32(p.leader);
                w.i32(p.leader_epoch);
                w.i32(p.partition_epoch);
            }
        }
        w.count(self.configs.len());
        for ((scope, resource), entries) in &self.configs {
            w.i8(scope.code());
            w.str(resource);
            w.count(entries.len());
            for (key, value) in entries.iter() {
                w.str(key);
                w.str(value);
            }
        }
        write_features(&mut w, self.features.iter());
        quotas::write_all(&mut w, &self.quotas);
        w.finish()
    }

    /// Reads a snapshot's bytes back.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one image of a known version.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let version = r.u8("version")?;
        if version == 0 || version > SNAPSHOT_VERSION {
            return Err(DecodeError::Version {
                found: version,
                supported: SNAPSHOT_VERSION,
            });
        }
        let mut image = Self {
            next_producer_id: r.i64("next producer id")?,
            ..Self::default()
        };
        for _ in 0..r.count("brokers", 33)? {
            let broker = BrokerImage {
                id: r.i32("broker id")?,
                epoch: r.i64("broker epoch")?,
                incarnation: r.uuid("incarnation")?,
                endpoints: read_endpoints(&mut r)?,
                rack: r.opt_str("rack")?,
            };
            image.brokers.insert(broker.id, Arc::new(broker));
        }
        for _ in 0..r.count("topics", 24)? {
            let name: Arc<str> = Arc::from(r.str("topic name")?);
            let id = r.uuid("topic id")?;
            let n = r.count("partitions", 20)?;
            let partitions = (0..n)
                .map(|_| {
                    Ok(PartitionImage {
                        replicas: r.i32s("replicas")?,
                        isr: r.i32s("isr")?,
                        leader: r.i32("leader")?,
                        leader_epoch: r.i32("leader epoch")?,
                        partition_epoch: r.i32("partition epoch")?,
                    })
                })
                .collect::<Result<_, DecodeError>>()?;
            image.names.insert(id, Arc::clone(&name));
            image.topics.insert(
                Arc::clone(&name),
                Arc::new(TopicImage {
                    name,
                    id,
                    partitions,
                }),
            );
        }
        for _ in 0..r.count("configs", 9)? {
            let code = r.i8("config scope")?;
            let scope = ConfigScope::from_code(code).ok_or_else(|| DecodeError::Invalid {
                what: "config scope",
                value: code.to_string(),
            })?;
            let resource = r.str("config resource")?;
            let n = r.count("config entries", 8)?;
            let entries = (0..n)
                .map(|_| Ok((r.str("config key")?, r.str("config value")?)))
                .collect::<Result<_, DecodeError>>()?;
            image.configs.insert((scope, resource), Arc::new(entries));
        }
        if version >= 2 {
            image.features = read_features(&mut r)?;
            image.quotas = Arc::new(quotas::read_all(&mut r)?);
        }
        r.end()?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests;
