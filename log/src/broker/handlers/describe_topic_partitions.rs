//! DescribeTopicPartitions: topics and their partitions, page by page.
//!
//! A page ends at the partition limit; its cursor names the first partition that is not on it.

use crate::broker::authorized;
use crate::broker::core::Core;
use crate::broker::topics;
use crate::wire::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, ResponseCursor,
    TopicRequest,
};
use crate::wire::{ErrorCode, Str};

pub(crate) fn handle(
    core: &Core,
    request: &DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = core.image();
    let all = request.topics.is_empty();
    let mut names: Vec<Str> = if all {
        image.topics().map(|t| Str::from(&t.name)).collect()
    } else {
        request.topics.iter().map(|t| t.name.clone()).collect()
    };
    names.sort();
    names.dedup();
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.clone(), cursor.partition_index),
        None => (Str::new(), 0),
    };
    let lost = request.cursor.is_some() && !all && !names.contains(&from_topic);
    if from_partition < 0 || lost {
        return invalid_cursor(request);
    }
    let limit = core.settings.request_partition_limit;
    let limit = request.response_partition_limit.min(limit).max(1);
    let mut room = usize::try_from(limit).unwrap_or(1);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|n| *n >= from_topic) {
        if room == 0 {
            response.next_cursor = Some(ResponseCursor {
                topic_name: name,
                ..ResponseCursor::default()
            });
            break;
        }
        let Some(topic) = image.topic(&name) else {
            let code = match topics::check_name(&name) {
                Ok(()) => ErrorCode::UnknownTopicOrPartition,
                Err((code, _)) => code,
            };
            response.topics.push(DescribeTopicPartitionsResponseTopic {
                error_code: code.code(),
                is_internal: topics::is_internal(&name),
                name: Some(name),
                topic_authorized_operations: authorized::TOPIC,
                ..DescribeTopicPartitionsResponseTopic::default()
            });
            continue;
        };
        let first = if name == from_topic {
            from_partition
        } else {
            0
        };
        let partitions: Vec<_> = (0i32..)
            .zip(&topic.partitions)
            .skip(usize::try_from(first).unwrap_or(0))
            .take(room)
            .map(|(index, p)| DescribeTopicPartitionsResponsePartition {
                partition_index: index,
                leader_id: p.alive_leader(&image),
                leader_epoch: p.leader_epoch,
                replica_nodes: p.replicas.clone(),
                isr_nodes: p.isr.clone(),
                offline_replicas: p.offline_replicas(&image),
                eligible_leader_replicas: Some(vec![]),
                last_known_elr: Some(vec![]),
                ..DescribeTopicPartitionsResponsePartition::default()
            })
            .collect();
        room = room.saturating_sub(partitions.len());
        let next = first.saturating_add(i32::try_from(partitions.len()).unwrap_or(i32::MAX));
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            name: Some(name.clone()),
            topic_id: topic.id,
            is_internal: topics::is_internal(&topic.name),
            partitions,
            topic_authorized_operations: authorized::TOPIC,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if usize::try_from(next).unwrap_or(usize::MAX) < topic.partitions.len() {
            response.next_cursor = Some(ResponseCursor {
                topic_name: name,
                partition_index: next,
                ..ResponseCursor::default()
            });
            break;
        }
    }
    response
}

/// The cursor must lie in one of the topics asked for; no topic is answered for where it does not.
fn invalid_cursor(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refused = |topic: &TopicRequest| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(topic.name.clone()),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    DescribeTopicPartitionsResponse {
        topics: request.topics.iter().map(refused).collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}
