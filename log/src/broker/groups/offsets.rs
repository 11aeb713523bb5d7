//! The APIs of committed offsets: OffsetCommit, TxnOffsetCommit, OffsetFetch, OffsetDelete.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Groups;
use super::own_opt;
use crate::broker::core::{Context, Core};
use crate::broker::transactions::{OffsetsOf, admit_offsets};
use crate::group::{Commit, CommittedOffset, Coordinator, Event, Producer, Reply, TopicPartition};
use crate::wire::messages::*;
use crate::wire::{ErrorCode, Str};

/// From this version on TxnOffsetCommit adds the group's partition to the transaction.
const IMPLICIT_ADD: i16 = 5;
/// From this version on its client knows the error that asks for an abort.
const ABORTABLE_ERROR: i16 = 4;

impl Groups {
    pub(crate) async fn offset_commit(
        &self,
        core: &Arc<Core>,
        cx: &Context,
        request: OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        let registry = core.replicas.registry();
        let now = crate::broker::core::now();
        let mut offsets = Vec::new();
        // What is answered for each partition, in the order of the request.
        let mut topics: Vec<(OffsetCommitResponseTopic, Vec<(TopicPartition, ErrorCode)>)> =
            Vec::new();
        for topic in request.topics {
            let found = registry.lookup(&topic.name, topic.topic_id);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for p in topic.partitions {
                let known = match &found {
                    Ok(replicas) => usize::try_from(p.partition_index)
                        .ok()
                        .and_then(|i| replicas.image.partitions.get(i))
                        .map(|_| (Str::from(&replicas.image.name), replicas.image.id))
                        .ok_or(ErrorCode::UnknownTopicOrPartition),
                    Err(code) => Err(*code),
                };
                match known {
                    Ok((name, topic_id)) => {
                        let at = (name, p.partition_index);
                        let expires = (request.retention_time_ms >= 0)
                            .then(|| now.saturating_add(request.retention_time_ms));
                        let offset = CommittedOffset {
                            offset: p.committed_offset,
                            leader_epoch: p.committed_leader_epoch,
                            metadata: p.committed_metadata.unwrap_or_default().detach(),
                            commit_timestamp: now,
                            expire_timestamp: expires,
                            topic_id,
                        };
                        offsets.push((at.clone(), offset));
                        partitions.push((at, ErrorCode::None));
                    }
                    Err(code) => {
                        partitions.push(((topic.name.clone(), p.partition_index), code));
                    }
                }
            }
            let answer = OffsetCommitResponseTopic {
                name: topic.name,
                topic_id: topic.topic_id,
                ..OffsetCommitResponseTopic::default()
            };
            topics.push((answer, partitions));
        }
        let codes = if offsets.is_empty() {
            Ok(BTreeMap::new())
        } else {
            let commit = Commit {
                group: request.group_id.detach(),
                generation: request.generation_id_or_member_epoch,
                member: request.member_id,
                instance: request.group_instance_id,
                version: cx.version,
                offsets,
            };
            let group = commit.group.clone();
            match self
                .ask(core, &group, |token| Event::Commit(token, commit))
                .await
            {
                Ok(Reply::Offsets(codes)) => codes,
                Ok(_) => Err(ErrorCode::UnknownServerError),
                Err(code) => Err(code),
            }
        };
        OffsetCommitResponse {
            topics: topics
                .into_iter()
                .map(|(answer, partitions)| OffsetCommitResponseTopic {
                    partitions: partitions
                        .into_iter()
                        .map(|(at, code)| {
                            let code = match &codes {
                                _ if code.is_error() => code,
                                Ok(codes) => codes.get(&at).copied().unwrap_or(code),
                                Err(all) => *all,
                            };
                            OffsetCommitResponsePartition {
                                partition_index: at.1,
                                error_code: code.code(),
                                ..OffsetCommitResponsePartition::default()
                            }
                        })
                        .collect(),
                    ..answer
                })
                .collect(),
            ..OffsetCommitResponse::default()
        }
    }

    /// TxnOffsetCommit: as OffsetCommit, but it counts only once the transaction commits.
    pub(crate) async fn txn_offset_commit(
        &self,
        core: &Arc<Core>,
        cx: &Context,
        request: TxnOffsetCommitRequest,
    ) -> TxnOffsetCommitResponse {
        let registry = core.replicas.registry();
        let mut offsets = Vec::new();
        for topic in &request.topics {
            let name = topic.name.detach();
            for p in &topic.partitions {
                if registry.partition(&topic.name, p.partition_index).is_ok() {
                    let offset = CommittedOffset {
                        offset: p.committed_offset,
                        leader_epoch: p.committed_leader_epoch,
                        metadata: p
                            .committed_metadata
                            .as_ref()
                            .map(Str::detach)
                            .unwrap_or_default(),
                        ..CommittedOffset::default()
                    };
                    offsets.push(((name.clone(), p.partition_index), offset));
                }
            }
        }
        drop(registry);
        let codes = if offsets.is_empty() {
            Ok(BTreeMap::new())
        } else {
            let commit = Commit {
                group: request.group_id.detach(),
                generation: request.generation_id,
                member: request.member_id,
                instance: own_opt(request.group_instance_id),
                version: cx.version,
                offsets,
            };
            let producer = (request.producer_id, request.producer_epoch);
            let id = &request.transactional_id;
            self.commit_in_transaction(core, id, producer, commit).await
        };
        let code = |topic: &Str, index: i32| match &codes {
            Ok(codes) => codes
                .get(&(topic.clone(), index))
                .copied()
                .unwrap_or(ErrorCode::UnknownTopicOrPartition),
            Err(all) => *all,
        };
        TxnOffsetCommitResponse {
            topics: request
                .topics
                .iter()
                .map(|topic| TxnOffsetCommitResponseTopic {
                    name: topic.name.clone(),
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|p| TxnOffsetCommitResponsePartition {
                            partition_index: p.partition_index,
                            error_code: code(&topic.name, p.partition_index).code(),
                            ..TxnOffsetCommitResponsePartition::default()
                        })
                        .collect(),
                    ..TxnOffsetCommitResponseTopic::default()
                })
                .collect(),
            ..TxnOffsetCommitResponse::default()
        }
    }

    /// Has the coordinator of the transaction know of the group's partition, then commits.
    async fn commit_in_transaction(
        &self,
        core: &Arc<Core>,
        transactional_id: &Str,
        producer: (i64, i16),
        commit: Commit,
    ) -> Result<BTreeMap<TopicPartition, ErrorCode>, ErrorCode> {
        let shard = self.shard(&commit.group)?;
        let offsets = OffsetsOf {
            transactional_id,
            producer,
            partition: shard.index(),
            implicit: commit.version >= IMPLICIT_ADD,
            abortable: commit.version >= ABORTABLE_ERROR,
        };
        let verification = admit_offsets(core, offsets).await?;
        let producer = Producer {
            id: producer.0,
            epoch: producer.1,
            verification,
        };
        let answer = shard.ask(core, |token| {
            Event::TransactionalCommit(token, commit, producer)
        });
        match answer.await {
            Ok(Reply::Offsets(codes)) => codes,
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(_) => Err(ErrorCode::NotCoordinator),
        }
    }

    pub(crate) fn offset_fetch(
        &self,
        core: &Core,
        cx: &Context,
        request: OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        if cx.version >= 8 {
            let groups = request
                .groups
                .into_iter()
                .map(|g| self.fetch_group(core, cx, g, request.require_stable))
                .collect();
            return OffsetFetchResponse {
                groups,
                ..OffsetFetchResponse::default()
            };
        }
        let asked = OffsetFetchRequestGroup {
            group_id: request.group_id,
            topics: request.topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|t| OffsetFetchRequestTopics {
                        name: t.name,
                        partition_indexes: t.partition_indexes,
                        ..OffsetFetchRequestTopics::default()
                    })
                    .collect()
            }),
            ..OffsetFetchRequestGroup::default()
        };
        let found = self.fetch_group(core, cx, asked, request.require_stable);
        OffsetFetchResponse {
            error_code: found.error_code,
            topics: found
                .topics
                .into_iter()
                .map(|t| OffsetFetchResponseTopic {
                    name: t.name,
                    partitions: t
                        .partitions
                        .into_iter()
                        .map(|p| OffsetFetchResponsePartition {
                            partition_index: p.partition_index,
                            committed_offset: p.committed_offset,
                            committed_leader_epoch: p.committed_leader_epoch,
                            metadata: p.metadata,
                            error_code: p.error_code,
                            ..OffsetFetchResponsePartition::default()
                        })
                        .collect(),
                    ..OffsetFetchResponseTopic::default()
                })
                .collect(),
            ..OffsetFetchResponse::default()
        }
    }

    fn fetch_group(
        &self,
        core: &Core,
        cx: &Context,
        asked: OffsetFetchRequestGroup,
        stable: bool,
    ) -> OffsetFetchResponseGroup {
        let group = asked.group_id.clone();
        let fetched = self.shard(&group).and_then(|shard| {
            shard.with(|coordinator| {
                coordinator.check_fetch(&group, asked.member_id.as_deref(), asked.member_epoch)?;
                let fetch = Fetch {
                    core,
                    coordinator,
                    group: &group,
                    stable,
                    by_id: cx.version >= 10,
                };
                Ok(match asked.topics {
                    None => fetch.all(),
                    Some(topics) => topics.into_iter().map(|t| fetch.some(t)).collect(),
                })
            })
        });
        let (topics, code) = match fetched {
            Ok(topics) => (topics, ErrorCode::None),
            Err(code) => (vec![], code),
        };
        OffsetFetchResponseGroup {
            group_id: group,
            topics,
            error_code: code.code(),
            ..OffsetFetchResponseGroup::default()
        }
    }

    pub(crate) async fn offset_delete(
        &self,
        core: &Arc<Core>,
        request: OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        let registry = core.replicas.registry();
        let mut existing = Vec::new();
        for topic in &request.topics {
            for p in &topic.partitions {
                if registry.partition(&topic.name, p.partition_index).is_ok() {
                    existing.push((topic.name.detach(), p.partition_index));
                }
            }
        }
        let group = request.group_id.detach();
        let event = |token| Event::DeleteOffsets(token, group.clone(), existing);
        let codes = match self.ask(core, &request.group_id, event).await {
            Ok(Reply::Offsets(codes)) => codes,
            Ok(_) => Err(ErrorCode::UnknownServerError),
            Err(code) => Err(code),
        };
        match codes {
            Err(code) => OffsetDeleteResponse {
                error_code: code.code(),
                ..OffsetDeleteResponse::default()
            },
            Ok(codes) => OffsetDeleteResponse {
                topics: request
                    .topics
                    .into_iter()
                    .map(|topic| OffsetDeleteResponseTopic {
                        partitions: topic
                            .partitions
                            .iter()
                            .map(|p| {
                                let code = codes
                                    .get(&(topic.name.clone(), p.partition_index))
                                    .copied()
                                    .unwrap_or(ErrorCode::UnknownTopicOrPartition);
                                OffsetDeleteResponsePartition {
                                    partition_index: p.partition_index,
                                    error_code: code.code(),
                                    ..OffsetDeleteResponsePartition::default()
                                }
                            })
                            .collect(),
                        name: topic.name,
                        ..OffsetDeleteResponseTopic::default()
                    })
                    .collect(),
                ..OffsetDeleteResponse::default()
            },
        }
    }
}

/// Reads the offsets of one group.
struct Fetch<'a> {
    core: &'a Core,
    coordinator: &'a Coordinator,
    group: &'a str,
    /// Offsets that a transaction is about to replace are not told.
    stable: bool,
    /// From version 10 on, topics go by id only.
    by_id: bool,
}

impl Fetch<'_> {
    fn partition(
        &self,
        at: &TopicPartition,
        offset: Option<&CommittedOffset>,
    ) -> OffsetFetchResponsePartitions {
        let unstable = self.stable && self.coordinator.is_unstable(self.group, at);
        let (offset, code) = if unstable {
            (None, ErrorCode::UnstableOffsetCommit)
        } else {
            (offset, ErrorCode::None)
        };
        OffsetFetchResponsePartitions {
            error_code: code.code(),
            ..answer(at.1, offset)
        }
    }

    fn all(&self) -> Vec<OffsetFetchResponseTopics> {
        let mut topics: BTreeMap<Str, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
        for (at, offset) in self.coordinator.offsets(self.group) {
            let partitions = topics.entry(at.0.clone()).or_default();
            partitions.push(self.partition(at, Some(offset)));
        }
        let image = self.core.image();
        topics
            .into_iter()
            .map(|(name, partitions)| OffsetFetchResponseTopics {
                topic_id: image.topic(&name).map_or(Uuid::nil(), |t| t.id),
                name,
                partitions,
                ..OffsetFetchResponseTopics::default()
            })
            .filter(|topic| !self.by_id || !topic.topic_id.is_nil())
            .collect()
    }

    fn some(&self, asked: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
        let image = self.core.image();
        let name = if self.by_id {
            image
                .topic_by_id(asked.topic_id)
                .map(|t| Str::from(&t.name))
        } else {
            Some(asked.name.clone())
        };
        let indexes = asked.partition_indexes.iter();
        let partitions = match &name {
            Some(name) => indexes
                .map(|index| {
                    let at = (name.clone(), *index);
                    let offset = self.coordinator.offset(self.group, &at);
                    // Of a topic that was deleted and made anew, the old offsets mean nothing.
                    let other = |id: Uuid| self.by_id && !id.is_nil() && id != asked.topic_id;
                    self.partition(&at, offset.filter(|o| !other(o.topic_id)))
                })
                .collect(),
            None => indexes
                .map(|index| OffsetFetchResponsePartitions {
                    error_code: ErrorCode::UnknownTopicId.code(),
                    ..answer(*index, None)
                })
                .collect(),
        };
        OffsetFetchResponseTopics {
            name: name.unwrap_or_default(),
            topic_id: asked.topic_id,
            partitions,
            ..OffsetFetchResponseTopics::default()
        }
    }
}

fn answer(index: i32, offset: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: offset.map_or(-1, |o| o.offset),
        committed_leader_epoch: offset.map_or(-1, |o| o.leader_epoch),
        metadata: Some(offset.map(|o| o.metadata.clone()).unwrap_or_default()),
        ..OffsetFetchResponsePartitions::default()
    }
}
