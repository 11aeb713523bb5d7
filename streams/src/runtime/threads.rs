//! The stream threads of a process.
//!
//! Each is an operating-system thread that drives any number of workers (one for each
//! job that runs on it) by turns; what a worker owns never leaves its thread. Heartbeats
//! and senders run beside them on a runtime of their own, so that neither a busy stream
//! thread nor whatever the user does with his own runtime holds them up.

use crate::StreamsError;
use futures::future::LocalBoxFuture;
use std::sync::Arc;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Builds a worker on the thread that will drive it.
pub(crate) type Spawn = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// The stream threads of a process, shared by its jobs.
#[derive(Debug)]
pub struct StreamThreads {
    threads: Vec<mpsc::UnboundedSender<Spawn>>,
    background: Arc<Background>,
}

/// The runtime of heartbeats and senders. Workers keep it as long as they need it.
#[derive(Debug)]
pub(crate) struct Background(Option<Runtime>);

impl Background {
    pub(crate) fn handle(&self) -> Option<&Handle> {
        self.0.as_ref().map(Runtime::handle)
    }
}

impl Drop for Background {
    /// May be called anywhere, inside a runtime too: nobody waits.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl StreamThreads {
    /// Starts `count` threads.
    pub fn start(count: usize) -> Result<Self, StreamsError> {
        let background = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("stream-background")
            .enable_all()
            .build()
            .map_err(|error| {
                StreamsError::Config(format!("cannot start the stream threads: {error}"))
            })?;
        let background = Arc::new(Background(Some(background)));
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let (sender, receiver) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            let started = runtime.and_then(|runtime| {
                std::thread::Builder::new()
                    .name(format!("stream-{index}"))
                    .spawn(move || drive(&runtime, receiver))
            });
            // The thread ends when the last sender is gone and its workers have ended;
            // nobody waits for it, as the last handle may be dropped anywhere.
            let _ = started.map_err(|error| {
                StreamsError::Config(format!("cannot start stream thread {index}: {error}"))
            })?;
            threads.push(sender);
        }
        Ok(Self {
            threads,
            background,
        })
    }

    /// Where a client's background work belongs.
    pub(crate) fn background(&self) -> &Arc<Background> {
        &self.background
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has a worker driven by the thread `index`.
    pub(crate) fn spawn(&self, index: usize, spawn: Spawn) -> Result<(), StreamsError> {
        self.threads
            .get(index)
            .and_then(|thread| thread.send(spawn).ok())
            .ok_or_else(|| StreamsError::Config(format!("stream thread {index} has ended")))
    }
}

fn drive(runtime: &tokio::runtime::Runtime, mut spawns: mpsc::UnboundedReceiver<Spawn>) {
    let local = LocalSet::new();
    local.block_on(runtime, async {
        while let Some(spawn) = spawns.recv().await {
            tokio::task::spawn_local(spawn());
        }
    });
    // No job can come any more: what runs still runs to its end.
    runtime.block_on(local);
}
