//! ApiVersions: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks which APIs the broker has, in which versions.
    request ApiVersionsRequest(ApiVersions) {
        client_software_name: Str [3..], ignorable;
        client_software_version: Str [3..], ignorable;
    }

    /// The answer to an [`ApiVersionsRequest`].
    response ApiVersionsResponse(ApiVersions) {
        error_code: i16;
        api_keys: Vec<ApiVersion>;
        throttle_time_ms: i32 [1..], ignorable;
        supported_features: Vec<SupportedFeatureKey> [3.., tag 0], ignorable;
        finalized_features_epoch: i64 [3.., tag 1] = -1, ignorable;
        finalized_features: Vec<FinalizedFeatureKey> [3.., tag 2], ignorable;
        zk_migration_ready: bool [3.., tag 3], ignorable;
    }

    /// An API and its versions.
    struct ApiVersion {
        api_key: i16;
        min_version: i16;
        max_version: i16;
    }

    /// A feature that the broker supports.
    struct SupportedFeatureKey {
        name: Str;
        min_version: i16;
        max_version: i16;
    }

    /// A feature that the cluster has switched on.
    struct FinalizedFeatureKey {
        name: Str;
        max_version_level: i16;
        min_version_level: i16;
    }
}
