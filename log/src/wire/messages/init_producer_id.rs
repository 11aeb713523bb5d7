//! InitProducerId: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for a producer id, or for the next epoch of one.
    request InitProducerIdRequest(InitProducerId) {
        transactional_id: Option<Str>;
        transaction_timeout_ms: i32;
        producer_id: i64 [3..] = -1;
        producer_epoch: i16 [3..] = -1;
    }

    /// The answer to an [`InitProducerIdRequest`].
    response InitProducerIdResponse(InitProducerId) {
        throttle_time_ms: i32;
        error_code: i16;
        producer_id: i64 = -1;
        producer_epoch: i16;
    }
}
