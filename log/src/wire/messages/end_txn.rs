//! EndTxn: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Commits or aborts a transaction.
    request EndTxnRequest(EndTxn) {
        transactional_id: Str;
        producer_id: i64;
        producer_epoch: i16;
        committed: bool;
    }

    /// The answer to an [`EndTxnRequest`]; from version 5 on it names the epoch of the next transaction.
    response EndTxnResponse(EndTxn) {
        throttle_time_ms: i32;
        error_code: i16;
        producer_id: i64 [5..] = -1, ignorable;
        producer_epoch: i16 [5..] = -1, ignorable;
    }
}
