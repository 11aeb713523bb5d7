//! SaslHandshake: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Names the SASL mechanism that the client wants to use.
    request SaslHandshakeRequest(SaslHandshake) {
        mechanism: Str;
    }

    /// The answer to a [`SaslHandshakeRequest`].
    response SaslHandshakeResponse(SaslHandshake) {
        error_code: i16;
        mechanisms: Vec<Str>;
    }
}
