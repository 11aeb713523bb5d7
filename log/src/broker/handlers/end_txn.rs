//! EndTxn: a transaction is committed or aborted. The answer comes when the outcome is decided; the
//! markers follow.

use std::sync::Arc;

use crate::broker::core::{Context, Core};
use crate::transaction::End;
use crate::wire::messages::{EndTxnRequest, EndTxnResponse};

/// From this version on clients know `PRODUCER_FENCED`.
const PRODUCER_FENCED: i16 = 2;

/// From this version on the epoch is bumped with each end (transactions v2).
const EPOCH_BUMP: i16 = 5;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: EndTxnRequest,
) -> EndTxnResponse {
    let end = End {
        transactional_id: request.transactional_id.detach(),
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        commit: request.committed,
        version: if cx.version < EPOCH_BUMP { 0 } else { 2 },
    };
    match core.transactions.end(core, end).await {
        Ok((producer_id, producer_epoch)) => EndTxnResponse {
            producer_id,
            producer_epoch,
            ..EndTxnResponse::default()
        },
        Err(code) => EndTxnResponse {
            error_code: super::fenced(code, cx.version >= PRODUCER_FENCED).code(),
            ..EndTxnResponse::default()
        },
    }
}
