//! What the settings of a resource are, and where each of them comes from.
//!
//! The order, nearest first: the resource's own setting, the broker's dynamic one, the cluster's
//! dynamic default, what was given at the start, the default.

use std::collections::BTreeMap;

use super::catalogue::{
    UpdateMode, broker_keys, default_value, documentation, synonyms, topic_default,
};
use super::group::{GROUP_KEYS, KIND};
use super::settings::Settings;
use crate::storage::{ConfigType, LogConfig, LogConfigError};

/// Where a value comes from; the codes are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set at run time for the topic.
    Topic,
    /// Set at run time for the broker.
    DynamicBroker,
    /// Set at run time for all brokers.
    DynamicDefaultBroker,
    /// Given at the broker's start.
    StaticBroker,
    /// The default.
    Default,
    /// A logger's level.
    BrokerLogger,
    /// Set at run time for the group.
    Group,
}

impl ConfigSource {
    /// Kafka's code.
    pub fn code(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::BrokerLogger => 6,
            Self::Group => 8,
        }
    }
}

/// A place that sets a key: its name there, its value, and what the place is.
pub type Synonym = (&'static str, Option<String>, ConfigSource);

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
    pub doc: String,
    /// Every place that sets it, nearest first.
    pub synonyms: Vec<Synonym>,
}

/// The settings of a topic's logs: the broker's defaults and the topic's overrides.
///
/// # Errors
/// [`LogConfigError`] if an override is unknown or invalid, or two do not go together.
pub fn topic_config(
    settings: &Settings,
    overrides: Option<&BTreeMap<String, String>>,
) -> Result<LogConfig, LogConfigError> {
    let mut config = settings.topic_defaults.clone();
    for (key, value) in overrides.into_iter().flatten() {
        config.set(key, value)?;
    }
    config.check()?;
    Ok(config)
}

/// Every setting of a topic.
pub fn describe_topic(
    settings: &Settings,
    overrides: Option<&BTreeMap<String, String>>,
) -> Vec<DescribedConfig> {
    LogConfig::keys()
        .iter()
        .map(|key| {
            let own = overrides.and_then(|o| o.get(key.name));
            let own = own.map(|value| (key.name, Some(value.clone()), ConfigSource::Topic));
            let synonyms: Vec<Synonym> = match key.broker_name {
                Some(name) => own.into_iter().chain(places(settings, name)).collect(),
                None => own.into_iter().collect(),
            };
            let effective = match synonyms.first() {
                Some((_, value, ConfigSource::Topic)) => value.clone(),
                _ => settings.topic_defaults.get(key.name),
            };
            DescribedConfig {
                name: key.name,
                value: effective,
                source: synonyms.first().map_or(ConfigSource::Default, |s| s.2),
                read_only: false,
                kind: key.kind,
                doc: documentation(key.doc, key.inert),
                synonyms,
            }
        })
        .collect()
}

/// Every setting of a broker.
pub fn describe_broker(settings: &Settings) -> Vec<DescribedConfig> {
    broker_settings(settings)
        .map(|config| {
            let first = config.synonyms.first();
            DescribedConfig {
                value: first.and_then(|s| s.1.clone()),
                source: first.map_or(ConfigSource::Default, |s| s.2),
                ..config
            }
        })
        .collect()
}

/// What was set at run time for all brokers.
pub fn describe_cluster(settings: &Settings) -> Vec<DescribedConfig> {
    broker_settings(settings)
        .filter_map(|mut config| {
            config
                .synonyms
                .retain(|s| s.2 == ConfigSource::DynamicDefaultBroker);
            let (name, value, source) = config.synonyms.first()?.clone();
            (name == config.name).then_some(DescribedConfig {
                value,
                source,
                ..config
            })
        })
        .collect()
}

/// Every setting of a group.
pub fn describe_group(
    settings: &Settings,
    overrides: Option<&BTreeMap<String, String>>,
) -> Vec<DescribedConfig> {
    GROUP_KEYS
        .iter()
        .map(|key| {
            let own = overrides.and_then(|o| o.get(key.name));
            let own = own.map(|value| (key.name, Some(value.clone()), ConfigSource::Group));
            let synonyms: Vec<Synonym> = own
                .into_iter()
                .chain(places(settings, key.broker_name))
                .collect();
            DescribedConfig {
                name: key.name,
                value: synonyms.first().and_then(|s| s.1.clone()),
                source: synonyms.first().map_or(ConfigSource::Default, |s| s.2),
                read_only: false,
                kind: KIND,
                doc: key.doc.to_owned(),
                synonyms,
            }
        })
        .collect()
}

/// Every broker key, by name, with its synonyms and not yet with a value.
fn broker_settings(settings: &Settings) -> impl Iterator<Item = DescribedConfig> {
    let own = broker_keys().map(|key| {
        let read_only = key.mode == UpdateMode::ReadOnly;
        (key.name, key.kind, read_only, key.documentation())
    });
    let defaults = LogConfig::keys().iter().filter_map(|key| {
        let doc = format!(
            "The default of the topic setting {}: {}",
            key.name,
            documentation(key.doc, key.inert)
        );
        key.broker_name.map(|name| (name, key.kind, false, doc))
    });
    let mut all: Vec<DescribedConfig> = own
        .chain(defaults)
        .map(|(name, kind, read_only, doc)| DescribedConfig {
            name,
            value: None,
            source: ConfigSource::Default,
            read_only,
            kind,
            doc,
            synonyms: places(settings, name),
        })
        .collect();
    all.sort_by_key(|c| c.name);
    all.into_iter()
}

/// Every place that sets a broker key or stands in for it, nearest first, the defaults last. As in Kafka, what
/// only stands in for the key is no source of its own: the list begins where the key itself is set.
fn places(settings: &Settings, name: &'static str) -> Vec<Synonym> {
    let defaults = synonyms(name).filter_map(|(name, _)| {
        default_value(name).map(|value| (name, Some(value), ConfigSource::Default))
    });
    let mut all = settings.layers.set_by(name);
    all.extend(defaults);
    debug_assert!(topic_default(name).is_some() || synonyms(name).count() == 1);
    all.into_iter()
        .skip_while(|place| place.0 != name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::BrokerConfig;
    use super::*;
    use ConfigSource::*;

    fn layer(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    fn find(all: Vec<DescribedConfig>, name: &str) -> DescribedConfig {
        all.into_iter().find(|c| c.name == name).unwrap()
    }

    fn shown(config: &DescribedConfig) -> (Option<&str>, Vec<(&str, ConfigSource)>) {
        let synonyms = config.synonyms.iter().map(|s| (s.0, s.2)).collect();
        (config.value.as_deref(), synonyms)
    }

    #[test]
    fn the_nearest_source_wins_and_all_are_listed() {
        let settings = BrokerConfig::new("x")
            .set("log.retention.hours", "1")
            .resolve()
            .unwrap();
        let static_only = find(describe_topic(&settings, None), "retention.ms");
        assert_eq!(shown(&static_only), (Some("3600000"), vec![]));
        assert_eq!(static_only.source, Default);
        let hours = find(describe_broker(&settings), "log.retention.hours");
        assert_eq!(
            (hours.value.as_deref(), hours.source),
            (Some("1"), StaticBroker)
        );
        let settings = settings
            .with_dynamic(
                Some(&layer("log.retention.ms", "5")),
                Some(&layer("log.retention.ms", "6")),
            )
            .unwrap();
        let own = layer("retention.ms", "9");
        let all = find(describe_topic(&settings, Some(&own)), "retention.ms");
        assert_eq!(
            shown(&all),
            (
                Some("9"),
                vec![
                    ("retention.ms", Topic),
                    ("log.retention.ms", DynamicBroker),
                    ("log.retention.ms", DynamicDefaultBroker),
                    ("log.retention.hours", StaticBroker),
                    ("log.retention.hours", Default),
                ]
            )
        );
        let broker = find(describe_broker(&settings), "log.retention.ms");
        assert_eq!(
            (broker.value.as_deref(), broker.source),
            (Some("6"), DynamicBroker)
        );
        let cluster = describe_cluster(&settings);
        assert_eq!(cluster.len(), 1);
        assert_eq!(
            shown(&cluster[0]),
            (Some("5"), vec![("log.retention.ms", DynamicDefaultBroker)])
        );
    }

    #[test]
    fn every_setting_is_described_with_a_text() {
        let settings = BrokerConfig::new("x").resolve().unwrap();
        let all = describe_broker(&settings)
            .into_iter()
            .chain(describe_topic(&settings, None))
            .chain(describe_group(&settings, None));
        for config in all {
            assert!(config.doc.len() > 20, "{}", config.name);
        }
        let node = find(describe_broker(&settings), "node.id");
        assert_eq!(
            (node.value.as_deref(), node.source, node.read_only),
            (Some("1"), StaticBroker, true)
        );
        let inert = find(describe_broker(&settings), "num.replica.fetchers");
        assert!(inert.doc.ends_with("no effect here."));
        assert_eq!((inert.value.as_deref(), inert.source), (Some("1"), Default));
    }
}
