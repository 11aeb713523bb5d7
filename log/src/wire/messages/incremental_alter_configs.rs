//! IncrementalAlterConfigs: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Changes single configuration entries.
    request IncrementalAlterConfigsRequest(IncrementalAlterConfigs) {
        resources: Vec<AlterConfigsResource>;
        validate_only: bool;
    }

    /// The changes of one resource.
    struct AlterConfigsResource {
        resource_type: i8;
        resource_name: Str;
        configs: Vec<AlterableConfig>;
    }

    /// A change: set (0), delete (1), append (2) or subtract (3).
    struct AlterableConfig {
        name: Str;
        config_operation: i8;
        value: Option<Str>;
    }

    /// The answer to an [`IncrementalAlterConfigsRequest`].
    response IncrementalAlterConfigsResponse(IncrementalAlterConfigs) {
        throttle_time_ms: i32;
        responses: Vec<AlterConfigsResourceResponse>;
    }

    /// The answer for one resource.
    struct AlterConfigsResourceResponse {
        error_code: i16;
        error_message: Option<Str>;
        resource_type: i8;
        resource_name: Str;
    }
}
