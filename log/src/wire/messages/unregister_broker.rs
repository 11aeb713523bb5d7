//! UnregisterBroker: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Has the controller forget a broker.
    request UnregisterBrokerRequest(UnregisterBroker) {
        broker_id: i32;
    }

    /// The answer to an [`UnregisterBrokerRequest`].
    response UnregisterBrokerResponse(UnregisterBroker) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str>;
    }
}
