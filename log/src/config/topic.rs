//! What a topic's settings are, and where each of them comes from.
//!
//! The order, nearest first: the topic's own override, the broker-wide setting given at start,
//! the default.

use std::collections::BTreeMap;

use super::broker::Settings;
use super::catalogue::{broker_keys, topic_default};
use crate::storage::{ConfigType, LogConfig, LogConfigError};

/// Where a value comes from; the codes are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// An override of the topic.
    Topic,
    /// Given at the broker's start.
    StaticBroker,
    /// The default.
    Default,
}

impl ConfigSource {
    /// Kafka's code.
    pub fn code(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::StaticBroker => 4,
            Self::Default => 5,
        }
    }
}

/// One setting as `DescribeConfigs` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedConfig {
    /// Name of the key.
    pub name: &'static str,
    /// Its value; `None` is null.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it can only be set at start.
    pub read_only: bool,
    /// Type of the value.
    pub kind: ConfigType,
    /// What it does.
    pub doc: &'static str,
    /// Every place that sets it, nearest first: key, value, source.
    pub synonyms: Vec<(&'static str, Option<String>, ConfigSource)>,
}

/// The settings of a topic's logs: the broker's defaults and the topic's overrides.
///
/// # Errors
/// [`LogConfigError`] if an override is unknown or invalid.
pub fn topic_config(
    settings: &Settings,
    overrides: Option<&BTreeMap<String, String>>,
) -> Result<LogConfig, LogConfigError> {
    let mut config = settings.topic_defaults.clone();
    for (key, value) in overrides.into_iter().flatten() {
        config.set(key, value)?;
    }
    Ok(config)
}

/// Every setting of a topic.
pub fn describe_topic(
    settings: &Settings,
    overrides: Option<&BTreeMap<String, String>>,
) -> Vec<DescribedConfig> {
    let plain = LogConfig::default();
    let mut all: Vec<DescribedConfig> = LogConfig::keys()
        .iter()
        .map(|key| {
            let mut synonyms = Vec::new();
            if let Some(value) = overrides.and_then(|o| o.get(key.name)) {
                synonyms.push((key.name, Some(value.clone()), ConfigSource::Topic));
            }
            if let Some(value) = settings.given.get(key.broker_name) {
                synonyms.push((
                    key.broker_name,
                    Some(value.clone()),
                    ConfigSource::StaticBroker,
                ));
            }
            synonyms.push((key.broker_name, plain.get(key.name), ConfigSource::Default));
            described(key.name, key.kind, key.doc, false, synonyms)
        })
        .collect();
    all.sort_by_key(|c| c.name);
    all
}

/// Every setting of a broker.
pub fn describe_broker(settings: &Settings) -> Vec<DescribedConfig> {
    let plain = LogConfig::default();
    let own = broker_keys().iter().map(|key| {
        let mut synonyms = Vec::new();
        if let Some(value) = settings.given.get(key.name) {
            synonyms.push((key.name, Some(value.clone()), ConfigSource::StaticBroker));
        }
        synonyms.push((
            key.name,
            key.default.map(str::to_owned),
            ConfigSource::Default,
        ));
        described(key.name, key.kind, key.doc, true, synonyms)
    });
    let defaults = LogConfig::keys()
        .iter()
        .filter(|k| topic_default(k.broker_name).is_some())
        .map(|key| {
            let mut synonyms = Vec::new();
            if let Some(value) = settings.given.get(key.broker_name) {
                synonyms.push((
                    key.broker_name,
                    Some(value.clone()),
                    ConfigSource::StaticBroker,
                ));
            }
            synonyms.push((key.broker_name, plain.get(key.name), ConfigSource::Default));
            described(key.broker_name, key.kind, key.doc, true, synonyms)
        });
    let mut all: Vec<DescribedConfig> = own.chain(defaults).collect();
    all.sort_by_key(|c| c.name);
    all
}

fn described(
    name: &'static str,
    kind: ConfigType,
    doc: &'static str,
    read_only: bool,
    synonyms: Vec<(&'static str, Option<String>, ConfigSource)>,
) -> DescribedConfig {
    let (value, source) = synonyms
        .first()
        .map_or((None, ConfigSource::Default), |(_, value, source)| {
            (value.clone(), *source)
        });
    DescribedConfig {
        name,
        value,
        source,
        read_only,
        kind,
        doc,
        synonyms,
    }
}

#[cfg(test)]
mod tests {
    use super::super::BrokerConfig;
    use super::*;

    #[test]
    fn the_nearest_source_wins() {
        let settings = BrokerConfig::new("x")
            .set("log.retention.ms", "7")
            .resolve()
            .unwrap();
        let of = |overrides: Option<&BTreeMap<String, String>>| {
            describe_topic(&settings, overrides)
                .into_iter()
                .find(|c| c.name == "retention.ms")
                .unwrap()
        };
        let config = of(None);
        assert_eq!(
            (config.value.as_deref(), config.source),
            (Some("7"), ConfigSource::StaticBroker)
        );
        let overrides = BTreeMap::from([("retention.ms".to_owned(), "9".to_owned())]);
        let config = of(Some(&overrides));
        assert_eq!(
            (config.value.as_deref(), config.source),
            (Some("9"), ConfigSource::Topic)
        );
        let sources: Vec<_> = config.synonyms.iter().map(|s| s.2).collect();
        assert_eq!(
            sources,
            [
                ConfigSource::Topic,
                ConfigSource::StaticBroker,
                ConfigSource::Default
            ]
        );
        assert_eq!(
            topic_config(&settings, Some(&overrides))
                .unwrap()
                .retention_ms,
            9
        );
    }
}
