//! SaslHandshake and SaslAuthenticate on a listener without SASL: the connection needs no authentication, so
//! that these come in a state in which they make no sense.

use crate::wire::messages::{SaslAuthenticateResponse, SaslHandshakeResponse};
use crate::wire::{ErrorCode, Str};

pub(crate) fn handshake() -> SaslHandshakeResponse {
    SaslHandshakeResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        ..SaslHandshakeResponse::default()
    }
}

pub(crate) fn authenticate() -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some(Str::from_static(
            "This listener asks for no SASL authentication, so none can take place.",
        )),
        ..SaslAuthenticateResponse::default()
    }
}
