//! The consumer: partitions in, records out, one owner.
//!
//! Reading, lookups and the group's protocol go on while nobody polls, but nothing that
//! the owner sees changes before it polls: an assignment and its end are values that
//! [`Consumer::poll`] returns.

mod assignor;
mod config;
mod coordinator;
mod protocol;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub use assignor::{
    Assignment, CooperativeStickyAssignor, GroupMember, PartitionAssignor, PartitionCounts,
    RangeAssignor, RebalanceProtocol, RoundRobinAssignor,
};
pub use config::{AutoOffsetReset, ConsumerConfig, IsolationLevel};
pub(crate) use coordinator::GroupCoordinator;
pub(crate) use protocol::assigned_partitions;
pub use records::{ConsumerRecord, PartitionRecords, RecordIter};

use super::core::Core;
use super::{ClientError, GroupMetadata, OffsetAndMetadata, OffsetAndTimestamp, TopicPartition};

/// What a call of [`Consumer::poll`] brought.
#[derive(Debug, Clone)]
pub enum Polled {
    /// Records; none if the time was up.
    Records(Vec<PartitionRecords>),
    /// These partitions will be taken away. They are still assigned until the next call of
    /// `poll`, which goes on with the rebalance: commit before it.
    Revoking(Vec<TopicPartition>),
    /// These partitions were added to the assignment; reading begins with the next call of
    /// `poll`, so a `seek` before it decides where.
    Assigned(Vec<TopicPartition>),
    /// These partitions have been taken away without notice: others may have read them
    /// already, and nothing can be committed for them any more.
    Lost(Vec<TopicPartition>),
}

/// Reads partitions, alone or as a member of a group.
#[derive(Debug)]
pub struct Consumer {
    core: Arc<Core>,
    config: ConsumerConfig,
}

#[allow(
    clippy::todo,
    unused_variables,
    clippy::unused_async,
    reason = "being filled in"
)]
impl Consumer {
    pub(crate) fn new(core: Arc<Core>, config: ConsumerConfig) -> Result<Self, ClientError> {
        Ok(Self { core, config })
    }

    /// Joins the group and shares the partitions of `topics` with its other members.
    /// Replaces the topics of an earlier call.
    pub fn subscribe<T: AsRef<str>>(&mut self, topics: &[T]) -> Result<(), ClientError> {
        todo!()
    }

    /// Leaves the group, or drops the assigned partitions.
    pub fn unsubscribe(&mut self) {
        todo!()
    }

    /// Reads exactly these partitions, without group management. Positions of partitions
    /// that were assigned before are kept.
    pub fn assign(&mut self, partitions: Vec<TopicPartition>) -> Result<(), ClientError> {
        todo!()
    }

    /// The partitions that are assigned now.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        todo!()
    }

    /// Waits up to `timeout` for records or a change of the assignment.
    ///
    /// The future may be dropped at any time: nothing is lost, the next call goes on where
    /// it stood.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Polled, ClientError> {
        todo!()
    }

    /// [`poll`](Self::poll) for owners that need not know of rebalances.
    pub async fn poll_records(
        &mut self,
        timeout: Duration,
    ) -> Result<Vec<PartitionRecords>, ClientError> {
        todo!()
    }

    /// Goes on reading at `offset`.
    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<(), ClientError> {
        todo!()
    }

    /// Goes on reading at the first offset of the log.
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        todo!()
    }

    /// Goes on reading at the end of the log.
    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        todo!()
    }

    /// Returns no records of these partitions until [`resume`](Self::resume).
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        todo!()
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        todo!()
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> BTreeSet<TopicPartition> {
        todo!()
    }

    /// The offset of the next record that `poll` will return; looks it up if reading has
    /// not begun.
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<i64, ClientError> {
        todo!()
    }

    /// Commits these offsets for the group.
    pub async fn commit(
        &self,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> Result<(), ClientError> {
        todo!()
    }

    /// Commits the positions: all that `poll` has returned.
    pub async fn commit_positions(&self) -> Result<(), ClientError> {
        todo!()
    }

    /// The group's committed offsets of these partitions; those without one are absent.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError> {
        todo!()
    }

    /// The first offsets of the partitions.
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        todo!()
    }

    /// The end offsets of the partitions: the high watermark, or the last stable offset
    /// under `read_committed`.
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, ClientError> {
        todo!()
    }

    /// The first records whose timestamps are those given or later.
    pub async fn offsets_for_times(
        &self,
        times: BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, Option<OffsetAndTimestamp>>, ClientError> {
        todo!()
    }

    /// Who this member is at the moment.
    pub fn group_metadata(&self) -> Result<GroupMetadata, ClientError> {
        todo!()
    }

    /// Commits positions if `enable.auto.commit`, and leaves the group (a static member
    /// keeps its place).
    pub async fn close(self) -> Result<(), ClientError> {
        todo!()
    }
}
