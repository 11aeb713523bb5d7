//! The handle on a running job.

use super::assignor::{self, TaskAssignor};
use super::caught_up;
use super::config::StreamsConfig;
use super::job::{Job, JobState};
use super::outlet::Outlet;
use super::query::ReadOnlyStore;
use super::state_dir::StateDir;
use super::threads::StreamThreads;
use super::topics;
use super::worker::Worker;
use crate::StreamsError;
use crate::topology::{Plan, Topology};
use futures::FutureExt;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use thalweg_log::client::{
    AutoOffsetReset, Client, Consumer, ConsumerConfig, IsolationLevel, OffsetSpec,
    PartitionAssignor, TopicPartition,
};
use tokio::runtime::Handle;

/// A running job.
///
/// Dropping it asks the job to end and does not wait; [`close`](Self::close) waits.
#[derive(Debug)]
pub struct Streams {
    job: Arc<Job>,
    _threads: Arc<StreamThreads>,
}

impl Streams {
    /// Starts a job: checks the topology against the topics there are, makes the internal
    /// topics, and joins the group. Returns before the tasks are restored; see
    /// [`wait_running`](Self::wait_running).
    ///
    /// Where the client reaches its brokers over TCP, the runtime that it was made in must
    /// live as long as the job.
    pub async fn start(
        config: StreamsConfig,
        topology: Topology,
        client: Client,
    ) -> Result<Self, StreamsError> {
        config.validate()?;
        let state_dir = StateDir::open(&config.state_dir, &config.application_id)?;
        let (plan, topic_ids) = topics::prepare(&client.admin(), &topology, &config).await?;
        tracing::info!(job = %config.application_id, "starting\n{topology}");
        let threads = match &config.threads {
            Some(threads) => Arc::clone(threads),
            None => Arc::new(StreamThreads::start(config.num_stream_threads)?),
        };
        let process = state_dir.process_id();
        let on_disk = state_dir.tasks();
        let job = Arc::new(Job::new(
            config,
            plan,
            topic_ids,
            client,
            state_dir,
            threads.count(),
        ));
        leave_old_threads(&job, process).await;
        for index in 0..threads.count() {
            let assignor = TaskAssignor::new(&job.plan, process, on_disk.clone());
            let assignor = Arc::new(assignor);
            let started = start_worker(&job, index, &threads, &assignor);
            if let Err(error) = started {
                job.fail(StreamsError::Config(
                    "a thread could not be started".to_owned(),
                ));
                return Err(error);
            }
        }
        Ok(Self {
            job,
            _threads: threads,
        })
    }

    /// The job's name.
    pub fn application_id(&self) -> &str {
        &self.job.config.application_id
    }

    /// The resolved topology.
    pub fn plan(&self) -> &Plan {
        &self.job.plan
    }

    /// The state of this process's part of the job.
    pub fn state(&self) -> JobState {
        self.job.state()
    }

    /// Why the job failed, if it did.
    pub fn failure(&self) -> Option<Arc<StreamsError>> {
        self.job.reason()
    }

    /// Waits until every thread has its tasks, with their stores restored.
    pub async fn wait_running(&self) -> Result<(), StreamsError> {
        let mut status = self.job.watch();
        let state = status
            .wait_for(|state| *state == JobState::Running || state.has_ended())
            .await;
        match state {
            Ok(state) if *state == JobState::Running => Ok(()),
            _ => Err(self.job.not_running()),
        }
    }

    /// Waits until the job has ended, and tells why if it failed.
    pub async fn wait_ended(&self) -> Result<(), StreamsError> {
        let mut status = self.job.watch();
        let ended = |state: &JobState| matches!(state, JobState::NotRunning | JobState::Error);
        let _ = status.wait_for(ended).await;
        match self.job.reason() {
            Some(_) => Err(self.job.not_running()),
            None => Ok(()),
        }
    }

    /// The committed positions of the partitions that this process reads.
    pub fn positions(&self) -> BTreeMap<TopicPartition, i64> {
        self.job.positions()
    }

    /// How far each partition that this process reads is behind the log's end.
    pub async fn lag(&self) -> Result<BTreeMap<TopicPartition, i64>, StreamsError> {
        let positions = self.job.positions();
        let wanted = positions.keys().map(|p| (p.clone(), OffsetSpec::Latest));
        let ends = self
            .job
            .client
            .admin()
            .list_offsets(wanted.collect(), IsolationLevel::ReadUncommitted)
            .await
            .map_err(|e| StreamsError::log("looking up end offsets", e))?;
        Ok(positions
            .into_iter()
            .filter_map(|(partition, position)| {
                let end = ends.get(&partition).copied().flatten()?.offset;
                Some((partition, (end - position).max(0)))
            })
            .collect())
    }

    /// How many records the tasks of this process have taken since the start.
    pub fn processed_records(&self) -> u64 {
        self.job.processed_records.load(Ordering::Relaxed)
    }

    /// How many records came too late, since the start.
    pub fn late_records(&self) -> u64 {
        self.job.late_records.load(Ordering::Relaxed)
    }

    /// How many records were skipped because they have no place in the computation, such
    /// as those without a key where one is grouped by it, since the start.
    pub fn skipped_records(&self) -> u64 {
        self.job.skipped_records.load(Ordering::Relaxed)
    }

    /// The end offsets, at this moment, of the topics that the job reads and that others
    /// write: what [`wait_caught_up`](Self::wait_caught_up) takes.
    pub async fn input_end_offsets(&self) -> Result<BTreeMap<TopicPartition, i64>, StreamsError> {
        let mut wanted = BTreeMap::new();
        for sub in &self.job.plan.sub_topologies {
            for source in sub.sources.iter().filter(|s| s.writers.is_none()) {
                for partition in 0..source.partitions {
                    let partition = TopicPartition::new(source.topic.clone(), partition);
                    wanted.insert(partition, OffsetSpec::Latest);
                }
            }
        }
        let ends = self
            .job
            .client
            .admin()
            .list_offsets(wanted, IsolationLevel::ReadUncommitted)
            .await
            .map_err(|e| StreamsError::log("looking up end offsets", e))?;
        Ok(ends
            .into_iter()
            .filter_map(|(p, offset)| Some((p, offset?.offset)))
            .collect())
    }

    /// Waits until everything that follows from the job's inputs up to these offsets is
    /// committed, in every sub-topology and, where this process has the task, visible in
    /// its stores. Outputs are in their topics by then. Partitions that the job does not
    /// read are ignored.
    pub async fn wait_caught_up(
        &self,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), StreamsError> {
        caught_up::wait(&self.job, offsets).await
    }

    /// A store over all tasks of this process, as committed. While tasks are being
    /// restored or moved their part is missing: see [`ReadOnlyStore::tasks`].
    pub fn store(&self, name: &str) -> Result<ReadOnlyStore, StreamsError> {
        let plan = &self.job.plan;
        let mut stores = plan.sub_topologies.iter().flat_map(|sub| &sub.stores);
        if !stores.clone().any(|store| store.name == name) {
            let known: Vec<_> = stores.by_ref().map(|store| store.name.as_str()).collect();
            return Err(StreamsError::UnknownStore {
                name: name.to_owned(),
                known: known.join(", "),
            });
        }
        if self.job.is_stopping() {
            return Err(self.job.not_running());
        }
        Ok(ReadOnlyStore {
            readers: self.job.readers(name),
        })
    }

    /// Commits, closes, and leaves; waits for it. Returns why the job failed, if it had.
    pub async fn close(&self) -> Result<(), StreamsError> {
        self.job.stop();
        self.wait_ended().await
    }

    /// [`close`](Self::close) for code that cannot wait asynchronously. It blocks the
    /// thread: over TCP, do not call it on the only thread of the client's runtime.
    pub fn close_blocking(&self) -> Result<(), StreamsError> {
        self.job.stop();
        // Whatever runtime this is called in, its contexts end at a thread's edge.
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                match runtime {
                    Ok(runtime) => runtime.block_on(self.wait_ended()),
                    Err(error) => Err(StreamsError::Config(format!("cannot wait: {error}"))),
                }
            });
            match waiting.join() {
                Ok(result) => result,
                Err(panic) => Err(StreamsError::Panic(panic_message(&*panic))),
            }
        })
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.job.stop();
    }
}

/// What a start with more threads has left in the group is taken out, so that nobody
/// waits for the end of its sessions. The members that come back keep their place.
async fn leave_old_threads(job: &Job, process: uuid::Uuid) {
    let admin = job.client.admin();
    let group = &job.config.application_id;
    let Ok(described) = admin.describe_group(group).await else {
        return;
    };
    let threads = job.worker_count();
    let instances = described.members.iter();
    let old: Vec<&String> = instances
        .filter_map(|member| member.group_instance_id.as_ref())
        .filter(|instance| {
            let index = instance.strip_prefix(&format!("{process}-"));
            index
                .and_then(|index| index.parse::<usize>().ok())
                .is_some_and(|index| index >= threads)
        })
        .collect();
    if old.is_empty() {
        return;
    }
    if let Err(error) = admin.remove_members(group, &old).await {
        tracing::debug!(%error, "members of an earlier start stay until their sessions end");
    }
    if job.config.exactly_once() {
        // What they have left open would hold back whoever reads committed records.
        let ids = old.iter().map(|instance| job.transactional_id_of(instance));
        if let Err(error) = admin.fence_producers(&ids.collect::<Vec<_>>()).await {
            tracing::debug!(%error, "transactions of an earlier start stay until they time out");
        }
    }
}

fn start_worker(
    job: &Arc<Job>,
    index: usize,
    threads: &StreamThreads,
    assignor: &Arc<TaskAssignor>,
) -> Result<(), StreamsError> {
    let failed = |e| StreamsError::log("starting a stream thread", e);
    let config = &job.config;
    let background = Arc::clone(threads.background());
    let _entered = background.handle().map(Handle::enter);
    let mut consumer: Consumer = job
        .client
        .consumer(ConsumerConfig {
            group_id: Some(config.application_id.clone()),
            group_instance_id: Some(job.instance_id(index)),
            partition_assignment_strategy: vec![assignor::NAME.to_owned()],
            assignors: vec![Arc::clone(assignor) as Arc<dyn PartitionAssignor>],
            session_timeout_ms: config.session_timeout,
            // A rebalance is heard of by heartbeat: others wait that long for their tasks.
            heartbeat_interval_ms: (config.session_timeout / 4).min(Duration::from_secs(1)),
            // A long restore is no sign of death.
            max_poll_interval_ms: Duration::from_secs(3600),
            enable_auto_commit: false,
            auto_offset_reset: AutoOffsetReset::Earliest,
            allow_auto_create_topics: false,
            isolation_level: config.isolation(),
            ..ConsumerConfig::default()
        })
        .map_err(failed)?;
    let topics: Vec<&str> = job.sources.keys().map(|topic| &**topic).collect();
    consumer
        .subscribe(&topics)
        .map_err(|e| StreamsError::log("joining the job's group", e))?;
    let restorer = job
        .client
        .consumer(ConsumerConfig {
            enable_auto_commit: false,
            auto_offset_reset: AutoOffsetReset::Earliest,
            allow_auto_create_topics: false,
            isolation_level: config.isolation(),
            ..ConsumerConfig::default()
        })
        .map_err(failed)?;
    let outlet = Outlet::new(Arc::clone(job), index, Arc::clone(&background))?;
    let job = Arc::clone(job);
    let assignor = Arc::clone(assignor);
    let background = Arc::clone(&background);
    threads.spawn(
        index,
        Box::new(move || {
            // What a worker owns is made on its thread and stays there.
            let worker = Worker::new(
                Arc::clone(&job),
                index,
                consumer,
                restorer,
                outlet,
                assignor,
            );
            async move {
                let run = AssertUnwindSafe(worker.run()).catch_unwind();
                match run.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => job.fail(error),
                    Err(panic) => job.fail(StreamsError::Panic(panic_message(&*panic))),
                }
                job.worker_ended(index);
                drop(background);
            }
            .boxed_local()
        }),
    )
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "without a message".to_owned(),
    }
}
