//! ApiVersions: what this broker answers, straight from the one catalogue, and the cluster's features.

use super::{Context, Core};
use crate::controller::{Quorum, SUPPORTED_FEATURES};
use crate::wire::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::wire::{ErrorCode, catalogue};

pub(crate) fn handle(
    core: &Core,
    cx: &Context,
    request: &ApiVersionsRequest,
) -> ApiVersionsResponse {
    if cx.version >= 3
        && !(is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version))
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..ApiVersionsResponse::default()
        };
    }
    let applied = core.quorum.image();
    ApiVersionsResponse {
        api_keys: catalogue::advertised(super::handles),
        supported_features: SUPPORTED_FEATURES
            .iter()
            // Clients from before version 4 cannot read a minimum of 0 (KAFKA-17492).
            .filter(|feature| cx.version >= 4 || feature.min > 0)
            .map(|feature| SupportedFeatureKey {
                name: feature.name.into(),
                min_version: feature.min,
                max_version: feature.max,
                ..SupportedFeatureKey::default()
            })
            .collect(),
        // The offset up to which the metadata are known here.
        finalized_features_epoch: i64::try_from(applied.end).unwrap_or(i64::MAX) - 1,
        finalized_features: applied
            .image
            .features()
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.into(),
                max_version_level: level,
                min_version_level: level,
                ..FinalizedFeatureKey::default()
            })
            .collect(),
        ..ApiVersionsResponse::default()
    }
}

/// Letters, digits, dashes and dots, of which the first and the last are letters or digits (KIP-511).
fn is_software_name(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(name.chars().next())
        && ends(name.chars().next_back())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}
