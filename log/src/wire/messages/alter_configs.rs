//! AlterConfigs: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Replaces whole configurations: what is not named goes back to its default.
    request AlterConfigsRequest(AlterConfigs) {
        resources: Vec<AlterConfigsRequestResource>;
        validate_only: bool;
    }

    /// The new configuration of one resource.
    struct AlterConfigsRequestResource {
        resource_type: i8;
        resource_name: Str;
        configs: Vec<AlterConfigsRequestConfig>;
    }

    /// One entry of it.
    struct AlterConfigsRequestConfig {
        name: Str;
        value: Option<Str>;
    }

    /// The answer to an [`AlterConfigsRequest`].
    response AlterConfigsResponse(AlterConfigs) {
        throttle_time_ms: i32;
        responses: Vec<AlterConfigsResponseResource>;
    }

    /// The answer for one resource.
    struct AlterConfigsResponseResource {
        error_code: i16;
        error_message: Option<Str>;
        resource_type: i8;
        resource_name: Str;
    }
}
