//! AddOffsetsToTxn: the offsets of a group become part of a transaction, before they are committed.

use std::sync::Arc;

use crate::broker::core::{Context, Core};
use crate::broker::replicas::OFFSETS_TOPIC;
use crate::transaction::AddPartitions;
use crate::wire::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use crate::wire::{ErrorCode, Str};

/// From this version on clients know `PRODUCER_FENCED`.
const PRODUCER_FENCED: i16 = 2;

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let code = match add(core, request).await {
        Ok(code) | Err(code) => code,
    };
    AddOffsetsToTxnResponse {
        error_code: super::fenced(code, cx.version >= PRODUCER_FENCED).code(),
        ..AddOffsetsToTxnResponse::default()
    }
}

async fn add(core: &Arc<Core>, request: AddOffsetsToTxnRequest) -> Result<ErrorCode, ErrorCode> {
    // A producer may commit the offsets of a group that nobody has asked a coordinator for yet.
    core.groups
        .ensure_topic(core)
        .await
        .map_err(|(code, _)| code)?;
    let partition = core.groups.partition_of(&request.group_id)?;
    let add = AddPartitions {
        transactional_id: request.transactional_id.detach(),
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        partitions: [(Str::from_static(OFFSETS_TOPIC), partition)].into(),
        version: 0,
    };
    Ok(core.transactions.add_partitions(core, add).await)
}
