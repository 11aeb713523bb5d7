//! The transport over TCP: connections to the brokers of a cluster.
//!
//! Invariants: each broker and lane has one connection at most, made when it is first
//! needed and made anew, with backoff, when it broke; what a lane takes over for a broker
//! is written in that order; a request is written at most once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::core::backoff;
use super::transport::{Call, Destination, Lane, Reply, Transport};
use super::{ClientConfig, ClientError, Node};
use crate::net::{ClientConnection, ConnectionOptions, NetError};
use crate::wire::messages::{ApiVersionsRequest, ProduceResponse};
use crate::wire::{ApiKey, ErrorCode, Request, Response, Str, catalogue};

/// Carries requests over TCP. [`Client::connect`](super::Client::connect) makes one.
#[derive(Debug)]
pub struct TcpTransport {
    shared: Arc<Shared>,
    links: Mutex<HashMap<(Destination, Lane), mpsc::UnboundedSender<Queued>>>,
    runtime: Handle,
}

#[derive(Debug)]
struct Shared {
    bootstrap: Vec<String>,
    nodes: RwLock<BTreeMap<i32, Node>>,
    config: ClientConfig,
}

/// A request that a link has taken over. Who asked gets the future of the answer once the
/// request is on its way, so that the link waits for no answer.
#[derive(Debug)]
struct Queued {
    call: Call,
    sent: oneshot::Sender<Result<Answer, ClientError>>,
}

/// The future of an answer.
struct Answer(BoxFuture<'static, Result<Reply, ClientError>>);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

impl TcpTransport {
    /// A transport to the cluster of which one of `bootstrap`, a list of `host:port`
    /// separated by commas, is a broker. Connects when first used.
    pub fn new(bootstrap: &str, config: &ClientConfig) -> Result<Self, ClientError> {
        let bootstrap = addresses(bootstrap)?;
        let runtime = match &config.runtime {
            Some(handle) => handle.clone(),
            None => Handle::try_current().map_err(|_| ClientError::NoRuntime)?,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                bootstrap,
                nodes: RwLock::default(),
                config: config.clone(),
            }),
            links: Mutex::default(),
            runtime,
        })
    }

    fn enqueue(&self, mut queued: Queued) {
        let key = (queued.call.destination, queued.call.lane);
        let mut links = self.links.lock();
        if let Some(link) = links.get(&key) {
            match link.send(queued) {
                Ok(()) => return,
                Err(mpsc::error::SendError(back)) => queued = back,
            }
        }
        let (link, queue) = mpsc::unbounded_channel();
        let task = Link {
            shared: self.shared.clone(),
            destination: key.0,
            connection: None,
            failures: 0,
            not_before: None,
            unanswered: false,
        };
        self.runtime.spawn(task.run(queue));
        let _ = link.send(queued);
        links.insert(key, link);
    }
}

impl Transport for TcpTransport {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
        let (sent, answer) = oneshot::channel();
        self.enqueue(Queued { call, sent });
        async move {
            match answer.await {
                Ok(Ok(answer)) => answer.0.await,
                Ok(Err(error)) => Err(error),
                // The runtime of the connections is gone.
                Err(_) => Err(ClientError::Closed("client")),
            }
        }
        .boxed()
    }

    fn update_brokers(&self, brokers: &[Node]) {
        *self.shared.nodes.write() = brokers.iter().map(|b| (b.id, b.clone())).collect();
    }

    fn close_lane(&self, lane: Lane) {
        self.links.lock().retain(|(_, l), _| *l != lane);
    }

    fn describe(&self) -> String {
        self.shared.bootstrap.join(",")
    }
}

/// The task behind one connection.
struct Link {
    shared: Arc<Shared>,
    destination: Destination,
    connection: Option<Connected>,
    failures: u32,
    not_before: Option<Instant>,
    /// The last request has no answer that would say that it has arrived.
    unanswered: bool,
}

struct Connected {
    connection: ClientConnection,
    address: String,
    versions: HashMap<i16, (i16, i16)>,
}

impl Link {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Queued>) {
        while let Some(queued) = queue.recv().await {
            if let Err(error) = self.connected(queued.call.timeout).await {
                let _ = queued.sent.send(Err(error.clone()));
                // Who came in the meantime would only wait for the same again.
                while let Ok(queued) = queue.try_recv() {
                    let _ = queued.sent.send(Err(error.clone()));
                }
                continue;
            }
            if let Some(connected) = &self.connection {
                self.unanswered = has_no_answer(&queued.call.request);
                let _ = queued
                    .sent
                    .send(connected.send(queued.call, self.destination));
            }
        }
        // Closing would drop what is not written yet. Requests are answered in order, so
        // an answer to this one says that the others have arrived.
        if let Some(connected) = self.connection.filter(|_| self.unanswered) {
            let timeout = self.shared.config.request_timeout_ms;
            let request = ApiVersionsRequest::default();
            if let Err(error) = connected.connection.api_versions(request, timeout).await {
                tracing::warn!(%error, "requests without acknowledgement may not have arrived");
            }
        }
    }

    /// Makes sure that there is a connection, to where the broker is now.
    async fn connected(&mut self, patience: Duration) -> Result<(), ClientError> {
        let addresses = self.addresses()?;
        if let Some(connected) = &self.connection {
            let moved = matches!(self.destination, Destination::Broker(_))
                && !addresses.contains(&connected.address);
            if !connected.connection.is_closed() && !moved {
                return Ok(());
            }
            self.connection = None;
        }
        if let Some(at) = self.not_before {
            tokio::time::sleep_until(at.min(Instant::now() + patience).into()).await;
        }
        let mut reasons = Vec::new();
        for address in &addresses {
            match self.connect(address).await {
                Ok(connected) => {
                    tracing::debug!(%address, "connected");
                    self.connection = Some(connected);
                    self.failures = 0;
                    self.not_before = None;
                    return Ok(());
                }
                Err(error) => reasons.push(match addresses.len() {
                    1 => error.to_string(),
                    _ => format!("{address}: {error}"),
                }),
            }
        }
        let config = &self.shared.config;
        self.not_before = Some(
            Instant::now()
                + backoff(
                    config.reconnect_backoff_ms,
                    config.reconnect_backoff_max_ms,
                    self.failures,
                ),
        );
        self.failures += 1;
        Err(ClientError::Connection {
            to: addresses.join(","),
            reason: reasons.join("; "),
        })
    }

    /// Where to connect to, best first.
    fn addresses(&self) -> Result<Vec<String>, ClientError> {
        let nodes = self.shared.nodes.read();
        match self.destination {
            Destination::Broker(id) => nodes
                .get(&id)
                .map(|node| vec![address_of(node)])
                .ok_or_else(|| ClientError::Connection {
                    to: format!("broker {id}"),
                    reason: "the cluster's metadata do not name it".to_owned(),
                }),
            Destination::Any => {
                let mut addresses: Vec<String> = nodes.values().map(address_of).collect();
                for bootstrap in &self.shared.bootstrap {
                    if !addresses.contains(bootstrap) {
                        addresses.push(bootstrap.clone());
                    }
                }
                // Each link prefers another broker, so that the load spreads.
                if !addresses.is_empty() {
                    let start = rand::random_range(0..addresses.len());
                    addresses.rotate_left(start);
                }
                Ok(addresses)
            }
        }
    }

    async fn connect(&self, address: &str) -> Result<Connected, NetError> {
        let config = &self.shared.config;
        let options = ConnectionOptions {
            client_id: Some(Str::from(&config.client_id)),
            connect_timeout: config.socket_connection_setup_timeout_ms,
            ..ConnectionOptions::default()
        };
        let connection = ClientConnection::connect(address, options).await?;
        let request = ApiVersionsRequest {
            client_software_name: Str::from("thalweg"),
            client_software_version: Str::from(env!("CARGO_PKG_VERSION")),
            ..ApiVersionsRequest::default()
        };
        let response = connection
            .api_versions(request, config.request_timeout_ms)
            .await?;
        let code = ErrorCode::from(response.error_code);
        if code.is_error() {
            tracing::warn!(%address, %code, "the broker does not tell its API versions");
        }
        Ok(Connected {
            connection,
            address: address.to_owned(),
            versions: response
                .api_keys
                .iter()
                .map(|v| (v.api_key, (v.min_version, v.max_version)))
                .collect(),
        })
    }
}

impl Connected {
    /// Puts the request on its way.
    fn send(&self, call: Call, destination: Destination) -> Result<Answer, ClientError> {
        let api = call.request.api();
        let from = match destination {
            Destination::Any => self.address.clone(),
            Destination::Broker(id) => format!("broker {id} at {}", self.address),
        };
        let version = self.version(api, &call).ok_or_else(|| {
            let (min, max) = (call.min_version, call.max_version.min(api.versions().max));
            ClientError::Unsupported {
                to: from.clone(),
                what: format!("{} in a version from {min} to {max}", api.name()),
            }
        })?;
        if has_no_answer(&call.request) {
            self.connection
                .send_without_response(&call.request, version)
                .map_err(|error| client_error(error, api, from))?;
            let response = Response::Produce(ProduceResponse::default());
            let reply = Reply { response, version };
            return Ok(Answer(futures::future::ready(Ok(reply)).boxed()));
        }
        let answer = self.connection.send(call.request, version, call.timeout);
        Ok(Answer(
            async move {
                match answer.await {
                    Ok(response) => Ok(Reply { response, version }),
                    Err(error) => Err(client_error(error, api, from)),
                }
            }
            .boxed(),
        ))
    }

    fn version(&self, api: ApiKey, call: &Call) -> Option<i16> {
        let (min, max) = self.versions.get(&api.key())?;
        catalogue::common_version(
            api,
            (*min).max(call.min_version),
            (*max).min(call.max_version),
        )
    }
}

fn has_no_answer(request: &Request) -> bool {
    matches!(request, Request::Produce(produce) if produce.acks == 0)
}

fn client_error(error: NetError, api: ApiKey, from: String) -> ClientError {
    match error {
        NetError::TimedOut { timeout, .. } => ClientError::Timeout {
            what: api.name().to_owned(),
            from,
            after: timeout,
        },
        NetError::Wire(source) => ClientError::Wire {
            what: format!("{} with {from}", api.name()),
            source: Arc::new(source),
        },
        error => ClientError::Connection {
            to: from,
            reason: error.to_string(),
        },
    }
}

fn address_of(node: &Node) -> String {
    if node.host.contains(':') && !node.host.starts_with('[') {
        format!("[{}]:{}", node.host, node.port)
    } else {
        format!("{}:{}", node.host, node.port)
    }
}

/// The addresses of a bootstrap list.
fn addresses(bootstrap: &str) -> Result<Vec<String>, ClientError> {
    let invalid = |reason: &str| ClientError::InvalidConfig {
        key: "bootstrap.servers".to_owned(),
        value: bootstrap.to_owned(),
        reason: reason.to_owned(),
    };
    let list: Vec<String> = bootstrap
        .split(',')
        .map(|address| address.trim().to_owned())
        .filter(|address| !address.is_empty())
        .collect();
    if list.is_empty() {
        return Err(invalid("expected host:port, separated by commas"));
    }
    for address in &list {
        let port = address
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(_))) {
            return Err(invalid(&format!(
                "`{address}` is not host:port, such as localhost:9092"
            )));
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_lists() {
        assert_eq!(
            addresses("a:1, [::1]:2 ,").unwrap(),
            ["a:1".to_owned(), "[::1]:2".to_owned()]
        );
        for wrong in ["", "localhost", "a:b", "a:1,b"] {
            let error = addresses(wrong).unwrap_err();
            assert!(error.to_string().contains("bootstrap.servers"), "{error}");
        }
    }
}
