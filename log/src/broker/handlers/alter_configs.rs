//! AlterConfigs, the older way: replaces a resource's whole configuration.

use std::sync::Arc;

use crate::broker::configs::{self, Change, Operation};
use crate::broker::core::Core;
use crate::broker::topics::Refused;
use crate::wire::messages::{
    AlterConfigsRequest, AlterConfigsRequestResource, AlterConfigsResponse,
    AlterConfigsResponseResource,
};
use crate::wire::{ErrorCode, Str};

pub(crate) async fn handle(core: &Arc<Core>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let names: Vec<(i8, Str)> = request
        .resources
        .iter()
        .map(|r| (r.resource_type, r.resource_name.clone()))
        .collect();
    let repeated = configs::repeated(names.iter().map(|(kind, name)| (*kind, name.as_str())));
    let mut responses = Vec::with_capacity(names.len());
    for (resource, (resource_type, resource_name)) in request.resources.into_iter().zip(&names) {
        let result = if repeated.contains(&(*resource_type, resource_name.as_str())) {
            Err(configs::named_twice())
        } else {
            replace(core, resource, request.validate_only).await
        };
        let (code, message) = match result {
            Ok(()) => (ErrorCode::None, None),
            Err((code, message)) => (code, Some(Str::from(message))),
        };
        responses.push(AlterConfigsResponseResource {
            error_code: code.code(),
            error_message: message,
            resource_type: *resource_type,
            resource_name: resource_name.clone(),
            ..AlterConfigsResponseResource::default()
        });
    }
    AlterConfigsResponse {
        responses,
        ..AlterConfigsResponse::default()
    }
}

async fn replace(
    core: &Arc<Core>,
    resource: AlterConfigsRequestResource,
    validate_only: bool,
) -> Result<(), Refused> {
    let scope = configs::scope(resource.resource_type)?;
    let changes = resource
        .configs
        .into_iter()
        .map(|config| Change {
            key: config.name.to_string(),
            operation: Operation::Set,
            value: config.value.map(|v| v.to_string()),
        })
        .collect();
    configs::alter(
        core,
        scope,
        &resource.resource_name,
        changes,
        true,
        validate_only,
    )
    .await
}
