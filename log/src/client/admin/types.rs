//! What administration asks for and gets back.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::client::transport::Destination;

/// A topic to create.
///
/// ```
/// use thalweg_log::client::NewTopic;
/// let topic = NewTopic::new("clicks").partitions(6).config("cleanup.policy", "compact");
/// assert_eq!(topic.partitions, Some(6));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` takes the broker's default.
    pub partitions: Option<i32>,
    /// How many replicas; `None` takes the broker's default.
    pub replication_factor: Option<i16>,
    /// Which brokers get the replicas of each partition; empty leaves it to the controller.
    pub replica_assignments: BTreeMap<i32, Vec<i32>>,
    /// Configuration entries that differ from the broker's defaults.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: None,
            replication_factor: None,
            replica_assignments: BTreeMap::new(),
            configs: BTreeMap::new(),
        }
    }

    /// With so many partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// With so many replicas.
    #[must_use]
    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = Some(replicas);
        self
    }

    /// With this configuration entry.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(key.into(), value.into());
        self
    }
}

/// A topic that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its name.
    pub name: String,
    /// Its id; nil if the broker does not tell.
    pub id: Uuid,
    /// How many partitions it has; -1 if the broker does not tell.
    pub partitions: i32,
    /// How many replicas it has; -1 if the broker does not tell.
    pub replication_factor: i16,
}

/// A topic of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicListing {
    /// Its name.
    pub name: String,
    /// Its id; nil if the broker does not tell.
    pub id: Uuid,
    /// Whether it is one of the brokers' own.
    pub internal: bool,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas its first partition has.
    pub replication_factor: i32,
}

/// What has a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConfigResource {
    /// A topic.
    Topic(String),
    /// A broker.
    Broker(i32),
    /// What holds for all brokers that set nothing themselves.
    BrokerDefaults,
    /// The loggers of a broker.
    BrokerLoggers(i32),
    /// A subscription of clients' metrics.
    ClientMetrics(String),
    /// A group.
    Group(String),
}

impl ConfigResource {
    pub(super) fn kind(&self) -> i8 {
        match self {
            ConfigResource::Topic(_) => 2,
            ConfigResource::Broker(_) | ConfigResource::BrokerDefaults => 4,
            ConfigResource::BrokerLoggers(_) => 8,
            ConfigResource::ClientMetrics(_) => 16,
            ConfigResource::Group(_) => 32,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            ConfigResource::Topic(name)
            | ConfigResource::ClientMetrics(name)
            | ConfigResource::Group(name) => name.clone(),
            ConfigResource::Broker(id) | ConfigResource::BrokerLoggers(id) => id.to_string(),
            ConfigResource::BrokerDefaults => String::new(),
        }
    }

    /// Who is asked: a broker's own configuration only that broker knows.
    pub(super) fn destination(&self) -> Destination {
        match self {
            ConfigResource::Broker(id) | ConfigResource::BrokerLoggers(id) => {
                Destination::Broker(*id)
            }
            _ => Destination::Any,
        }
    }

    /// The resource of Kafka's type code and name, if it is known here.
    pub(super) fn from_parts(kind: i8, name: &str) -> Option<Self> {
        match kind {
            2 => Some(ConfigResource::Topic(name.to_owned())),
            4 if name.is_empty() => Some(ConfigResource::BrokerDefaults),
            4 => name.parse().ok().map(ConfigResource::Broker),
            8 => name.parse().ok().map(ConfigResource::BrokerLoggers),
            16 => Some(ConfigResource::ClientMetrics(name.to_owned())),
            32 => Some(ConfigResource::Group(name.to_owned())),
            _ => None,
        }
    }
}

impl std::fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConfigResource::Topic(name) => write!(f, "topic {name}"),
            ConfigResource::Broker(id) => write!(f, "broker {id}"),
            ConfigResource::BrokerDefaults => f.write_str("all brokers"),
            ConfigResource::BrokerLoggers(id) => write!(f, "the loggers of broker {id}"),
            ConfigResource::ClientMetrics(name) => write!(f, "client metrics {name}"),
            ConfigResource::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// One configuration entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its key.
    pub name: String,
    /// Its value; `None` if it is secret or not set.
    pub value: Option<String>,
    /// Whether it cannot be changed.
    pub read_only: bool,
    /// Whether nobody set it.
    pub is_default: bool,
    /// Whether its value is kept back.
    pub is_sensitive: bool,
    /// Kafka's number for where the value comes from: 1 the topic, 2 the broker at run time, 3 all
    /// brokers at run time, 4 the broker's start, 5 the default, 6 a logger, 8 the group.
    pub source: i8,
    /// Every place that sets the entry, the nearest first; empty unless asked for.
    pub synonyms: Vec<ConfigSynonym>,
    /// Kafka's number for the type of the value (1 boolean, 2 string, 3 int, …); 0 if unknown.
    pub kind: i8,
    /// What the entry does, if that was asked for and the broker tells it.
    pub documentation: Option<String>,
}

/// A place that sets a configuration entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The entry's key there.
    pub name: String,
    /// Its value there; `None` if it is secret or not set.
    pub value: Option<String>,
    /// Kafka's number for the place.
    pub source: i8,
}

/// A change of one configuration entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlterConfig {
    /// Sets the value.
    Set(String, String),
    /// Goes back to the default.
    Delete(String),
    /// Adds elements to a list.
    Append(String, String),
    /// Takes elements out of a list.
    Subtract(String, String),
}
