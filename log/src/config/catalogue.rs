//! The one table of broker keys: name, type, default, whether it can change at run time, and what
//! it does. Keys that are defaults of topic keys (`log.retention.ms`, …) come from the topics'
//! own table.

use crate::storage::{ConfigKey, ConfigType, LogConfig};

/// A broker key that is no topic default.
#[derive(Debug, Clone, Copy)]
pub struct BrokerKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Type of the value.
    pub kind: ConfigType,
    /// The value when nothing is set; `None` is null.
    pub default: Option<&'static str>,
    /// What it does.
    pub doc: &'static str,
}

macro_rules! keys {
    ($($name:literal $kind:ident $default:expr, $doc:literal;)*) => {
        &[$(BrokerKey { name: $name, kind: ConfigType::$kind, default: $default, doc: $doc },)*]
    };
}

static BROKER_KEYS: &[BrokerKey] = keys! {
    "advertised.listeners" String None,
        "Host and port that clients are told, where they differ from those that are bound.";
    "auto.create.topics.enable" Boolean Some("true"),
        "Whether asking for a topic that does not exist, where the client allows it, creates it.";
    "broker.rack" String None,
        "The rack of this broker, told to clients.";
    "connections.max.idle.ms" Long Some("600000"),
        "A connection without requests for longer is closed.";
    "default.replication.factor" Int Some("1"),
        "Replicas of a topic that is created without saying how many.";
    "delete.topic.enable" Boolean Some("true"),
        "Whether topics can be deleted.";
    "fetch.max.bytes" Int Some("57671680"),
        "The most bytes that one fetch is answered with; at least one batch is always sent.";
    "group.initial.rebalance.delay.ms" Int Some("0"),
        "How long the first rebalance of an empty group waits for more members to join. Kafka's default is 3000; here a job starts at once.";
    "group.max.session.timeout.ms" Int Some("1800000"),
        "The longest session timeout a group member may ask for.";
    "group.max.size" Int Some("2147483647"),
        "The most members a group may have.";
    "group.min.session.timeout.ms" Int Some("6000"),
        "The shortest session timeout a group member may ask for.";
    "listeners" List None,
        "Where the broker accepts connections; empty for a broker that is only used in process.";
    "log.dirs" List None,
        "The data folder.";
    "log.retention.check.interval.ms" Long Some("300000"),
        "How often segments are looked at for deletion.";
    "max.connections" Int Some("10000"),
        "The most connections at a time.";
    "metadata.log.snapshot.records" Int Some("10000"),
        "A snapshot of the metadata is written after so many records of the metadata log.";
    "node.id" Int Some("1"),
        "The id of this node in the cluster.";
    "num.partitions" Int Some("1"),
        "Partitions of a topic that is created without saying how many.";
    "num.recovery.threads.per.data.dir" Int Some("2"),
        "Threads that open and recover logs at start.";
    "offset.metadata.max.bytes" Int Some("4096"),
        "The longest metadata a committed offset may carry.";
    "offsets.retention.check.interval.ms" Long Some("600000"),
        "How often committed offsets are looked at for expiry.";
    "offsets.retention.minutes" Int Some("10080"),
        "Committed offsets of a group without members are kept so long.";
    "offsets.topic.num.partitions" Int Some("8"),
        "Partitions of __consumer_offsets when it is created. Kafka's default is 50; a single node needs few.";
    "offsets.topic.replication.factor" Int Some("1"),
        "Replicas of __consumer_offsets when it is created. Kafka's default is 3.";
    "offsets.topic.segment.bytes" Int Some("104857600"),
        "Segment size of __consumer_offsets.";
    "producer.id.expiration.ms" Int Some("86400000"),
        "The state of a producer without appends for longer is dropped.";
    "socket.request.max.bytes" Int Some("104857600"),
        "The largest request that is accepted.";
};

/// All broker keys that are no topic defaults, by name.
pub fn broker_keys() -> &'static [BrokerKey] {
    BROKER_KEYS
}

/// The broker key with this name.
pub fn broker_key(name: &str) -> Option<&'static BrokerKey> {
    BROKER_KEYS.iter().find(|k| k.name == name)
}

/// The topic key whose broker-wide default is set by `name`.
pub(crate) fn topic_default(name: &str) -> Option<&'static ConfigKey> {
    LogConfig::keys().iter().find(|k| k.broker_name == name)
}

/// Coarser names for the same settings: broker key, unit in milliseconds, the key it stands for.
/// A finer key wins over a coarser one, as in Kafka.
pub(crate) const COARSE: &[(&str, i64, &str)] = &[
    ("log.retention.hours", 3_600_000, "log.retention.ms"),
    ("log.retention.minutes", 60_000, "log.retention.ms"),
    ("log.roll.hours", 3_600_000, "log.roll.ms"),
];

/// Every name that is accepted, for suggestions.
pub(crate) fn all_names() -> impl Iterator<Item = &'static str> {
    BROKER_KEYS
        .iter()
        .map(|k| k.name)
        .chain(LogConfig::keys().iter().map(|k| k.broker_name))
        .chain(COARSE.iter().map(|c| c.0))
}
