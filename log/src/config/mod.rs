//! The configuration of a broker and of its topics, by Kafka's names.
//!
//! One catalogue ([`broker_keys`], and the topic keys of
//! [`LogConfig`](crate::storage::LogConfig)) says what keys there are, so that a key cannot be
//! accepted and then not be described. A key that is in no catalogue is an error that names the
//! nearest known one.

mod broker;
mod catalogue;
mod describe;
mod group;
mod listeners;
mod settings;

pub use broker::BrokerConfig;
pub use catalogue::{BrokerKey, UpdateMode, all_names, broker_key, broker_keys, update_mode};
pub use describe::{
    ConfigSource, DescribedConfig, Synonym, describe_broker, describe_cluster, describe_group,
    describe_topic, topic_config,
};
pub use group::{GROUP_KEYS, GroupKey, GroupSettings, group_settings};
pub use listeners::Listener;
pub use settings::{
    CleanerSettings, ConsumerGroupSettings, Layer, Layers, Settings, TransactionSettings,
    check_dynamic, check_value,
};

/// A configuration that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such key.
    #[error("unknown broker configuration `{key}`{}", suggest(nearest.as_deref()))]
    UnknownKey {
        /// The key that was given.
        key: String,
        /// The known key nearest to it.
        nearest: Option<String>,
    },
    /// The value is not one the key takes.
    #[error("invalid value `{value}` for `{key}`: {expected}")]
    InvalidValue {
        /// The key.
        key: String,
        /// The value that was given.
        value: String,
        /// What the key takes.
        expected: String,
    },
    /// The key is Kafka's, and what it asks for is not there.
    #[error("`{key}` cannot be set: {reason}")]
    Unsupported {
        /// The key that was given.
        key: String,
        /// Why not, and what to do.
        reason: &'static str,
    },
    /// The key cannot be changed at run time.
    #[error("Cannot update these configs dynamically: [{0}]")]
    ReadOnly(String),
    /// The key can be changed for one broker only.
    #[error(
        "Cannot update these configs at default cluster level, broker id must be specified: [{0}]"
    )]
    PerBroker(String),
    /// There is no such key of groups.
    #[error("unknown group configuration `{key}`{}", suggest(nearest.as_deref()))]
    UnknownGroupKey {
        /// The key that was given.
        key: String,
        /// The known key nearest to it.
        nearest: Option<String>,
    },
    /// A topic key that is unknown or has an invalid value.
    #[error(transparent)]
    Topic(#[from] crate::storage::LogConfigError),
}

fn suggest(nearest: Option<&str>) -> String {
    nearest
        .map(|n| format!("; did you mean `{n}`?"))
        .unwrap_or_default()
}

/// The candidate most like `key`, if any is like it at all.
pub fn nearest_key<'a>(
    key: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|c| (c, strsim::jaro_winkler(key, c)))
        .filter(|(_, likeness)| *likeness > 0.75)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(c, _)| c)
}
