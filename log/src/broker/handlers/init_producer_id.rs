//! InitProducerId: a producer id for an idempotent producer; for a transactional one also the epoch
//! that fences whoever used its transactional id before.

use std::sync::Arc;

use crate::broker::core::{Context, Core};
use crate::transaction::Init;
use crate::wire::ErrorCode;
use crate::wire::messages::{InitProducerIdRequest, InitProducerIdResponse};

/// From this version on clients know `PRODUCER_FENCED`.
const PRODUCER_FENCED: i16 = 4;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match init(core, request).await {
        Ok((producer_id, producer_epoch)) => InitProducerIdResponse {
            producer_id,
            producer_epoch,
            ..InitProducerIdResponse::default()
        },
        Err(code) => InitProducerIdResponse {
            error_code: super::fenced(code, cx.version >= PRODUCER_FENCED).code(),
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    }
}

async fn init(core: &Arc<Core>, request: InitProducerIdRequest) -> Result<(i64, i16), ErrorCode> {
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return Err(ErrorCode::InvalidRequest),
        known => Some(known),
    };
    let Some(transactional_id) = request.transactional_id else {
        let producer_id = core.producer_ids.next(core).await.map_err(|e| {
            tracing::warn!(error = %e, "no producer id could be allocated");
            e.code()
        })?;
        return Ok((producer_id, 0));
    };
    let init = Init {
        transactional_id: transactional_id.detach(),
        timeout_ms: request.transaction_timeout_ms,
        expected,
    };
    core.transactions.init(core, init).await
}
