//! A consumer's look at offsets: committed ones, ends of logs, offsets of times.
//!
//! These futures borrow nothing, so that they can run beside `poll` or on another thread.

use std::collections::BTreeMap;
use std::future::Future;

use futures::FutureExt;

use super::Consumer;
use crate::client::offsets::{end_offsets_of_epochs, list_offsets};
use crate::client::{
    ClientError, EpochEndOffset, IsolationLevel, OffsetAndMetadata, OffsetAndTimestamp, OffsetSpec,
    TopicPartition,
};
use crate::wire::ErrorCode;

impl Consumer {
    /// Commits these offsets for the group, each with its metadata. Kafka's convention: the
    /// offset of the next record to read, that is, the last one's plus 1.
    pub fn commit(
        &self,
        offsets: BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> impl Future<Output = Result<(), ClientError>> + Send + use<> {
        let coordinator = self.coordinator.clone();
        let member = self.group_metadata();
        let shared = self.membership.as_ref().map(|m| m.shared.clone());
        let subscribed = shared.is_some();
        let deadline = self.core.deadline();
        async move {
            let coordinator = coordinator.ok_or(ClientError::NoGroup { what: "commit" })?;
            let member = member?;
            if subscribed && member.generation_id < 0 && !offsets.is_empty() {
                // Without a generation, the coordinator of an empty group would take this
                // for a consumer outside of group management, and let it through.
                let what = format!("commit offsets for group {}", member.group_id);
                return Err(ClientError::broker(ErrorCode::IllegalGeneration, what));
            }
            let mut named = member;
            loop {
                let result = coordinator.commit(&named, &offsets, deadline).await;
                // The member's epoch has moved on under it; what it owns has not.
                let stale =
                    matches!(&result, Err(e) if e.code() == Some(ErrorCode::StaleMemberEpoch));
                match &shared {
                    Some(shared) if stale => {
                        let now = shared.group.lock().clone();
                        if now.generation_id == named.generation_id {
                            return result;
                        }
                        named = now;
                    }
                    _ => return result,
                }
            }
        }
    }

    /// Commits the positions: all that `poll` has returned.
    pub fn commit_positions(&self) -> impl Future<Output = Result<(), ClientError>> + Send + use<> {
        self.commit(self.partitions.positions())
    }

    /// The group's committed offsets of these partitions; those without one are absent.
    /// Under `read_committed`, offsets that an open transaction holds are waited for.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError>>
    + Send
    + use<> {
        let coordinator = self.coordinator.clone();
        let partitions = partitions.to_vec();
        let deadline = self.core.deadline();
        let stable = self.config.isolation_level == IsolationLevel::ReadCommitted;
        async move {
            let coordinator = coordinator.ok_or(ClientError::NoGroup { what: "committed" })?;
            coordinator
                .committed(Some(&partitions), stable, deadline)
                .await
        }
    }

    /// The first offsets of the partitions' logs.
    pub fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, i64>, ClientError>> + Send + use<>
    {
        self.ends(partitions, OffsetSpec::Earliest)
    }

    /// The end offsets of the partitions: the high watermark, or the last stable offset
    /// under `read_committed`.
    pub fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, i64>, ClientError>> + Send + use<>
    {
        self.ends(partitions, OffsetSpec::Latest)
    }

    fn ends(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, i64>, ClientError>> + Send + use<>
    {
        let wanted = partitions.iter().map(|p| (p.clone(), spec)).collect();
        self.look_for(wanted).map(|found| {
            found?
                .into_iter()
                .map(|(partition, offset)| {
                    let offset = offset.ok_or_else(|| ClientError::Protocol {
                        what: "ListOffsets".to_owned(),
                        reason: format!("{partition} has neither beginning nor end"),
                    })?;
                    Ok((partition, offset.offset))
                })
                .collect()
        })
    }

    /// The first records whose timestamps are those given or later; `None` where there is
    /// no such record.
    pub fn offsets_for_times(
        &self,
        times: BTreeMap<TopicPartition, i64>,
    ) -> impl Future<
        Output = Result<BTreeMap<TopicPartition, Option<OffsetAndTimestamp>>, ClientError>,
    > + Send
    + use<> {
        let wanted = times
            .into_iter()
            .map(|(partition, time)| (partition, OffsetSpec::Timestamp(time)))
            .collect();
        self.look_for(wanted)
    }

    /// Where leader epochs end in the partitions' logs, as their leaders have them: who
    /// stands behind the end of the epoch of the last record it has read holds records that
    /// are gone. `None` where the log knows no such epoch.
    pub fn offsets_for_leader_epoch(
        &self,
        epochs: BTreeMap<TopicPartition, i32>,
    ) -> impl Future<Output = Result<BTreeMap<TopicPartition, Option<EpochEndOffset>>, ClientError>>
    + Send
    + use<> {
        let core = self.core.clone();
        async move {
            let deadline = core.deadline();
            end_offsets_of_epochs(&core, epochs, deadline)
                .await
                .into_iter()
                .map(|(partition, end)| end.map(|end| (partition, end)))
                .collect()
        }
    }

    fn look_for(
        &self,
        wanted: BTreeMap<TopicPartition, OffsetSpec>,
    ) -> impl Future<
        Output = Result<BTreeMap<TopicPartition, Option<OffsetAndTimestamp>>, ClientError>,
    > + Send
    + use<> {
        let core = self.core.clone();
        let isolation = self.config.isolation_level;
        async move {
            let deadline = core.deadline();
            list_offsets(&core, wanted, isolation, deadline)
                .await
                .into_iter()
                .map(|(partition, found)| found.map(|found| (partition, found)))
                .collect()
        }
    }
}
