//! A broker's settings: the layers they come from, and what they resolve to.
//!
//! Invariants: every key of every layer is in the catalogue and its value is one it takes; where
//! several layers set a key, the nearest wins (this broker's dynamic setting, the cluster's dynamic
//! default, what was given at the start, the catalogue's default).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use super::catalogue::{
    UpdateMode, all_names, broker_key, default_value, refusal, synonyms, topic_default, update_mode,
};
use super::listeners::{self, Listener};
use super::{ConfigError, ConfigSource, nearest_key};
use crate::storage::LogConfig;

/// The settings of one layer, by key.
pub type Layer = BTreeMap<String, String>;

/// The layers that settings come from, as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    /// Set at run time for this broker.
    pub broker: Layer,
    /// Set at run time for all brokers.
    pub cluster: Layer,
    /// Given at the start.
    pub fixed: Layer,
}

impl Layers {
    /// The layers that may set a key, nearest first, with what they are called.
    pub(super) fn nearest_first(&self) -> [(&Layer, ConfigSource); 3] {
        [
            (&self.broker, ConfigSource::DynamicBroker),
            (&self.cluster, ConfigSource::DynamicDefaultBroker),
            (&self.fixed, ConfigSource::StaticBroker),
        ]
    }

    /// Every place that sets a key or a synonym of it, nearest first: key, value, source.
    pub(super) fn set_by(
        &self,
        name: &'static str,
    ) -> Vec<(&'static str, Option<String>, ConfigSource)> {
        self.nearest_first()
            .into_iter()
            .flat_map(|(layer, source)| {
                synonyms(name).filter_map(move |(name, _)| {
                    layer
                        .get(name)
                        .map(|value| (name, Some(value.clone()), source))
                })
            })
            .collect()
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.nearest_first()
            .into_iter()
            .find_map(|(layer, _)| layer.get(name).map(String::as_str))
    }
}

/// A broker's settings: every key with its value, and the ones the code needs as typed fields.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the values come from.
    pub layers: Layers,
    /// The topic settings that hold where a topic sets nothing itself.
    pub topic_defaults: LogConfig,
    /// `node.id`.
    pub node_id: i32,
    /// The first of `log.dirs`, where the metadata live.
    pub data_dir: PathBuf,
    /// `log.dirs`.
    pub log_dirs: Vec<PathBuf>,
    /// `listeners`, without those of controllers.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`, without those of controllers.
    pub advertised: Vec<Listener>,
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
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_session_slots: i32,
    /// `max.request.partition.size.limit`.
    pub request_partition_limit: i32,
    /// `socket.request.max.bytes`.
    pub request_max_bytes: i32,
    /// `connections.max.idle.ms`.
    pub connections_max_idle_ms: i64,
    /// `max.connections`.
    pub max_connections: i32,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: i32,
    /// `max.connections.per.ip.overrides`, by host.
    pub max_connections_per_ip_overrides: BTreeMap<String, i32>,
    /// `inter.broker.listener.name`.
    pub inter_broker_listener: Option<String>,
    /// `quota.window.num`.
    pub quota_window_samples: i32,
    /// `quota.window.size.seconds`.
    pub quota_window_seconds: i32,
    /// `controller.quota.window.num`.
    pub controller_quota_window_samples: i32,
    /// `controller.quota.window.size.seconds`.
    pub controller_quota_window_seconds: i32,
    /// `max.connection.creation.rate`.
    pub max_connection_creation_rate: i32,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub checkpoint_interval_ms: i64,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub start_checkpoint_interval_ms: i64,
    /// The settings of the cleaner.
    pub cleaner: CleanerSettings,
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
    /// The settings of groups of the consumer protocol.
    pub group_consumer: ConsumerGroupSettings,
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
    /// The settings of transactions.
    pub transactions: TransactionSettings,
}

/// `log.cleaner.*`.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanerSettings {
    /// `log.cleaner.enable`.
    pub enable: bool,
    /// `log.cleaner.threads`.
    pub threads: i32,
    /// `log.cleaner.dedupe.buffer.size`.
    pub dedupe_buffer_size: i64,
    /// `log.cleaner.io.buffer.load.factor`.
    pub io_buffer_load_factor: f64,
    /// `log.cleaner.io.buffer.size`.
    pub io_buffer_size: i32,
    /// `log.cleaner.io.max.bytes.per.second`.
    pub io_max_bytes_per_second: f64,
    /// `log.cleaner.backoff.ms`.
    pub backoff_ms: i64,
}

/// `group.consumer.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupSettings {
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `group.consumer.min.session.timeout.ms`.
    pub min_session_timeout_ms: i32,
    /// `group.consumer.max.session.timeout.ms`.
    pub max_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms`.
    pub min_heartbeat_interval_ms: i32,
    /// `group.consumer.max.heartbeat.interval.ms`.
    pub max_heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`.
    pub assignment_interval_ms: i32,
    /// `group.consumer.min.assignment.interval.ms`.
    pub min_assignment_interval_ms: i32,
    /// `group.consumer.max.assignment.interval.ms`.
    pub max_assignment_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub max_size: i32,
    /// `group.consumer.assignors`, the default one first.
    pub assignors: Vec<String>,
    /// `group.consumer.migration.policy`, in lower case.
    pub migration_policy: String,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval_ms: i32,
    /// `group.coordinator.rebalance.protocols` contains `consumer`.
    pub enabled: bool,
}

/// `transaction.*` and `transactional.id.expiration.ms`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionSettings {
    /// `transaction.max.timeout.ms`.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i32,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub abort_timed_out_interval_ms: i32,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub remove_expired_interval_ms: i32,
    /// `transaction.state.log.num.partitions`.
    pub topic_partitions: i32,
    /// `transaction.state.log.replication.factor`.
    pub topic_replication_factor: i16,
    /// `transaction.state.log.min.isr`.
    pub topic_min_isr: i32,
    /// `transaction.state.log.segment.bytes`.
    pub topic_segment_bytes: i32,
    /// `transaction.partition.verification.enable`.
    pub partition_verification: bool,
}

impl Settings {
    /// Checks every key and value of the layers and resolves them.
    ///
    /// # Errors
    /// [`ConfigError`] for an unknown or refused key, an invalid value, or values that do not go
    /// together.
    pub fn from_layers(layers: Layers) -> Result<Self, ConfigError> {
        for (layer, _) in layers.nearest_first() {
            for (name, value) in layer {
                check_value(name, value)?;
            }
        }
        let r = Resolver { layers: &layers };
        let topic_defaults = r.topic_defaults()?;
        let log_dirs = r.log_dirs()?;
        let (listeners, advertised) = r.listeners()?;
        r.roles()?;
        let settings = Self {
            topic_defaults,
            node_id: r.node_id()?,
            data_dir: log_dirs.first().cloned().unwrap_or_default(),
            log_dirs,
            listeners,
            advertised,
            rack: r.text("broker.rack").filter(|rack| !rack.is_empty()),
            auto_create_topics: r.flag("auto.create.topics.enable")?,
            delete_topics: r.flag("delete.topic.enable")?,
            num_partitions: r.number("num.partitions")?,
            replication_factor: r.number("default.replication.factor")?,
            fetch_max_bytes: r.number("fetch.max.bytes")?,
            fetch_session_slots: r.number("max.incremental.fetch.session.cache.slots")?,
            request_partition_limit: r.number("max.request.partition.size.limit")?,
            request_max_bytes: r.number("socket.request.max.bytes")?,
            connections_max_idle_ms: r.number("connections.max.idle.ms")?,
            max_connections: r.number("max.connections")?,
            max_connections_per_ip: r.number("max.connections.per.ip")?,
            max_connections_per_ip_overrides: r.connection_overrides()?,
            inter_broker_listener: r
                .text("inter.broker.listener.name")
                .filter(|name| !name.is_empty())
                .map(|name| name.to_ascii_uppercase()),
            quota_window_samples: r.number("quota.window.num")?,
            quota_window_seconds: r.number("quota.window.size.seconds")?,
            controller_quota_window_samples: r.number("controller.quota.window.num")?,
            controller_quota_window_seconds: r.number("controller.quota.window.size.seconds")?,
            max_connection_creation_rate: r.number("max.connection.creation.rate")?,
            retention_check_interval_ms: r.number("log.retention.check.interval.ms")?,
            checkpoint_interval_ms: r.number("log.flush.offset.checkpoint.interval.ms")?,
            start_checkpoint_interval_ms: r
                .number("log.flush.start.offset.checkpoint.interval.ms")?,
            cleaner: CleanerSettings {
                enable: r.flag("log.cleaner.enable")?,
                threads: r.number("log.cleaner.threads")?,
                dedupe_buffer_size: r.number("log.cleaner.dedupe.buffer.size")?,
                io_buffer_load_factor: r.number("log.cleaner.io.buffer.load.factor")?,
                io_buffer_size: r.number("log.cleaner.io.buffer.size")?,
                io_max_bytes_per_second: r.number("log.cleaner.io.max.bytes.per.second")?,
                backoff_ms: r.number("log.cleaner.backoff.ms")?,
            },
            producer_id_expiration_ms: r.number("producer.id.expiration.ms")?,
            recovery_threads: r.number("num.recovery.threads.per.data.dir")?,
            snapshot_records: r.number("metadata.log.snapshot.records")?,
            group_initial_rebalance_delay_ms: r.number("group.initial.rebalance.delay.ms")?,
            group_min_session_timeout_ms: r.number("group.min.session.timeout.ms")?,
            group_max_session_timeout_ms: r.number("group.max.session.timeout.ms")?,
            group_max_size: r.number("group.max.size")?,
            group_consumer: r.group_consumer()?,
            offset_metadata_max_bytes: r.number("offset.metadata.max.bytes")?,
            offsets_topic_partitions: r.number("offsets.topic.num.partitions")?,
            offsets_topic_replication_factor: r.number("offsets.topic.replication.factor")?,
            offsets_topic_segment_bytes: r.number("offsets.topic.segment.bytes")?,
            offsets_retention_minutes: r.number("offsets.retention.minutes")?,
            offsets_retention_check_interval_ms: r.number("offsets.retention.check.interval.ms")?,
            transactions: TransactionSettings {
                max_timeout_ms: r.number("transaction.max.timeout.ms")?,
                id_expiration_ms: r.number("transactional.id.expiration.ms")?,
                abort_timed_out_interval_ms: r
                    .number("transaction.abort.timed.out.transaction.cleanup.interval.ms")?,
                remove_expired_interval_ms: r
                    .number("transaction.remove.expired.transaction.cleanup.interval.ms")?,
                topic_partitions: r.number("transaction.state.log.num.partitions")?,
                topic_replication_factor: r.number("transaction.state.log.replication.factor")?,
                topic_min_isr: r.number("transaction.state.log.min.isr")?,
                topic_segment_bytes: r.number("transaction.state.log.segment.bytes")?,
                partition_verification: r.flag("transaction.partition.verification.enable")?,
            },
            layers: Layers::default(),
        };
        Ok(Self { layers, ..settings })
    }

    /// These settings with what was set at run time in place of what was before.
    ///
    /// # Errors
    /// As [`from_layers`](Self::from_layers).
    pub fn with_dynamic(
        &self,
        cluster: Option<&Layer>,
        broker: Option<&Layer>,
    ) -> Result<Self, ConfigError> {
        Self::from_layers(Layers {
            broker: broker.cloned().unwrap_or_default(),
            cluster: cluster.cloned().unwrap_or_default(),
            fixed: self.layers.fixed.clone(),
        })
    }

    /// The value of a broker key: what the nearest layer says, or the default.
    pub fn value(&self, key: &str) -> Option<String> {
        match self.layers.get(key) {
            Some(value) => Some(value.to_owned()),
            None => default_value(key),
        }
    }
}

/// Checks that a broker key is known and takes a value.
///
/// # Errors
/// [`ConfigError`] with the nearest known key, what the key takes, or why it cannot be set.
pub fn check_value(name: &str, value: &str) -> Result<(), ConfigError> {
    if let Some(key) = topic_default(name) {
        return LogConfig::default()
            .set(key.name, value)
            .map_err(|e| match e {
                crate::storage::LogConfigError::InvalidValue { expected, .. } => {
                    invalid(name, value, &expected)
                }
                other => invalid(name, value, &other),
            });
    }
    if let Some(key) = broker_key(name) {
        return key
            .valid
            .check(key.kind, value)
            .map_err(|expected| invalid(name, value, &expected));
    }
    if let Some(reason) = refusal(name) {
        return Err(ConfigError::Unsupported {
            key: name.to_owned(),
            reason,
        });
    }
    Err(ConfigError::UnknownKey {
        key: name.to_owned(),
        nearest: nearest_key(name, all_names()).map(str::to_owned),
    })
}

/// Checks that a broker key can be changed at run time, for one broker or for all, to a value.
///
/// # Errors
/// [`ConfigError`], in Kafka's words where Kafka has words for it.
pub fn check_dynamic(name: &str, value: &str, one_broker: bool) -> Result<(), ConfigError> {
    check_value(name, value)?;
    match update_mode(name) {
        Some(UpdateMode::ReadOnly) | None => Err(ConfigError::ReadOnly(name.to_owned())),
        Some(UpdateMode::PerBroker) if !one_broker => Err(ConfigError::PerBroker(name.to_owned())),
        Some(_) => Ok(()),
    }
}

struct Resolver<'a> {
    layers: &'a Layers,
}

impl Resolver<'_> {
    fn text(&self, key: &str) -> Option<String> {
        match self.layers.get(key) {
            Some(value) => Some(value.trim().to_owned()),
            None => broker_key(key).and_then(|k| k.default).map(str::to_owned),
        }
    }

    fn number<T: FromStr>(&self, key: &str) -> Result<T, ConfigError> {
        let text = self.text(key).unwrap_or_default();
        text.parse()
            .map_err(|_| invalid(key, &text, &"a number is expected"))
    }

    fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        let text = self.text(key).unwrap_or_default();
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(invalid(key, &text, &"true or false is expected")),
        }
    }

    fn words(&self, key: &str) -> Vec<String> {
        let text = self.text(key).unwrap_or_default();
        let words = text.split(',').map(str::trim).filter(|w| !w.is_empty());
        words.map(str::to_owned).collect()
    }

    fn topic_defaults(&self) -> Result<LogConfig, ConfigError> {
        let mut config = LogConfig::default();
        for key in LogConfig::keys() {
            let Some(name) = key.broker_name else {
                continue;
            };
            for (layer, _) in self.layers.nearest_first() {
                let set = synonyms(name)
                    .find_map(|(name, unit)| layer.get(name).map(|value| (name, value, unit)));
                let Some((name, value, unit)) = set else {
                    continue;
                };
                let value = if unit == 1 {
                    value.clone()
                } else {
                    let count: i64 = value
                        .trim()
                        .parse()
                        .map_err(|_| invalid(name, value, &"a number is expected"))?;
                    match count {
                        -1 => "-1".to_owned(),
                        n => n.saturating_mul(unit).to_string(),
                    }
                };
                config
                    .set(key.name, &value)
                    .map_err(|e| invalid(name, &value, &e))?;
                break;
            }
        }
        config.check()?;
        Ok(config)
    }

    fn log_dirs(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let (key, dirs) = match self.layers.get("log.dirs") {
            Some(_) => ("log.dirs", self.words("log.dirs")),
            None => ("log.dir", self.words("log.dir")),
        };
        let mut sorted = dirs.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if dirs.is_empty() || sorted.len() != dirs.len() {
            let text = dirs.join(",");
            return Err(invalid(
                key,
                &text,
                &"a list of different folders is expected",
            ));
        }
        Ok(dirs.into_iter().map(PathBuf::from).collect())
    }

    fn node_id(&self) -> Result<i32, ConfigError> {
        let broker_id: i32 = self.number("broker.id")?;
        let node_id: i32 = self.number("node.id")?;
        match (broker_id, self.layers.get("node.id")) {
            (-1, _) => Ok(node_id),
            (id, None) if id >= 0 => Ok(id),
            (id, Some(_)) if id == node_id => Ok(id),
            (id, _) => Err(invalid(
                "broker.id",
                &id.to_string(),
                &format!("the same as node.id ({node_id}) is expected, or only one of them"),
            )),
        }
    }

    fn roles(&self) -> Result<(), ConfigError> {
        let roles = self.words("process.roles");
        let has = |role: &str| roles.iter().any(|r| r == role);
        let both = has("broker") && has("controller");
        if !roles.is_empty() && !both {
            return Err(invalid(
                "process.roles",
                &roles.join(","),
                &"broker,controller is expected: a node is always both here",
            ));
        }
        if self.flag("remote.log.storage.system.enable")? {
            return Err(invalid(
                "remote.log.storage.system.enable",
                "true",
                &"false is expected: there is no tiered storage yet",
            ));
        }
        Ok(())
    }

    fn listeners(&self) -> Result<(Vec<Listener>, Vec<Listener>), ConfigError> {
        let text = |key: &str| self.text(key).unwrap_or_default();
        let controllers = text("controller.listener.names");
        let protocols = text("listener.security.protocol.map");
        let read = |key: &str| listeners::plaintext(key, &text(key), &controllers, &protocols);
        let bound = read("listeners")?;
        let advertised = read("advertised.listeners")?;
        if !bound.is_empty() {
            let known = |name: &str| bound.iter().any(|l| l.name.eq_ignore_ascii_case(name));
            if let Some(other) = advertised.iter().find(|l| !known(&l.name)) {
                return Err(invalid(
                    "advertised.listeners",
                    &text("advertised.listeners"),
                    &format!(
                        "only names of listeners are expected, which {} is not",
                        other.name
                    ),
                ));
            }
            let inter = text("inter.broker.listener.name");
            if !inter.is_empty() && !known(&inter) {
                return Err(invalid(
                    "inter.broker.listener.name",
                    &inter,
                    &"the name of one of listeners is expected",
                ));
            }
        }
        if let Some(any) = advertised.iter().find(|l| l.host == "0.0.0.0") {
            return Err(invalid(
                "advertised.listeners",
                &any.address(),
                &"a host that clients can reach is expected, not 0.0.0.0",
            ));
        }
        let inter = text("security.inter.broker.protocol");
        if inter != "PLAINTEXT" {
            return Err(invalid(
                "security.inter.broker.protocol",
                &inter,
                &"PLAINTEXT is expected: the others are not there yet",
            ));
        }
        Ok((bound, advertised))
    }

    /// Hosts with how many connections each may make.
    fn connection_overrides(&self) -> Result<BTreeMap<String, i32>, ConfigError> {
        let key = "max.connections.per.ip.overrides";
        let words = self.words(key);
        let overrides: BTreeMap<String, i32> = words
            .iter()
            .map(|word| {
                let pair = word.rsplit_once(':');
                let pair = pair.and_then(|(host, count)| {
                    let count = count.trim().parse::<i32>().ok().filter(|n| *n >= 0)?;
                    let host = host.trim().trim_start_matches('[').trim_end_matches(']');
                    (!host.is_empty()).then(|| (host.to_owned(), count))
                });
                pair.ok_or_else(|| invalid(key, word, &"a list of HOST:CONNECTIONS is expected"))
            })
            .collect::<Result<_, _>>()?;
        if self.number::<i32>("max.connections.per.ip")? == 0 && overrides.is_empty() {
            return Err(invalid(
                "max.connections.per.ip",
                "0",
                &"a number from 1 on is expected, unless max.connections.per.ip.overrides lets somebody in",
            ));
        }
        Ok(overrides)
    }

    fn group_consumer(&self) -> Result<ConsumerGroupSettings, ConfigError> {
        let settings = ConsumerGroupSettings {
            session_timeout_ms: self.number("group.consumer.session.timeout.ms")?,
            min_session_timeout_ms: self.number("group.consumer.min.session.timeout.ms")?,
            max_session_timeout_ms: self.number("group.consumer.max.session.timeout.ms")?,
            heartbeat_interval_ms: self.number("group.consumer.heartbeat.interval.ms")?,
            min_heartbeat_interval_ms: self.number("group.consumer.min.heartbeat.interval.ms")?,
            max_heartbeat_interval_ms: self.number("group.consumer.max.heartbeat.interval.ms")?,
            assignment_interval_ms: self.number("group.consumer.assignment.interval.ms")?,
            min_assignment_interval_ms: self.number("group.consumer.min.assignment.interval.ms")?,
            max_assignment_interval_ms: self.number("group.consumer.max.assignment.interval.ms")?,
            max_size: self.number("group.consumer.max.size")?,
            assignors: self.words("group.consumer.assignors"),
            migration_policy: self
                .text("group.consumer.migration.policy")
                .unwrap_or_default()
                .to_ascii_lowercase(),
            regex_refresh_interval_ms: self.number("group.consumer.regex.refresh.interval.ms")?,
            enabled: self
                .words("group.coordinator.rebalance.protocols")
                .iter()
                .any(|p| p == "consumer"),
        };
        for (what, value, min, max) in [
            (
                "session.timeout.ms",
                settings.session_timeout_ms,
                settings.min_session_timeout_ms,
                settings.max_session_timeout_ms,
            ),
            (
                "heartbeat.interval.ms",
                settings.heartbeat_interval_ms,
                settings.min_heartbeat_interval_ms,
                settings.max_heartbeat_interval_ms,
            ),
            (
                "assignment.interval.ms",
                settings.assignment_interval_ms,
                settings.min_assignment_interval_ms,
                settings.max_assignment_interval_ms,
            ),
        ] {
            if value < min || value > max {
                return Err(invalid(
                    &format!("group.consumer.{what}"),
                    &value.to_string(),
                    &format!(
                        "a number from group.consumer.min.{what} ({min}) to group.consumer.max.{what} ({max}) is expected"
                    ),
                ));
            }
        }
        if settings.assignors.is_empty() {
            return Err(invalid(
                "group.consumer.assignors",
                "",
                &"at least one assignor is expected",
            ));
        }
        Ok(settings)
    }
}

pub(super) fn invalid(key: &str, value: &str, expected: &dyn Display) -> ConfigError {
    ConfigError::InvalidValue {
        key: key.to_owned(),
        value: value.to_owned(),
        expected: expected.to_string(),
    }
}
