//! Errors and notices as the protocol carries them.

use crate::error::SqlError;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};

/// An error of a statement, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WireError {
    severity: &'static str,
    code: &'static str,
    message: String,
    hint: Option<String>,
    /// Characters from the start of the script, from 1.
    position: Option<usize>,
}

impl WireError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: "ERROR",
            code,
            message: message.into(),
            hint: None,
            position: None,
        }
    }

    /// A fault in the messages themselves.
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new("08P01", message)
    }

    /// The error of a statement of `script`.
    pub(super) fn of(error: &SqlError, script: &str) -> Self {
        Self {
            severity: "ERROR",
            code: error.state().code(),
            message: error.message().to_owned(),
            hint: error.way_out().map(str::to_owned),
            position: error.position(script),
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error as one that ends the session.
    #[must_use]
    pub(super) fn fatal(mut self) -> Self {
        self.severity = "FATAL";
        self
    }

    pub(super) fn message(&self) -> PgWireBackendMessage {
        let mut fields = vec![
            (b'S', self.severity.to_owned()),
            (b'V', self.severity.to_owned()),
            (b'C', self.code.to_owned()),
            (b'M', self.message.clone()),
        ];
        if let Some(hint) = &self.hint {
            fields.push((b'H', hint.clone()));
        }
        if let Some(position) = self.position {
            fields.push((b'P', position.to_string()));
        }
        PgWireBackendMessage::ErrorResponse(ErrorResponse::new(fields))
    }
}

/// Something that the client should know.
pub(super) fn notice(severity: &str, text: &str) -> PgWireBackendMessage {
    let code = if severity == "WARNING" {
        "01000"
    } else {
        "00000"
    };
    PgWireBackendMessage::NoticeResponse(NoticeResponse::new(vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', code.to_owned()),
        (b'M', text.to_owned()),
    ]))
}

/// Why a session does not go on as it should.
#[derive(Debug)]
pub(super) enum Failure {
    /// The statement failed; the session goes on.
    Statement(Box<WireError>),
    /// The client has gone, or cannot be understood any more.
    Closed,
    /// The server is being shut down.
    Stopping,
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Statement(Box::new(error))
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Closed
    }
}
