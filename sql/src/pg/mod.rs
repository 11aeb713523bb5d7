//! The Postgres wire: psql and every Postgres driver as clients of an [`Engine`].
//!
//! Invariant: a session owns its socket, and everything it started ends with it. Reading
//! the socket is a task of its own, so that a statement which runs for hours learns at
//! once that its client has gone, has cancelled it, or that the server stops.

mod cursor;
mod error;
mod parameters;
mod rows;
mod select;
mod session;
mod socket;
mod startup;
mod statement;
mod system;
mod types;
mod values;
mod variables;

use crate::engine::Engine;
use crate::error::{SqlError, SqlState};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A listener that speaks Postgres' protocol, version 3.
///
/// ```no_run
/// # async fn example(engine: thalweg_sql::Engine) -> Result<(), thalweg_sql::SqlError> {
/// let server = thalweg_sql::PgServer::start(engine, "127.0.0.1:5432").await?;
/// println!("psql -h {} -p {}", server.address().ip(), server.address().port());
/// server.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PgServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl PgServer {
    /// Listens at `address`, such as `127.0.0.1:5432`; the port 0 takes a free one.
    pub async fn start(engine: Engine, address: &str) -> Result<Self, SqlError> {
        let failed = |error: std::io::Error| {
            let wrong = SqlError::new(
                SqlState::Io,
                format!("cannot listen for Postgres clients at {address}: {error}"),
            );
            wrong.hint(match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another server has this port; stop it, or take another port"
                }
                _ => "give an address of this machine with a port, such as 127.0.0.1:5432",
            })
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, engine, stopped));
        Ok(Self {
            address,
            stop,
            listener: Mutex::new(Some(task)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more clients, tells those that are there, and waits until they are gone.
    pub async fn shutdown(&self) {
        let _ = self.stop.send(true);
        let task = self.listener.lock().take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// What the sessions of one server share.
struct Shared {
    engine: Engine,
    stop: watch::Receiver<bool>,
    cancels: Cancels,
}

/// The keys with which clients may cancel what a session is doing.
#[derive(Default)]
struct Cancels {
    next: AtomicI32,
    sessions: Mutex<HashMap<(i32, i32), watch::Sender<u64>>>,
}

impl Cancels {
    fn register(&self) -> ((i32, i32), watch::Receiver<u64>) {
        let process = self.next.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let [a, b, c, d, ..] = *uuid::Uuid::new_v4().as_bytes();
        let key = (process, i32::from_be_bytes([a, b, c, d]));
        let (sender, receiver) = watch::channel(0);
        self.sessions.lock().insert(key, sender);
        (key, receiver)
    }

    fn cancel(&self, key: (i32, i32)) {
        if let Some(sender) = self.sessions.lock().get(&key) {
            sender.send_modify(|count| *count += 1);
        }
    }

    fn remove(&self, key: (i32, i32)) {
        self.sessions.lock().remove(&key);
    }
}

/// Waits until it is said; that nobody can say it any more counts too.
async fn told(said: &mut watch::Receiver<bool>) {
    let _ = said.wait_for(|said| *said).await;
}

async fn accept(listener: TcpListener, engine: Engine, stop: watch::Receiver<bool>) {
    let shared = Arc::new(Shared {
        engine,
        stop: stop.clone(),
        cancels: Cancels::default(),
    });
    let mut stopped = stop;
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => {
                    sessions.spawn(session::serve(socket, peer, Arc::clone(&shared)));
                }
                Err(error) => {
                    // Out of file descriptors: those that are there must first go.
                    tracing::warn!(%error, "cannot accept a Postgres client");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = sessions.join_next() => {}
            () = told(&mut stopped) => break,
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}
