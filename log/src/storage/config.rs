//! The settings of a topic's logs, by Kafka's names and with Kafka's defaults.
//!
//! One table ([`LogConfig::keys`]) says what keys there are; parsing, describing and the defaults
//! all go through it, so that a key cannot be accepted and then not be described.

use super::topic_keys::{ConfigKey, KEYS};
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
    /// Two settings do not go together.
    #[error("{0}")]
    Conflict(String),
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
    /// `file.delete.delay.ms`: how long the files of a deleted segment or topic stay on disk. Who
    /// reads them has them open, and is not hindered when they go.
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
    /// `compression.gzip.level`: how hard gzip tries where batches are compressed anew.
    pub compression_gzip_level: i32,
    /// `compression.lz4.level`: how hard lz4 tries where batches are compressed anew.
    pub compression_lz4_level: i32,
    /// `compression.zstd.level`: how hard zstd tries where batches are compressed anew.
    pub compression_zstd_level: i32,
    /// `preallocate`: a new segment's file has its full size at once.
    pub preallocate: bool,
    /// `remote.storage.enable`; always false, as there is no tiered storage.
    pub remote_storage_enable: bool,
    /// `remote.log.copy.disable`.
    pub remote_log_copy_disable: bool,
    /// `remote.log.delete.on.disable`.
    pub remote_log_delete_on_disable: bool,
    /// `local.retention.bytes`.
    pub local_retention_bytes: i64,
    /// `local.retention.ms`.
    pub local_retention_ms: i64,
    /// `leader.replication.throttled.replicas`.
    pub leader_throttled_replicas: String,
    /// `follower.replication.throttled.replicas`.
    pub follower_throttled_replicas: String,
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
            compression_gzip_level: -1,
            compression_lz4_level: 9,
            compression_zstd_level: 3,
            preallocate: false,
            remote_storage_enable: false,
            remote_log_copy_disable: false,
            remote_log_delete_on_disable: false,
            local_retention_bytes: -2,
            local_retention_ms: -2,
            leader_throttled_replicas: String::new(),
            follower_throttled_replicas: String::new(),
        }
    }
}

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

    /// Whether the settings go together.
    ///
    /// # Errors
    /// [`LogConfigError::Conflict`], in Kafka's words where Kafka has words for it.
    pub fn check(&self) -> Result<(), LogConfigError> {
        let conflict = |text: String| Err(LogConfigError::Conflict(text));
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            return conflict(format!(
                "conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})",
                self.min_compaction_lag_ms, self.max_compaction_lag_ms
            ));
        }
        if self.local_retention_ms != -2 && longer(self.local_retention_ms, self.retention_ms) {
            return conflict(format!(
                "Invalid value {} for local.retention.ms: it must not be more than retention.ms ({}).",
                self.local_retention_ms, self.retention_ms
            ));
        }
        if self.local_retention_bytes != -2
            && longer(self.local_retention_bytes, self.retention_bytes)
        {
            return conflict(format!(
                "Invalid value {} for local.retention.bytes: it must not be more than retention.bytes ({}).",
                self.local_retention_bytes, self.retention_bytes
            ));
        }
        Ok(())
    }

    /// How hard a codec tries where batches are compressed anew; `None` leaves it to the codec.
    pub fn codec_level(&self, codec: Compression) -> Option<i32> {
        let level = match codec {
            Compression::Gzip => self.compression_gzip_level,
            Compression::Lz4 => self.compression_lz4_level,
            Compression::Zstd => self.compression_zstd_level,
            Compression::None | Compression::Snappy => return None,
        };
        (codec == Compression::Zstd || level >= 0).then_some(level)
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

/// Whether a limit reaches further than another; -1 has no end.
fn longer(limit: i64, than: i64) -> bool {
    than != -1 && (limit == -1 || limit > than)
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
    fn settings_that_do_not_go_together_are_refused() {
        let with = |pairs: [(&str, &str); 2]| LogConfig::default().with(pairs).unwrap().check();
        let lags = [
            ("min.compaction.lag.ms", "9"),
            ("max.compaction.lag.ms", "8"),
        ];
        assert!(
            with(lags)
                .unwrap_err()
                .to_string()
                .contains("(9) > max.compaction.lag.ms (8)")
        );
        assert!(with([("local.retention.ms", "9"), ("retention.ms", "8")]).is_err());
        assert!(with([("local.retention.ms", "9"), ("retention.ms", "-1")]).is_ok());
        assert!(with([("local.retention.ms", "-1"), ("retention.ms", "8")]).is_err());
        assert!(LogConfig::default().check().is_ok());
        let tiered = LogConfig::default().with([("remote.storage.enable", "true")]);
        assert!(tiered.unwrap_err().to_string().contains("Tiered"));
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
