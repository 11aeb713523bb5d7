//! The metadata quorum on openraft: one voter, the log in `__cluster_metadata-0`.
//!
//! A single node goes the whole way of Raft: it votes for itself, appends, fsyncs, commits,
//! applies. A restarted leader leads again at once in the same term, as its vote and its entries
//! were on disk before anybody heard of them.

mod files;
mod log;
mod network;
mod state_machine;
mod types;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use openraft::error::{ClientWriteError, InitializeError, RaftError};
use openraft::{BasicNode, Config, Raft, SnapshotPolicy};
use tokio::sync::watch;

use self::log::RaftLog;
use self::network::Peers;
use self::state_machine::MetadataStateMachine;
pub use self::types::describe_metadata_record;
use self::types::{NodeId, TypeConfig};
use super::command::Command;
use super::image::Outcome;
use super::quorum::{AppliedImage, Quorum, QuorumError};
use crate::storage::PartitionLog;

/// What a [`RaftQuorum`] is opened with.
#[derive(Debug, Clone)]
pub struct RaftQuorumConfig {
    /// This node's id.
    pub node_id: i32,
    /// The partition's log.
    pub log: Arc<PartitionLog>,
    /// The folder of the vote and the snapshots: that of the partition.
    pub dir: PathBuf,
    /// A snapshot is taken after so many entries.
    pub snapshot_every: u64,
}

/// A [`Quorum`] on openraft with this node as its one voter.
#[derive(Clone)]
pub struct RaftQuorum {
    raft: Raft<TypeConfig>,
    applied: watch::Receiver<AppliedImage>,
}

impl std::fmt::Debug for RaftQuorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RaftQuorum").finish_non_exhaustive()
    }
}

/// How long this node may take to lead its own quorum before opening fails.
const LEAD_TIMEOUT: Duration = Duration::from_secs(30);

impl RaftQuorum {
    /// Opens the quorum and returns once this node leads it.
    ///
    /// # Errors
    /// [`QuorumError`] if the log or the files beside it cannot be used.
    pub async fn open(config: RaftQuorumConfig) -> Result<Self, QuorumError> {
        let id = NodeId::try_from(config.node_id)
            .map_err(|_| QuorumError::Storage(format!("invalid node id {}", config.node_id)))?;
        let (publish, applied) = watch::channel(AppliedImage::default());
        let (log, dir) = (Arc::clone(&config.log), config.dir.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let store = RaftLog::open(log, &dir).map_err(|e| e.to_string())?;
            let machine = MetadataStateMachine::open(dir, publish).map_err(|e| e.to_string())?;
            Ok::<_, String>((store, machine))
        });
        let (store, machine) = opened
            .await
            .map_err(|e| QuorumError::Storage(e.to_string()))?
            .map_err(QuorumError::Storage)?;
        let raft_config = Config {
            cluster_name: "thalweg".to_owned(),
            heartbeat_interval: 500,
            election_timeout_min: 1500,
            election_timeout_max: 3000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_every),
            max_in_snapshot_log_to_keep: 0,
            ..Config::default()
        };
        let raft_config = raft_config
            .validate()
            .map_err(|e| QuorumError::Storage(e.to_string()))?;
        let raft = Raft::new(id, Arc::new(raft_config), Peers, store, machine)
            .await
            .map_err(|e| QuorumError::Storage(e.to_string()))?;
        let this = Self { raft, applied };
        this.lead(id).await?;
        Ok(this)
    }

    /// The epoch of the quorum's leader.
    pub fn leader_epoch(&self) -> i32 {
        let term = self.raft.metrics().borrow().current_term;
        i32::try_from(term).unwrap_or(i32::MAX)
    }

    async fn lead(&self, id: NodeId) -> Result<(), QuorumError> {
        let stopped = |e: &dyn std::fmt::Display| QuorumError::Stopped(e.to_string());
        if self.raft.is_initialized().await.map_err(|e| stopped(&e))? {
            if self.raft.metrics().borrow().current_leader != Some(id) {
                // A crash between voting and leading: vote again now, not after a timeout.
                self.raft.trigger().elect().await.map_err(|e| stopped(&e))?;
            }
        } else {
            let members = BTreeMap::from([(id, BasicNode::default())]);
            match self.raft.initialize(members).await {
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
                Err(e) => return Err(stopped(&e)),
            }
        }
        self.raft
            .wait(Some(LEAD_TIMEOUT))
            .metrics(|m| m.current_leader == Some(id), "this node leads")
            .await
            .map_err(|e| stopped(&e))?;
        Ok(())
    }
}

#[async_trait]
impl Quorum for RaftQuorum {
    async fn propose(&self, command: Command) -> Result<(u64, Outcome), QuorumError> {
        match self.raft.client_write(command).await {
            Ok(written) => {
                let end = written.log_id.index.saturating_add(1);
                let outcome = written.data.ok_or_else(|| {
                    QuorumError::Stopped("a command was applied without an outcome".to_owned())
                })?;
                Ok((end, outcome))
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(QuorumError::NotLeader {
                    leader: to.leader_id.and_then(|id| i32::try_from(id).ok()),
                })
            }
            Err(e) => Err(QuorumError::Stopped(e.to_string())),
        }
    }

    fn image(&self) -> AppliedImage {
        self.applied.borrow().clone()
    }

    fn watch(&self) -> watch::Receiver<AppliedImage> {
        self.applied.clone()
    }

    fn leader(&self) -> Option<i32> {
        self.raft
            .metrics()
            .borrow()
            .current_leader
            .and_then(|id| i32::try_from(id).ok())
    }

    async fn shutdown(&self) {
        if let Err(e) = self.raft.shutdown().await {
            tracing::warn!(error = %e, "the metadata quorum did not stop cleanly");
        }
    }
}
