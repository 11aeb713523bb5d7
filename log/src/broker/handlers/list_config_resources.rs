//! ListConfigResources: what has a configuration.

use crate::broker::core::{Context, Core};
use crate::controller::ConfigScope;
use crate::wire::messages::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use crate::wire::{ErrorCode, Str};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

pub(crate) fn handle(
    core: &Core,
    cx: &Context,
    request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    // The first version is ListClientMetricsResources, of which there are none.
    let supported: &[i8] = match cx.version {
        0 => &[CLIENT_METRICS],
        _ => &[GROUP, CLIENT_METRICS, BROKER_LOGGER, BROKER, TOPIC],
    };
    let asked = &request.resource_types;
    if asked.iter().any(|kind| !supported.contains(kind)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..ListConfigResourcesResponse::default()
        };
    }
    let image = core.image();
    let mut config_resources = Vec::new();
    for kind in supported {
        if !asked.is_empty() && !asked.contains(kind) {
            continue;
        }
        let names: Vec<Str> = match *kind {
            GROUP => image
                .config_resources(ConfigScope::Group)
                .map(Str::from)
                .collect(),
            BROKER | BROKER_LOGGER => image
                .brokers()
                .map(|b| Str::from(b.id.to_string()))
                .collect(),
            TOPIC => image.topics().map(|t| Str::from(&*t.name)).collect(),
            _ => vec![],
        };
        config_resources.extend(names.into_iter().map(|name| ConfigResource {
            resource_name: name,
            resource_type: *kind,
            ..ConfigResource::default()
        }));
    }
    ListConfigResourcesResponse {
        config_resources,
        ..ListConfigResourcesResponse::default()
    }
}
