//! The one table of topic settings: each key of Kafka's `LogConfig` with its type, its values, what
//! it does, and how it is read from and written as text.
//!
//! Invariant: the table is sorted by name, and every key reads back what it wrote.

use std::fmt;
use std::str::FromStr;

use super::config::LogConfig;
use super::setting::{ConfigType, Valid};
use crate::record::TimestampType;

/// A key of [`LogConfig`].
pub struct ConfigKey {
    /// Kafka's name of the topic setting.
    pub name: &'static str,
    /// The broker setting whose value is the default of the topic's (`log.retention.ms`, …), if
    /// there is one.
    pub broker_name: Option<&'static str>,
    /// The type of its values.
    pub kind: ConfigType,
    /// Which values it takes.
    pub valid: Valid,
    /// Whether it is taken for compatibility only, and changes nothing.
    pub inert: bool,
    /// What it does.
    pub doc: &'static str,
    pub(super) get: fn(&LogConfig) -> String,
    pub(super) set: fn(&mut LogConfig, &str) -> Result<(), String>,
}

impl fmt::Debug for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigKey")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish()
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.trim()
        .parse()
        .map_err(|_| "a number is expected".to_owned())
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false is expected".to_owned()),
    }
}

/// Replicas to throttle: `partition:broker` pairs, `*`, or nothing.
fn throttled(text: &str) -> Result<String, String> {
    let text = text.trim();
    let number = |word: &str| word.trim().parse::<u32>().is_ok();
    let good = text.is_empty()
        || text == "*"
        || text.split(',').all(|pair| {
            pair.split_once(':')
                .is_some_and(|(partition, broker)| number(partition) && number(broker))
        });
    if good {
        Ok(text.to_owned())
    } else {
        Err("[partitionId]:[brokerId],[partitionId]:[brokerId],... or * is expected".to_owned())
    }
}

/// A key whose field is of a type that is parsed and shown plainly.
macro_rules! key {
    ($name:literal, $broker:expr, $kind:ident, $valid:expr, $parse:expr, $field:ident, $inert:literal, $doc:literal) => {
        ConfigKey {
            name: $name,
            broker_name: $broker,
            kind: ConfigType::$kind,
            valid: $valid,
            inert: $inert,
            doc: $doc,
            get: |c| c.$field.to_string(),
            set: |c, text| {
                $valid.check(ConfigType::$kind, text)?;
                c.$field = $parse(text)?;
                Ok(())
            },
        }
    };
}

/// `delete`, `compact`, both or none.
const POLICIES: Valid = Valid::SomeOf(&["compact", "delete"]);

/// The codecs of `compression.type`.
const CODECS: Valid = Valid::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);

/// Whose clock stamps records.
const STAMPS: Valid = Valid::OneOf(&["CreateTime", "LogAppendTime"]);

pub(super) static KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "cleanup.policy",
        broker_name: Some("log.cleanup.policy"),
        kind: ConfigType::List,
        valid: POLICIES,
        inert: false,
        doc: "What becomes of old records: delete drops whole segments by age and size, compact keeps the newest record of each key, and both together do both. An empty list keeps everything for good.",
        get: |c| match (c.cleanup_delete, c.cleanup_compact) {
            (true, true) => "compact,delete".to_owned(),
            (false, true) => "compact".to_owned(),
            (true, false) => "delete".to_owned(),
            (false, false) => String::new(),
        },
        set: |c, text| {
            POLICIES.check(ConfigType::List, text)?;
            let has = |policy| text.split(',').any(|w| w.trim() == policy);
            (c.cleanup_delete, c.cleanup_compact) = (has("delete"), has("compact"));
            Ok(())
        },
    },
    key!(
        "compression.gzip.level",
        Some("compression.gzip.level"),
        Int,
        Valid::BetweenOrDefault(1, 9),
        number,
        compression_gzip_level,
        false,
        "How hard gzip tries where batches are compressed anew by it; -1 leaves it to the codec."
    ),
    key!(
        "compression.lz4.level",
        Some("compression.lz4.level"),
        Int,
        Valid::Between(1, 17),
        number,
        compression_lz4_level,
        true,
        "How hard lz4 tries where batches are compressed anew by it. There is one level of lz4 here, the fast one."
    ),
    ConfigKey {
        name: "compression.type",
        broker_name: Some("compression.type"),
        kind: ConfigType::String,
        valid: CODECS,
        inert: false,
        doc: "The codec that batches are stored with. producer keeps what the producer chose, uncompressed stores them plain, and any other codec has the broker compress anew what came differently.",
        get: |c| c.compression_type.clone(),
        set: |c, text| {
            let text = text.trim().to_ascii_lowercase();
            CODECS.check(ConfigType::String, &text)?;
            c.compression_type = text;
            Ok(())
        },
    },
    key!(
        "compression.zstd.level",
        Some("compression.zstd.level"),
        Int,
        Valid::Between(-131_072, 22),
        number,
        compression_zstd_level,
        false,
        "How hard zstd tries where batches are compressed anew by it."
    ),
    key!(
        "delete.retention.ms",
        Some("log.cleaner.delete.retention.ms"),
        Long,
        Valid::AtLeast(0),
        number,
        delete_retention_ms,
        false,
        "How long a compacted topic keeps tombstones (records without a value) after they were compacted: a reader from the beginning who takes longer may miss a deletion."
    ),
    key!(
        "file.delete.delay.ms",
        Some("log.segment.delete.delay.ms"),
        Long,
        Valid::AtLeast(0),
        number,
        file_delete_delay_ms,
        false,
        "How long the files of a deleted segment, or of a deleted topic, stay on disk under names that end with .deleted or -delete. A clean stop removes them."
    ),
    key!(
        "flush.messages",
        Some("log.flush.interval.messages"),
        Long,
        Valid::AtLeast(1),
        number,
        flush_messages,
        false,
        "fsync after so many records. With 1, a record is acknowledged and read only once it is on disk; one fsync serves all partitions of a folder that wait."
    ),
    key!(
        "flush.ms",
        Some("log.flush.interval.ms"),
        Long,
        Valid::AtLeast(0),
        number,
        flush_ms,
        false,
        "fsync records that have waited this long in the page cache."
    ),
    key!(
        "follower.replication.throttled.replicas",
        None,
        List,
        Valid::Any,
        throttled,
        follower_throttled_replicas,
        true,
        "Replicas whose copying is throttled on the follower's side, as partition:broker pairs, or * for all. A single broker copies nothing."
    ),
    key!(
        "index.interval.bytes",
        Some("log.index.interval.bytes"),
        Int,
        Valid::AtLeast(0),
        number,
        index_interval_bytes,
        false,
        "An entry goes into the offset and the time index every so many bytes. Fewer bytes find a record in fewer steps and make larger indexes."
    ),
    key!(
        "leader.replication.throttled.replicas",
        None,
        List,
        Valid::Any,
        throttled,
        leader_throttled_replicas,
        true,
        "Replicas whose copying is throttled on the leader's side, as partition:broker pairs, or * for all. A single broker copies nothing."
    ),
    key!(
        "local.retention.bytes",
        Some("log.local.retention.bytes"),
        Long,
        Valid::AtLeast(-2),
        number,
        local_retention_bytes,
        true,
        "With tiered storage, the size to which the local part of a partition may grow; -2 stands for retention.bytes. There is no tiered storage yet."
    ),
    key!(
        "local.retention.ms",
        Some("log.local.retention.ms"),
        Long,
        Valid::AtLeast(-2),
        number,
        local_retention_ms,
        true,
        "With tiered storage, how long segments stay on local disk; -2 stands for retention.ms. There is no tiered storage yet."
    ),
    key!(
        "max.compaction.lag.ms",
        Some("log.cleaner.max.compaction.lag.ms"),
        Long,
        Valid::AtLeast(1),
        number,
        max_compaction_lag_ms,
        false,
        "The longest a record of a compacted topic waits for compaction, however few records there are."
    ),
    key!(
        "max.message.bytes",
        Some("message.max.bytes"),
        Int,
        Valid::AtLeast(0),
        number,
        max_message_bytes,
        false,
        "The largest record batch that is accepted, as it is after compression."
    ),
    key!(
        "message.timestamp.after.max.ms",
        Some("log.message.timestamp.after.max.ms"),
        Long,
        Valid::AtLeast(0),
        number,
        message_timestamp_after_max_ms,
        false,
        "How far a record's timestamp may lie after the broker's clock; a record beyond is refused. Not looked at with LogAppendTime."
    ),
    key!(
        "message.timestamp.before.max.ms",
        Some("log.message.timestamp.before.max.ms"),
        Long,
        Valid::AtLeast(0),
        number,
        message_timestamp_before_max_ms,
        false,
        "How far a record's timestamp may lie before the broker's clock; a record beyond is refused. Not looked at with LogAppendTime."
    ),
    ConfigKey {
        name: "message.timestamp.type",
        broker_name: Some("log.message.timestamp.type"),
        kind: ConfigType::String,
        valid: STAMPS,
        inert: false,
        doc: "Whose clock stamps the records: the producer's (CreateTime) or the broker's (LogAppendTime).",
        get: |c| c.message_timestamp_type.to_string(),
        set: |c, text| {
            STAMPS.check(ConfigType::String, text)?;
            c.message_timestamp_type = match text.trim() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            };
            Ok(())
        },
    },
    key!(
        "min.cleanable.dirty.ratio",
        Some("log.cleaner.min.cleanable.ratio"),
        Double,
        Valid::Share,
        number,
        min_cleanable_dirty_ratio,
        false,
        "The share of a log that is not compacted yet at which it is compacted. A larger share compacts less often and keeps more duplicates."
    ),
    key!(
        "min.compaction.lag.ms",
        Some("log.cleaner.min.compaction.lag.ms"),
        Long,
        Valid::AtLeast(0),
        number,
        min_compaction_lag_ms,
        false,
        "The least time a record of a compacted topic stays as it is: younger records are not compacted."
    ),
    key!(
        "min.insync.replicas",
        Some("min.insync.replicas"),
        Int,
        Valid::AtLeast(1),
        number,
        min_insync_replicas,
        false,
        "The fewest in-sync replicas with which a write with acks=all succeeds. More than the topic has replicas counts as that many."
    ),
    key!(
        "preallocate",
        Some("log.preallocate"),
        Boolean,
        Valid::Any,
        boolean,
        preallocate,
        false,
        "Whether a new segment's file is given its full size at once, which takes the room on the disk before it is needed. It is cut to what is in it when it is full, at a clean stop, and after a crash."
    ),
    key!(
        "remote.log.copy.disable",
        None,
        Boolean,
        Valid::Any,
        boolean,
        remote_log_copy_disable,
        true,
        "With tiered storage, whether no more segments are copied away. There is no tiered storage yet."
    ),
    key!(
        "remote.log.delete.on.disable",
        None,
        Boolean,
        Valid::Any,
        boolean,
        remote_log_delete_on_disable,
        true,
        "With tiered storage, whether what was copied away is deleted when tiering is turned off. There is no tiered storage yet."
    ),
    key!(
        "remote.storage.enable",
        None,
        Boolean,
        Valid::Any,
        untiered,
        remote_storage_enable,
        true,
        "Whether segments are moved to tiered storage. There is none yet, so that only false is taken."
    ),
    key!(
        "retention.bytes",
        Some("log.retention.bytes"),
        Long,
        Valid::AtLeast(-1),
        number,
        retention_bytes,
        false,
        "With the policy delete, the oldest segments of a partition larger than this are deleted; -1 sets no limit. It holds for each partition of the topic."
    ),
    key!(
        "retention.ms",
        Some("log.retention.ms"),
        Long,
        Valid::AtLeast(-1),
        number,
        retention_ms,
        false,
        "With the policy delete, segments whose newest record is older than this are deleted; -1 sets no limit."
    ),
    key!(
        "segment.bytes",
        Some("log.segment.bytes"),
        Int,
        Valid::AtLeast(14),
        number,
        segment_bytes,
        false,
        "The size at which a new segment file begins. Retention and compaction work on whole segments. Kafka takes no less than 1048576; smaller segments are allowed here, for tests and small devices."
    ),
    key!(
        "segment.index.bytes",
        Some("log.index.size.max.bytes"),
        Int,
        Valid::AtLeast(24),
        number,
        segment_index_bytes,
        false,
        "The size of an index at which a new segment begins."
    ),
    key!(
        "segment.jitter.ms",
        Some("log.roll.jitter.ms"),
        Long,
        Valid::AtLeast(0),
        number,
        segment_jitter_ms,
        false,
        "At most so much is taken off segment.ms at random, so that partitions do not all begin new segments at once."
    ),
    key!(
        "segment.ms",
        Some("log.roll.ms"),
        Long,
        Valid::AtLeast(1),
        number,
        segment_ms,
        false,
        "The age at which a new segment begins though the old one is not full, so that retention and compaction reach it."
    ),
    key!(
        "unclean.leader.election.enable",
        Some("unclean.leader.election.enable"),
        Boolean,
        Valid::Any,
        boolean,
        unclean_leader_election_enable,
        true,
        "Whether a replica that is out of sync may become leader where no other is left, losing records. A single broker has no other replica."
    ),
];

fn untiered(text: &str) -> Result<bool, String> {
    match boolean(text)? {
        true => Err("Tiered Storage functionality is disabled in the broker. \
             Topic cannot be configured with remote log storage."
            .to_owned()),
        false => Ok(false),
    }
}
