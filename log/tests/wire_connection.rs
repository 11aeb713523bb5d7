//! Both ends of a connection against each other, over TCP and over pipes, with well-behaved and broken peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use thalweg_log::net::{
    Answer, Answered, ClientConnection, ConnectionLimits, ConnectionOptions, ConnectionQuotas,
    FrameReader, FrameWriter, Handler, Limits, NetError, request_frame, serve, serve_connection,
};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiKey, ErrorCode, Request, RequestHeader, Response, catalogue};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};

const LONG: Duration = Duration::from_secs(30);

/// Answers in a way that shows what was asked.
#[derive(Default)]
struct Echo {
    release_fetch: Notify,
    fetching: Notify,
    cancelled: Arc<AtomicBool>,
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Handler for Echo {
    async fn handle(
        &self,
        _header: &RequestHeader,
        request: Request,
        _peer: SocketAddr,
    ) -> Option<Response> {
        match request {
            Request::ApiVersions(_) => Some(
                ApiVersionsResponse {
                    api_keys: catalogue::advertised(|_| true),
                    ..Default::default()
                }
                .into(),
            ),
            Request::Produce(request) if request.acks == 0 => None,
            Request::Produce(request) => Some(
                ProduceResponse {
                    throttle_time_ms: request.timeout_ms,
                    ..Default::default()
                }
                .into(),
            ),
            Request::Fetch(request) => {
                let guard = SetOnDrop(Arc::clone(&self.cancelled));
                self.fetching.notify_one();
                if request.max_wait_ms > 0 {
                    self.release_fetch.notified().await;
                }
                std::mem::forget(guard);
                let records = Bytes::from(vec![7; request.max_bytes as usize]);
                Some(
                    FetchResponse {
                        responses: vec![FetchableTopicResponse {
                            partitions: vec![PartitionData {
                                records: Some(records),
                                ..Default::default()
                            }],
                            ..Default::default()
                        }],
                        ..Default::default()
                    }
                    .into(),
                )
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

struct Server {
    address: SocketAddr,
    handler: Arc<Echo>,
    stop: Option<oneshot::Sender<()>>,
    running: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handler = Arc::new(Echo::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(serve(listener, Arc::clone(&handler), limits, async {
            let _ = stopped.await;
        }));
        Server {
            address,
            handler,
            stop: Some(stop),
            running,
        }
    }

    async fn connect(&self) -> ClientConnection {
        let options = ConnectionOptions {
            client_id: Some("test".into()),
            ..Default::default()
        };
        ClientConnection::connect(&self.address.to_string(), options)
            .await
            .unwrap()
    }
}

fn produce(number: i32, acks: i16) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: number,
        ..Default::default()
    }
}

fn fetch(max_wait_ms: i32, max_bytes: i32) -> FetchRequest {
    FetchRequest {
        max_wait_ms,
        max_bytes,
        ..Default::default()
    }
}

#[tokio::test]
async fn requests_in_flight_are_answered_in_order() {
    let server = Server::start(Limits::default()).await;
    let connection = server.connect().await;
    let versions = connection
        .api_versions(Default::default(), LONG)
        .await
        .unwrap();
    assert_eq!(versions.api_keys, catalogue::advertised(|_| true));

    let held = connection.send(fetch(1, 5).into(), 12, LONG);
    let mut answers = Vec::new();
    for number in 0..100 {
        if number % 10 == 0 {
            // These have no answer, and must not confuse the others.
            let silent = produce(-1, 0).into();
            connection.send_without_response(&silent, 9).unwrap();
        }
        answers.push(connection.send(produce(number, 1).into(), 9, LONG));
    }
    server.handler.fetching.notified().await;
    server.handler.release_fetch.notify_one();
    assert!(matches!(held.await.unwrap(), Response::Fetch(_)));
    for (number, answer) in answers.into_iter().enumerate() {
        let Response::Produce(response) = answer.await.unwrap() else {
            panic!("not a produce response")
        };
        assert_eq!(response.throttle_time_ms, number as i32);
    }
}

#[tokio::test]
async fn large_payloads_pass() {
    let server = Server::start(Limits::default()).await;
    let connection = server.connect().await;
    for size in [0, 1023, 1024, 3_000_000] {
        let response = connection.call(fetch(0, size), 17, LONG).await.unwrap();
        let records = response.responses[0].partitions[0].records.as_ref();
        assert_eq!(records.unwrap(), &vec![7; size as usize]);
    }
}

/// A client that is newer than we are asks in a version we do not know, and learns in version 0 what we have.
#[tokio::test]
async fn unknown_version_of_api_versions_is_answered_in_version_0() {
    let server = Server::start(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    // A flexible header and a body that only the newer version can read.
    let body = b"\0\x12\0\x63\0\0\0\x2a\0\x01c\0what-comes-here-is-unknown";
    stream
        .write_all(&(body.len() as i32).to_be_bytes())
        .await
        .unwrap();
    stream.write_all(body).await.unwrap();
    let mut reader = FrameReader::new(&mut stream, 1 << 20, "test");
    let frame = reader.next().await.unwrap().unwrap();
    let (header, response) = Response::decode_frame(frame, ApiKey::ApiVersions, 0).unwrap();
    assert_eq!(header.correlation_id, 42);
    let Response::ApiVersions(response) = response else {
        panic!("another response")
    };
    let error = ErrorCode::from(response.error_code);
    assert_eq!(error, ErrorCode::UnsupportedVersion);
    // As Kafka does: the client only needs to know in which version to ask again (KIP-511).
    let [api] = response.api_keys.as_slice() else {
        panic!("{:?}", response.api_keys)
    };
    assert_eq!((api.api_key, api.min_version, api.max_version), (18, 0, 4));
}

/// Makes its clients pause after each request for as many seconds as the request says.
#[derive(Default)]
struct Muting {
    handled: AtomicUsize,
}

#[async_trait]
impl Handler for Muting {
    async fn handle(&self, _: &RequestHeader, _: Request, _: SocketAddr) -> Option<Response> {
        None
    }

    async fn answer(&self, _: &RequestHeader, request: Request, _: SocketAddr) -> Answered {
        let Request::Produce(request) = request else {
            panic!("unexpected {request:?}");
        };
        self.handled.fetch_add(1, Ordering::SeqCst);
        let response = Response::from(ProduceResponse::default());
        Answered {
            answer: (request.acks != 0).then(|| Answer::from(response)),
            mute: Duration::from_secs(request.timeout_ms.try_into().unwrap()),
        }
    }
}

/// The answer comes at once, and what is sent behind it is not read; also where there is no answer.
#[tokio::test]
async fn a_muted_connection_is_not_read() {
    for (seconds, acks, handled) in [(0, 1, 2), (3600, 1, 1), (3600, 0, 1)] {
        let (near, far) = duplex(1 << 16);
        let (input, output) = split(far);
        let (stop, stopped) = watch::channel(false);
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let (limits, handler) = (Limits::default(), Muting::default());
        let serving = serve_connection(input, output, peer, &handler, &limits, stopped);
        let client = async {
            let (input, output) = split(near);
            let mut reader = FrameReader::new(input, 1000, "");
            let mut writer = FrameWriter::new(output);
            for _ in 0..2 {
                let header = RequestHeader::new(ApiKey::Produce, 9, 0, None);
                let request = request_frame(&header, &produce(seconds, acks).into()).unwrap();
                writer.write(request).await.unwrap();
            }
            if acks != 0 {
                assert!(reader.next().await.unwrap().is_some());
            }
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            // A stop does not wait for the end of the pause.
            stop.send(true).unwrap();
        };
        tokio::join!(serving, client);
        assert_eq!(handler.handled.load(Ordering::SeqCst), handled);
    }
}

/// What the server does with a connection that sends `bytes`: closes it, without an answer.
async fn closes_on(server: &Server, bytes: &[u8]) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut rest = Vec::new();
    // A reset is as good as an orderly end: the server did not read everything.
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "answered {bytes:?}");
}

#[tokio::test]
async fn nonsense_closes_the_connection_and_no_other() {
    let limits = Limits {
        socket_request_max_bytes: 1000,
        ..Default::default()
    };
    let server = Server::start(limits).await;
    let good = server.connect().await;

    // Longer than socket.request.max.bytes, negative, and what a TLS or an HTTP client sends.
    closes_on(&server, &1001i32.to_be_bytes()).await;
    closes_on(&server, &(-1i32).to_be_bytes()).await;
    closes_on(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    closes_on(&server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    // An API that no one has, a version that Produce does not have, a body that ends early.
    closes_on(&server, b"\0\0\0\x0a\x7f\0\0\0\0\0\0\0\xff\xff").await;
    closes_on(&server, b"\0\0\0\x0a\0\0\0\x02\0\0\0\0\xff\xff").await;
    closes_on(&server, b"\0\0\0\x0b\0\x03\0\x01\0\0\0\0\xff\xff\0").await;

    let answer = good.call(produce(5, 1), 9, LONG).await.unwrap();
    assert_eq!(answer.throttle_time_ms, 5);
}

#[tokio::test]
async fn a_request_beyond_the_limit_fails_with_the_reason_on_both_sides() {
    let (near, far) = duplex(64);
    let (input, output) = split(far);
    let mut reader = FrameReader::new(input, 10, "socket.request.max.bytes");
    let header = RequestHeader::new(ApiKey::Produce, 9, 0, None);
    let frame = request_frame(&header, &produce(1, 1).into()).unwrap();
    let mut writer = FrameWriter::new(near);
    let (_, read) = tokio::join!(writer.write(frame), reader.next());
    let error = read.unwrap_err();
    assert!(
        error.to_string().contains("socket.request.max.bytes"),
        "{error}"
    );
    drop(output);
}

#[tokio::test]
async fn frames_arrive_whole_however_they_are_cut() {
    let mut bytes = Vec::new();
    for length in [0usize, 1, 5, 40_000, 3] {
        bytes.extend((length as i32).to_be_bytes());
        bytes.extend((0..length).map(|at| (at * 7 + length) as u8));
    }
    for cut in [1, 3, 4, 7, 1000, bytes.len()] {
        let (mut near, far) = duplex(cut);
        let mut reader = FrameReader::new(far, 1 << 20, "test");
        let sent = bytes.clone();
        let writing = tokio::spawn(async move {
            near.write_all(&sent).await.unwrap();
        });
        let mut again = Vec::new();
        while let Some(frame) = reader.next().await.unwrap() {
            again.extend((frame.len() as i32).to_be_bytes());
            again.extend(&frame[..]);
        }
        writing.await.unwrap();
        assert!(again == bytes, "cut into pieces of {cut}");
    }
}

#[tokio::test]
async fn an_end_inside_a_frame_is_an_error() {
    for sent in [&b"\0\0"[..], &b"\0\0\0\x05abc"[..]] {
        let (mut near, far) = duplex(64);
        near.write_all(sent).await.unwrap();
        drop(near);
        let mut reader = FrameReader::new(far, 100, "test");
        let error = reader.next().await.unwrap_err();
        assert!(
            matches!(error, NetError::Truncated { missing: 2 }),
            "{error}"
        );
    }
}

/// Long byte strings go out from where they lie; the bytes are those of the plain encoding.
#[tokio::test]
async fn vectored_frames_copy_no_payload_and_have_the_same_bytes() {
    let records: Vec<Bytes> = [10, 1024, 5000, 0]
        .iter()
        .map(|length| Bytes::from(vec![1; *length]))
        .collect();
    for version in ApiKey::Produce.versions().min..=ApiKey::Produce.versions().max {
        let request = Request::Produce(ProduceRequest {
            topic_data: vec![TopicProduceData {
                partition_data: records
                    .iter()
                    .map(|records| PartitionProduceData {
                        records: Some(records.clone()),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            ..Default::default()
        });
        let header = RequestHeader::new(ApiKey::Produce, version, 1, Some("c".into()));
        let mut frame = request_frame(&header, &request).unwrap();
        for long in &records[1..3] {
            assert!(frame.iter().any(|part| part.as_ptr() == long.as_ptr()));
        }
        let mut bytes = frame.copy_to_bytes(frame.remaining());
        assert_eq!(bytes.get_i32() as usize, bytes.len());
        let (again, body) = RequestHeader::decode(bytes).unwrap();
        assert_eq!(again, header);
        let mut plain = BytesMut::new();
        request.encode(&mut plain, version).unwrap();
        assert_eq!(body, plain.freeze());
    }
}

#[tokio::test]
async fn a_lost_connection_fails_everything_in_flight_and_later() {
    let (near, far) = duplex(1 << 16);
    let (input, output) = split(near);
    let connection = ClientConnection::over(input, output, ConnectionOptions::default());
    let first = connection.send(produce(1, 1).into(), 9, LONG);
    let second = connection.send(produce(2, 1).into(), 9, LONG);
    drop(far);
    assert!(first.await.unwrap_err().is_disconnect());
    assert!(second.await.unwrap_err().is_disconnect());
    assert!(connection.is_closed());
    let later = connection.send(produce(3, 1).into(), 9, LONG).await;
    assert!(later.unwrap_err().is_disconnect());
}

#[tokio::test]
async fn an_answer_to_nothing_closes_the_clients_side() {
    let (near, mut far) = duplex(1 << 16);
    let (input, output) = split(near);
    let connection = ClientConnection::over(input, output, ConnectionOptions::default());
    let asked = connection.send(produce(1, 1).into(), 8, LONG);
    far.write_all(b"\0\0\0\x04\0\0\0\x63").await.unwrap();
    let error = asked.await.unwrap_err();
    assert!(
        matches!(error, NetError::UnknownCorrelationId(0x63)),
        "{error}"
    );
}

#[tokio::test]
async fn no_answer_in_time_closes_the_connection() {
    let (near, _far) = duplex(1 << 16);
    let (input, output) = split(near);
    let connection = ClientConnection::over(input, output, ConnectionOptions::default());
    let slow = connection.send(produce(1, 1).into(), 8, Duration::ZERO);
    let behind = connection.send(produce(2, 1).into(), 8, LONG);
    let (slow, behind) = tokio::join!(slow, behind);
    assert!(matches!(slow, Err(NetError::TimedOut { .. })));
    assert!(matches!(behind, Err(NetError::TimedOut { .. })));
    assert!(connection.is_closed());
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (mut near, far) = duplex(1 << 16);
    let (input, output) = split(far);
    let (_stop, stopped) = watch::channel(false);
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let handler = Echo::default();
    let limits = Limits {
        connections_max_idle: Duration::ZERO,
        ..Default::default()
    };
    serve_connection(input, output, peer, &handler, &limits, stopped).await;
    let mut rest = Vec::new();
    assert_eq!(near.read_to_end(&mut rest).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_never_reads_does_not_hold_up_a_shutdown() {
    let limits = Limits {
        shutdown_grace: Duration::ZERO,
        ..Default::default()
    };
    let mut server = Server::start(limits).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (input, output) = stream.into_split();
    let mut writer = FrameWriter::new(output);
    let header = RequestHeader::new(ApiKey::Fetch, 12, 0, None);
    // Far more than the socket's buffers hold.
    let request = request_frame(&header, &fetch(0, 64 << 20).into()).unwrap();
    writer.write(request).await.unwrap();
    server.handler.fetching.notified().await;
    let _ = server.stop.take().unwrap().send(());
    server.running.await.unwrap();
    drop(input);
}

#[tokio::test]
async fn shutting_down_ends_connections_and_what_they_wait_for() {
    let limits = Limits {
        shutdown_grace: Duration::ZERO,
        ..Default::default()
    };
    let mut server = Server::start(limits).await;
    let idle = server.connect().await;
    let waiting = server.connect().await;
    let answer = waiting.send(fetch(1, 1).into(), 12, LONG);
    server.handler.fetching.notified().await;
    let _ = server.stop.take().unwrap().send(());
    server.running.await.unwrap();
    assert!(server.handler.cancelled.load(Ordering::SeqCst));
    assert!(answer.await.unwrap_err().is_disconnect());
    let refused = idle.call(produce(1, 1), 9, LONG).await;
    assert!(refused.unwrap_err().is_disconnect());
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn connections_beyond_the_maximum_wait() {
    let limits = ConnectionLimits {
        max: 1,
        ..Default::default()
    };
    let connections = Arc::new(ConnectionQuotas::new(limits));
    let limits = Limits {
        connections: Arc::clone(&connections),
        ..Default::default()
    };
    let server = Server::start(limits).await;
    let first = server.connect().await;
    first.call(produce(1, 1), 9, LONG).await.unwrap();
    let second = server.connect().await;
    let third = server.connect().await;
    let waiting = second.send(produce(2, 1).into(), 9, LONG);
    first.call(produce(3, 1), 9, LONG).await.unwrap();
    drop(first);
    waiting.await.unwrap();
    // A larger limit lets those in that wait.
    connections.update(ConnectionLimits::default());
    third.call(produce(4, 1), 9, LONG).await.unwrap();
    second.call(produce(5, 1), 9, LONG).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_those_of_an_address_are_closed() {
    let limits = ConnectionLimits {
        max_per_ip: 1,
        ..Default::default()
    };
    let limits = Limits {
        connections: Arc::new(ConnectionQuotas::new(limits)),
        ..Default::default()
    };
    let server = Server::start(limits).await;
    let first = server.connect().await;
    first.call(produce(1, 1), 9, LONG).await.unwrap();
    let second = server.connect().await;
    let refused = second.call(produce(2, 1), 9, LONG).await;
    assert!(refused.unwrap_err().is_disconnect());
    first.call(produce(3, 1), 9, LONG).await.unwrap();
}
