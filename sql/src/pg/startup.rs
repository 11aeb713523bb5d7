//! How a connection begins: refused encryption, a cancel request, or a startup message.

use super::error::WireError;
use super::socket::Output;
use crate::engine::SERVER_VERSION;
use bytes::{Buf, BytesMut};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey, Startup,
};
use pgwire::messages::{
    DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion,
};
use std::collections::BTreeMap;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;
const LONGEST_STARTUP: usize = 10_000;

/// What a client wants of its connection.
pub(super) enum Opening {
    /// A session.
    Session(Startup),
    /// Another session's statement cancelled.
    Cancel((i32, i32)),
    /// Nothing that we understand.
    Refused(WireError),
}

/// Reads how the connection begins. No encryption is offered.
pub(super) async fn open(socket: &mut TcpStream) -> io::Result<Opening> {
    let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
    context.awaiting_frontend_ssl = false;
    loop {
        let mut head = [0u8; 8];
        socket.read_exact(&mut head).await?;
        let (mut length, mut code) = (&head[..4], &head[4..]);
        let (length, code) = (length.get_i32(), code.get_i32());
        let length = usize::try_from(length).unwrap_or(0);
        if !(8..=LONGEST_STARTUP).contains(&length) {
            return Ok(Opening::Refused(WireError::protocol(
                "this is no startup message of Postgres' protocol",
            )));
        }
        if length == 8 && (code == SSL_REQUEST || code == GSS_REQUEST) {
            socket.write_all(b"N").await?;
            continue;
        }
        let mut message = BytesMut::zeroed(length);
        let (start, rest) = message.split_at_mut(8);
        start.copy_from_slice(&head);
        socket.read_exact(rest).await?;
        return Ok(
            match PgWireFrontendMessage::decode(&mut message, &context) {
                Ok(Some(PgWireFrontendMessage::Startup(startup))) => Opening::Session(startup),
                Ok(Some(PgWireFrontendMessage::CancelRequest(cancel))) => {
                    match cancel.secret_key.as_i32() {
                        Some(secret) => Opening::Cancel((cancel.pid, secret)),
                        None => Opening::Refused(WireError::protocol("an unknown cancel key")),
                    }
                }
                Ok(_) => Opening::Refused(WireError::protocol("expected a startup message")),
                Err(error) => Opening::Refused(WireError::protocol(format!(
                    "the startup message is not valid: {error}"
                ))),
            },
        );
    }
}

/// The settings that are told to every client at the start.
const SETTINGS: [(&str, &str); 9] = [
    ("server_version", SERVER_VERSION),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
];

/// Lets the client in; gives back the settings it came with.
pub(super) fn welcome(
    startup: Startup,
    key: (i32, i32),
    output: &mut Output,
) -> BTreeMap<String, String> {
    let unknown: Vec<String> = startup
        .parameters
        .keys()
        .filter(|name| name.starts_with("_pq_."))
        .cloned()
        .collect();
    if startup.protocol_number_minor > 0 || !unknown.is_empty() {
        output.add(&PgWireBackendMessage::NegotiateProtocolVersion(
            NegotiateProtocolVersion::new(i32::from(ProtocolVersion::PROTOCOL3_0), unknown),
        ));
    }
    output.add(&PgWireBackendMessage::Authentication(Authentication::Ok));
    let given = startup.parameters;
    let user = given.get("user").map_or("", String::as_str);
    let application = given.get("application_name").map_or("", String::as_str);
    for (name, value) in SETTINGS.into_iter().chain([
        ("session_authorization", user),
        ("application_name", application),
    ]) {
        output.add(&PgWireBackendMessage::ParameterStatus(
            ParameterStatus::new(name.to_owned(), value.to_owned()),
        ));
    }
    output.add(&PgWireBackendMessage::BackendKeyData(BackendKeyData::new(
        key.0,
        SecretKey::I32(key.1),
    )));
    given
}
