//! The broker: requests to answers.
//!
//! [`Broker::start`] opens a data folder, leads its own metadata quorum and serves two ways: in
//! process, where request structs are handed over as they are ([`Broker::transport`]), and on TCP
//! ([`Broker::listen`]). Both take the same path through `handlers`, one file an API.
//!
//! ```
//! use thalweg_log::broker::Broker;
//! use thalweg_log::config::BrokerConfig;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path();
//! let broker = Broker::start(BrokerConfig::new(path)).await?;
//! let address = broker.listen("127.0.0.1:0").await?;
//! println!("kcat -b {address} -L");
//! broker.shutdown().await;
//! # Ok::<(), thalweg_log::broker::BrokerError>(())
//! # }).unwrap();
//! ```
//!
//! Broker and quorum run on a runtime of their own, so that they neither block nor are blocked by
//! the user's; shutting down and dropping are safe inside of any runtime and outside.

mod authorized;
mod codes;
mod configs;
mod core;
mod error;
mod fetch_sessions;
mod groups;
mod handlers;
mod import;
mod loggers;
mod partition;
mod producer_ids;
mod quotas;
mod replay;
mod replicas;
mod server;
mod shard;
mod shards;
mod topics;
mod transactions;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[cfg(test)]
pub(crate) use self::codes::append as append_code;
use self::core::{Core, now};
pub use self::error::BrokerError;
pub use self::import::{ImportTopicError, ImportedTopic};
pub use self::loggers::{LOG_LEVELS, Loggers, ROOT_LOGGER, install_loggers};
use self::transport::InProcess;
use crate::client::Transport;
pub use crate::config::BrokerConfig;
use crate::config::Listener;
use crate::storage::StorageError;

/// How long open tasks may take when the broker stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running broker.
///
/// Everything it acknowledged survives a kill of the process. Dropping it stops it as
/// [`shutdown`](Broker::shutdown) does.
pub struct Broker {
    core: Arc<Core>,
    runtime: Mutex<Option<Runtime>>,
    listeners: Mutex<Vec<Listening>>,
    stop: watch::Sender<bool>,
}

/// An open listener.
struct Listening {
    name: String,
    bound: SocketAddr,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("node_id", &self.core.node_id())
            .field("data_dir", &self.core.settings.data_dir)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts a broker over its data folder; it is ready to serve when this returns.
    ///
    /// # Errors
    /// [`BrokerError`] if the configuration is not understood, or the data folder is in use, not
    /// writable or corrupt, or the address cannot be listened on.
    pub async fn start(config: BrokerConfig) -> Result<Self, BrokerError> {
        let settings = config.resolve()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers())
            .thread_name("thalweg-broker")
            .enable_all()
            .build()
            .map_err(BrokerError::Runtime)?;
        let listeners = settings.listeners.clone();
        // If the caller gives up, the guard still stops the runtime outside of his own.
        let mut guard = RuntimeGuard(Some(runtime));
        let handle = guard.handle()?;
        let opened = handle.spawn(Core::open(settings, config.cluster_id)).await;
        let core = opened.map_err(|e| BrokerError::Runtime(std::io::Error::other(e)))??;
        let (stop, _) = watch::channel(false);
        let broker = Self {
            core,
            runtime: Mutex::new(guard.0.take()),
            listeners: Mutex::default(),
            stop,
        };
        handle.spawn(tick(Arc::clone(&broker.core), broker.stop.subscribe()));
        handle.spawn(shards::run_timers::<crate::group::Coordinator>(
            Arc::clone(&broker.core),
            broker.stop.subscribe(),
        ));
        handle.spawn(shards::run_timers::<crate::transaction::Coordinator>(
            Arc::clone(&broker.core),
            broker.stop.subscribe(),
        ));
        for listener in listeners {
            if let Err(e) = broker.open(listener).await {
                broker.shutdown().await;
                return Err(e);
            }
        }
        Ok(broker)
    }

    /// Accepts connections on an address (`host:port`; port 0 takes any free one) and returns what
    /// it is. Clients are told this address, unless `advertised.listeners` says otherwise.
    ///
    /// # Errors
    /// [`BrokerError::Listen`] if the address cannot be bound.
    pub async fn listen(&self, address: &str) -> Result<SocketAddr, BrokerError> {
        let mut bound = None;
        for listener in Listener::parse(address)? {
            bound = Some(self.open(listener).await?);
        }
        bound.ok_or_else(|| BrokerError::Listen {
            address: address.to_owned(),
            reason: "an address (HOST:PORT) is expected".to_owned(),
        })
    }

    /// Where the broker accepts connections, by the listeners' names.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let listeners = self.listeners.lock();
        let shown = listeners.iter().map(|l| (l.name.clone(), l.bound));
        shown.collect()
    }

    async fn open(&self, listener: Listener) -> Result<SocketAddr, BrokerError> {
        let handle = self.core.runtime.clone();
        let (core, stop) = (Arc::clone(&self.core), self.stop.subscribe());
        let name = listener.name.clone();
        let started = handle
            .spawn(async move { server::listen(core, &listener, stop).await })
            .await;
        let (bound, task) = started.map_err(|_| BrokerError::ShutDown)??;
        self.listeners.lock().push(Listening { name, bound, task });
        Ok(bound)
    }

    /// The transport for clients in this process: request structs in, response structs out.
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(InProcess::new(Arc::clone(&self.core)))
    }

    /// The id of this node.
    pub fn node_id(&self) -> i32 {
        self.core.node_id()
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.core.cluster_id
    }

    /// Stops serving, flushes and closes every log and gives the data folder back.
    pub async fn shutdown(&self) {
        let Some(runtime) = self.runtime.lock().take() else {
            return;
        };
        self.stop.send_replace(true);
        let (done, stopped) = tokio::sync::oneshot::channel();
        let work = self.stopping();
        std::thread::spawn(move || {
            runtime.block_on(work);
            runtime.shutdown_timeout(STOP_TIMEOUT);
            // The caller may have stopped waiting.
            let _ = done.send(());
        });
        let _ = stopped.await;
    }

    /// As [`shutdown`](Self::shutdown), for code that cannot wait asynchronously.
    pub fn close(&self) {
        let Some(runtime) = self.runtime.lock().take() else {
            return;
        };
        self.stop.send_replace(true);
        let work = self.stopping();
        // On a thread of its own, as this one may be inside of a runtime.
        let stopped = std::thread::spawn(move || {
            runtime.block_on(work);
            runtime.shutdown_timeout(STOP_TIMEOUT);
        });
        if stopped.join().is_err() {
            tracing::error!("the broker did not stop cleanly");
        }
    }

    fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let listeners = std::mem::take(&mut *self.listeners.lock());
        let core = Arc::clone(&self.core);
        async move {
            for listener in listeners {
                let _ = tokio::time::timeout(STOP_TIMEOUT, listener.task).await;
            }
            core.close().await;
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.close();
    }
}

/// Stops a runtime without blocking, wherever it is dropped.
struct RuntimeGuard(Option<Runtime>);

impl RuntimeGuard {
    fn handle(&self) -> Result<tokio::runtime::Handle, BrokerError> {
        self.0
            .as_ref()
            .map(|r| r.handle().clone())
            .ok_or(BrokerError::ShutDown)
    }
}

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8))
}

/// The background duties of storage, about once a second.
async fn tick(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = stop.wait_for(|s| *s) => return,
            _ = timer.tick() => {}
        }
        let logs = Arc::clone(&core.logs);
        match tokio::task::spawn_blocking(move || logs.tick(now())).await {
            Ok(Ok(())) => {}
            Ok(Err(StorageError::Closed { .. })) | Err(_) => {}
            Ok(Err(e)) => tracing::error!(error = %e, "a background duty of storage failed"),
        }
    }
}
