//! Changing configurations: from what a request asks for to the changes of the metadata.
//!
//! Invariant: a resource is changed as a whole or not at all, and what is stored resolves: it was
//! checked together with all that the resource has set already.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::core::Core;
use super::topics::{Refused, check_name};
use crate::config::{Layer, broker_key, check_dynamic, group_settings, topic_config};
use crate::controller::{Command, ConfigChange, ConfigScope};
use crate::storage::{ConfigType, LogConfig};
use crate::wire::{ErrorCode, Str};

/// The longest value that Kafka stores.
const MAX_VALUE: usize = 32_767;

/// What is done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    /// The operation with Kafka's code.
    pub(crate) fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) operation: Operation,
    pub(crate) value: Option<String>,
}

fn bad(message: impl Into<String>) -> Refused {
    (ErrorCode::InvalidRequest, message.into())
}

/// Checks what a request must not say of any resource: a key twice, or a value that is null.
pub(crate) fn check_changes(changes: &[Change]) -> Result<(), Refused> {
    let mut seen = BTreeSet::new();
    if !changes.iter().all(|c| seen.insert(c.key.as_str())) {
        return Err(bad("Error due to duplicate config keys"));
    }
    let null: Vec<&str> = changes
        .iter()
        .filter(|c| c.operation != Operation::Delete && c.value.is_none())
        .map(|c| c.key.as_str())
        .collect();
    if !null.is_empty() {
        return Err(bad(format!(
            "Null value not supported for : {}",
            null.join(", ")
        )));
    }
    Ok(())
}

/// A resource: its type, and its name.
pub(crate) type Resource = (i8, Str);

/// What a request asks for, resource by resource. Those that it names more than once are refused, each time.
pub(crate) fn each_once<T>(
    asked: Vec<T>,
    resource: impl Fn(&T) -> Resource,
) -> Vec<(Resource, Result<T, Refused>)> {
    let mut times: HashMap<Resource, usize> = HashMap::new();
    for asked in &asked {
        *times.entry(resource(asked)).or_default() += 1;
    }
    let once = |asked: T| {
        let resource = resource(&asked);
        let asked = match times.get(&resource) {
            Some(1) => Ok(asked),
            _ => Err(bad("Each resource must appear at most once.")),
        };
        (resource, asked)
    };
    asked.into_iter().map(once).collect()
}

/// The scope of a resource type, of what can be stored.
pub(crate) fn scope(resource_type: i8) -> Result<ConfigScope, Refused> {
    ConfigScope::from_code(resource_type)
        .ok_or_else(|| bad(format!("Unknown resource type {resource_type}")))
}

/// Checks that a resource's name is one of this cluster's.
pub(crate) fn check_broker_name(core: &Core, name: &str) -> Result<(), Refused> {
    let id: i32 = name
        .parse()
        .map_err(|_| bad(format!("Node id must be an integer, but it is: {name}")))?;
    if id == core.node_id() {
        Ok(())
    } else {
        Err(bad(format!(
            "Unexpected broker id, expected {}, but received {name}",
            core.node_id()
        )))
    }
}

/// Applies changes to a resource's configuration. With `replace`, keys that are not named go back
/// to their defaults.
pub(crate) async fn alter(
    core: &Core,
    scope: ConfigScope,
    resource: &str,
    changes: Vec<Change>,
    replace: bool,
    validate_only: bool,
) -> Result<(), Refused> {
    check_changes(&changes)?;
    match scope {
        ConfigScope::Topic if resource.is_empty() => {
            return Err(bad("Default topic resources are not allowed."));
        }
        ConfigScope::Topic => check_name(resource)?,
        ConfigScope::Broker if resource.is_empty() => {}
        ConfigScope::Broker => check_broker_name(core, resource)?,
        ConfigScope::Group if resource.is_empty() => {
            return Err(bad("Default group resources are not allowed."));
        }
        ConfigScope::Group => {}
    }
    let image = core.image();
    let before: Layer = image
        .configs(scope, resource)
        .map(|o| BTreeMap::clone(o))
        .unwrap_or_default();
    let mut after = if replace {
        Layer::new()
    } else {
        before.clone()
    };
    for change in &changes {
        apply(core, scope, &mut after, change)?;
    }
    check(core, scope, resource, &after)?;
    if scope == ConfigScope::Topic && image.topic(resource).is_none() {
        return Err((
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{resource}' does not exist."),
        ));
    }
    let changed = |key: &String| before.get(key) != after.get(key);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changes: Vec<ConfigChange> = keys
        .into_iter()
        .filter(|key| changed(key))
        .map(|key| ConfigChange {
            scope,
            resource: resource.to_owned(),
            key: key.clone(),
            value: after.get(key).cloned(),
        })
        .collect();
    if !validate_only && !changes.is_empty() {
        core.propose(Command::AlterConfigs { changes })
            .await
            .map_err(|e| (e.code(), e.to_string()))?;
    }
    Ok(())
}

fn apply(core: &Core, scope: ConfigScope, to: &mut Layer, change: &Change) -> Result<(), Refused> {
    let key = &change.key;
    let Some(value) = change
        .value
        .as_ref()
        .filter(|_| change.operation != Operation::Delete)
    else {
        to.remove(key);
        return Ok(());
    };
    let value = match change.operation {
        Operation::Append | Operation::Subtract => {
            if !is_list(scope, key) {
                return Err((
                    ErrorCode::InvalidConfig,
                    format!(
                        "Can't {} to key {key} because its type is not LIST.",
                        change.operation.name()
                    ),
                ));
            }
            let current = to.get(key).cloned().or_else(|| inherited(core, scope, key));
            combined(&current.unwrap_or_default(), value, change.operation)
        }
        _ => value.clone(),
    };
    if value.len() > MAX_VALUE {
        return Err((
            ErrorCode::InvalidConfig,
            format!(
                "The configuration value cannot be added because it exceeds the maximum value size of {MAX_VALUE} bytes."
            ),
        ));
    }
    to.insert(key.clone(), value);
    Ok(())
}

/// A list with words added at its end, or taken out.
fn combined(current: &str, value: &str, operation: Operation) -> String {
    let words = |text: &'_ str| -> Vec<String> {
        text.split(',')
            .map(str::trim)
            .filter(|w| !w.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut all = words(current);
    for word in words(value) {
        match operation {
            Operation::Append if !all.contains(&word) => all.push(word),
            Operation::Subtract => all.retain(|w| *w != word),
            _ => {}
        }
    }
    all.join(",")
}

fn is_list(scope: ConfigScope, key: &str) -> bool {
    let kind = match scope {
        ConfigScope::Topic => LogConfig::key(key).ok().map(|k| k.kind),
        ConfigScope::Broker => LogConfig::keys()
            .iter()
            .find(|k| k.broker_name == Some(key))
            .map(|k| k.kind)
            .or_else(|| broker_key(key).map(|k| k.kind)),
        ConfigScope::Group => None,
    };
    kind == Some(ConfigType::List)
}

/// What holds for a key where the resource sets nothing.
fn inherited(core: &Core, scope: ConfigScope, key: &str) -> Option<String> {
    let settings = core.live();
    match scope {
        ConfigScope::Topic => settings.topic_defaults.get(key),
        ConfigScope::Broker => settings.value(key),
        ConfigScope::Group => None,
    }
}

/// Checks everything a resource would have set.
fn check(core: &Core, scope: ConfigScope, resource: &str, all: &Layer) -> Result<(), Refused> {
    let settings = core.live();
    match scope {
        ConfigScope::Topic => {
            topic_config(&settings, Some(all))
                .map_err(|e| (super::codes::topic_config(&e), e.to_string()))?;
        }
        ConfigScope::Group => {
            group_settings(&settings, Some(all))
                .map_err(|e| (ErrorCode::InvalidConfig, e.to_string()))?;
        }
        ConfigScope::Broker => {
            let one_broker = !resource.is_empty();
            for (key, value) in all {
                check_dynamic(key, value, one_broker).map_err(|e| bad(e.to_string()))?;
            }
            let (cluster, broker) = match one_broker {
                true => (&settings.layers.cluster, all),
                false => (all, &settings.layers.broker),
            };
            settings
                .with_dynamic(Some(cluster), Some(broker))
                .map_err(|e| bad(e.to_string()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_and_shrink() {
        assert_eq!(
            combined("delete", "compact,delete", Operation::Append),
            "delete,compact"
        );
        assert_eq!(
            combined("delete, compact", "delete", Operation::Subtract),
            "compact"
        );
        assert_eq!(combined("", "a", Operation::Append), "a");
        assert_eq!(combined("a", "a", Operation::Subtract), "");
    }

    #[test]
    fn a_key_is_named_once_and_has_a_value() {
        let change = |key: &str, operation, value: Option<&str>| Change {
            key: key.to_owned(),
            operation,
            value: value.map(str::to_owned),
        };
        let twice = [
            change("a", Operation::Set, Some("1")),
            change("a", Operation::Delete, None),
        ];
        assert!(check_changes(&twice).unwrap_err().1.contains("duplicate"));
        let null = [
            change("a", Operation::Set, None),
            change("b", Operation::Delete, None),
        ];
        assert_eq!(
            check_changes(&null).unwrap_err().1,
            "Null value not supported for : a"
        );
        let asked = vec![(2, "t", 1), (4, "t", 2), (2, "t", 3)];
        let answers = each_once(asked, |(kind, name, _)| (*kind, Str::from(*name)));
        let good: Vec<_> = answers.iter().map(|(r, a)| (r.0, a.is_ok())).collect();
        assert_eq!(good, [(2, false), (4, true), (2, false)]);
    }
}
