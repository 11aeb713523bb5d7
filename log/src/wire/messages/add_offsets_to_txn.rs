//! AddOffsetsToTxn: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Adds the offsets of a group to a transaction.
    request AddOffsetsToTxnRequest(AddOffsetsToTxn) {
        transactional_id: Str;
        producer_id: i64;
        producer_epoch: i16;
        group_id: Str;
    }

    /// The answer to an [`AddOffsetsToTxnRequest`].
    response AddOffsetsToTxnResponse(AddOffsetsToTxn) {
        throttle_time_ms: i32;
        error_code: i16;
    }
}
