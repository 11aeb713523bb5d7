//! The one table of broker keys: name, type, values, default, when it can change, and what it does.
//!
//! Keys that are defaults of topic keys (`log.retention.ms`, …) take type and values from the
//! topics' own table. Invariant: a name is in one table only, and every default is a value its key
//! takes.

mod coordinators;
mod inert;
mod logs;
mod server;

use crate::storage::{ConfigKey, ConfigType, LogConfig, Valid};

/// When a broker key can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateMode {
    /// At the start only.
    ReadOnly,
    /// At run time, for one broker.
    PerBroker,
    /// At run time, for one broker or for all.
    ClusterWide,
}

impl UpdateMode {
    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::PerBroker => "per-broker",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

/// A broker key.
#[derive(Debug, Clone, Copy)]
pub struct BrokerKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Type of the value.
    pub kind: ConfigType,
    /// The value when nothing is set; `None` is null.
    pub default: Option<&'static str>,
    /// Which values it takes.
    pub valid: Valid,
    /// When it can change.
    pub mode: UpdateMode,
    /// Whether it is taken for compatibility only, and changes nothing.
    pub inert: bool,
    /// What it does.
    pub doc: &'static str,
}

impl BrokerKey {
    /// What it does, and whether it does it here.
    pub fn documentation(&self) -> String {
        documentation(self.doc, self.inert)
    }
}

/// A setting's text, with the honest word where it changes nothing.
pub(super) fn documentation(doc: &str, inert: bool) -> String {
    if inert {
        format!("{doc} Accepted for compatibility; it has no effect here.")
    } else {
        doc.to_owned()
    }
}

/// Rows of the table: name, type, default, values, when it changes, what it does.
macro_rules! keys {
    ($inert:literal: $($name:literal $kind:ident $default:expr, $valid:expr, $mode:ident, $doc:literal;)*) => {
        &[$(crate::config::catalogue::BrokerKey {
            name: $name,
            kind: crate::storage::ConfigType::$kind,
            default: $default,
            valid: $valid,
            mode: crate::config::catalogue::UpdateMode::$mode,
            inert: $inert,
            doc: $doc,
        },)*]
    };
}
use keys;

static TABLES: &[&[BrokerKey]] = &[
    server::KEYS,
    logs::KEYS,
    coordinators::KEYS,
    inert::KEYS,
    inert::UNSUPPORTED_GROUPS,
];

/// All broker keys that are no topic defaults.
pub fn broker_keys() -> impl Iterator<Item = &'static BrokerKey> {
    TABLES.iter().flat_map(|table| table.iter())
}

/// The broker key with this name, if it is no topic default.
pub fn broker_key(name: &str) -> Option<&'static BrokerKey> {
    broker_keys().find(|k| k.name == name)
}

/// The topic key whose broker-wide default is set by `name`.
pub(crate) fn topic_default(name: &str) -> Option<&'static ConfigKey> {
    LogConfig::keys()
        .iter()
        .find(|k| k.broker_name == Some(name))
}

/// When a key can change, whichever table it is in; `None` for an unknown key.
pub fn update_mode(name: &str) -> Option<UpdateMode> {
    match topic_default(name) {
        Some(_) => Some(UpdateMode::ClusterWide),
        None => broker_key(name).map(|k| k.mode),
    }
}

/// Coarser names for the same settings: broker key, its unit in milliseconds, the key it stands
/// for. A finer key wins over a coarser one, as in Kafka; finer ones stand first.
pub(crate) const COARSE: &[(&str, i64, &str)] = &[
    ("log.retention.minutes", 60_000, "log.retention.ms"),
    ("log.retention.hours", 3_600_000, "log.retention.ms"),
    ("log.roll.hours", 3_600_000, "log.roll.ms"),
    ("log.roll.jitter.hours", 3_600_000, "log.roll.jitter.ms"),
    (
        "log.flush.scheduler.interval.ms",
        1,
        "log.flush.interval.ms",
    ),
];

/// A key and the coarser names that stand in where it is not set, each with its unit in
/// milliseconds.
pub(crate) fn synonyms(name: &'static str) -> impl Iterator<Item = (&'static str, i64)> {
    let coarser = COARSE
        .iter()
        .filter(move |(_, _, fine)| *fine == name)
        .map(|(coarse, unit, _)| (*coarse, *unit));
    std::iter::once((name, 1)).chain(coarser)
}

/// The value of a broker key where nothing is set; `None` is null. The finest of several synonyms
/// has no value of its own, as in Kafka.
pub(crate) fn default_value(name: &str) -> Option<String> {
    match topic_default(name) {
        Some(_) if COARSE.iter().any(|(_, _, fine)| *fine == name) => None,
        Some(key) => LogConfig::default().get(key.name),
        None => broker_key(name)?.default.map(str::to_owned),
    }
}

/// Why a key that Kafka knows cannot be set here, if that is so.
pub(crate) fn refusal(name: &str) -> Option<&'static str> {
    const SECURITY: &str = "security (TLS, SASL, ACLs, delegation tokens) is not there yet: keep the broker on a network you trust, and leave the key out";
    const CLASSES: &str =
        "it names a Java class, and there is no Java in this broker: leave the key out";
    const OLD: &str = "Kafka dropped it with ZooKeeper: leave the key out";
    const TIERING: &str = "tiered storage is not there yet: leave the key out";
    const GROUPS: &str = "share groups and Streams groups are not there yet: leave the key out";
    let base = match name.strip_prefix("listener.name.") {
        Some(rest) => rest.split_once('.').map_or(rest, |(_, base)| base),
        None => name,
    };
    let security = ["ssl.", "sasl.", "delegation.token.", "security.providers"];
    if security.iter().any(|prefix| base.starts_with(prefix))
        || matches!(
            base,
            "authorizer.class.name"
                | "super.users"
                | "allow.everyone.if.no.acl.found"
                | "connections.max.reauth.ms"
                | "connection.failed.authentication.delay.ms"
                | "early.start.listeners"
        )
    {
        return Some(SECURITY);
    }
    if name.starts_with("zookeeper.")
        || matches!(
            name,
            "control.plane.listener.name"
                | "inter.broker.protocol.version"
                | "log.message.format.version"
                | "broker.id.generation.enable"
                | "reserved.broker.max.id"
        )
    {
        return Some(OLD);
    }
    if name.starts_with("remote.") && broker_key(name).is_none() {
        return Some(TIERING);
    }
    let groups = [
        "group.share.",
        "group.streams.",
        "share.coordinator.",
        "share.fetch.",
    ];
    if groups.iter().any(|prefix| name.starts_with(prefix)) && broker_key(name).is_none() {
        return Some(GROUPS);
    }
    matches!(
        name,
        "alter.config.policy.class.name"
            | "client.quota.callback.class"
            | "config.providers"
            | "create.topic.policy.class.name"
            | "kafka.metrics.reporters"
            | "principal.builder.class"
            | "replica.selector.class"
    )
    .then_some(CLASSES)
}

/// Every broker key's name that is accepted, for suggestions.
pub fn all_names() -> impl Iterator<Item = &'static str> {
    let topics = LogConfig::keys().iter().filter_map(|k| k.broker_name);
    broker_keys().map(|k| k.name).chain(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        let mut names: Vec<_> = all_names().collect();
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
        for key in broker_keys() {
            if let Some(default) = key.default {
                key.valid
                    .check(key.kind, default)
                    .unwrap_or_else(|e| panic!("{}: {e}", key.name));
            }
            assert!(refusal(key.name).is_none(), "{} is refused", key.name);
            assert!(
                key.doc.ends_with('.') || key.doc.ends_with(')'),
                "{}",
                key.name
            );
        }
        for (coarse, _, fine) in COARSE {
            assert!(
                broker_key(coarse).is_some() && topic_default(fine).is_some(),
                "{coarse}"
            );
        }
    }

    #[test]
    fn what_is_refused_says_why() {
        for key in [
            "ssl.keystore.location",
            "listener.name.external.sasl.jaas.config",
        ] {
            assert!(refusal(key).is_some_and(|why| why.contains("not there yet")));
        }
        assert!(refusal("zookeeper.connect").is_some_and(|why| why.contains("ZooKeeper")));
        assert!(refusal("num.partitions").is_none());
    }
}
