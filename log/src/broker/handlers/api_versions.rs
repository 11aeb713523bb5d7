//! ApiVersions: what this broker answers, straight from the one catalogue.

use crate::wire::catalogue;
use crate::wire::messages::ApiVersionsResponse;

pub(crate) fn handle() -> ApiVersionsResponse {
    ApiVersionsResponse {
        api_keys: catalogue::advertised(super::handles),
        finalized_features_epoch: 0,
        ..ApiVersionsResponse::default()
    }
}
