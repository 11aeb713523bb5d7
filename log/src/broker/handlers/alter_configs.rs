//! AlterConfigs, the older way: replaces a resource's whole configuration.

use std::sync::Arc;

use crate::broker::configs::{self, Change, Operation};
use crate::broker::core::Core;
use crate::broker::topics::{Refused, told};
use crate::wire::messages::{
    AlterConfigsRequest, AlterConfigsRequestResource, AlterConfigsResponse,
    AlterConfigsResponseResource,
};

pub(crate) async fn handle(core: &Arc<Core>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let asked = configs::each_once(request.resources, |resource| {
        (resource.resource_type, resource.resource_name.clone())
    });
    let mut responses = Vec::with_capacity(asked.len());
    for ((resource_type, resource_name), resource) in asked {
        let altered = match resource {
            Ok(resource) => replace(core, resource, request.validate_only).await,
            Err(refused) => Err(refused),
        };
        let (error_code, error_message) = told(altered);
        responses.push(AlterConfigsResponseResource {
            error_code,
            error_message,
            resource_type,
            resource_name,
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
