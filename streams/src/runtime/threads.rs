//! The stream threads of a process.
//!
//! Each is an operating-system thread that drives any number of workers (one for each
//! job that runs on it) by turns; what a worker owns never leaves its thread. Network
//! and timers of the client live on the runtime that the client was made in.

use crate::StreamsError;
use futures::future::LocalBoxFuture;
use parking_lot::Mutex;
use std::thread::JoinHandle;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Builds a worker on the thread that will drive it.
pub(crate) type Spawn = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// The stream threads of a process, shared by its jobs.
#[derive(Debug)]
pub struct StreamThreads {
    threads: Vec<Option<mpsc::UnboundedSender<Spawn>>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl StreamThreads {
    /// Starts `count` threads.
    pub fn start(count: usize) -> Result<Self, StreamsError> {
        let mut threads = Vec::with_capacity(count);
        let mut handles = Vec::with_capacity(count);
        for index in 0..count {
            let (sender, receiver) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            let handle = runtime.and_then(|runtime| {
                std::thread::Builder::new()
                    .name(format!("stream-{index}"))
                    .spawn(move || drive(&runtime, receiver))
            });
            let handle = handle.map_err(|error| {
                StreamsError::Config(format!("cannot start stream thread {index}: {error}"))
            })?;
            threads.push(Some(sender));
            handles.push(handle);
        }
        Ok(Self {
            threads,
            handles: Mutex::new(handles),
        })
    }

    /// How many threads there are.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has a worker driven by the thread `index`.
    pub(crate) fn spawn(&self, index: usize, spawn: Spawn) -> Result<(), StreamsError> {
        self.threads
            .get(index)
            .and_then(Option::as_ref)
            .and_then(|thread| thread.send(spawn).ok())
            .ok_or_else(|| StreamsError::Config(format!("stream thread {index} has ended")))
    }
}

impl Drop for StreamThreads {
    /// The threads end when their workers have. Nobody waits for them here: the last
    /// handle may be dropped anywhere, inside a runtime or on a stream thread itself.
    fn drop(&mut self) {
        self.threads.clear();
        self.handles.lock().clear();
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
