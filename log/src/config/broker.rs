//! A broker's configuration: what a user gives, and the settings it resolves to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use super::catalogue::{COARSE, all_names, broker_key, topic_default};
use super::{ConfigError, nearest_key};
use crate::storage::LogConfig;

/// What a [`Broker`](crate::broker::Broker) is started with.
///
/// ```
/// use thalweg_log::config::BrokerConfig;
///
/// let config = BrokerConfig::new("/tmp/data").set("num.partitions", "3");
/// assert_eq!(config.resolve().unwrap().num_partitions, 3);
/// let error = BrokerConfig::new("/tmp/data").set("num.partition", "3").resolve().unwrap_err();
/// assert!(error.to_string().contains("did you mean `num.partitions`?"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// The data folder; created when missing.
    pub data_dir: PathBuf,
    /// The id of this node (`node.id`).
    pub node_id: i32,
    /// Where to listen (`host:port`, port 0 for any free one); `None` serves in process only.
    pub listen: Option<String>,
    /// What clients are told to connect to (`host:port`), where it differs from `listen`.
    pub advertised: Option<String>,
    /// The cluster's id, for a new data folder; `None` makes one up.
    pub cluster_id: Option<String>,
    /// Further settings by Kafka's names; an unknown one is an error.
    pub overrides: BTreeMap<String, String>,
}

impl BrokerConfig {
    /// A broker over a data folder, in process only, with the defaults.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            node_id: 1,
            listen: None,
            advertised: None,
            cluster_id: None,
            overrides: BTreeMap::new(),
        }
    }

    /// Listens on an address (`host:port`).
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Sets a key by Kafka's name. It is checked when the broker starts.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.overrides.insert(key.into(), value.into());
        self
    }

    /// Checks every key and value and resolves them with the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] for an unknown key (with the nearest known one) or an invalid value.
    pub fn resolve(&self) -> Result<Settings, ConfigError> {
        Settings::resolve(self)
    }
}

/// A broker's settings: every key with its value, and the ones the code needs as typed fields.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The settings that were given, by broker key.
    pub given: BTreeMap<String, String>,
    /// The topic settings that hold where a topic sets nothing itself.
    pub topic_defaults: LogConfig,
    /// `node.id`.
    pub node_id: i32,
    /// `log.dirs`.
    pub data_dir: PathBuf,
    /// `listeners`, as `host:port`.
    pub listen: Option<String>,
    /// `advertised.listeners`, as `host:port`.
    pub advertised: Option<String>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub replication_factor: i16,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `socket.request.max.bytes`.
    pub request_max_bytes: i32,
    /// `connections.max.idle.ms`.
    pub connections_max_idle_ms: i64,
    /// `max.connections`.
    pub max_connections: i32,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: i64,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads: i32,
    /// `metadata.log.snapshot.records`.
    pub snapshot_records: i32,
    /// `group.initial.rebalance.delay.ms`.
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.min.session.timeout.ms`.
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`.
    pub group_max_session_timeout_ms: i32,
    /// `group.max.size`.
    pub group_max_size: i32,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: i32,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_partitions: i32,
    /// `offsets.topic.replication.factor`.
    pub offsets_topic_replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub offsets_topic_segment_bytes: i32,
    /// `offsets.retention.minutes`.
    pub offsets_retention_minutes: i32,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
}

impl Settings {
    fn resolve(config: &BrokerConfig) -> Result<Self, ConfigError> {
        let mut given = BTreeMap::new();
        let mut topic_defaults = LogConfig::default();
        // Coarse names first, so that a finer one wins.
        for (name, unit, fine) in COARSE {
            if let (Some(value), Some(key)) = (config.overrides.get(*name), topic_default(fine)) {
                let count: i64 = parse(name, value, -1, i64::MAX / unit)?;
                let millis = if count < 0 {
                    -1
                } else {
                    count.saturating_mul(*unit)
                };
                topic_defaults.set(key.name, &millis.to_string())?;
                given.insert((*fine).to_owned(), millis.to_string());
            }
        }
        for (name, value) in &config.overrides {
            if COARSE.iter().any(|c| c.0 == name) {
                continue;
            }
            if let Some(key) = topic_default(name) {
                topic_defaults
                    .set(key.name, value)
                    .map_err(|e| invalid(name, value, &e))?;
            } else if broker_key(name).is_none() {
                return Err(ConfigError::UnknownKey {
                    key: name.clone(),
                    nearest: nearest_key(name, all_names()).map(str::to_owned),
                });
            }
            given.insert(name.clone(), value.clone());
        }
        if !given.contains_key("node.id") {
            given.insert("node.id".to_owned(), config.node_id.to_string());
        }
        let data_dir = match config.overrides.get("log.dirs") {
            Some(dirs) if dirs.is_empty() || dirs.contains(',') => {
                return Err(invalid(
                    "log.dirs",
                    dirs,
                    &"the path of one folder is expected",
                ));
            }
            Some(dir) => PathBuf::from(dir),
            None => config.data_dir.clone(),
        };
        given
            .entry("log.dirs".to_owned())
            .or_insert_with(|| data_dir.display().to_string());
        for (key, value) in [
            ("listeners", &config.listen),
            ("advertised.listeners", &config.advertised),
        ] {
            if let Some(value) = value {
                given.insert(key.to_owned(), format!("PLAINTEXT://{value}"));
            }
        }
        let reader = Given { given: &given };
        let settings = Self {
            topic_defaults,
            node_id: reader.number("node.id", 0, i32::MAX)?,
            data_dir,
            listen: reader.address("listeners")?,
            advertised: reader.address("advertised.listeners")?,
            rack: given.get("broker.rack").cloned(),
            auto_create_topics: reader.boolean("auto.create.topics.enable")?,
            delete_topics: reader.boolean("delete.topic.enable")?,
            num_partitions: reader.number("num.partitions", 1, 100_000)?,
            replication_factor: reader.number("default.replication.factor", 1, i16::MAX)?,
            fetch_max_bytes: reader.number("fetch.max.bytes", 1024, i32::MAX)?,
            request_max_bytes: reader.number("socket.request.max.bytes", 1024, i32::MAX)?,
            connections_max_idle_ms: reader.number("connections.max.idle.ms", -1, i64::MAX)?,
            max_connections: reader.number("max.connections", 1, i32::MAX)?,
            retention_check_interval_ms: reader.number(
                "log.retention.check.interval.ms",
                1,
                i64::MAX,
            )?,
            producer_id_expiration_ms: reader.number("producer.id.expiration.ms", 1, i64::MAX)?,
            recovery_threads: reader.number("num.recovery.threads.per.data.dir", 1, 1024)?,
            snapshot_records: reader.number("metadata.log.snapshot.records", 1, i32::MAX)?,
            group_initial_rebalance_delay_ms: reader.number(
                "group.initial.rebalance.delay.ms",
                0,
                i32::MAX,
            )?,
            group_min_session_timeout_ms: reader.number(
                "group.min.session.timeout.ms",
                1,
                i32::MAX,
            )?,
            group_max_session_timeout_ms: reader.number(
                "group.max.session.timeout.ms",
                1,
                i32::MAX,
            )?,
            group_max_size: reader.number("group.max.size", 1, i32::MAX)?,
            offset_metadata_max_bytes: reader.number("offset.metadata.max.bytes", 0, i32::MAX)?,
            offsets_topic_partitions: reader.number("offsets.topic.num.partitions", 1, 1000)?,
            offsets_topic_replication_factor: reader.number(
                "offsets.topic.replication.factor",
                1,
                i16::MAX,
            )?,
            offsets_topic_segment_bytes: reader.number(
                "offsets.topic.segment.bytes",
                1024,
                i32::MAX,
            )?,
            offsets_retention_minutes: reader.number("offsets.retention.minutes", 1, i32::MAX)?,
            offsets_retention_check_interval_ms: reader.number(
                "offsets.retention.check.interval.ms",
                1,
                i64::MAX,
            )?,
            given: BTreeMap::new(),
        };
        Ok(Self { given, ..settings })
    }

    /// The value of a broker key: what was given, or the default.
    pub fn value(&self, key: &str) -> Option<String> {
        if let Some(value) = self.given.get(key) {
            return Some(value.clone());
        }
        match topic_default(key) {
            Some(topic_key) => self.topic_defaults.get(topic_key.name),
            None => broker_key(key).and_then(|k| k.default).map(str::to_owned),
        }
    }
}

struct Given<'a> {
    given: &'a BTreeMap<String, String>,
}

impl Given<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        match self.given.get(key) {
            Some(value) => Some(value.as_str()),
            None => broker_key(key).and_then(|k| k.default),
        }
    }

    fn number<T: FromStr + PartialOrd + std::fmt::Display + Copy>(
        &self,
        key: &str,
        min: T,
        max: T,
    ) -> Result<T, ConfigError> {
        parse(key, self.text(key).unwrap_or_default(), min, max)
    }

    fn boolean(&self, key: &str) -> Result<bool, ConfigError> {
        match self
            .text(key)
            .map(|v| v.trim().to_ascii_lowercase())
            .as_deref()
        {
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            other => Err(invalid(
                key,
                other.unwrap_or_default(),
                &"true or false is expected",
            )),
        }
    }

    /// `host:port`, with or without Kafka's `PLAINTEXT://` in front.
    fn address(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.text(key).map(str::trim).filter(|t| !t.is_empty()) else {
            return Ok(None);
        };
        let bare = text.strip_prefix("PLAINTEXT://").unwrap_or(text);
        let port = bare
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() || bare.contains("://") || bare.contains(',') {
            return Err(invalid(
                key,
                text,
                &"one plaintext HOST:PORT is expected, such as 127.0.0.1:9092",
            ));
        }
        Ok(Some(bare.to_owned()))
    }
}

fn parse<T: FromStr + PartialOrd + std::fmt::Display + Copy>(
    key: &str,
    text: &str,
    min: T,
    max: T,
) -> Result<T, ConfigError> {
    match text.trim().parse::<T>() {
        Ok(value) if value >= min && value <= max => Ok(value),
        _ => Err(invalid(
            key,
            text,
            &format!("a number from {min} to {max} is expected"),
        )),
    }
}

fn invalid(key: &str, value: &str, expected: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::InvalidValue {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: expected.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_resolve() {
        let settings = BrokerConfig::new("x").resolve().unwrap();
        assert_eq!(settings.num_partitions, 1);
        assert_eq!(settings.value("node.id").as_deref(), Some("1"));
        assert_eq!(
            settings.value("log.retention.ms").as_deref(),
            Some("604800000")
        );
    }

    #[test]
    fn a_finer_key_wins_over_a_coarser_one() {
        let config = BrokerConfig::new("x").set("log.retention.hours", "1");
        assert_eq!(
            config.resolve().unwrap().topic_defaults.retention_ms,
            3_600_000
        );
        let config = config.set("log.retention.ms", "5");
        assert_eq!(config.resolve().unwrap().topic_defaults.retention_ms, 5);
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = BrokerConfig::new("x")
            .set("auto.create.topic.enable", "true")
            .resolve();
        assert_eq!(
            error.unwrap_err().to_string(),
            "unknown broker configuration `auto.create.topic.enable`; did you mean `auto.create.topics.enable`?"
        );
    }

    #[test]
    fn an_invalid_value_says_what_is_expected() {
        for (key, value) in [
            ("num.partitions", "0"),
            ("num.partitions", "many"),
            ("auto.create.topics.enable", "yes"),
            ("listeners", "SSL://x:1"),
            ("listeners", "localhost"),
            ("log.dirs", "/a,/b"),
            ("log.retention.ms", "x"),
        ] {
            let error = BrokerConfig::new("x")
                .set(key, value)
                .resolve()
                .unwrap_err();
            assert!(
                matches!(error, ConfigError::InvalidValue { .. }),
                "{key}={value}: {error}"
            );
            assert!(error.to_string().contains(value) && error.to_string().contains("expected"));
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all_names().collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}
