//! ListConfigResources: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks which resources have a configuration; no types stand for all.
    request ListConfigResourcesRequest(ListConfigResources) {
        resource_types: Vec<i8> [1..];
    }

    /// The answer to a [`ListConfigResourcesRequest`].
    response ListConfigResourcesResponse(ListConfigResources) {
        throttle_time_ms: i32;
        error_code: i16;
        config_resources: Vec<ConfigResource>;
    }

    /// One resource.
    struct ConfigResource {
        resource_name: Str;
        resource_type: i8 [1..] = 16, ignorable;
    }
}
