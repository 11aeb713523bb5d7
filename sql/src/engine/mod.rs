//! The engine: one node of the streaming database. It folds the catalog, runs the job of
//! every view and sink, and gives sessions to clients.
//!
//! Invariant: what runs follows from the catalog alone. A statement only appends to the
//! catalog's log; one loop folds the log, and starts and stops jobs until they are what
//! the catalog says. So a restart, which reads the log from its beginning, goes the same
//! way as a statement.

mod ddl;
mod formats;
mod insert;
mod jobs;
mod parameters;
mod pull;
mod push;
mod session;
mod show;
pub(crate) mod topics;

pub use jobs::{JobInfo, JobStatus};
pub use session::{Command, RowStream, Session, StatementResult};
pub(crate) use show::SERVER_VERSION;
pub use show::sql_type_name;

use crate::catalog::{self, CatalogReader, CatalogState, CatalogWriter, Change};
use crate::error::{SqlError, SqlState};
use jobs::Jobs;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thalweg_log::client::Client;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// How an engine runs.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where jobs keep their state; a folder `sql` in it.
    pub data_dir: PathBuf,
    /// How many threads drive the tasks of all jobs together.
    pub stream_threads: usize,
    /// The longest time between two commits of a job.
    pub commit_interval: Duration,
}

impl EngineConfig {
    /// The defaults, with state in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            stream_threads: std::thread::available_parallelism()
                .map_or(1, std::num::NonZero::get)
                .clamp(1, 4),
            commit_interval: Duration::from_millis(100),
        }
    }
}

/// What the catalog is after some prefix of its log.
#[derive(Debug, Clone, Default)]
struct Applied {
    state: Arc<CatalogState>,
    /// The offset behind the last statement that took effect, jobs included.
    position: i64,
    /// Why the catalog cannot be read any further.
    broken: Option<SqlError>,
}

struct Inner {
    client: Client,
    config: EngineConfig,
    writer: CatalogWriter,
    applied: watch::Receiver<Applied>,
    /// Who waits for what became of its statement, by statement id.
    waiting: Mutex<HashMap<String, oneshot::Sender<Result<(), SqlError>>>>,
    jobs: Jobs,
}

/// A running engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
    follower: Arc<Mutex<Option<Follower>>>,
}

struct Follower {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the catalog in the log behind `client`, and resumes all its jobs.
    pub async fn start(config: EngineConfig, client: Client) -> Result<Self, SqlError> {
        std::fs::create_dir_all(&config.data_dir).map_err(|error| {
            SqlError::new(
                SqlState::Io,
                format!(
                    "cannot make the data folder {}: {error}",
                    config.data_dir.display()
                ),
            )
            .hint("give another folder, or make this one writable")
        })?;
        let (writer, reader) = catalog::open(&client).await?;
        let end = reader.end().await?;
        let jobs = Jobs::new(client.clone(), config.clone())?;
        let (sender, applied) = watch::channel(Applied::default());
        let inner = Arc::new(Inner {
            client,
            config,
            writer,
            applied,
            waiting: Mutex::default(),
            jobs,
        });
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(follow(Arc::clone(&inner), reader, sender, end, stopped));
        let engine = Self {
            inner,
            follower: Arc::new(Mutex::new(Some(Follower { stop, task }))),
        };
        engine.inner.wait_for(end).await?;
        Ok(engine)
    }

    /// A session for a client.
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.inner))
    }

    /// The log behind this engine.
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The catalog as it is now.
    pub fn catalog(&self) -> Arc<CatalogState> {
        self.inner.catalog()
    }

    /// What the jobs of this node are doing.
    pub fn jobs(&self) -> Vec<JobInfo> {
        self.inner.jobs.infos()
    }

    /// Stops all jobs after their last commit. They go on when an engine is started over
    /// the same log again.
    pub async fn close(&self) {
        let follower = self.follower.lock().take();
        if let Some(follower) = follower {
            let _ = follower.stop.send(true);
            let _ = follower.task.await;
        }
        self.inner.jobs.close().await;
        self.inner.writer.close().await;
    }
}

impl Inner {
    fn catalog(&self) -> Arc<CatalogState> {
        Arc::clone(&self.applied.borrow().state)
    }

    /// Waits until the catalog's log has been folded up to `position`.
    async fn wait_for(&self, position: i64) -> Result<(), SqlError> {
        let mut applied = self.applied.clone();
        let seen = applied
            .wait_for(|applied| applied.position >= position || applied.broken.is_some())
            .await
            .map_err(|_| closed())?;
        match &seen.broken {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Appends a statement to the catalog's log and waits until it has taken effect here.
    async fn decide(&self, id: &str, change: Change) -> Result<(), SqlError> {
        let (sender, told) = oneshot::channel();
        self.waiting.lock().insert(id.to_owned(), sender);
        if let Err(error) = self.writer.append(id, change).await {
            self.waiting.lock().remove(id);
            return Err(error);
        }
        told.await.map_err(|_| closed())?
    }
}

fn closed() -> SqlError {
    SqlError::new(SqlState::Shutdown, "the engine is being closed")
}

/// Folds the catalog's log, and brings the jobs to what it says.
async fn follow(
    inner: Arc<Inner>,
    mut reader: CatalogReader,
    sender: watch::Sender<Applied>,
    end: i64,
    mut stopped: watch::Receiver<bool>,
) {
    let mut state = CatalogState::default();
    let mut position = 0;
    loop {
        // What was there at the start is folded as a whole before jobs are started, so
        // that nothing is started which a later statement dropped.
        let read = if position < end || position == 0 && end > 0 {
            reader.next().await
        } else {
            if position == end && end >= 0 {
                inner.jobs.reconcile(&state).await;
                sender.send_replace(Applied {
                    state: Arc::new(state.clone()),
                    position,
                    broken: None,
                });
            }
            tokio::select! {
                read = reader.next() => read,
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        };
        match read {
            Ok(read) => {
                let mut told = Vec::new();
                let mut changed = false;
                for (_, event) in &read.events {
                    let outcome = state.apply(&event.change);
                    changed |= outcome.is_ok();
                    if let Some(waiting) = inner.waiting.lock().remove(&event.id) {
                        told.push((waiting, outcome));
                    }
                }
                position = position.max(read.position);
                if position >= end {
                    if changed {
                        inner.jobs.reconcile(&state).await;
                    }
                    sender.send_replace(Applied {
                        state: Arc::new(state.clone()),
                        position,
                        broken: None,
                    });
                }
                for (waiting, outcome) in told {
                    // Who does not wait any more need not be told.
                    let _ = waiting.send(outcome);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the catalog cannot be read");
                let gone = inner.waiting.lock().drain().collect::<Vec<_>>();
                for (_, waiting) in gone {
                    let _ = waiting.send(Err(error.clone()));
                }
                sender.send_modify(|applied| applied.broken = Some(error.clone()));
                // A passing fault mends itself: the reader goes on where it stands.
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    _ = stopped.wait_for(|stop| *stop) => return,
                }
            }
        }
        if *stopped.borrow() {
            return;
        }
    }
}
