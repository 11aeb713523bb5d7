//! All logs of a data folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use uuid::Uuid;

use super::*;

/// What a [`LogManager`] is opened with.
#[derive(Debug, Clone)]
pub struct LogManagerConfig {
    /// The log directories (`log.dirs`); created when missing.
    pub dirs: Vec<PathBuf>,
    /// The cluster's id, written to `meta.properties` of a new folder; `None` takes what is there,
    /// or makes one up.
    pub cluster_id: Option<String>,
    /// The node's id; must be that of `meta.properties`.
    pub node_id: i32,
    /// The settings of topics (the broker's defaults).
    pub defaults: LogConfig,
    /// Settings of single topics that must hold from the start (internal topics). All others are
    /// set with [`PartitionLog::update_config`] when the metadata is there.
    pub topics: BTreeMap<String, LogConfig>,
    /// `producer.id.expiration.ms`: how long the state of an idle producer is kept.
    pub producer_id_expiration_ms: i64,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads: usize,
}

/// All logs of a data folder: blocking, shared as `Arc<LogManager>`.
#[derive(Debug)]
pub struct LogManager {}

#[allow(unused_variables, clippy::todo)]
impl LogManager {
    /// Locks the folder(s) and opens every log in them, in parallel; after a crash, recovers them.
    pub fn open(config: LogManagerConfig, now: i64) -> StorageResult<Self> {
        todo!()
    }
    /// The cluster's id in `meta.properties`.
    pub fn cluster_id(&self) -> &str {
        todo!()
    }
    /// The log of a partition.
    pub fn get(&self, topic: &str, partition: i32) -> Option<Arc<PartitionLog>> {
        todo!()
    }
    /// The log of a partition, created when missing. The topic id must be the one it has.
    pub fn get_or_create(
        &self,
        topic: &str,
        partition: i32,
        topic_id: Uuid,
        config: LogConfig,
        now: i64,
    ) -> StorageResult<Arc<PartitionLog>> {
        todo!()
    }
    /// Deletes a partition: its folder is renamed to `…-delete`, then removed.
    pub fn delete(&self, topic: &str, partition: i32) -> StorageResult<()> {
        todo!()
    }
    /// Every log.
    pub fn logs(&self) -> Vec<Arc<PartitionLog>> {
        todo!()
    }
    /// Partitions whose log could not be opened, and why; all others serve.
    pub fn failed(&self) -> Vec<(String, i32, Arc<StorageError>)> {
        todo!()
    }
    /// Background duties; call about every second: flush by `flush.ms`, retention, expiry of
    /// producers, checkpoints.
    pub fn tick(&self, now: i64) -> StorageResult<()> {
        todo!()
    }
    /// Flushes and closes every log, writes the checkpoints and the clean-shutdown marker, and
    /// gives the lock back. Dropping without it is as a crash: the next open recovers.
    pub fn close(&self) -> StorageResult<()> {
        todo!()
    }
}
