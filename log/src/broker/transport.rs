//! The broker in process: a [`Transport`] that hands request structs to the handlers.
//!
//! Invariant: a request is polled once inside of [`call`](Transport::call), so that what it does
//! before it first waits is done, in the order of the calls, when `call` returns. What has to wait
//! goes on on the broker's own runtime, whoever polls or drops the future.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::core::{Context, Core};
use super::handlers;
use crate::client::{Call, ClientError, Destination, Reply, Transport};
use crate::wire::{Response, Str, catalogue};

const PLACE: &str = "in process";

/// Clients in this process.
#[derive(Debug)]
pub(super) struct InProcess {
    core: Arc<Core>,
}

impl InProcess {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    fn context(&self, version: i16) -> Context {
        Context {
            version,
            client_id: Str::from_static("in-process"),
            client_host: Str::from_static("/127.0.0.1"),
            listener: Str::default(),
            usage: None,
        }
    }
}

/// Nobody can come back to a broker that is shut down, so there is no point in trying again.
fn gone() -> ClientError {
    ClientError::Closed("broker in this process")
}

impl Transport for InProcess {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
        let refuse = |error: ClientError| std::future::ready(Err(error)).boxed();
        if self.core.is_closed() {
            return refuse(gone());
        }
        if let Destination::Broker(id) = call.destination
            && id != self.core.node_id()
        {
            return refuse(ClientError::Connection {
                to: format!("broker {id}"),
                reason: format!("only broker {} is in this process", self.core.node_id()),
            });
        }
        let api = call.request.api();
        let version = catalogue::common_version(api, call.min_version, call.max_version)
            .filter(|_| handlers::handles(api));
        let Some(version) = version else {
            return refuse(ClientError::Unsupported {
                to: "the broker in process".to_owned(),
                what: format!(
                    "{} {} to {}",
                    api.name(),
                    call.min_version,
                    call.max_version
                ),
            });
        };
        let (core, cx) = (Arc::clone(&self.core), self.context(version));
        let request = call.request;
        let mut answer: Pin<Box<dyn Future<Output = Option<Response>> + Send>> =
            Box::pin(async move { handlers::handle(&core, &cx, request).await });
        let first = {
            let _runtime = self.core.runtime.enter();
            answer
                .as_mut()
                .poll(&mut TaskContext::from_waker(Waker::noop()))
        };
        match first {
            Poll::Ready(response) => {
                let reply = response.map(|response| Reply { response, version });
                std::future::ready(reply.ok_or_else(gone)).boxed()
            }
            Poll::Pending => {
                let timed = {
                    let _runtime = self.core.runtime.enter();
                    tokio::time::timeout(call.timeout, self.core.runtime.spawn(answer))
                };
                async move {
                    let answered = timed.await.map_err(|_| ClientError::Timeout {
                        what: api.name().to_owned(),
                        from: PLACE.to_owned(),
                        after: call.timeout,
                    })?;
                    let response = answered.ok().flatten().ok_or_else(gone)?;
                    Ok(Reply { response, version })
                }
                .boxed()
            }
        }
    }

    fn describe(&self) -> String {
        PLACE.to_owned()
    }
}
