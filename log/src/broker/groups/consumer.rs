//! The APIs of the consumer group protocol: ConsumerGroupHeartbeat, ConsumerGroupDescribe.

use std::sync::Arc;

use uuid::Uuid;

use super::{Groups, own_opt};
use crate::broker::core::{Context, Core};
use crate::group::{
    ConsumerBeat, ConsumerGroupDescription, ConsumerHeartbeat, ConsumerMemberDescription, Event,
    Partitions, Refused, Reply, Topics,
};
use crate::wire::messages::*;
use crate::wire::{ErrorCode, Str};

/// The type of a member in ConsumerGroupDescribe that speaks the classic protocol.
const CLASSIC_MEMBER: i8 = 0;
/// The type of a member that speaks the consumer protocol.
const CONSUMER_MEMBER: i8 = 1;

impl Groups {
    pub(crate) async fn consumer_heartbeat(
        &self,
        core: &Arc<Core>,
        cx: &Context,
        request: ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let refused = |code: ErrorCode, message: Option<String>| ConsumerGroupHeartbeatResponse {
            error_code: code.code(),
            error_message: message.map(Str::from),
            ..ConsumerGroupHeartbeatResponse::default()
        };
        if !core.live().group_consumer.enabled {
            return refused(ErrorCode::UnsupportedVersion, None);
        }
        // Clients make up their ids from version 1 on.
        let made_up = cx.version == 0 && request.member_epoch == 0 && request.member_id.is_empty();
        let beat = ConsumerHeartbeat {
            group: request.group_id.detach(),
            member: if made_up {
                Str::from(Uuid::new_v4().to_string())
            } else {
                request.member_id.detach()
            },
            epoch: request.member_epoch,
            instance: own_opt(request.instance_id),
            rack: own_opt(request.rack_id),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            topics: request
                .subscribed_topic_names
                .map(|topics| topics.iter().map(Str::detach).collect()),
            regex: own_opt(request.subscribed_topic_regex),
            assignor: own_opt(request.server_assignor),
            owned: request.topic_partitions.map(|topics| {
                let mut owned = Partitions::new();
                for topic in topics {
                    owned
                        .entry(topic.topic_id)
                        .or_default()
                        .extend(topic.partitions);
                }
                owned
            }),
            client_id: cx.client_id.detach(),
            client_host: cx.client_host.detach(),
        };
        let group = beat.group.clone();
        let event = |token| Event::ConsumerHeartbeat(token, beat);
        match self.ask(core, &group, event).await {
            Ok(Reply::ConsumerBeat(Ok(beat))) => accepted(beat),
            Ok(Reply::ConsumerBeat(Err(Refused { code, message }))) => refused(code, Some(message)),
            Ok(_) => refused(ErrorCode::UnknownServerError, None),
            Err(code) => refused(code, None),
        }
    }

    pub(crate) fn consumer_describe(
        &self,
        request: &ConsumerGroupDescribeRequest,
    ) -> ConsumerGroupDescribeResponse {
        let topics = self.topics();
        let groups = request.group_ids.iter().map(|id| {
            let failed = |code: ErrorCode, message: Option<String>| ConsumerGroupDescribedGroup {
                group_id: id.clone(),
                error_code: code.code(),
                error_message: message.map(Str::from),
                ..ConsumerGroupDescribedGroup::default()
            };
            if id.is_empty() {
                return failed(ErrorCode::InvalidGroupId, None);
            }
            let found = self
                .shard(id)
                .map(|shard| shard.with(|c| c.describe_consumer(id).ok_or_else(|| c.contains(id))));
            match found {
                Ok(Ok(group)) => described(group, &topics),
                Ok(Err(exists)) => {
                    let what = if exists {
                        "is not a consumer group"
                    } else {
                        "not found"
                    };
                    let message = format!("Group {id} {what}.");
                    failed(ErrorCode::GroupIdNotFound, Some(message))
                }
                Err(code) => failed(code, None),
            }
        });
        ConsumerGroupDescribeResponse {
            groups: groups.collect(),
            ..ConsumerGroupDescribeResponse::default()
        }
    }
}

fn accepted(beat: ConsumerBeat) -> ConsumerGroupHeartbeatResponse {
    let assignment = beat.assignment.map(|partitions| {
        let topic_partitions = partitions
            .into_iter()
            .map(
                |(topic_id, partitions)| ConsumerGroupHeartbeatTopicPartitions {
                    topic_id,
                    partitions: partitions.into_iter().collect(),
                    ..ConsumerGroupHeartbeatTopicPartitions::default()
                },
            )
            .collect();
        ConsumerGroupHeartbeatAssignment {
            topic_partitions,
            ..ConsumerGroupHeartbeatAssignment::default()
        }
    });
    ConsumerGroupHeartbeatResponse {
        member_id: Some(beat.member),
        member_epoch: beat.epoch,
        heartbeat_interval_ms: beat.heartbeat_interval_ms,
        assignment,
        ..ConsumerGroupHeartbeatResponse::default()
    }
}

fn described(group: ConsumerGroupDescription, topics: &Topics) -> ConsumerGroupDescribedGroup {
    ConsumerGroupDescribedGroup {
        group_id: group.group,
        group_state: Str::from_static(group.state.name()),
        group_epoch: group.epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: Str::from_static(group.assignor.name()),
        members: group
            .members
            .into_iter()
            .map(|member| described_member(member, topics))
            .collect(),
        ..ConsumerGroupDescribedGroup::default()
    }
}

fn described_member(
    member: ConsumerMemberDescription,
    topics: &Topics,
) -> ConsumerGroupDescribeMember {
    ConsumerGroupDescribeMember {
        member_id: member.member,
        instance_id: member.instance,
        rack_id: member.rack,
        member_epoch: member.epoch,
        client_id: member.client_id,
        client_host: member.client_host,
        subscribed_topic_names: member.topics,
        subscribed_topic_regex: member.regex,
        assignment: described_partitions(&member.assignment, topics),
        target_assignment: described_partitions(&member.target, topics),
        member_type: if member.classic {
            CLASSIC_MEMBER
        } else {
            CONSUMER_MEMBER
        },
        ..ConsumerGroupDescribeMember::default()
    }
}

fn described_partitions(
    partitions: &Partitions,
    topics: &Topics,
) -> ConsumerGroupDescribeAssignment {
    let topic_partitions = partitions
        .iter()
        // What was deleted has no name.
        .filter_map(|(id, partitions)| {
            Some(ConsumerGroupDescribeTopicPartitions {
                topic_id: *id,
                topic_name: topics.name(id)?.clone(),
                partitions: partitions.iter().copied().collect(),
                ..ConsumerGroupDescribeTopicPartitions::default()
            })
        })
        .collect();
    ConsumerGroupDescribeAssignment {
        topic_partitions,
        ..ConsumerGroupDescribeAssignment::default()
    }
}
