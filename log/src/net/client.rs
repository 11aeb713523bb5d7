//! The client's side of one connection: many requests in flight, each answered by its correlation id.
//!
//! Requests go out in the order in which [`ClientConnection::send`] was called, whenever the futures it returns
//! are polled. Once anything is wrong with the connection, every request in flight fails with the reason, and
//! so does every later one.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::NetError;
use super::frame::{FrameReader, FrameWriter, Parts, request_frame};
use crate::wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{
    ApiKey, ApiRequest, ErrorCode, Message, Request, RequestHeader, Response, ResponseHeader, Str,
};

/// How to make a connection.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// `client.id`: what the client calls itself.
    pub client_id: Option<Str>,
    /// `socket.connection.setup.timeout.ms`: how long connecting may take.
    pub connect_timeout: Duration,
    /// The longest response to accept.
    pub max_response_bytes: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        ConnectionOptions {
            client_id: None,
            connect_timeout: Duration::from_secs(10),
            max_response_bytes: 1 << 30,
        }
    }
}

/// One connection to a broker. Dropping it closes it.
#[derive(Debug)]
pub struct ClientConnection {
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<Parts>,
    client_id: Option<Str>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The reading and the writing task; the connection is open for as long as they live.
    tasks: OnceLock<[AbortHandle; 2]>,
}

#[derive(Debug, Default)]
struct State {
    next_correlation_id: i32,
    in_flight: HashMap<i32, InFlight>,
    failed: Option<NetError>,
}

#[derive(Debug)]
struct InFlight {
    api: ApiKey,
    version: i16,
    answer: oneshot::Sender<Result<Response, NetError>>,
}

impl Shared {
    /// Ends the connection: the first reason counts, and everything in flight fails with it.
    fn fail(&self, error: NetError) {
        let in_flight = {
            let mut state = self.state.lock();
            if state.failed.is_none() {
                state.failed = Some(error.clone());
            }
            std::mem::take(&mut state.in_flight)
        };
        for request in in_flight.into_values() {
            let _ = request.answer.send(Err(error.clone()));
        }
        for task in self.tasks.get().into_iter().flatten() {
            task.abort();
        }
    }
}

impl ClientConnection {
    /// Connects over TCP.
    pub async fn connect(
        address: &str,
        options: ConnectionOptions,
    ) -> Result<ClientConnection, NetError> {
        let timeout = options.connect_timeout;
        let connecting = tokio::time::timeout(timeout, TcpStream::connect(address)).await;
        let stream = match connecting {
            Ok(result) => result.map_err(NetError::io("connect"))?,
            Err(_) => {
                let address = address.to_owned();
                return Err(NetError::ConnectTimedOut { address, timeout });
            }
        };
        stream
            .set_nodelay(true)
            .map_err(NetError::io("set TCP_NODELAY"))?;
        let (input, output) = stream.into_split();
        Ok(ClientConnection::over(input, output, options))
    }

    /// Speaks over any byte stream. Must be called in a tokio runtime, on which the connection then lives.
    pub fn over<R, W>(input: R, output: W, options: ConnectionOptions) -> ClientConnection
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        let (outgoing, queue) = mpsc::unbounded_channel();
        let reader = FrameReader::new(input, options.max_response_bytes, "the client's limit");
        let reading = tokio::spawn(read(reader, Arc::clone(&shared))).abort_handle();
        let writer = FrameWriter::new(output);
        let writing = tokio::spawn(write(writer, queue, Arc::clone(&shared))).abort_handle();
        let _ = shared.tasks.set([reading, writing]);
        ClientConnection {
            shared,
            outgoing,
            client_id: options.client_id,
        }
    }

    /// Sends a request in a version and gives the future of its response.
    ///
    /// The request is on its way when this returns. If no answer comes in time the connection is closed,
    /// because the answers of a connection come in order.
    pub fn send(
        &self,
        request: Request,
        version: i16,
        timeout: Duration,
    ) -> impl Future<Output = Result<Response, NetError>> + Send + 'static {
        let api = request.api();
        let deadline = tokio::time::Instant::now() + timeout;
        let (answer, answered) = oneshot::channel();
        let sent = self.enqueue(&request, version, Some(answer));
        let shared = Arc::clone(&self.shared);
        async move {
            sent?;
            match tokio::time::timeout_at(deadline, answered).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(NetError::Closed),
                Err(_) => {
                    let error = NetError::TimedOut { api, timeout };
                    shared.fail(error.clone());
                    Err(error)
                }
            }
        }
    }

    /// Sends a request that has no response: a produce request with `acks` 0.
    pub fn send_without_response(&self, request: &Request, version: i16) -> Result<(), NetError> {
        self.enqueue(request, version, None)
    }

    /// Sends a request and waits for the response of its type.
    pub async fn call<Q: ApiRequest>(
        &self,
        request: Q,
        version: i16,
        timeout: Duration,
    ) -> Result<Q::Response, NetError> {
        let response = self.send(request.into_request(), version, timeout).await?;
        Ok(Q::response_of(response)?)
    }

    /// Asks the broker for its APIs. A broker too old for our version answers in version 0, and so do we ask
    /// again.
    pub async fn api_versions(
        &self,
        request: ApiVersionsRequest,
        timeout: Duration,
    ) -> Result<ApiVersionsResponse, NetError> {
        let newest = ApiKey::ApiVersions.versions().max;
        let response = self.call(request, newest, timeout).await?;
        if ErrorCode::from(response.error_code) != ErrorCode::UnsupportedVersion {
            return Ok(response);
        }
        self.call(ApiVersionsRequest::default(), 0, timeout).await
    }

    /// Whether the connection has failed or was closed.
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().failed.is_some()
    }

    /// Closes the connection; what is in flight fails.
    pub fn close(&self) {
        self.shared.fail(NetError::Closed);
    }

    fn enqueue(
        &self,
        request: &Request,
        version: i16,
        answer: Option<oneshot::Sender<Result<Response, NetError>>>,
    ) -> Result<(), NetError> {
        let api = request.api();
        // The lock spans numbering, registering and queueing, so that the queue is in order. What can be
        // costly, the payload, is not copied.
        let mut state = self.shared.state.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        let id = state.next_correlation_id;
        let header = RequestHeader::new(api, version, id, self.client_id.clone());
        let frame = request_frame(&header, request)?;
        state.next_correlation_id = id.wrapping_add(1);
        if let Some(answer) = answer {
            let in_flight = InFlight {
                api,
                version,
                answer,
            };
            state.in_flight.insert(id, in_flight);
        }
        self.outgoing.send(frame).map_err(|_| NetError::Closed)
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.close();
    }
}

/// Matches responses with requests until the connection ends.
async fn read<R: AsyncRead + Unpin>(mut reader: FrameReader<R>, shared: Arc<Shared>) {
    loop {
        let result = match reader.next().await {
            Ok(Some(frame)) => dispatch(frame, &shared),
            Ok(None) => Err(NetError::Disconnected),
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            shared.fail(error);
            return;
        }
    }
}

fn dispatch(frame: Bytes, shared: &Shared) -> Result<(), NetError> {
    let id = ResponseHeader::peek_correlation_id(&frame)?;
    let Some(request) = shared.state.lock().in_flight.remove(&id) else {
        return Err(NetError::UnknownCorrelationId(id));
    };
    let response = decode(frame, request.api, request.version);
    let failed = response.as_ref().err().cloned();
    let _ = request.answer.send(response);
    failed.map_or(Ok(()), Err)
}

fn decode(frame: Bytes, api: ApiKey, version: i16) -> Result<Response, NetError> {
    let (_, body) = ResponseHeader::decode(frame, api, version)?;
    if api == ApiKey::ApiVersions {
        // The error code comes first in every version, and "unsupported version" is said in version 0.
        let unsupported = ErrorCode::UnsupportedVersion.code().to_be_bytes();
        if body.starts_with(&unsupported) {
            let response = ApiVersionsResponse::decode_all(body, 0)?;
            return Ok(Response::ApiVersions(response));
        }
    }
    Ok(Response::decode(api, version, body)?)
}

/// Writes requests as they come, those that wait together at once.
async fn write<W: AsyncWrite + Unpin>(
    mut writer: FrameWriter<W>,
    mut queue: mpsc::UnboundedReceiver<Parts>,
    shared: Arc<Shared>,
) {
    while let Some(mut frame) = queue.recv().await {
        while let Ok(more) = queue.try_recv() {
            frame.append(more);
        }
        if let Err(error) = writer.write(frame).await {
            shared.fail(error);
            return;
        }
    }
}
