//! IncrementalAlterConfigs: sets, deletes, appends to or subtracts from single settings of topics,
//! brokers and groups, and sets the levels of loggers.

use std::sync::Arc;

use crate::broker::configs::{self, Change, Operation};
use crate::broker::core::Core;
use crate::broker::loggers::{self, LOG_LEVELS, ROOT_LOGGER};
use crate::broker::topics::{Refused, told};
use crate::wire::ErrorCode;
use crate::wire::messages::{
    AlterConfigsResource, AlterConfigsResourceResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

/// Kafka's resource type of loggers.
const BROKER_LOGGER: i8 = 8;

pub(crate) async fn handle(
    core: &Arc<Core>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let asked = configs::each_once(request.resources, |resource| {
        (resource.resource_type, resource.resource_name.clone())
    });
    let mut responses = Vec::with_capacity(asked.len());
    for ((resource_type, resource_name), resource) in asked {
        let altered = match resource {
            Ok(resource) => alter(core, resource, request.validate_only).await,
            Err(refused) => Err(refused),
        };
        let (error_code, error_message) = told(altered);
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
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
    let name = resource.resource_name.to_string();
    let mut changes = Vec::with_capacity(resource.configs.len());
    for config in resource.configs {
        let code = config.config_operation;
        let Some(operation) = Operation::from_code(code) else {
            return Err((
                ErrorCode::InvalidRequest,
                format!("Unknown operations type {code}"),
            ));
        };
        changes.push(Change {
            key: config.name.to_string(),
            operation,
            value: config.value.map(|v| v.to_string()),
        });
    }
    if resource.resource_type == BROKER_LOGGER {
        return alter_loggers(core, &name, &changes, validate_only);
    }
    let scope = configs::scope(resource.resource_type)?;
    configs::alter(core, scope, &name, changes, false, validate_only).await
}

fn alter_loggers(
    core: &Core,
    broker: &str,
    changes: &[Change],
    validate_only: bool,
) -> Result<(), Refused> {
    let Some(loggers) = loggers::installed() else {
        return Err(configs::scope(BROKER_LOGGER).err().unwrap_or((
            ErrorCode::InvalidRequest,
            "Loggers cannot be changed.".to_owned(),
        )));
    };
    configs::check_changes(changes)?;
    configs::check_broker_name(core, broker)?;
    for change in changes {
        match (change.operation, change.value.as_deref()) {
            (Operation::Set, Some(level)) if !LOG_LEVELS.contains(&level) => {
                return Err((
                    ErrorCode::InvalidConfig,
                    format!(
                        "Cannot set the log level of {} to {level} as it is not a supported log level. Valid log levels are {}",
                        change.key,
                        LOG_LEVELS.join(", ")
                    ),
                ));
            }
            (Operation::Set, _) => {}
            (Operation::Delete, _) if change.key == ROOT_LOGGER => {
                return Err((
                    ErrorCode::InvalidRequest,
                    format!("Removing the log level of the {ROOT_LOGGER} logger is not allowed"),
                ));
            }
            (Operation::Delete, _) => {}
            (operation, _) => {
                return Err((
                    ErrorCode::InvalidRequest,
                    format!(
                        "{} operation is not allowed for the BROKER_LOGGER resource",
                        operation.name()
                    ),
                ));
            }
        }
    }
    if validate_only {
        return Ok(());
    }
    for change in changes {
        let level = change
            .value
            .as_deref()
            .filter(|_| change.operation == Operation::Set);
        loggers
            .set(&change.key, level)
            .map_err(|why| (ErrorCode::InvalidConfig, why))?;
    }
    Ok(())
}
