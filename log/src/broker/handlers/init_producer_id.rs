//! InitProducerId: a producer id for an idempotent producer.

use crate::broker::core::Core;
use crate::wire::ErrorCode;
use crate::wire::messages::{InitProducerIdRequest, InitProducerIdResponse};

pub(crate) async fn handle(core: &Core, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refuse = |code: ErrorCode| InitProducerIdResponse {
        error_code: code.code(),
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    };
    if request.transactional_id.is_some() {
        // Not retriable: the client fails at once instead of waiting for a coordinator.
        return refuse(ErrorCode::UnsupportedVersion);
    }
    match core.producer_ids.next(core).await {
        Ok(producer_id) => InitProducerIdResponse {
            producer_id,
            producer_epoch: 0,
            ..InitProducerIdResponse::default()
        },
        Err(e) => {
            tracing::warn!(error = %e, "no producer id could be allocated");
            refuse(e.code())
        }
    }
}
