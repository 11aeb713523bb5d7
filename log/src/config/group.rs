//! The settings of a single group (KIP-848): what may be set, within the broker's bounds, and what
//! holds for a group.

use std::collections::BTreeMap;

use super::settings::{ConsumerGroupSettings, Settings, invalid};
use super::{ConfigError, nearest_key};
use crate::storage::{ConfigType, Valid};

/// A setting of a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupKey {
    /// Kafka's name.
    pub name: &'static str,
    /// The broker's setting that holds where a group sets nothing.
    pub broker_name: &'static str,
    /// Which values it takes, within the broker's bounds.
    pub valid: Valid,
    /// What it does.
    pub doc: &'static str,
    bounds: fn(&ConsumerGroupSettings) -> (i32, i32),
}

/// The type of all of them.
pub(super) const KIND: ConfigType = ConfigType::Int;

/// Every setting of a group, by name.
pub static GROUP_KEYS: &[GroupKey] = &[
    GroupKey {
        name: "consumer.assignment.interval.ms",
        broker_name: "group.consumer.assignment.interval.ms",
        valid: Valid::AtLeast(0),
        doc: "The least time between two assignments of the group.",
        bounds: |s| (s.min_assignment_interval_ms, s.max_assignment_interval_ms),
    },
    GroupKey {
        name: "consumer.heartbeat.interval.ms",
        broker_name: "group.consumer.heartbeat.interval.ms",
        valid: Valid::AtLeast(1),
        doc: "How often the group's members of the consumer protocol are told to send heartbeats.",
        bounds: |s| (s.min_heartbeat_interval_ms, s.max_heartbeat_interval_ms),
    },
    GroupKey {
        name: "consumer.session.timeout.ms",
        broker_name: "group.consumer.session.timeout.ms",
        valid: Valid::AtLeast(1),
        doc: "A member of the consumer protocol that sends no heartbeat for longer is out of the group.",
        bounds: |s| (s.min_session_timeout_ms, s.max_session_timeout_ms),
    },
];

/// What holds for one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupSettings {
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval_ms: i32,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
}

/// What holds for a group: its own settings over the broker's.
///
/// # Errors
/// [`ConfigError`] for an unknown key, or a value that is none or beyond the broker's bounds.
pub fn group_settings(
    settings: &Settings,
    overrides: Option<&BTreeMap<String, String>>,
) -> Result<GroupSettings, ConfigError> {
    let broker = &settings.group_consumer;
    let mut group = GroupSettings {
        assignment_interval_ms: broker.assignment_interval_ms,
        heartbeat_interval_ms: broker.heartbeat_interval_ms,
        session_timeout_ms: broker.session_timeout_ms,
    };
    for (name, value) in overrides.into_iter().flatten() {
        let Some(key) = GROUP_KEYS.iter().find(|k| k.name == name) else {
            return Err(ConfigError::UnknownGroupKey {
                key: name.clone(),
                nearest: nearest_key(name, GROUP_KEYS.iter().map(|k| k.name)).map(str::to_owned),
            });
        };
        key.valid
            .check(KIND, value)
            .map_err(|expected| invalid(name, value, &expected))?;
        let (min, max) = (key.bounds)(broker);
        let number = value.trim().parse::<i32>().ok();
        let Some(number) = number.filter(|n| (min..=max).contains(n)) else {
            let bound = |which: &str| key.broker_name.replacen("consumer.", which, 1);
            return Err(invalid(
                name,
                value,
                &format!(
                    "a number from {} ({min}) to {} ({max}) is expected",
                    bound("consumer.min."),
                    bound("consumer.max.")
                ),
            ));
        };
        match name.as_str() {
            "consumer.assignment.interval.ms" => group.assignment_interval_ms = number,
            "consumer.heartbeat.interval.ms" => group.heartbeat_interval_ms = number,
            _ => group.session_timeout_ms = number,
        }
    }
    if group.session_timeout_ms <= group.heartbeat_interval_ms {
        return Err(invalid(
            "consumer.session.timeout.ms",
            &group.session_timeout_ms.to_string(),
            &format!(
                "more than consumer.heartbeat.interval.ms ({}) is expected",
                group.heartbeat_interval_ms
            ),
        ));
    }
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::super::BrokerConfig;
    use super::*;

    #[test]
    fn a_group_sets_its_own_within_bounds() {
        let settings = BrokerConfig::new("x").resolve().unwrap();
        let with = |key: &str, value: &str| {
            let own = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            group_settings(&settings, Some(&own))
        };
        assert_eq!(
            group_settings(&settings, None).unwrap().session_timeout_ms,
            45_000
        );
        let own = with("consumer.session.timeout.ms", "50000").unwrap();
        assert_eq!(own.session_timeout_ms, 50_000);
        let beyond = with("consumer.session.timeout.ms", "60001").unwrap_err();
        assert!(
            beyond
                .to_string()
                .contains("group.consumer.max.session.timeout.ms (60000)"),
            "{beyond}"
        );
        let unknown = with("consumer.session.timeout", "1").unwrap_err();
        assert!(
            unknown
                .to_string()
                .contains("did you mean `consumer.session.timeout.ms`?")
        );
    }
}
