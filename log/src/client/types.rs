//! The small values that producer, consumer and admin share.

use std::fmt;
use std::sync::Arc;

/// A topic and the number of one of its partitions.
///
/// The name is shared, so a clone costs no allocation.
///
/// ```
/// use thalweg_log::client::TopicPartition;
/// let p = TopicPartition::new("clicks", 3);
/// assert_eq!(p.to_string(), "clicks-3");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An offset to commit, or a committed one: the offset of the *next* record to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OffsetAndMetadata {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read, if known; it detects truncated logs.
    pub leader_epoch: Option<i32>,
    /// What the owner wants to keep beside the offset.
    pub metadata: String,
}

impl OffsetAndMetadata {
    /// An offset without epoch and metadata.
    pub fn new(offset: i64) -> Self {
        Self {
            offset,
            ..Self::default()
        }
    }
}

impl From<i64> for OffsetAndMetadata {
    fn from(offset: i64) -> Self {
        Self::new(offset)
    }
}

/// Which offset to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first offset still in the log (the log start offset).
    Earliest,
    /// The offset of the next record to be written that a consumer could read: the high
    /// watermark, or the last stable offset under `read_committed`.
    Latest,
    /// The first record whose timestamp (milliseconds since 1970) is this or later.
    Timestamp(i64),
    /// The record with the highest timestamp.
    MaxTimestamp,
    /// The first offset that lies on the leader's own disk, where older ones have gone to
    /// remote storage.
    EarliestLocal,
    /// The last offset that has gone to remote storage.
    LatestTiered,
    /// The first offset that has still to go to remote storage.
    EarliestPendingUpload,
}

impl OffsetSpec {
    pub(crate) fn timestamp(self) -> i64 {
        match self {
            OffsetSpec::Latest => -1,
            OffsetSpec::Earliest => -2,
            OffsetSpec::MaxTimestamp => -3,
            OffsetSpec::EarliestLocal => -4,
            OffsetSpec::LatestTiered => -5,
            OffsetSpec::EarliestPendingUpload => -6,
            OffsetSpec::Timestamp(t) => t,
        }
    }

    /// The first version of ListOffsets that knows it.
    pub(crate) fn least_version(self) -> i16 {
        match self {
            OffsetSpec::Latest | OffsetSpec::Earliest | OffsetSpec::Timestamp(_) => 1,
            OffsetSpec::MaxTimestamp => 7,
            OffsetSpec::EarliestLocal => 8,
            OffsetSpec::LatestTiered => 9,
            OffsetSpec::EarliestPendingUpload => 11,
        }
    }
}

/// The answer to an [`OffsetSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetAndTimestamp {
    /// The offset.
    pub offset: i64,
    /// The record's timestamp; -1 for [`OffsetSpec::Earliest`] and [`OffsetSpec::Latest`].
    pub timestamp: i64,
    /// The leader epoch of the record, if the broker told it.
    pub leader_epoch: Option<i32>,
}

/// Where a leader epoch ends in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The greatest epoch in the log that is not greater than the one asked for.
    pub leader_epoch: i32,
    /// The offset behind the last record of that epoch. Whoever has read further than this
    /// in the epoch asked for has read records that the log no longer has.
    pub end_offset: i64,
}

/// What a transactional or fenced commit must name: the member of a group at one generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMetadata {
    /// `group.id`.
    pub group_id: String,
    /// The generation of the group; -1 outside of group management.
    pub generation_id: i32,
    /// The member id that the coordinator gave; empty outside of group management.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
}

/// A broker as the metadata tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The broker's id.
    pub id: i32,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: i32,
    /// The rack, if the broker has one.
    pub rack: Option<String>,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broker {} at {}:{}", self.id, self.host, self.port)
    }
}
