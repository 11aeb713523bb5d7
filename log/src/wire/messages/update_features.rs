//! UpdateFeatures: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Raises or lowers the finalized versions of features.
    request UpdateFeaturesRequest(UpdateFeatures) {
        timeout_ms: i32 = 60_000;
        feature_updates: Vec<FeatureUpdateKey>;
        validate_only: bool [1..];
    }

    /// The change of one feature.
    struct FeatureUpdateKey {
        feature: Str;
        max_version_level: i16;
        allow_downgrade: bool [..=0];
        upgrade_type: i8 [1..] = 1;
    }

    /// The answer to an [`UpdateFeaturesRequest`].
    response UpdateFeaturesResponse(UpdateFeatures) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str>;
        results: Vec<UpdatableFeatureResult> [..=1], ignorable;
    }

    /// The answer for one feature.
    struct UpdatableFeatureResult {
        feature: Str;
        error_code: i16;
        error_message: Option<Str>;
    }
}
