//! The consumer's configuration.

use std::sync::Arc;
use std::time::Duration;

use super::assignor::PartitionAssignor;
use crate::client::config::{ConfigValue, config};

/// Where to start when there is no valid offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoOffsetReset {
    /// At the first record that the log still has.
    Earliest,
    /// After the last record.
    Latest,
    /// Nowhere: `poll` returns an error and the owner decides.
    None,
}

impl ConfigValue for AutoOffsetReset {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "earliest" => Ok(AutoOffsetReset::Earliest),
            "latest" => Ok(AutoOffsetReset::Latest),
            "none" => Ok(AutoOffsetReset::None),
            _ => Err("expected earliest, latest or none".to_owned()),
        }
    }
}

/// Whether records of open and aborted transactions are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IsolationLevel {
    /// All records up to the high watermark.
    ReadUncommitted,
    /// Only committed ones, up to the last stable offset.
    ReadCommitted,
}

impl IsolationLevel {
    pub(crate) fn code(self) -> i8 {
        match self {
            IsolationLevel::ReadUncommitted => 0,
            IsolationLevel::ReadCommitted => 1,
        }
    }
}

impl ConfigValue for IsolationLevel {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "read_uncommitted" => Ok(IsolationLevel::ReadUncommitted),
            "read_committed" => Ok(IsolationLevel::ReadCommitted),
            _ => Err("expected read_uncommitted or read_committed".to_owned()),
        }
    }
}

/// How the members of a group agree on who reads what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// The members decide: one of them, the leader, assigns.
    Classic,
    /// The coordinator decides, and each member moves at its own pace (KIP-848). Needs
    /// Kafka 4.0 or newer.
    Consumer,
}

impl ConfigValue for GroupProtocol {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "classic" => Ok(GroupProtocol::Classic),
            "consumer" => Ok(GroupProtocol::Consumer),
            _ => Err("expected classic or consumer".to_owned()),
        }
    }
}

config! {
    /// How a [`Consumer`](super::Consumer) reads and takes part in its group.
    ///
    /// ```
    /// use thalweg_log::client::{AutoOffsetReset, ConsumerConfig};
    /// let config = ConsumerConfig {
    ///     group_id: Some("counts".into()),
    ///     auto_offset_reset: AutoOffsetReset::Earliest,
    ///     ..ConsumerConfig::default()
    /// };
    /// assert!(config.enable_auto_commit);
    /// ```
    pub struct ConsumerConfig ("consumer") {
        /// The group whose members share the subscribed partitions.
        "group.id" => group_id: Option<String> = None,
        /// Makes this a static member: a restart under the same id takes over its
        /// partitions at once and without a rebalance.
        "group.instance.id" => group_instance_id: Option<String> = None,
        /// Names of assignors in order of preference: `range`, `roundrobin`,
        /// `sticky`, `cooperative-sticky`, or those in [`assignors`](Self::assignors).
        "partition.assignment.strategy" => partition_assignment_strategy: Vec<String> = vec!["range".to_owned(), "cooperative-sticky".to_owned()],
        /// How the members agree. Under `consumer` the coordinator decides: the strategy,
        /// session timeout and heartbeat interval of this configuration do not count.
        "group.protocol" => group_protocol: GroupProtocol = GroupProtocol::Classic,
        /// Under `group.protocol=consumer`, the coordinator's assignor (`uniform` or
        /// `range`); `None` leaves it to the coordinator.
        "group.remote.assignor" => group_remote_assignor: Option<String> = None,
        /// After which silence the coordinator takes this member for dead.
        "session.timeout.ms" => session_timeout_ms: Duration = Duration::from_secs(45),
        /// How often the member reports.
        "heartbeat.interval.ms" => heartbeat_interval_ms: Duration = Duration::from_secs(3),
        /// How long the owner may stay away from `poll` until the member leaves its
        /// group; also how long a rebalance waits for members.
        "max.poll.interval.ms" => max_poll_interval_ms: Duration = Duration::from_secs(300),
        /// Whether positions are committed by `poll` and `close`.
        "enable.auto.commit" => enable_auto_commit: bool = true,
        /// How often.
        "auto.commit.interval.ms" => auto_commit_interval_ms: Duration = Duration::from_secs(5),
        /// Where to start without a valid offset.
        "auto.offset.reset" => auto_offset_reset: AutoOffsetReset = AutoOffsetReset::Latest,
        /// How many bytes a fetch answer must have, unless `fetch.max.wait.ms` has passed.
        "fetch.min.bytes" => fetch_min_bytes: i32 = 1,
        /// How many bytes a fetch answer has at most (the first batch may be larger).
        "fetch.max.bytes" => fetch_max_bytes: i32 = 52_428_800,
        /// How long a broker waits for `fetch.min.bytes`.
        "fetch.max.wait.ms" => fetch_max_wait_ms: Duration = Duration::from_millis(500),
        /// How many bytes of one partition a fetch answer has at most.
        "max.partition.fetch.bytes" => max_partition_fetch_bytes: i32 = 1_048_576,
        /// Whether records of open and aborted transactions are seen.
        "isolation.level" => isolation_level: IsolationLevel = IsolationLevel::ReadUncommitted,
        /// Whether a subscription may create its topics where the broker allows it.
        "allow.auto.create.topics" => allow_auto_create_topics: bool = true,
        /// This consumer's rack, for assignors and brokers that care.
        "client.rack" => client_rack: Option<String> = None,
    }
    extra {
        /// Whether control batches (the markers that end transactions) come with the others:
        /// who looks at [`PartitionRecords::batches`](super::PartitionRecords::batches) sees
        /// them, and the iterators show their records as any other. Not a key of Kafka's; for
        /// tools that show a log as it is.
        control_records: bool,
        /// Assignors of one's own; their names may stand in
        /// `partition.assignment.strategy`, and where they do not, they come first.
        assignors: Vec<Arc<dyn PartitionAssignor>>,
    }
}
