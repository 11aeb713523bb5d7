//! UpdateFeatures: raises and lowers the finalized levels of features, all that a request names or none.

use crate::broker::core::Core;
use crate::controller::{Command, METADATA_VERSION, MetadataImage, supported_feature};
use crate::wire::messages::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::wire::{ErrorCode, Str};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

pub(crate) async fn handle(
    core: &Core,
    version: i16,
    request: UpdateFeaturesRequest,
) -> UpdateFeaturesResponse {
    let image = core.image();
    let updates = &request.feature_updates;
    if let Some(reason) = updates.iter().find_map(|update| refuse(&image, update)) {
        return failed(ErrorCode::InvalidUpdateVersion, &reason);
    }
    if !request.validate_only && !updates.is_empty() {
        let updates = updates
            .iter()
            .map(|update| (update.feature.to_string(), update.max_version_level))
            .collect();
        if let Err(error) = core.propose(Command::UpdateFeatures { updates }).await {
            return failed(error.code(), &error.to_string());
        }
    }
    let result = |update: FeatureUpdateKey| UpdatableFeatureResult {
        feature: update.feature,
        error_message: None,
        ..UpdatableFeatureResult::default()
    };
    UpdateFeaturesResponse {
        error_message: None,
        results: match version {
            0 | 1 => request.feature_updates.into_iter().map(result).collect(),
            _ => Vec::new(),
        },
        ..UpdateFeaturesResponse::default()
    }
}

fn failed(error: ErrorCode, reason: &str) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse {
        error_code: error.code(),
        error_message: Some(Str::from(format!(
            "No feature was updated, because one of them cannot be: {reason}"
        ))),
        ..UpdateFeaturesResponse::default()
    }
}

/// Why an update is impossible, if it is.
fn refuse(image: &MetadataImage, update: &FeatureUpdateKey) -> Option<String> {
    let (name, level, kind) = (
        &update.feature,
        update.max_version_level,
        update.upgrade_type,
    );
    let refused = |reason: &str| {
        Some(format!(
            "Invalid update version {level} for feature {name}. {reason}"
        ))
    };
    if ![UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE].contains(&kind) {
        return refused("The upgrade type is not known.");
    }
    if level < 0 {
        return refused("A level is never less than 0.");
    }
    let Some(supported) = supported_feature(name) else {
        return refused("The controller does not support this feature.");
    };
    if !(supported.min..=supported.max).contains(&level) {
        let (min, max) = (supported.min, supported.max);
        return refused(&format!("The controller supports only {min} to {max}."));
    }
    let current = image.feature(name);
    if level < current && kind == UPGRADE {
        return refused("A lower level takes an upgrade type of safe or unsafe downgrade.");
    }
    if level > current && kind != UPGRADE {
        return refused("A downgrade cannot go to a higher level.");
    }
    if level < current && **name == *METADATA_VERSION {
        // Each level has changed what the metadata hold.
        return refused("The downgrade is refused, because it might delete metadata.");
    }
    None
}
