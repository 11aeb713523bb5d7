//! The settings of a topic's logs, by Kafka's names and with Kafka's defaults.
//!
//! One table ([`LogConfig::keys`]) says what keys there are; parsing, describing and the defaults
//! all go through it, so that a key cannot be accepted and then not be described.

use std::fmt;
use std::str::FromStr;

use crate::record::{Compression, TimestampType};

/// A setting that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogConfigError {
    /// There is no such key.
    #[error("unknown topic configuration {key:?}{}", suggestion.map(|s| format!("; did you mean {s:?}?")).unwrap_or_default())]
    UnknownKey {
        /// The key that was given.
        key: String,
        /// The known key nearest to it.
        suggestion: Option<&'static str>,
    },
    /// The value is not one the key takes.
    #[error("invalid value {value:?} for {key}: {expected}")]
    InvalidValue {
        /// The key.
        key: &'static str,
        /// The value that was given.
        value: String,
        /// What the key takes.
        expected: String,
    },
}

/// The type of a setting, as `DescribeConfigs` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean,
    /// A word.
    String,
    /// A 32-bit number.
    Int,
    /// A 64-bit number.
    Long,
    /// A fraction.
    Double,
    /// Words, separated by commas.
    List,
}

/// A key of [`LogConfig`].
pub struct ConfigKey {
    /// Kafka's name of the topic setting.
    pub name: &'static str,
    /// The broker setting whose value is the default of the topic's (`log.retention.ms`, …).
    pub broker_name: &'static str,
    /// What values it takes.
    pub kind: ConfigType,
    /// What it does.
    pub doc: &'static str,
    get: fn(&LogConfig) -> String,
    set: fn(&mut LogConfig, &str) -> Result<(), String>,
}

impl fmt::Debug for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigKey")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish()
    }
}

/// The settings of a topic's logs.
///
/// ```
/// use thalweg_log::storage::LogConfig;
///
/// let config = LogConfig::default().with([("retention.ms", "3600000")]).unwrap();
/// assert_eq!(config.retention_ms, 3_600_000);
/// let error = LogConfig::default().with([("retention.m", "1")]).unwrap_err();
/// assert!(error.to_string().contains("retention.ms"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that would grow larger is rolled.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment that is older is rolled at the next append.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most so much is taken off `segment.ms`, so that partitions do not
    /// all roll at once.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: the largest an index may grow; a segment whose index is full rolls.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: an index entry every so many bytes of batches.
    pub index_interval_bytes: u32,
    /// `retention.ms`: segments whose last record is older are deleted; -1 keeps them.
    pub retention_ms: i64,
    /// `retention.bytes`: the oldest segments of a larger partition are deleted; -1 keeps them.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: how long a deleted file stays for readers that have it open. Files
    /// are removed at once here, as an open file lives on until it is closed; kept for tools.
    pub file_delete_delay_ms: i64,
    /// `flush.messages`: fsync after so many records. With 1, a record is acknowledged and read
    /// only once it is on disk.
    pub flush_messages: i64,
    /// `flush.ms`: fsync what is older.
    pub flush_ms: i64,
    /// `max.message.bytes`: the largest batch (after compression).
    pub max_message_bytes: u32,
    /// `message.timestamp.type`: whose clock stamps the records.
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a timestamp may lie before the broker's clock.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far a timestamp may lie after the broker's clock.
    pub message_timestamp_after_max_ms: i64,
    /// `cleanup.policy` contains `delete`.
    pub cleanup_delete: bool,
    /// `cleanup.policy` contains `compact`.
    pub cleanup_compact: bool,
    /// `compression.type`: `producer`, or a codec's name.
    pub compression_type: String,
    /// `delete.retention.ms`: how long compaction keeps tombstones.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`: the dirty share at which a log is compacted.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: younger records are not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: older records are compacted however few they are.
    pub max_compaction_lag_ms: i64,
    /// `min.insync.replicas`: the fewest in-sync replicas with which `acks=all` succeeds.
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable`: whether a replica out of sync may become leader.
    pub unclean_leader_election_enable: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            file_delete_delay_ms: 60_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            max_message_bytes: (1 << 20) + 12,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 3_600_000,
            cleanup_delete: true,
            cleanup_compact: false,
            compression_type: "producer".to_owned(),
            delete_retention_ms: 86_400_000,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_insync_replicas: 1,
            unclean_leader_election_enable: false,
        }
    }
}

fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
    text: &str,
    min: T,
    max: T,
) -> Result<T, String> {
    match text.trim().parse::<T>() {
        Ok(value) if value >= min && value <= max => Ok(value),
        _ => Err(format!("a number from {min} to {max} is expected")),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true or false is expected".to_owned()),
    }
}

macro_rules! number_key {
    ($name:literal, $broker:literal, $kind:ident, $field:ident, $min:expr, $max:expr, $doc:literal) => {
        ConfigKey {
            name: $name,
            broker_name: $broker,
            kind: ConfigType::$kind,
            doc: $doc,
            get: |c| c.$field.to_string(),
            set: |c, text| {
                c.$field = number(text, $min, $max)?;
                Ok(())
            },
        }
    };
}

static KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "cleanup.policy",
        broker_name: "log.cleanup.policy",
        kind: ConfigType::List,
        doc: "What becomes of old records: delete (by time and size), compact (the last of each key stays), or both.",
        get: |c| match (c.cleanup_delete, c.cleanup_compact) {
            (true, true) => "compact,delete".to_owned(),
            (false, true) => "compact".to_owned(),
            (true, false) => "delete".to_owned(),
            (false, false) => String::new(),
        },
        set: |c, text| {
            let (mut delete, mut compact) = (false, false);
            for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
                match word {
                    "delete" => delete = true,
                    "compact" => compact = true,
                    _ => return Err("delete, compact, or compact,delete is expected".to_owned()),
                }
            }
            (c.cleanup_delete, c.cleanup_compact) = (delete, compact);
            Ok(())
        },
    },
    ConfigKey {
        name: "compression.type",
        broker_name: "compression.type",
        kind: ConfigType::String,
        doc: "The codec that batches are stored with; producer keeps the one they came with.",
        get: |c| c.compression_type.clone(),
        set: |c, text| {
            let text = text.trim().to_ascii_lowercase();
            if !matches!(
                text.as_str(),
                "producer" | "uncompressed" | "gzip" | "snappy" | "lz4" | "zstd"
            ) {
                return Err(
                    "producer, uncompressed, gzip, snappy, lz4 or zstd is expected".to_owned(),
                );
            }
            c.compression_type = text;
            Ok(())
        },
    },
    number_key!(
        "delete.retention.ms",
        "log.cleaner.delete.retention.ms",
        Long,
        delete_retention_ms,
        0,
        i64::MAX,
        "How long compaction keeps tombstones."
    ),
    number_key!(
        "file.delete.delay.ms",
        "log.segment.delete.delay.ms",
        Long,
        file_delete_delay_ms,
        0,
        i64::MAX,
        "How long a deleted file stays on disk. Not needed here: an open file lives on until its readers are done."
    ),
    number_key!(
        "flush.messages",
        "log.flush.interval.messages",
        Long,
        flush_messages,
        1,
        i64::MAX,
        "fsync after so many records. With 1, a record is acknowledged and read only once it is on disk."
    ),
    number_key!(
        "flush.ms",
        "log.flush.interval.ms",
        Long,
        flush_ms,
        0,
        i64::MAX,
        "fsync records that have waited this long."
    ),
    number_key!(
        "index.interval.bytes",
        "log.index.interval.bytes",
        Int,
        index_interval_bytes,
        0,
        i32::MAX as u32,
        "An entry goes into the offset index every so many bytes."
    ),
    number_key!(
        "max.compaction.lag.ms",
        "log.cleaner.max.compaction.lag.ms",
        Long,
        max_compaction_lag_ms,
        1,
        i64::MAX,
        "The longest a record stays out of compaction."
    ),
    number_key!(
        "max.message.bytes",
        "message.max.bytes",
        Int,
        max_message_bytes,
        0,
        i32::MAX as u32,
        "The largest record batch, after compression."
    ),
    number_key!(
        "message.timestamp.after.max.ms",
        "log.message.timestamp.after.max.ms",
        Long,
        message_timestamp_after_max_ms,
        0,
        i64::MAX,
        "How far a record's timestamp may lie after the broker's clock."
    ),
    number_key!(
        "message.timestamp.before.max.ms",
        "log.message.timestamp.before.max.ms",
        Long,
        message_timestamp_before_max_ms,
        0,
        i64::MAX,
        "How far a record's timestamp may lie before the broker's clock."
    ),
    ConfigKey {
        name: "message.timestamp.type",
        broker_name: "log.message.timestamp.type",
        kind: ConfigType::String,
        doc: "Whose clock stamps the records: the producer's (CreateTime) or the broker's (LogAppendTime).",
        get: |c| c.message_timestamp_type.to_string(),
        set: |c, text| {
            c.message_timestamp_type = match text.trim() {
                "CreateTime" => TimestampType::CreateTime,
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => return Err("CreateTime or LogAppendTime is expected".to_owned()),
            };
            Ok(())
        },
    },
    number_key!(
        "min.cleanable.dirty.ratio",
        "log.cleaner.min.cleanable.ratio",
        Double,
        min_cleanable_dirty_ratio,
        0.0,
        1.0,
        "The share of records not yet compacted at which a log is compacted."
    ),
    number_key!(
        "min.compaction.lag.ms",
        "log.cleaner.min.compaction.lag.ms",
        Long,
        min_compaction_lag_ms,
        0,
        i64::MAX,
        "The least time a record stays out of compaction."
    ),
    number_key!(
        "min.insync.replicas",
        "min.insync.replicas",
        Int,
        min_insync_replicas,
        1,
        i32::MAX,
        "The fewest in-sync replicas with which acks=all succeeds; never more than the topic has."
    ),
    number_key!(
        "retention.bytes",
        "log.retention.bytes",
        Long,
        retention_bytes,
        -1,
        i64::MAX,
        "The oldest segments of a partition larger than this are deleted; -1 keeps them."
    ),
    number_key!(
        "retention.ms",
        "log.retention.ms",
        Long,
        retention_ms,
        -1,
        i64::MAX,
        "Segments whose newest record is older than this are deleted; -1 keeps them."
    ),
    number_key!(
        "segment.bytes",
        "log.segment.bytes",
        Int,
        segment_bytes,
        14,
        i32::MAX as u32,
        "The size at which a new segment file begins."
    ),
    number_key!(
        "segment.index.bytes",
        "log.index.size.max.bytes",
        Int,
        segment_index_bytes,
        24,
        i32::MAX as u32,
        "The size of an index at which a new segment begins."
    ),
    number_key!(
        "segment.jitter.ms",
        "log.roll.jitter.ms",
        Long,
        segment_jitter_ms,
        0,
        i64::MAX,
        "At most so much is taken off segment.ms, so that partitions do not all roll at once."
    ),
    number_key!(
        "segment.ms",
        "log.roll.ms",
        Long,
        segment_ms,
        1,
        i64::MAX,
        "The age at which a new segment begins, though the old one is not full."
    ),
    ConfigKey {
        name: "unclean.leader.election.enable",
        broker_name: "unclean.leader.election.enable",
        kind: ConfigType::Boolean,
        doc: "Whether a replica that is out of sync may become leader, losing records.",
        get: |c| c.unclean_leader_election_enable.to_string(),
        set: |c, text| {
            c.unclean_leader_election_enable = boolean(text)?;
            Ok(())
        },
    },
];

impl LogConfig {
    /// Every key there is, in alphabetical order.
    pub fn keys() -> &'static [ConfigKey] {
        KEYS
    }

    /// The key of that name, or the error that suggests the nearest.
    pub fn key(name: &str) -> Result<&'static ConfigKey, LogConfigError> {
        KEYS.iter()
            .find(|key| key.name == name)
            .ok_or_else(|| LogConfigError::UnknownKey {
                key: name.to_owned(),
                suggestion: KEYS
                    .iter()
                    .map(|key| (strsim::jaro_winkler(key.name, name), key.name))
                    .filter(|(score, _)| *score > 0.75)
                    .max_by(|a, b| a.0.total_cmp(&b.0))
                    .map(|(_, name)| name),
            })
    }

    /// These settings with some of them replaced.
    pub fn with<K: AsRef<str>, V: AsRef<str>>(
        mut self,
        overrides: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, LogConfigError> {
        for (name, value) in overrides {
            self.set(name.as_ref(), value.as_ref())?;
        }
        Ok(self)
    }

    /// Sets one key from its text.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), LogConfigError> {
        let key = Self::key(name)?;
        (key.set)(self, value).map_err(|expected| LogConfigError::InvalidValue {
            key: key.name,
            value: value.to_owned(),
            expected,
        })
    }

    /// The value of a key as text; `None` when there is no such key.
    pub fn get(&self, name: &str) -> Option<String> {
        KEYS.iter()
            .find(|key| key.name == name)
            .map(|key| (key.get)(self))
    }

    /// The codec that batches are stored with; `None` keeps the producer's.
    pub fn codec(&self) -> Option<Compression> {
        match self.compression_type.as_str() {
            "producer" => None,
            "uncompressed" => Some(Compression::None),
            name => name.parse().ok(),
        }
    }

    /// Whether a record may be acknowledged and read only once it is on disk.
    pub fn flush_before_ack(&self) -> bool {
        self.flush_messages <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reads_back_its_own_default() {
        let mut config = LogConfig::default();
        for key in LogConfig::keys() {
            let text = config.get(key.name).unwrap();
            config
                .set(key.name, &text)
                .unwrap_or_else(|e| panic!("{}: {e}", key.name));
        }
        assert_eq!(config, LogConfig::default());
        assert!(KEYS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn unknown_keys_and_bad_values_say_the_way_out() {
        let mut config = LogConfig::default();
        let error = config.set("segment.byte", "1").unwrap_err().to_string();
        assert!(error.contains("\"segment.bytes\""), "{error}");
        let error = config
            .set("cleanup.policy", "shred")
            .unwrap_err()
            .to_string();
        assert!(error.contains("compact"), "{error}");
        assert!(config.set("retention.ms", "-2").is_err());
        assert!(config.set("segment.bytes", "99999999999").is_err());
        assert!(
            config
                .set("qqqq", "1")
                .unwrap_err()
                .to_string()
                .ends_with("\"qqqq\"")
        );
    }

    #[test]
    fn cleanup_policies_combine() {
        let config = LogConfig::default()
            .with([("cleanup.policy", "delete, compact")])
            .unwrap();
        assert!(config.cleanup_compact && config.cleanup_delete);
        assert_eq!(config.get("cleanup.policy").unwrap(), "compact,delete");
    }
}
