//! The group APIs: from the wire to the coordinator and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::Groups;
use crate::broker::core::{Context, Core};
use crate::group::{
    Commit, CommittedOffset, Coordinator, Event, GroupState, Heartbeat, Join, Joined, Leaver,
    Reply, Sync, Synced, TopicPartition,
};
use crate::wire::messages::*;
use crate::wire::{ErrorCode, Str};

/// A copy that does not hold on to the request's frame.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

fn own_opt(text: Option<Str>) -> Option<Str> {
    text.map(|t| t.detach())
}

impl Groups {
    async fn ask(
        &self,
        core: &Arc<Core>,
        group: &str,
        event: impl FnOnce(u64) -> Event,
    ) -> Result<Reply, ErrorCode> {
        let answer = self.shard(group)?.ask(core, event);
        answer.await.map_err(|_| ErrorCode::NotCoordinator)
    }

    pub(crate) async fn join(
        &self,
        core: &Arc<Core>,
        cx: &Context,
        request: JoinGroupRequest,
    ) -> JoinGroupResponse {
        let prefix = request.group_instance_id.as_ref().unwrap_or(&cx.client_id);
        let join = Join {
            group: request.group_id.detach(),
            member: request.member_id.detach(),
            new_member: Str::from(format!("{prefix}-{}", Uuid::new_v4())),
            instance: own_opt(request.group_instance_id),
            client_id: cx.client_id.detach(),
            client_host: cx.client_host.detach(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: if cx.version == 0 || request.rebalance_timeout_ms < 0 {
                request.session_timeout_ms
            } else {
                request.rebalance_timeout_ms
            },
            protocol_type: request.protocol_type.detach(),
            protocols: request
                .protocols
                .iter()
                .map(|p| (p.name.detach(), own(&p.metadata)))
                .collect(),
            member_id_required: cx.version >= 4,
            can_skip_assignment: cx.version >= 9,
        };
        let group = join.group.clone();
        let refused = |code| Joined {
            error: Some(code),
            generation: -1,
            ..Joined::default()
        };
        let joined = match self
            .ask(core, &group, |token| Event::Join(token, join))
            .await
        {
            Ok(Reply::Joined(joined)) => joined,
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(code) => refused(code),
        };
        // Null where the version has it: older clients expect an empty string.
        let protocol_name = match joined.protocol {
            None if cx.version < 7 => Some(Str::new()),
            protocol => protocol,
        };
        JoinGroupResponse {
            error_code: joined.error.unwrap_or(ErrorCode::None).code(),
            generation_id: joined.generation,
            protocol_type: joined.protocol_type,
            protocol_name,
            leader: joined.leader,
            skip_assignment: joined.skip_assignment,
            member_id: joined.member,
            members: joined
                .members
                .into_iter()
                .map(
                    |(member_id, group_instance_id, metadata)| JoinGroupResponseMember {
                        member_id,
                        group_instance_id,
                        metadata,
                        ..JoinGroupResponseMember::default()
                    },
                )
                .collect(),
            ..JoinGroupResponse::default()
        }
    }

    pub(crate) async fn sync(
        &self,
        core: &Arc<Core>,
        request: SyncGroupRequest,
    ) -> SyncGroupResponse {
        let sync = Sync {
            group: request.group_id.detach(),
            generation: request.generation_id,
            member: request.member_id.detach(),
            instance: own_opt(request.group_instance_id),
            protocol_type: own_opt(request.protocol_type),
            protocol: own_opt(request.protocol_name),
            assignments: request
                .assignments
                .iter()
                .map(|a| (a.member_id.detach(), own(&a.assignment)))
                .collect(),
        };
        let group = sync.group.clone();
        let refused = |code| Synced {
            error: Some(code),
            ..Synced::default()
        };
        let synced = match self
            .ask(core, &group, |token| Event::Sync(token, sync))
            .await
        {
            Ok(Reply::Synced(synced)) => synced,
            Ok(_) => refused(ErrorCode::UnknownServerError),
            Err(code) => refused(code),
        };
        SyncGroupResponse {
            error_code: synced.error.unwrap_or(ErrorCode::None).code(),
            protocol_type: synced.protocol_type,
            protocol_name: synced.protocol,
            assignment: synced.assignment,
            ..SyncGroupResponse::default()
        }
    }

    pub(crate) async fn heartbeat(
        &self,
        core: &Arc<Core>,
        request: HeartbeatRequest,
    ) -> HeartbeatResponse {
        let beat = Heartbeat {
            group: request.group_id,
            generation: request.generation_id,
            member: request.member_id,
            instance: request.group_instance_id,
        };
        let group = beat.group.clone();
        let code = match self
            .ask(core, &group, |token| Event::Heartbeat(token, beat))
            .await
        {
            Ok(Reply::Code(code)) | Err(code) => code,
            Ok(_) => ErrorCode::UnknownServerError,
        };
        HeartbeatResponse {
            error_code: code.code(),
            ..HeartbeatResponse::default()
        }
    }

    pub(crate) async fn leave(
        &self,
        core: &Arc<Core>,
        cx: &Context,
        request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let single = cx.version < 3;
        let leavers = if single {
            vec![Leaver {
                member: request.member_id,
                instance: None,
            }]
        } else {
            request
                .members
                .into_iter()
                .map(|m| Leaver {
                    member: m.member_id,
                    instance: m.group_instance_id,
                })
                .collect()
        };
        let group = request.group_id.detach();
        let left = self
            .ask(core, &group.clone(), |token| {
                Event::Leave(token, group, leavers)
            })
            .await;
        let members = match left {
            Ok(Reply::Left(Ok(members))) => members,
            Ok(Reply::Left(Err(code))) | Err(code) => {
                return LeaveGroupResponse {
                    error_code: code.code(),
                    ..LeaveGroupResponse::default()
                };
            }
            Ok(_) => {
                return LeaveGroupResponse {
                    error_code: ErrorCode::UnknownServerError.code(),
                    ..LeaveGroupResponse::default()
                };
            }
        };
        if single {
            let code = members.first().map_or(ErrorCode::None, |(_, code)| *code);
            return LeaveGroupResponse {
                error_code: code.code(),
                ..LeaveGroupResponse::default()
            };
        }
        LeaveGroupResponse {
            members: members
                .into_iter()
                .map(|(leaver, code)| MemberResponse {
                    member_id: leaver.member,
                    group_instance_id: leaver.instance,
                    error_code: code.code(),
                    ..MemberResponse::default()
                })
                .collect(),
            ..LeaveGroupResponse::default()
        }
    }

    pub(crate) async fn offset_commit(
        &self,
        core: &Arc<Core>,
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
                        .map(|_| Str::from(&replicas.image.name))
                        .ok_or(ErrorCode::UnknownTopicOrPartition),
                    Err(code) => Err(*code),
                };
                match known {
                    Ok(name) => {
                        let at = (name, p.partition_index);
                        let expires = (request.retention_time_ms >= 0)
                            .then(|| now.saturating_add(request.retention_time_ms));
                        let offset = CommittedOffset {
                            offset: p.committed_offset,
                            leader_epoch: p.committed_leader_epoch,
                            metadata: p.committed_metadata.unwrap_or_default().detach(),
                            commit_timestamp: now,
                            expire_timestamp: expires,
                            topic_id: topic.topic_id,
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
                .map(|g| self.fetch_group(core, cx, g))
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
        let found = self.fetch_group(core, cx, asked);
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
    ) -> OffsetFetchResponseGroup {
        let group = asked.group_id.clone();
        let (topics, code) = match self.shard(&group) {
            Ok(shard) => {
                let topics = shard.with(|c| match asked.topics {
                    None => all_offsets(core, c, &group),
                    Some(topics) => topics
                        .into_iter()
                        .map(|t| some_offsets(core, cx, c, &group, t))
                        .collect(),
                });
                (topics, ErrorCode::None)
            }
            Err(code) => (vec![], code),
        };
        OffsetFetchResponseGroup {
            group_id: group,
            topics,
            error_code: code.code(),
            ..OffsetFetchResponseGroup::default()
        }
    }

    pub(crate) fn describe(
        &self,
        cx: &Context,
        request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let groups = request
            .groups
            .iter()
            .map(|id| {
                let described = self.shard(id).map(|shard| shard.with(|c| c.describe(id)));
                let empty = DescribedGroup {
                    group_id: id.clone(),
                    ..DescribedGroup::default()
                };
                match described {
                    Err(code) => DescribedGroup {
                        error_code: code.code(),
                        ..empty
                    },
                    Ok(None) => {
                        let missing = cx.version >= 6;
                        let code = if missing {
                            ErrorCode::GroupIdNotFound
                        } else {
                            ErrorCode::None
                        };
                        DescribedGroup {
                            error_code: code.code(),
                            error_message: missing
                                .then(|| Str::from(format!("Group {id} not found."))),
                            group_state: Str::from_static(GroupState::Dead.name()),
                            ..empty
                        }
                    }
                    Ok(Some(group)) => DescribedGroup {
                        group_state: Str::from_static(group.state.name()),
                        protocol_type: group.protocol_type,
                        protocol_data: group.protocol,
                        members: group
                            .members
                            .into_iter()
                            .map(|m| DescribedGroupMember {
                                member_id: m.member,
                                group_instance_id: m.instance,
                                client_id: m.client_id,
                                client_host: m.client_host,
                                member_metadata: m.metadata,
                                member_assignment: m.assignment,
                                ..DescribedGroupMember::default()
                            })
                            .collect(),
                        ..empty
                    },
                }
            })
            .collect();
        DescribeGroupsResponse {
            groups,
            ..DescribeGroupsResponse::default()
        }
    }

    pub(crate) fn list(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let wanted = |filter: &[Str], name: &str| {
            filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(name))
        };
        let groups = self
            .all_shards()
            .iter()
            .flat_map(|shard| shard.with(Coordinator::list))
            .filter(|(_, _, state)| {
                wanted(&request.states_filter, state.name())
                    && wanted(&request.types_filter, "Classic")
            })
            .map(|(group_id, protocol_type, state)| ListedGroup {
                group_id,
                protocol_type,
                group_state: Str::from_static(state.name()),
                group_type: Str::from_static("classic"),
                ..ListedGroup::default()
            })
            .collect();
        ListGroupsResponse {
            groups,
            ..ListGroupsResponse::default()
        }
    }

    pub(crate) async fn delete(
        &self,
        core: &Arc<Core>,
        request: DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group in request.groups_names {
            let id = group.detach();
            let code = match self
                .ask(core, &group, |token| Event::Delete(token, id))
                .await
            {
                Ok(Reply::Code(code)) | Err(code) => code,
                Ok(_) => ErrorCode::UnknownServerError,
            };
            results.push(DeletableGroupResult {
                group_id: group,
                error_code: code.code(),
                ..DeletableGroupResult::default()
            });
        }
        DeleteGroupsResponse {
            results,
            ..DeleteGroupsResponse::default()
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

fn topic_id(core: &Core, name: &str) -> Uuid {
    core.image().topic(name).map_or(Uuid::nil(), |t| t.id)
}

fn fetched(index: i32, offset: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: offset.map_or(-1, |o| o.offset),
        committed_leader_epoch: offset.map_or(-1, |o| o.leader_epoch),
        metadata: Some(offset.map(|o| o.metadata.clone()).unwrap_or_default()),
        ..OffsetFetchResponsePartitions::default()
    }
}

fn all_offsets(
    core: &Core,
    coordinator: &Coordinator,
    group: &str,
) -> Vec<OffsetFetchResponseTopics> {
    let mut topics: BTreeMap<Str, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
    for ((topic, index), offset) in coordinator.offsets(group) {
        topics
            .entry(topic.clone())
            .or_default()
            .push(fetched(*index, Some(offset)));
    }
    topics
        .into_iter()
        .map(|(name, partitions)| OffsetFetchResponseTopics {
            topic_id: topic_id(core, &name),
            name,
            partitions,
            ..OffsetFetchResponseTopics::default()
        })
        .collect()
}

fn some_offsets(
    core: &Core,
    cx: &Context,
    coordinator: &Coordinator,
    group: &str,
    asked: OffsetFetchRequestTopics,
) -> OffsetFetchResponseTopics {
    // From version 10 on, topics go by id only.
    let name = if cx.version >= 10 {
        core.image()
            .topic_by_id(asked.topic_id)
            .map(|t| Str::from(&t.name))
    } else {
        Some(asked.name.clone())
    };
    let partitions = asked
        .partition_indexes
        .iter()
        .map(|index| match &name {
            Some(name) => fetched(*index, coordinator.offset(group, &(name.clone(), *index))),
            None => OffsetFetchResponsePartitions {
                error_code: ErrorCode::UnknownTopicId.code(),
                ..fetched(*index, None)
            },
        })
        .collect();
    OffsetFetchResponseTopics {
        name: name.unwrap_or_default(),
        topic_id: asked.topic_id,
        partitions,
        ..OffsetFetchResponseTopics::default()
    }
}
