//! IncrementalAlterConfigs: sets, deletes, appends to or subtracts from single topic settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::core::Core;
use crate::broker::topics::Refused;
use crate::config::topic_config;
use crate::controller::{Command, ConfigChange, ConfigScope};
use crate::storage::{ConfigType, LogConfig};
use crate::wire::messages::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::wire::{ErrorCode, Str};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) async fn handle(
    core: &Arc<Core>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let (resource_type, resource_name) =
            (resource.resource_type, resource.resource_name.clone());
        let (code, message) = match alter(core, resource, request.validate_only).await {
            Ok(()) => (ErrorCode::None, None),
            Err((code, message)) => (code, Some(Str::from(message))),
        };
        responses.push(AlterConfigsResourceResponse {
            error_code: code.code(),
            error_message: message,
            resource_type,
            resource_name,
            ..AlterConfigsResourceResponse::default()
        });
    }
    IncrementalAlterConfigsResponse {
        responses,
        ..IncrementalAlterConfigsResponse::default()
    }
}

async fn alter(
    core: &Arc<Core>,
    resource: AlterConfigsResource,
    validate_only: bool,
) -> Result<(), Refused> {
    match ConfigScope::from_code(resource.resource_type) {
        Some(ConfigScope::Topic) => {}
        Some(ConfigScope::Broker) => {
            return Err((
                ErrorCode::InvalidRequest,
                "Broker settings cannot be changed at run time: set them at the start.".to_owned(),
            ));
        }
        None => {
            return Err((
                ErrorCode::InvalidRequest,
                format!(
                    "Configurations of resource type {} are not supported.",
                    resource.resource_type
                ),
            ));
        }
    }
    let topic = resource.resource_name.to_string();
    let image = core.image();
    if image.topic(&topic).is_none() {
        return Err((
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{topic}' does not exist."),
        ));
    }
    let mut overrides: BTreeMap<String, String> = image
        .configs(ConfigScope::Topic, &topic)
        .map(|o| BTreeMap::clone(o))
        .unwrap_or_default();
    let mut changes = Vec::with_capacity(resource.configs.len());
    for change in resource.configs {
        let key = change.name.to_string();
        let value = changed(core, &overrides, change)?;
        match &value {
            Some(value) => overrides.insert(key.clone(), value.clone()),
            None => overrides.remove(&key),
        };
        changes.push(ConfigChange {
            scope: ConfigScope::Topic,
            resource: topic.clone(),
            key,
            value,
        });
    }
    topic_config(&core.settings, Some(&overrides))
        .map_err(|e| (crate::broker::codes::topic_config(&e), e.to_string()))?;
    if !validate_only && !changes.is_empty() {
        core.propose(Command::AlterConfigs { changes })
            .await
            .map_err(|e| (e.code(), e.to_string()))?;
    }
    Ok(())
}

fn changed(
    core: &Core,
    overrides: &BTreeMap<String, String>,
    change: AlterableConfig,
) -> Result<Option<String>, Refused> {
    let name = change.name.as_str();
    let key = LogConfig::key(name)
        .map_err(|e| (crate::broker::codes::topic_config(&e), e.to_string()))?;
    if change.config_operation == DELETE {
        return Ok(None);
    }
    let Some(value) = change.value else {
        return Err((
            ErrorCode::InvalidConfig,
            format!("Null value not supported for {name}."),
        ));
    };
    match change.config_operation {
        SET => Ok(Some(value.to_string())),
        APPEND | SUBTRACT if key.kind != ConfigType::List => Err((
            ErrorCode::InvalidConfig,
            format!("Can't append to or subtract from {name}: it is not a list."),
        )),
        operation @ (APPEND | SUBTRACT) => {
            let current = overrides
                .get(name)
                .cloned()
                .or_else(|| core.settings.topic_defaults.get(name))
                .unwrap_or_default();
            let mut words: Vec<&str> = current
                .split(',')
                .map(str::trim)
                .filter(|w| !w.is_empty())
                .collect();
            for word in value.split(',').map(str::trim).filter(|w| !w.is_empty()) {
                words.retain(|w| *w != word);
                if operation == APPEND {
                    words.push(word);
                }
            }
            Ok(Some(words.join(",")))
        }
        other => Err((
            ErrorCode::InvalidRequest,
            format!("Unknown operation {other} on {name}."),
        )),
    }
}
