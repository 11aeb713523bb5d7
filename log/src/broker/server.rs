//! The broker on TCP: binds, tells the cluster where, and answers through the handlers.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::core::{Context, Core};
use super::error::BrokerError;
use super::handlers;
use super::quotas::Counted;
use crate::config::Listener;
use crate::net::{Answered, Handler, Limits, serve};
use crate::wire::{ApiKey, Request, RequestHeader, Response, Str};

/// Answers the requests of all connections.
#[derive(Debug)]
struct Server {
    core: Arc<Core>,
    listener: Str,
}

#[async_trait]
impl Handler for Server {
    fn handles(&self, api: ApiKey) -> bool {
        handlers::handles(api)
    }

    async fn handle(
        &self,
        header: &RequestHeader,
        request: Request,
        peer: SocketAddr,
    ) -> Option<Response> {
        let answered = self.answer(header, request, peer).await;
        answered.answer.map(|answer| answer.response)
    }

    async fn answer(&self, header: &RequestHeader, request: Request, peer: SocketAddr) -> Answered {
        let silent = matches!(&request, Request::Produce(p) if p.acks == 0);
        let quotas = &self.core.client_quotas;
        let cx = Context {
            version: header.version,
            client_id: header.client_id.clone().unwrap_or_default(),
            client_host: Str::from(format!("/{}", peer.ip().to_canonical())),
            listener: self.listener.clone(),
            usage: quotas.begin(),
        };
        let mut mute = Duration::ZERO;
        let answer = match &cx.usage {
            None => handlers::answer(&self.core, &cx, request).await,
            Some(usage) => {
                let counted = Counted::new(header, &request);
                let work = handlers::answer(&self.core, &cx, request);
                let mut answer = usage.measure(work).await;
                if let Some(answer) = &mut answer {
                    mute = quotas.end(&cx, &counted, &mut answer.response);
                }
                answer
            }
        };
        Answered {
            answer: answer.filter(|_| !silent),
            mute,
        }
    }
}

/// Binds a listener's address; without a host that is every interface, of both versions of IP where there are both.
async fn bind(listener: &Listener) -> io::Result<TcpListener> {
    if listener.host.is_empty() {
        match TcpListener::bind((Ipv6Addr::UNSPECIFIED, listener.port)).await {
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    TcpListener::bind(listener.address()).await
}

/// Binds the address and serves it until `stop` turns true.
pub(super) async fn listen(
    core: Arc<Core>,
    listener: &Listener,
    mut stop: watch::Receiver<bool>,
) -> Result<(SocketAddr, JoinHandle<()>), BrokerError> {
    let address = listener.address();
    let failed = |e: io::Error| BrokerError::Listen {
        address: address.clone(),
        reason: match e.kind() {
            io::ErrorKind::AddrInUse => {
                "the port is taken by another program: stop it, or choose another port".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                format!("{e}; ports below 1024 need special rights: choose another port")
            }
            _ => e.to_string(),
        },
    };
    let socket = bind(listener).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    core.announce(listener, bound).await?;
    core.connections.listens(&listener.name);
    let settings = core.live();
    let limits = Limits {
        socket_request_max_bytes: usize::try_from(settings.request_max_bytes).unwrap_or(usize::MAX),
        connections_max_idle: match u64::try_from(settings.connections_max_idle_ms) {
            Ok(millis) => Duration::from_millis(millis.min(u64::from(u32::MAX))),
            Err(_) => Duration::from_secs(u64::from(u32::MAX)),
        },
        connections: Arc::clone(&core.connections),
        listener: Arc::from(listener.name.as_str()),
        ..Limits::default()
    };
    let server = Arc::new(Server {
        core,
        listener: Str::from(listener.name.as_str()),
    });
    let task = tokio::spawn(async move {
        serve(socket, server, limits, async move {
            // An error means that the broker is gone, which is a stop as well.
            let _ = stop.wait_for(|s| *s).await;
        })
        .await;
    });
    Ok((bound, task))
}
