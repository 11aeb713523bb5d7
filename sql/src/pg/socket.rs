//! A client's socket: messages in through a task of its own, messages out through a
//! buffer. What comes in is cut into whole messages before it is decoded, and no message
//! may be longer than [`LONGEST_MESSAGE`].

use super::error::{Failure, WireError};
use super::told;
use bytes::{Buf, BytesMut};
use pgwire::messages::{
    DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion,
};
use std::future::Future;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};

/// The longest message that is read.
const LONGEST_MESSAGE: usize = 64 << 20;
/// Rows are sent when so many bytes wait.
const SEND_FROM: usize = 32 << 10;
/// Messages that a client may send ahead.
const AHEAD: usize = 64;

/// A message, or why there are no more.
pub(super) type Incoming = Result<PgWireFrontendMessage, WireError>;

/// Starts to read. The second receiver tells when the client has gone.
pub(super) fn read(socket: OwnedReadHalf) -> (mpsc::Receiver<Incoming>, watch::Receiver<bool>) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (gone, told) = watch::channel(false);
    tokio::spawn(async move {
        read_all(socket, &sender).await;
        let _ = gone.send(true);
    });
    (receiver, told)
}

async fn read_all(mut socket: OwnedReadHalf, sender: &mpsc::Sender<Incoming>) {
    let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
    context.awaiting_frontend_ssl = false;
    context.awaiting_frontend_startup = false;
    let mut buffer = BytesMut::with_capacity(8 << 10);
    loop {
        match cut(&mut buffer) {
            Ok(Some(mut message)) => match PgWireFrontendMessage::decode(&mut message, &context) {
                Ok(Some(PgWireFrontendMessage::Terminate(_))) => return,
                Ok(Some(message)) => {
                    if sender.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {
                    let error = WireError::protocol("a message is shorter than its content");
                    let _ = sender.send(Err(error)).await;
                    return;
                }
                Err(error) => {
                    let error = WireError::protocol(format!("a message is not valid: {error}"));
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            },
            Ok(None) => {
                let read = tokio::select! {
                    read = socket.read_buf(&mut buffer) => read,
                    () = sender.closed() => return,
                };
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    }
}

/// The next whole message: its type, its length, its content.
fn cut(buffer: &mut BytesMut) -> Result<Option<BytesMut>, WireError> {
    let mut head: &[u8] = buffer.as_ref();
    if head.len() < 5 {
        return Ok(None);
    }
    head.advance(1);
    let length = usize::try_from(head.get_i32()).unwrap_or(0);
    if length < 4 {
        return Err(WireError::protocol("a message has no valid length"));
    }
    if length > LONGEST_MESSAGE {
        return Err(WireError::protocol(format!(
            "a message of {length} bytes is longer than {LONGEST_MESSAGE}"
        )));
    }
    if buffer.len() > length {
        return Ok(Some(buffer.split_to(length + 1)));
    }
    buffer.reserve(length + 1 - buffer.len());
    Ok(None)
}

/// The way out.
pub(super) struct Output {
    socket: OwnedWriteHalf,
    /// What is not sent yet. Rows are written to it directly.
    pub(super) buffer: BytesMut,
}

impl Output {
    pub(super) fn new(socket: OwnedWriteHalf) -> Self {
        Self {
            socket,
            buffer: BytesMut::with_capacity(SEND_FROM * 2),
        }
    }

    /// Adds a message, to be sent with the next flush.
    pub(super) fn add(&mut self, message: &PgWireBackendMessage) {
        let start = self.buffer.len();
        if let Err(error) = message.encode(&mut self.buffer) {
            self.buffer.truncate(start);
            tracing::warn!(%error, "a message to a Postgres client cannot be encoded");
            let told = WireError::new("XX000", format!("the answer cannot be encoded: {error}"));
            if told.message().encode(&mut self.buffer).is_err() {
                self.buffer.truncate(start);
            }
        }
    }

    /// Whether so much waits that it should be sent.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= SEND_FROM
    }

    /// Sends what waits. May be dropped and called again: nothing is lost or sent twice.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        while self.buffer.has_remaining() {
            if self.socket.write_buf(&mut self.buffer).await? == 0 {
                return Err(Failure::Closed);
            }
        }
        Ok(())
    }

    /// Sends what waits, unless the client does not take it in time, and closes.
    pub(super) async fn close(mut self) {
        let finish = async {
            let _ = self.flush().await;
            let _ = self.socket.shutdown().await;
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), finish).await;
    }
}

/// What may end a statement from outside.
pub(super) struct Interrupts {
    pub(super) cancel: watch::Receiver<u64>,
    pub(super) gone: watch::Receiver<bool>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Interrupts {
    /// Forgets a cancel that came too late for what ran before.
    pub(super) fn arm(&mut self) {
        self.cancel.borrow_and_update();
    }

    /// Runs `work` unless it is interrupted; that the client has gone interrupts only
    /// what is `endless`.
    pub(super) async fn guard<T>(
        &mut self,
        endless: bool,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let Self { cancel, gone, stop } = self;
        tokio::select! {
            biased;
            () = told(stop) => Err(Failure::Stopping),
            Ok(()) = cancel.changed() => Err(WireError::new(
                "57014",
                "canceling statement due to user request",
            )
            .into()),
            () = told(gone), if endless => Err(Failure::Closed),
            done = work => Ok(done),
        }
    }

    /// Waits for the server to stop.
    pub(super) async fn stopping(&mut self) {
        told(&mut self.stop).await;
    }
}
