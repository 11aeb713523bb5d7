//! The server's side: accepts connections and answers their requests through a handler.
//!
//! The requests of one connection are handled one after the other, in the order in which they came, and so are
//! their responses sent: a producer may have several requests in flight and its batches still arrive in order.
//! A connection whose bytes make no sense is closed; it never takes another one with it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error, info, warn};

use super::NetError;
use super::connections::{ConnectionQuotas, ConnectionRefused};
use super::file::{FileRange, Output};
use super::frame::{Frame, FrameReader, FrameWriter, response_frame_with};
use crate::wire::messages::ApiVersionsRequest;
use crate::wire::{ApiKey, ErrorCode, Problem, Request, RequestHeader, Response, WireError};

/// Answers requests.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Whether requests of an API are handled; the connection is closed on one that is not, as Kafka closes it.
    fn handles(&self, _api: ApiKey) -> bool {
        true
    }

    /// Answers one request, or gives `None` where the protocol has no answer (a produce request with `acks` 0).
    ///
    /// The header's version is one that the catalogue declares; the response is sent in the same version.
    async fn handle(
        &self,
        header: &RequestHeader,
        request: Request,
        peer: SocketAddr,
    ) -> Option<Response>;

    /// The same for a handler that leaves records in their files, or makes its clients pause.
    async fn answer(&self, header: &RequestHeader, request: Request, peer: SocketAddr) -> Answered {
        let response = self.handle(header, request, peer).await;
        Answered {
            answer: response.map(Answer::from),
            mute: Duration::ZERO,
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Default)]
pub struct Answered {
    /// The answer, if the protocol has one.
    pub answer: Option<Answer>,
    /// For how long the connection's next request is not read.
    pub mute: Duration,
}

/// A response, and what of it lies in files.
#[derive(Debug)]
pub struct Answer {
    /// The response.
    pub response: Response,
    /// What fills, in order, the nullable byte strings of the response that are null.
    pub files: Vec<FileRange>,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Answer {
            response,
            files: Vec::new(),
        }
    }
}

#[async_trait]
impl<H: Handler + ?Sized> Handler for Arc<H> {
    fn handles(&self, api: ApiKey) -> bool {
        (**self).handles(api)
    }

    async fn handle(
        &self,
        header: &RequestHeader,
        request: Request,
        peer: SocketAddr,
    ) -> Option<Response> {
        (**self).handle(header, request, peer).await
    }

    async fn answer(&self, header: &RequestHeader, request: Request, peer: SocketAddr) -> Answered {
        (**self).answer(header, request, peer).await
    }
}

/// The limits of a listener, with Kafka's names and defaults.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `socket.request.max.bytes`: the longest request.
    pub socket_request_max_bytes: usize,
    /// `connections.max.idle.ms`: a connection without a request for this long is closed.
    pub connections_max_idle: Duration,
    /// How many connections there may be, and how fast new ones may come, on all listeners.
    pub connections: Arc<ConnectionQuotas>,
    /// The listener's name.
    pub listener: Arc<str>,
    /// How long requests under way may take when the listener shuts down.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            socket_request_max_bytes: 100 * 1024 * 1024,
            connections_max_idle: Duration::from_secs(600),
            connections: Arc::default(),
            listener: Arc::from("PLAINTEXT"),
            shutdown_grace: Duration::from_secs(1),
        }
    }
}

/// Accepts connections until `shutdown` is done, and answers their requests. When it returns, all its
/// connections are closed.
pub async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    limits: Limits,
    shutdown: impl Future<Output = ()> + Send,
) {
    let limits = Arc::new(limits);
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                report(ended);
                continue;
            }
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end first.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admitted = tokio::select! {
            () = &mut shutdown => break,
            admitted = limits.connections.admit(&limits.listener, peer.ip()) => admitted,
        };
        let slot = match admitted {
            Ok(slot) => slot,
            Err(refused) => {
                info!(%peer, "refused a connection: {refused}");
                if let ConnectionRefused::TooFast { after, .. } = refused {
                    connections.spawn(close_later(stream, after, stopped.clone()));
                }
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let handler = Arc::clone(&handler);
        let limits = Arc::clone(&limits);
        let stopped = stopped.clone();
        connections.spawn(async move {
            let (input, output) = stream.into_split();
            serve_connection(input, output, peer, &*handler, &limits, stopped).await;
            drop(slot);
        });
    }
    drop(listener);
    let _ = stop.send(true);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// Closes a connection that is not served after a while.
async fn close_later(stream: TcpStream, after: Duration, mut stopped: watch::Receiver<bool>) {
    let _ = tokio::time::timeout(after, stopped.wait_for(|stopped| *stopped)).await;
    drop(stream);
}

/// A handler that panics takes its connection down, and no other.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "a connection ended because its handler panicked");
    }
}

/// Answers the requests of one connection until it ends or `stopped` turns true.
pub async fn serve_connection<R, W, H>(
    input: R,
    output: W,
    peer: SocketAddr,
    handler: &H,
    limits: &Limits,
    stopped: watch::Receiver<bool>,
) where
    R: AsyncRead + Unpin,
    W: Output,
    H: Handler + ?Sized,
{
    let mut connection = Connection {
        reader: FrameReader::new(
            input,
            limits.socket_request_max_bytes,
            "socket.request.max.bytes",
        ),
        writer: FrameWriter::new(output),
        peer,
        handler,
        limits,
        stopped,
        mute: Duration::ZERO,
    };
    match connection.run().await {
        Ok(()) => debug!(%peer, "connection ended"),
        Err(error) if error.is_disconnect() => debug!(%peer, %error, "connection ended"),
        Err(error) => warn!(%peer, %error, "closing the connection"),
    }
    let _ = connection.writer.shutdown().await;
}

struct Connection<'a, R, W, H: ?Sized> {
    reader: FrameReader<R>,
    writer: FrameWriter<W>,
    peer: SocketAddr,
    handler: &'a H,
    limits: &'a Limits,
    stopped: watch::Receiver<bool>,
    /// For how long the next request is not read (KIP-219).
    mute: Duration,
}

impl<R, W, H> Connection<'_, R, W, H>
where
    R: AsyncRead + Unpin,
    W: Output,
    H: Handler + ?Sized,
{
    async fn run(&mut self) -> Result<(), NetError> {
        let grace = self.limits.shutdown_grace;
        loop {
            if !self.mute.is_zero() {
                let muted = self.stopped.wait_for(|stopped| *stopped);
                if tokio::time::timeout(self.mute, muted).await.is_ok() {
                    return Ok(());
                }
                self.mute = Duration::ZERO;
            }
            let idle = tokio::time::sleep(self.limits.connections_max_idle);
            let frame = tokio::select! {
                biased;
                _ = self.stopped.wait_for(|stopped| *stopped) => return Ok(()),
                frame = self.reader.next() => frame?,
                () = idle => {
                    debug!(peer = %self.peer, "closing an idle connection (connections.max.idle.ms)");
                    return Ok(());
                }
            };
            let Some(frame) = frame else { return Ok(()) };
            let mut stopped = self.stopped.clone();
            let deadline = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                biased;
                done = self.answer(frame) => done?,
                () = deadline => return Ok(()),
            }
        }
    }

    /// Handles one request and writes its response, if it has one.
    async fn answer(&mut self, frame: Bytes) -> Result<(), NetError> {
        let (response, mute) = respond(self.handler, self.peer, frame).await?;
        self.mute = mute;
        let Some(response) = response else {
            return Ok(());
        };
        // A client that never reads is as good as an idle one.
        let idle = self.limits.connections_max_idle;
        match tokio::time::timeout(idle, self.writer.write_frame(response)).await {
            Ok(written) => written,
            Err(_) => Err(NetError::NotReading { waited: idle }),
        }
    }
}

/// The frame that answers a frame, if one does, and for how long the next one is not read; an error closes the
/// connection.
async fn respond<H: Handler + ?Sized>(
    handler: &H,
    peer: SocketAddr,
    frame: Bytes,
) -> Result<(Option<Frame>, Duration), NetError> {
    let (mut header, body) = RequestHeader::decode(frame)?;
    if !handler.handles(header.api) {
        return Err(WireError::from(Problem::UnknownApiKey(header.api.key())).into());
    }
    let unsupported = !header.api.versions().contains(header.version);
    let request = if unsupported && header.api == ApiKey::ApiVersions {
        // A client cannot know our versions before it has asked. It can read version 0 (KIP-511).
        header.version = 0;
        ApiVersionsRequest::default().into()
    } else {
        Request::decode(header.api, header.version, body)?
    };
    let answered = handler.answer(&header, request, peer).await;
    let mute = answered.mute;
    let Some(mut answer) = answered.answer else {
        return Ok((None, mute));
    };
    if let Response::ApiVersions(response) = &mut answer.response
        && unsupported
    {
        response.error_code = ErrorCode::UnsupportedVersion.code();
        response
            .api_keys
            .retain(|api| api.api_key == ApiKey::ApiVersions.key());
    }
    let frame =
        response_frame_with(&header, &answer.response, answer.files).inspect_err(|error| {
            let (api, version) = (header.api, header.version);
            error!(%peer, ?api, version, %error, "the handler's response does not fit the version");
        })?;
    Ok((Some(frame), mute))
}
