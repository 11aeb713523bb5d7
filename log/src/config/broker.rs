//! A broker's configuration, as a user gives it.
//!
//! The fields say the same as keys do; a key that is given wins, as `--override` must.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ConfigError;
use super::settings::{Layers, Settings};

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
        let mut fixed = self.overrides.clone();
        let mut given = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                fixed.entry(key.to_owned()).or_insert(value);
            }
        };
        if !self.overrides.contains_key("broker.id") {
            given("node.id", Some(self.node_id.to_string()));
        }
        if !self.overrides.contains_key("log.dir") {
            given("log.dirs", Some(self.data_dir.display().to_string()));
        }
        let plain = |address: &String| format!("PLAINTEXT://{address}");
        given("listeners", self.listen.as_ref().map(plain));
        given("advertised.listeners", self.advertised.as_ref().map(plain));
        Settings::from_layers(Layers {
            fixed,
            ..Layers::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::LogConfig;

    #[test]
    fn the_defaults_resolve() {
        let settings = BrokerConfig::new("x").resolve().unwrap();
        assert_eq!(settings.num_partitions, 1);
        assert_eq!(settings.value("node.id").as_deref(), Some("1"));
        assert_eq!(settings.value("log.retention.ms"), None);
        assert_eq!(
            settings.value("log.retention.hours").as_deref(),
            Some("168")
        );
        assert_eq!(settings.topic_defaults, LogConfig::default());
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
            ("log.dirs", "/a,/a"),
            ("process.roles", "controller"),
            ("remote.log.storage.system.enable", "true"),
            ("security.inter.broker.protocol", "SSL"),
            ("group.consumer.session.timeout.ms", "100"),
            ("broker.id", "-2"),
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
    fn a_node_has_one_id() {
        let config = BrokerConfig::new("x").set("broker.id", "7");
        assert_eq!(config.resolve().unwrap().node_id, 7);
        assert_eq!(
            config
                .clone()
                .set("node.id", "7")
                .resolve()
                .unwrap()
                .node_id,
            7
        );
        assert!(config.set("node.id", "8").resolve().is_err());
    }

    #[test]
    fn what_is_set_at_run_time_lies_over_what_was_given() {
        let settings = BrokerConfig::new("x")
            .set("log.retention.hours", "1")
            .resolve()
            .unwrap();
        let layer =
            |value: &str| BTreeMap::from([("log.retention.ms".to_owned(), value.to_owned())]);
        let cluster = settings.with_dynamic(Some(&layer("5")), None).unwrap();
        assert_eq!(cluster.topic_defaults.retention_ms, 5);
        let both = cluster
            .with_dynamic(Some(&layer("5")), Some(&layer("6")))
            .unwrap();
        assert_eq!(both.topic_defaults.retention_ms, 6);
        let none = both.with_dynamic(None, None).unwrap();
        assert_eq!(none.topic_defaults.retention_ms, 3_600_000);
    }

    #[test]
    fn what_is_not_there_yet_is_said() {
        let error = BrokerConfig::new("x")
            .set("ssl.keystore.location", "k")
            .resolve()
            .unwrap_err();
        assert!(error.to_string().contains("not there yet"), "{error}");
    }
}
