//! What all handlers share: the logs, the metadata, the partitions and the coordinators.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::error::BrokerError;
use super::fetch_sessions::FetchSessions;
use super::groups::Groups;
use super::producer_ids::ProducerIds;
use super::quotas::{ClientQuotas, Usage, connection_limits};
use super::replicas::{METADATA_TOPIC, Replicas};
use super::transactions::Transactions;
use crate::config::{CleanerSettings, Layer, Listener, Settings};
use crate::controller::{
    AppliedImage, Command, ConfigScope, Endpoint, MetadataImage, Outcome, Quorum, QuorumError,
    Quotas, RaftQuorum, RaftQuorumConfig, Refusal, initial_features,
};
use crate::net::ConnectionQuotas;
use crate::storage::{CleanerConfig, LogConfig, LogManager, LogManagerConfig};
use crate::wire::{ErrorCode, Str};

/// The topic id of the metadata log: Kafka's.
const METADATA_TOPIC_ID: Uuid = Uuid::from_u128(1);

/// What a handler knows of the request besides its fields.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Version of the request.
    pub(crate) version: i16,
    /// The client's name for itself.
    pub(crate) client_id: Str,
    /// Where it comes from, as Kafka writes it: `/127.0.0.1`.
    pub(crate) client_host: Str,
    /// The listener it came in by; empty in process.
    pub(crate) listener: Str,
    /// What it uses of its client's quotas; `None` where there are none, and in process.
    pub(crate) usage: Option<Arc<Usage>>,
}

/// The broker's shared parts.
#[derive(Debug)]
pub(crate) struct Core {
    /// The settings as they were given at the start; [`live`](Self::live) has those that hold now.
    pub(crate) settings: Settings,
    live: RwLock<Arc<Settings>>,
    endpoints: Mutex<Vec<Endpoint>>,
    pub(crate) cluster_id: String,
    pub(crate) logs: Arc<LogManager>,
    pub(crate) quorum: RaftQuorum,
    pub(crate) replicas: Replicas,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) client_quotas: ClientQuotas,
    pub(crate) connections: Arc<ConnectionQuotas>,
    pub(crate) runtime: Handle,
    incarnation: Uuid,
    closed: AtomicBool,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Why the metadata did not change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProposeError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Quorum(#[from] QuorumError),
}

impl ProposeError {
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => super::codes::refusal(refusal),
            Self::Quorum(error) => super::codes::quorum(error),
        }
    }
}

impl Core {
    /// Opens the data folder and the quorum, registers, and opens every partition.
    pub(crate) async fn open(
        settings: Settings,
        cluster_id: Option<String>,
    ) -> Result<Arc<Self>, BrokerError> {
        let logs = open_logs(&settings, cluster_id).await?;
        let quorum = match open_quorum(&settings, &logs).await {
            Ok(quorum) => quorum,
            Err(e) => {
                close_logs(&logs).await;
                return Err(e);
            }
        };
        let core = Arc::new(Self {
            cluster_id: logs.cluster_id().to_owned(),
            replicas: Replicas::new(Arc::clone(&logs), settings.node_id),
            client_quotas: ClientQuotas::new(&settings),
            connections: Arc::new(ConnectionQuotas::new(connection_limits(
                &settings,
                &Quotas::new(),
            ))),
            producer_ids: ProducerIds::default(),
            groups: Groups::new(),
            transactions: Transactions::new(&settings),
            fetch_sessions: FetchSessions::new(settings.fetch_session_slots),
            runtime: Handle::current(),
            incarnation: Uuid::new_v4(),
            closed: AtomicBool::new(false),
            logs,
            quorum,
            live: RwLock::new(Arc::new(settings.clone())),
            endpoints: Mutex::default(),
            settings,
        });
        if let Err(e) = core.join().await {
            core.close().await;
            return Err(e);
        }
        Ok(core)
    }

    async fn join(self: &Arc<Self>) -> Result<(), BrokerError> {
        let register = Command::RegisterBroker {
            id: self.settings.node_id,
            incarnation: self.incarnation,
            endpoints: vec![],
            rack: self.settings.rack.clone(),
        };
        self.quorum.propose(register).await?;
        if self.quorum.image().image.features().next().is_none() {
            // A new cluster has all that this program can do.
            let updates = initial_features();
            let command = Command::UpdateFeatures { updates };
            self.quorum.propose(command).await?;
        }
        let follower = Arc::clone(self);
        let mut watch = self.quorum.watch();
        watch.mark_changed();
        self.runtime.spawn(async move {
            while watch.changed().await.is_ok() {
                let image = watch.borrow_and_update().clone();
                if follower.is_closed() {
                    break;
                }
                follower.reconcile(image).await;
            }
        });
        self.replicas.wait_applied(self.quorum.image().end).await;
        for (topic, partition, error) in self.logs.failed() {
            tracing::error!(topic, partition, %error, "the partition could not be opened and is offline");
        }
        Ok(())
    }

    async fn reconcile(self: &Arc<Self>, image: AppliedImage) {
        let core = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let before = core.live();
            let settings = core.refresh(&image.image);
            let quotas = image.image.quotas();
            let changed = core.client_quotas.update(quotas) || !Arc::ptr_eq(&before, &settings);
            if changed {
                core.connections
                    .update(connection_limits(&settings, quotas));
            }
            core.replicas.reconcile(&image, &settings, now());
            core.groups.metadata_changed(&core, &image.image);
            core.transactions.metadata_changed(&core);
            core.replicas.publish_applied(image.end);
        });
        if let Err(e) = done.await {
            tracing::error!(error = %e, "metadata could not be applied");
        }
    }

    /// Changes the metadata; returns when the change is applied to this broker's partitions.
    pub(crate) async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let (end, outcome) = self.quorum.propose(command).await?;
        if let Outcome::Refused(refusal) = outcome {
            return Err(refusal.into());
        }
        self.replicas.wait_applied(end).await;
        Ok(outcome)
    }

    /// The settings that hold now: those given at the start, under what was set at run time.
    pub(crate) fn live(&self) -> Arc<Settings> {
        Arc::clone(&self.live.read())
    }

    /// Takes over what the metadata set at run time. What does not resolve is left as it was, and
    /// told: it was checked when it was set, so that only another release can have written it.
    fn refresh(&self, image: &MetadataImage) -> Arc<Settings> {
        let id = self.settings.node_id.to_string();
        let cluster = image.configs(ConfigScope::Broker, "");
        let broker = image.configs(ConfigScope::Broker, &id);
        let now = self.live();
        let same = |layer: &Layer, set: Option<&Arc<Layer>>| match set {
            Some(set) => *layer == **set,
            None => layer.is_empty(),
        };
        if same(&now.layers.cluster, cluster) && same(&now.layers.broker, broker) {
            return now;
        }
        match self
            .settings
            .with_dynamic(cluster.map(|l| &**l), broker.map(|l| &**l))
        {
            Ok(new) => {
                if new.cleaner != now.cleaner {
                    self.logs.reconfigure_cleaner(cleaner_config(&new.cleaner));
                }
                self.logs
                    .set_producer_id_expiration(new.producer_id_expiration_ms);
                let new = Arc::new(new);
                *self.live.write() = Arc::clone(&new);
                new
            }
            Err(e) => {
                tracing::error!(error = %e, "stored broker settings are ignored");
                now
            }
        }
    }

    /// The newest metadata.
    pub(crate) fn image(&self) -> Arc<MetadataImage> {
        self.quorum.image().image
    }

    /// This broker's id.
    pub(crate) fn node_id(&self) -> i32 {
        self.settings.node_id
    }

    /// Host and port that clients of a listener are told for a broker.
    pub(crate) fn endpoint_on(image: &MetadataImage, broker: i32, listener: &str) -> (Str, i32) {
        let endpoints = image.broker(broker).map(|b| b.endpoints.as_slice());
        let endpoints = endpoints.unwrap_or_default();
        let same = endpoints.iter().find(|e| e.name == listener);
        match same.or_else(|| endpoints.first()) {
            Some(e) => (Str::from(e.host.as_str()), i32::from(e.port)),
            // In process only: a client over the wire never gets to see this.
            None => (Str::from_static("localhost"), 0),
        }
    }

    /// Tells the cluster where a listener of this broker is reached.
    pub(crate) async fn announce(
        &self,
        listener: &Listener,
        bound: SocketAddr,
    ) -> Result<(), BrokerError> {
        let advertised = &self.settings.advertised;
        let advertised = advertised.iter().find(|a| a.name == listener.name);
        let host = match advertised.map(|a| a.host.as_str()) {
            Some(host) if !host.is_empty() => host.to_owned(),
            _ if bound.ip().is_unspecified() => host_name(),
            _ => bound.ip().to_string(),
        };
        let port = advertised.map(|a| a.port).filter(|port| *port != 0);
        let endpoint = Endpoint {
            name: listener.name.clone(),
            host,
            port: port.unwrap_or(bound.port()),
        };
        let endpoints = {
            let mut all = self.endpoints.lock();
            match all.iter_mut().find(|e| e.name == endpoint.name) {
                Some(same) => *same = endpoint,
                None => all.push(endpoint),
            }
            all.clone()
        };
        let command = Command::SetEndpoints {
            id: self.settings.node_id,
            incarnation: self.incarnation,
            endpoints,
        };
        match self.propose(command).await {
            Ok(_) => Ok(()),
            Err(ProposeError::Quorum(e)) => Err(e.into()),
            Err(ProposeError::Refused(e)) => Err(QuorumError::Stopped(e.to_string()).into()),
        }
    }

    /// Whether the broker was shut down.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Stops the quorum, flushes and closes every log, gives the data folder back. Idempotent.
    pub(crate) async fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.quorum.shutdown().await;
        close_logs(&self.logs).await;
    }
}

async fn open_logs(
    settings: &Settings,
    cluster_id: Option<String>,
) -> Result<Arc<LogManager>, BrokerError> {
    let config = LogManagerConfig {
        dirs: settings.log_dirs.clone(),
        cluster_id,
        node_id: settings.node_id,
        defaults: settings.topic_defaults.clone(),
        topics: std::collections::BTreeMap::from([(METADATA_TOPIC.to_owned(), metadata_config())]),
        producer_id_expiration_ms: settings.producer_id_expiration_ms,
        retention_check_interval_ms: settings.retention_check_interval_ms,
        checkpoint_interval_ms: settings.checkpoint_interval_ms,
        start_checkpoint_interval_ms: settings.start_checkpoint_interval_ms,
        recovery_threads: usize::try_from(settings.recovery_threads).unwrap_or(1),
        cleaner: cleaner_config(&settings.cleaner),
        max_open_files: None,
    };
    let opened = tokio::task::spawn_blocking(move || LogManager::open(config, now())).await;
    let logs = Arc::new(opened.map_err(|e| BrokerError::Runtime(std::io::Error::other(e)))??);
    logs.start_cleaner(now);
    Ok(logs)
}

fn cleaner_config(settings: &CleanerSettings) -> CleanerConfig {
    CleanerConfig {
        enable: settings.enable && settings.threads > 0,
        threads: usize::try_from(settings.threads).unwrap_or(1),
        dedupe_buffer_size: usize::try_from(settings.dedupe_buffer_size).unwrap_or(usize::MAX),
        load_factor: settings.io_buffer_load_factor,
        io_buffer_size: usize::try_from(settings.io_buffer_size).unwrap_or_default(),
        io_max_bytes_per_second: settings.io_max_bytes_per_second,
        backoff_ms: u64::try_from(settings.backoff_ms).unwrap_or_default(),
    }
}

async fn close_logs(logs: &Arc<LogManager>) {
    let logs = Arc::clone(logs);
    match tokio::task::spawn_blocking(move || logs.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::error!(error = %e, "the logs did not close cleanly"),
        Err(e) => tracing::error!(error = %e, "the logs did not close cleanly"),
    }
}

async fn open_quorum(
    settings: &Settings,
    logs: &Arc<LogManager>,
) -> Result<RaftQuorum, BrokerError> {
    let (manager, config) = (Arc::clone(logs), metadata_config());
    let log = tokio::task::spawn_blocking(move || {
        manager.get_or_create(METADATA_TOPIC, 0, METADATA_TOPIC_ID, config, now())
    })
    .await
    .map_err(|e| BrokerError::Runtime(std::io::Error::other(e)))??;
    let dir: PathBuf = settings.data_dir.join(format!("{METADATA_TOPIC}-0"));
    Ok(RaftQuorum::open(RaftQuorumConfig {
        node_id: settings.node_id,
        log,
        dir,
        snapshot_every: u64::try_from(settings.snapshot_records).unwrap_or(1),
    })
    .await?)
}

/// The metadata log keeps what its snapshots do not cover, however old.
fn metadata_config() -> LogConfig {
    LogConfig {
        segment_bytes: 1 << 26,
        segment_ms: i64::MAX,
        retention_ms: -1,
        retention_bytes: -1,
        max_message_bytes: 1 << 26,
        ..LogConfig::default()
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name.to_owned()
    }
}
