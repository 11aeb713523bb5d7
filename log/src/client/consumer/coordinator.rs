//! A group's coordinator: where it is, and the group's committed offsets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::client::coordinator::{Coordinated, Coordinator};
use crate::client::core::Core;
use crate::client::transport::{Call, Destination, Lane};
use crate::client::{ClientError, GroupMetadata, OffsetAndMetadata, TopicPartition};
use crate::wire::messages::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetFetchRequest, OffsetFetchRequestTopic,
};
use crate::wire::{ApiRequest, ErrorCode, Str};

/// The way to a group's coordinator.
#[derive(Debug)]
pub(crate) struct GroupCoordinator {
    core: Arc<Core>,
    coordinator: Coordinator,
    lane: Lane,
}

impl GroupCoordinator {
    /// In the shared lane.
    pub(crate) fn new(core: Arc<Core>, group_id: String) -> Self {
        Self::in_lane(core, group_id, Lane::SHARED)
    }

    /// In a lane of its own.
    pub(crate) fn in_lane(core: Arc<Core>, group_id: String, lane: Lane) -> Self {
        Self {
            coordinator: Coordinator::new(core.clone(), Coordinated::Group, group_id),
            core,
            lane,
        }
    }

    pub(super) fn group_id(&self) -> &str {
        self.coordinator.key()
    }

    /// The coordinator's broker; asks if it is not known.
    pub(crate) async fn find(&self) -> Result<i32, ClientError> {
        self.coordinator.find().await
    }

    /// Looks for the coordinator anew if the error says that it is elsewhere.
    pub(crate) fn forget_if(&self, error: &ClientError) {
        self.coordinator.forget_if(error);
    }

    /// Asks the coordinator once. `check` tells the answer's error, if it has one.
    pub(super) async fn ask<R: ApiRequest>(
        &self,
        lane: Lane,
        timeout: std::time::Duration,
        request: R,
        check: impl FnOnce(&R::Response) -> Result<(), ClientError>,
    ) -> Result<R::Response, ClientError> {
        self.ask_with(lane, timeout, request, |call| call, check)
            .await
    }

    /// Asks the coordinator once, with a call that `prepare` has seen.
    pub(super) async fn ask_with<R: ApiRequest>(
        &self,
        lane: Lane,
        timeout: std::time::Duration,
        request: R,
        prepare: impl FnOnce(Call) -> Call,
        check: impl FnOnce(&R::Response) -> Result<(), ClientError>,
    ) -> Result<R::Response, ClientError> {
        self.coordinator
            .ask(lane, timeout, request, prepare, check)
            .await
    }

    /// Commits offsets as `member`.
    pub(crate) async fn commit(
        &self,
        member: &GroupMetadata,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let request = self.commit_request(member, offsets);
        let request = &request;
        self.core
            .retry(deadline, || async move {
                // From version 10 on, topics have ids only.
                let broker = self.find().await?;
                let call = Call::new(
                    Destination::Broker(broker),
                    request.clone(),
                    self.core.config.request_timeout_ms,
                )
                .lane(self.lane)
                .at_most(9);
                let result = self
                    .core
                    .exchange::<OffsetCommitRequest>(call)
                    .await
                    .and_then(|response| {
                        for topic in &response.topics {
                            for partition in &topic.partitions {
                                let code = ErrorCode::from(partition.error_code);
                                if code.is_error() {
                                    return Err(ClientError::broker(
                                        code,
                                        format!(
                                            "commit the offset of {}-{} for group {}",
                                            topic.name,
                                            partition.partition_index,
                                            self.group_id()
                                        ),
                                    ));
                                }
                            }
                        }
                        Ok(())
                    });
                if let Err(error) = &result {
                    self.forget_if(error);
                }
                result
            })
            .await
    }

    fn commit_request(
        &self,
        member: &GroupMetadata,
        offsets: &BTreeMap<TopicPartition, OffsetAndMetadata>,
    ) -> OffsetCommitRequest {
        let offsets: Vec<(&TopicPartition, &OffsetAndMetadata)> = offsets.iter().collect();
        OffsetCommitRequest {
            group_id: Str::from(self.group_id()),
            generation_id_or_member_epoch: member.generation_id,
            member_id: Str::from(&member.member_id),
            group_instance_id: member.group_instance_id.as_ref().map(Str::from),
            topics: offsets
                .chunk_by(|a, b| a.0.topic == b.0.topic)
                .filter_map(|chunk| {
                    Some(OffsetCommitRequestTopic {
                        name: Str::from(&*chunk.first()?.0.topic),
                        partitions: chunk
                            .iter()
                            .map(|(partition, offset)| OffsetCommitRequestPartition {
                                partition_index: partition.partition,
                                committed_offset: offset.offset,
                                committed_leader_epoch: offset.leader_epoch.unwrap_or(-1),
                                committed_metadata: Some(Str::from(&offset.metadata)),
                                ..OffsetCommitRequestPartition::default()
                            })
                            .collect(),
                        ..OffsetCommitRequestTopic::default()
                    })
                })
                .collect(),
            ..OffsetCommitRequest::default()
        }
    }

    /// The committed offsets of `partitions`, or of all that have one.
    pub(crate) async fn committed(
        &self,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
        deadline: Instant,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError> {
        let topics = partitions.map(|partitions| {
            let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
            sorted.sort();
            sorted
                .chunk_by(|a, b| a.topic == b.topic)
                .filter_map(|chunk| {
                    Some(OffsetFetchRequestTopic {
                        name: Str::from(&*chunk.first()?.topic),
                        partition_indexes: chunk.iter().map(|p| p.partition).collect(),
                        ..OffsetFetchRequestTopic::default()
                    })
                })
                .collect()
        });
        let request = OffsetFetchRequest {
            group_id: Str::from(self.group_id()),
            topics,
            require_stable,
            ..OffsetFetchRequest::default()
        };
        let request = &request;
        self.core
            .retry(deadline, || async move {
                let broker = self.find().await?;
                // From version 8 on groups come in lists; one group needs none.
                let mut call = Call::new(
                    Destination::Broker(broker),
                    request.clone(),
                    self.core.config.request_timeout_ms,
                )
                .lane(self.lane)
                .at_most(7)
                .at_least(2);
                if require_stable {
                    call = call.at_least(7);
                }
                let result = self
                    .core
                    .exchange::<OffsetFetchRequest>(call)
                    .await
                    .and_then(|response| self.committed_of(response));
                if let Err(error) = &result {
                    self.forget_if(error);
                }
                result
            })
            .await
    }

    fn committed_of(
        &self,
        response: <OffsetFetchRequest as ApiRequest>::Response,
    ) -> Result<BTreeMap<TopicPartition, OffsetAndMetadata>, ClientError> {
        let what = || format!("committed offsets of group {}", self.group_id());
        ErrorCode::from(response.error_code)
            .ok()
            .map_err(|code| ClientError::broker(code, what()))?;
        let mut offsets = BTreeMap::new();
        for topic in response.topics {
            let name: Arc<str> = Arc::from(&*topic.name);
            for p in topic.partitions {
                let partition = TopicPartition::new(name.clone(), p.partition_index);
                ErrorCode::from(p.error_code).ok().map_err(|code| {
                    ClientError::broker(code, format!("{}, partition {partition}", what()))
                })?;
                if p.committed_offset >= 0 {
                    let offset = OffsetAndMetadata {
                        offset: p.committed_offset,
                        leader_epoch: Some(p.committed_leader_epoch).filter(|e| *e >= 0),
                        metadata: p.metadata.map(|m| m.to_string()).unwrap_or_default(),
                    };
                    offsets.insert(partition, offset);
                }
            }
        }
        Ok(offsets)
    }
}

impl Drop for GroupCoordinator {
    fn drop(&mut self) {
        if self.lane != Lane::SHARED {
            self.core.transport.close_lane(self.lane);
        }
    }
}
