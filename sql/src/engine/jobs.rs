//! What runs: the job of every view and sink, and the connector of every source and sink
//! that is not a topic.
//!
//! Invariant: [`Jobs::reconcile`] is called by one loop only, and afterwards what runs is
//! what the catalog says. A job that cannot be started or has failed stays in the list
//! with its reason, and takes nothing else down.

use super::{EngineConfig, formats, topics};
use crate::catalog::{Body, CatalogState, Relation, SourceDef};
use crate::error::{SqlError, SqlState};
use crate::lower::{LowerOptions, lower};
use crate::plan::{OperatorKind, StreamPlan, arrow_schema};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use thalweg_connectors::{
    ConnectorError, ConnectorHandle, ConnectorState, SinkTask, SourceConnector, SourceTask,
    run_sink, run_source,
};
use thalweg_log::client::{Client, NewTopic};
use thalweg_state::StateRuntime;
use thalweg_streams::runtime::{JobState, ReadOnlyStore, StreamThreads, Streams, StreamsConfig};
use thalweg_streams::{StreamsError, topology::Topology};

/// How a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// Taking over its tasks and restoring their stores.
    Starting,
    /// Running.
    Running,
    /// A connector that has read all there is.
    Finished,
    /// Failed; see the error.
    Failed,
    /// Being closed, or closed.
    Stopped,
}

impl std::fmt::Display for JobStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

/// A look at a job.
#[derive(Debug, Clone)]
pub struct JobInfo {
    /// The relation.
    pub name: String,
    /// `materialized view`, `sink`, `source connector` or `sink connector`.
    pub kind: String,
    /// How it is.
    pub status: JobStatus,
    /// How many records it is behind its inputs, if that is known.
    pub lag: Option<i64>,
    /// Records that came too late for their window.
    pub late_records: u64,
    /// Records that were left out as malformed.
    pub skipped_records: u64,
    /// Why it failed, or what failed last.
    pub error: Option<String>,
}

struct Running {
    relation: Arc<Relation>,
    streams: Option<Arc<Streams>>,
    connector: Option<ConnectorHandle>,
    skipped: Arc<AtomicU64>,
    /// Why it could not be started.
    failed: Option<SqlError>,
    /// How many tasks hold a part of the view.
    view_tasks: usize,
}

/// All that runs on this node.
pub(super) struct Jobs {
    client: Client,
    config: EngineConfig,
    threads: Arc<StreamThreads>,
    state: StateRuntime,
    running: Mutex<HashMap<String, Running>>,
}

/// The name of a relation's job: its consumer group, and what its internal topics and
/// its folder begin with.
pub(super) fn application_id(relation: &Relation) -> String {
    let short: String = relation.id.chars().take(8).collect();
    format!("sql-{}-{short}", relation.name)
}

impl Jobs {
    pub(super) fn new(client: Client, config: EngineConfig) -> Result<Self, SqlError> {
        let threads = StreamThreads::start(config.stream_threads).map_err(SqlError::internal)?;
        Ok(Self {
            client,
            config,
            threads: Arc::new(threads),
            state: StateRuntime::default(),
            running: Mutex::default(),
        })
    }

    fn state_dir(&self) -> PathBuf {
        self.config.data_dir.join("sql")
    }

    /// Stops what the catalog does not know any more, and starts what is new in it.
    pub(super) async fn reconcile(&self, catalog: &CatalogState) {
        let gone: Vec<Running> = {
            let mut running = self.running.lock();
            let ids: Vec<String> = running
                .keys()
                .filter(|id| catalog.by_id(id).is_none())
                .cloned()
                .collect();
            ids.iter().filter_map(|id| running.remove(id)).collect()
        };
        for job in gone {
            stop(job).await;
        }
        for relation in catalog.in_order() {
            if self.running.lock().contains_key(&relation.id) {
                continue;
            }
            let job = self.start(&relation).await;
            if let Some(error) = &job.failed {
                tracing::error!(relation = relation.name, %error, "the job could not be started");
            }
            self.running.lock().insert(relation.id.clone(), job);
        }
    }

    async fn start(&self, relation: &Arc<Relation>) -> Running {
        let mut job = Running {
            relation: Arc::clone(relation),
            streams: None,
            connector: None,
            skipped: Arc::default(),
            failed: None,
            view_tasks: 0,
        };
        let started = match &relation.body {
            Body::Source(source) if source.connector == "kafka" => Ok(()),
            Body::Source(source) => self.start_source(&mut job, source).await,
            Body::View(view) => {
                self.start_plan(&mut job, &view.plan, Some(&view.topic))
                    .await
            }
            Body::Sink(sink) => {
                let started = self.start_plan(&mut job, &sink.plan, None).await;
                if started.is_ok() && sink.connector != "kafka" {
                    thalweg_connectors::sink(&sink.connector, &sink.options)
                        .map(|connector| {
                            let task = SinkTask {
                                name: application_id(relation),
                                topic: sink.topic.clone(),
                                connector,
                            };
                            job.connector = Some(run_sink(self.client.clone(), task));
                        })
                        .map_err(|error| connector_error(&error))
                } else {
                    started
                }
            }
        };
        job.failed = started.err();
        job
    }

    async fn start_source(&self, job: &mut Running, source: &SourceDef) -> Result<(), SqlError> {
        let mut topic = NewTopic::new(&source.topic);
        topic.partitions = source
            .options
            .get("partitions")
            .and_then(|p| p.parse().ok());
        topics::create(&self.client, topic)
            .await
            .map_err(|error| crate::catalog::log_error("create the source's topic", &error))?;
        let connector = source_connector(source).map_err(|error| connector_error(&error))?;
        job.connector = Some(run_source(
            self.client.clone(),
            SourceTask {
                name: application_id(&job.relation),
                topic: source.topic.clone(),
                connector,
            },
        ));
        Ok(())
    }

    async fn start_plan(
        &self,
        job: &mut Running,
        plan: &StreamPlan,
        view_topic: Option<&str>,
    ) -> Result<(), SqlError> {
        if plan.version != crate::plan::PLAN_VERSION {
            return Err(SqlError::new(
                SqlState::ObjectNotInState,
                format!(
                    "the stored plan has version {}, and this program runs version {}",
                    plan.version,
                    crate::plan::PLAN_VERSION
                ),
            )
            .hint("run the program that stored it, or drop it and create it anew"));
        }
        let tasks = self.tasks(plan).await?;
        job.view_tasks = usize::try_from(tasks).unwrap_or(0);
        if let Some(topic) = view_topic {
            let topic = NewTopic::new(topic)
                .partitions(tasks)
                .config("cleanup.policy", "compact");
            topics::create(&self.client, topic)
                .await
                .map_err(|error| crate::catalog::log_error("create the view's topic", &error))?;
        }
        let options = LowerOptions {
            skipped: Arc::clone(&job.skipped),
            ..LowerOptions::default()
        };
        let topology = lower(plan, &options).map_err(|error| streams_error(&error))?;
        job.streams = Some(Arc::new(self.start_streams(&job.relation, topology).await?));
        Ok(())
    }

    async fn start_streams(
        &self,
        relation: &Relation,
        topology: Topology,
    ) -> Result<Streams, SqlError> {
        let config = StreamsConfig {
            state_dir: self.state_dir(),
            commit_interval: self.config.commit_interval,
            threads: Some(Arc::clone(&self.threads)),
            state: Some(self.state.clone()),
            ..StreamsConfig::new(application_id(relation))
        };
        Streams::start(config, topology, self.client.clone())
            .await
            .map_err(|error| streams_error(&error))
    }

    /// How many tasks the last fragment of a plan has.
    async fn tasks(&self, plan: &StreamPlan) -> Result<i32, SqlError> {
        let mut exchanges: BTreeMap<u32, i32> = BTreeMap::new();
        let mut last = 1;
        for fragment in &plan.fragments {
            let mut tasks = 1;
            for operator in &fragment.operators {
                let partitions = match &operator.kind {
                    OperatorKind::Source(source) => self.partitions(&source.topic).await?,
                    OperatorKind::TableSource(source) => self.partitions(&source.topic).await?,
                    OperatorKind::ExchangeSource { exchange } => {
                        exchanges.get(&exchange.id).copied().unwrap_or(1)
                    }
                    _ => continue,
                };
                tasks = tasks.max(partitions);
            }
            for operator in &fragment.operators {
                if let OperatorKind::ExchangeSink { exchange } = &operator.kind {
                    exchanges.insert(exchange.id, exchange.partitions.unwrap_or(tasks));
                }
            }
            last = tasks;
        }
        Ok(last)
    }

    async fn partitions(&self, topic: &str) -> Result<i32, SqlError> {
        match topics::partitions(&self.client, topic).await? {
            Some(partitions) => Ok(partitions),
            None => Err(SqlError::new(
                SqlState::UndefinedTable,
                format!("the topic `{topic}` is gone"),
            )
            .hint("it was deleted behind the catalog; DROP what reads it, or create it again")),
        }
    }

    /// Whether what was just created has been started; else why not.
    pub(super) fn started(&self, id: &str) -> Result<(), SqlError> {
        let running = self.running.lock();
        match running.get(id) {
            Some(job) => job.failed.clone().map_or(Ok(()), Err),
            None => Err(super::closed()),
        }
    }

    fn streams(&self, id: &str) -> Result<Option<(String, Arc<Streams>)>, SqlError> {
        let running = self.running.lock();
        let Some(job) = running.get(id) else {
            return Ok(None);
        };
        if let Some(error) = &job.failed {
            return Err(job_failed(&job.relation, error));
        }
        Ok(job
            .streams
            .as_ref()
            .map(|streams| (job.relation.name.clone(), Arc::clone(streams))))
    }

    /// Waits until a job reflects all that its inputs hold now.
    pub(super) async fn caught_up(&self, id: &str) -> Result<(), SqlError> {
        let Some((name, streams)) = self.streams(id)? else {
            return Ok(());
        };
        let wait = async {
            let ends = streams.input_end_offsets().await?;
            streams.wait_caught_up(&ends).await
        };
        wait.await.map_err(|error: StreamsError| {
            let reason = streams
                .failure()
                .map_or_else(|| error.to_string(), |reason| reason.to_string());
            SqlError::new(
                SqlState::ObjectNotInState,
                format!("the job of `{name}` has failed: {reason}"),
            )
            .hint("mend the cause; SHOW JOBS says how it is")
        })
    }

    /// Waits until every view and sink reflects all that there is now.
    pub(super) async fn flush(&self, catalog: &CatalogState) -> Result<(), SqlError> {
        for relation in catalog.in_order() {
            if let Body::Source(source) = &relation.body {
                if source.connector != "kafka" {
                    self.source_is_read(&relation).await?;
                }
                continue;
            }
            self.caught_up(&relation.id).await?;
        }
        Ok(())
    }

    /// Waits until a connector has read what there is now.
    async fn source_is_read(&self, relation: &Relation) -> Result<(), SqlError> {
        let watch = {
            let running = self.running.lock();
            running
                .get(&relation.id)
                .and_then(|job| job.connector.as_ref())
                .map(ConnectorHandle::watch)
        };
        let Some(mut watch) = watch else {
            return Ok(());
        };
        let status = match watch
            .wait_for(|status| status.state == ConnectorState::Idle || status.state.is_final())
            .await
        {
            Ok(status) => status.clone(),
            // The connector has ended; its last status stays.
            Err(_) => return Ok(()),
        };
        if status.state == ConnectorState::Failed {
            return Err(SqlError::new(
                SqlState::ObjectNotInState,
                format!(
                    "the connector of `{}` has failed: {}",
                    relation.name,
                    status.last_error.unwrap_or_default()
                ),
            )
            .hint("mend the cause, then drop the source and create it anew"));
        }
        Ok(())
    }

    /// The committed rows of a view, if all of them are on this node.
    pub(super) fn view_store(&self, relation: &Relation) -> Option<ReadOnlyStore> {
        let running = self.running.lock();
        let job = running.get(&relation.id)?;
        let Body::View(_) = job.relation.body else {
            return None;
        };
        let streams = job.streams.as_ref()?;
        let store = streams.store("view").ok()?;
        (store.tasks().count() == job.view_tasks).then_some(store)
    }

    /// Removes what a dropped relation leaves: topics that we made, its group, its state.
    pub(super) async fn clean_up(&self, relation: &Relation) {
        let application_id = application_id(relation);
        let admin = self.client.admin();
        let prefix = format!("{application_id}-");
        let mut gone: Vec<String> = match admin.list_topics().await {
            Ok(listed) => listed
                .into_iter()
                .map(|topic| topic.name)
                .filter(|name| {
                    name.starts_with(&prefix)
                        && (name.ends_with("-changelog") || name.ends_with("-repartition"))
                })
                .collect(),
            Err(error) => {
                tracing::warn!(%error, "the topics of a dropped job stay");
                Vec::new()
            }
        };
        match &relation.body {
            Body::View(view) => gone.push(view.topic.clone()),
            Body::Source(source) if source.connector != "kafka" => gone.push(source.topic.clone()),
            Body::Sink(sink) if sink.connector != "kafka" => gone.push(sink.topic.clone()),
            _ => {}
        }
        if !gone.is_empty()
            && let Err(error) = admin.delete_topics(&gone).await
        {
            tracing::warn!(%error, ?gone, "topics of a dropped relation stay");
        }
        let groups = [application_id.clone(), format!("connect-{application_id}")];
        if let Err(error) = admin.delete_groups(&groups).await {
            tracing::debug!(%error, "the group of a dropped job stays");
        }
        if matches!(&relation.body, Body::Source(source) if source.connector != "kafka")
            && let Err(error) =
                thalweg_connectors::forget_source(&self.client, &application_id).await
        {
            tracing::warn!(%error, "the position of a dropped source stays");
        }
        let folder = self.state_dir().join(&application_id);
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %folder.display(), "the state of a dropped job stays");
        }
    }

    /// What runs, by name.
    pub(super) fn infos(&self) -> Vec<JobInfo> {
        let running = self.running.lock();
        let mut infos: Vec<JobInfo> = running.values().flat_map(infos_of).collect();
        infos.sort_by(|a, b| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)));
        infos
    }

    /// What runs, with how far it is behind.
    pub(super) async fn infos_with_lag(&self) -> Vec<JobInfo> {
        let mut infos = self.infos();
        let streams: HashMap<String, Arc<Streams>> = self
            .running
            .lock()
            .values()
            .filter_map(|job| Some((job.relation.name.clone(), Arc::clone(job.streams.as_ref()?))))
            .collect();
        for info in &mut infos {
            if info.kind.ends_with("connector") {
                continue;
            }
            if let Some(streams) = streams.get(&info.name)
                && let Ok(lag) = streams.lag().await
            {
                info.lag = Some(lag.values().sum());
            }
        }
        infos
    }

    /// Stops everything after its last commit.
    pub(super) async fn close(&self) {
        let all: Vec<Running> = self.running.lock().drain().map(|(_, job)| job).collect();
        futures::future::join_all(all.into_iter().map(stop)).await;
    }
}

async fn stop(job: Running) {
    if let Some(connector) = job.connector
        && let Err(error) = connector.stop().await
    {
        tracing::debug!(relation = job.relation.name, %error, "the connector had failed");
    }
    if let Some(streams) = job.streams
        && let Err(error) = streams.close().await
    {
        tracing::debug!(relation = job.relation.name, %error, "the job had failed");
    }
}

fn infos_of(job: &Running) -> Vec<JobInfo> {
    let info = |kind: &str, status| JobInfo {
        name: job.relation.name.clone(),
        kind: kind.to_owned(),
        status,
        lag: None,
        late_records: 0,
        skipped_records: job.skipped.load(Ordering::Relaxed),
        error: None,
    };
    let mut infos = Vec::new();
    if let Some(streams) = &job.streams {
        let status = match streams.state() {
            JobState::Created | JobState::Rebalancing => JobStatus::Starting,
            JobState::Running => JobStatus::Running,
            JobState::PendingShutdown | JobState::NotRunning => JobStatus::Stopped,
            JobState::PendingError | JobState::Error => JobStatus::Failed,
        };
        infos.push(JobInfo {
            late_records: streams.late_records(),
            error: streams.failure().map(|error| error.to_string()),
            ..info(job.relation.kind().words(), status)
        });
    }
    if let Some(connector) = &job.connector {
        let now = connector.status();
        let status = match now.state {
            ConnectorState::Starting => JobStatus::Starting,
            ConnectorState::Running | ConnectorState::Idle | ConnectorState::Restarting => {
                JobStatus::Running
            }
            ConnectorState::Finished => JobStatus::Finished,
            ConnectorState::Failed => JobStatus::Failed,
            ConnectorState::Stopped => JobStatus::Stopped,
        };
        let kind = match job.relation.body {
            Body::Source(_) => "source connector",
            _ => "sink connector",
        };
        infos.push(JobInfo {
            skipped_records: now.skipped,
            error: now.last_error,
            ..info(kind, status)
        });
    }
    if let Some(error) = &job.failed {
        infos.push(JobInfo {
            error: Some(error.message().to_owned()),
            ..info(job.relation.kind().words(), JobStatus::Failed)
        });
    }
    infos
}

fn job_failed(relation: &Relation, error: &SqlError) -> SqlError {
    SqlError::new(
        SqlState::ObjectNotInState,
        format!(
            "the {} `{}` does not run: {}",
            relation.kind().words(),
            relation.name,
            error.message()
        ),
    )
    .hint("mend the cause and restart, or drop it and create it anew")
}

fn streams_error(error: &StreamsError) -> SqlError {
    SqlError::new(SqlState::ObjectNotInState, error.to_string())
}

fn connector_error(error: &ConnectorError) -> SqlError {
    SqlError::new(SqlState::InvalidParameter, error.to_string())
}

/// The connector of a source.
pub(super) fn source_connector(
    source: &SourceDef,
) -> Result<Box<dyn SourceConnector>, ConnectorError> {
    let mut options = source.options.clone();
    options.remove("partitions");
    let format = formats::message_format(&source.format).unwrap_or(thalweg_schema::Format::Json);
    thalweg_connectors::source(
        &source.connector,
        &options,
        format,
        arrow_schema(&source.columns),
    )
}
