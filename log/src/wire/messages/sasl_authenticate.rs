//! SaslAuthenticate: request and response.

use bytes::Bytes;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Carries what a SASL mechanism says from client to broker.
    request SaslAuthenticateRequest(SaslAuthenticate) {
        auth_bytes: Bytes;
    }

    /// The answer to a [`SaslAuthenticateRequest`].
    response SaslAuthenticateResponse(SaslAuthenticate) {
        error_code: i16;
        error_message: Option<Str>;
        auth_bytes: Bytes;
        session_lifetime_ms: i64 [1..], ignorable;
    }
}
