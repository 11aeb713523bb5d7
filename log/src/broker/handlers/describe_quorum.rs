//! DescribeQuorum: the controllers' quorum, of which this node is the one voter.

use crate::broker::core::{Core, now};
use crate::broker::replicas::METADATA_TOPIC;
use crate::controller::Quorum;
use crate::wire::messages::{
    DescribeQuorumListener, DescribeQuorumNode, DescribeQuorumPartition,
    DescribeQuorumReplicaState, DescribeQuorumRequest, DescribeQuorumResponse, DescribeQuorumTopic,
};
use crate::wire::{ErrorCode, Str};

pub(crate) fn handle(
    core: &Core,
    version: i16,
    request: &DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    if !asks_for_metadata(request) {
        return unknown(request);
    }
    let Some(leader) = core.quorum.leader() else {
        return partition(
            METADATA_TOPIC.into(),
            DescribeQuorumPartition {
                error_code: ErrorCode::NotLeaderOrFollower.code(),
                ..DescribeQuorumPartition::default()
            },
        );
    };
    let applied = core.quorum.image();
    let end = i64::try_from(applied.end).unwrap_or(i64::MAX);
    let now = now();
    let mut response = partition(
        METADATA_TOPIC.into(),
        DescribeQuorumPartition {
            leader_id: leader,
            leader_epoch: core.quorum.leader_epoch(),
            high_watermark: end,
            // The directory id stays unset, as with any static quorum.
            current_voters: vec![DescribeQuorumReplicaState {
                replica_id: leader,
                log_end_offset: end,
                last_fetch_timestamp: now,
                last_caught_up_timestamp: now,
                ..DescribeQuorumReplicaState::default()
            }],
            ..DescribeQuorumPartition::default()
        },
    );
    if version >= 2 {
        let endpoints = applied.image.broker(leader).map(|b| b.endpoints.as_slice());
        response.nodes = vec![DescribeQuorumNode {
            node_id: leader,
            listeners: endpoints
                .unwrap_or_default()
                .iter()
                .map(|endpoint| DescribeQuorumListener {
                    name: endpoint.name.as_str().into(),
                    host: endpoint.host.as_str().into(),
                    port: endpoint.port,
                    ..DescribeQuorumListener::default()
                })
                .collect(),
            ..DescribeQuorumNode::default()
        }];
    }
    response
}

/// Whether the one partition asked for is that of the metadata.
fn asks_for_metadata(request: &DescribeQuorumRequest) -> bool {
    match request.topics.as_slice() {
        [topic] => {
            topic.topic_name == METADATA_TOPIC
                && matches!(topic.partitions.as_slice(), [p] if p.partition_index == 0)
        }
        _ => false,
    }
}

fn partition(topic_name: Str, partition: DescribeQuorumPartition) -> DescribeQuorumResponse {
    DescribeQuorumResponse {
        topics: vec![DescribeQuorumTopic {
            topic_name,
            partitions: vec![partition],
            ..DescribeQuorumTopic::default()
        }],
        ..DescribeQuorumResponse::default()
    }
}

fn unknown(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    DescribeQuorumResponse {
        topics: request
            .topics
            .iter()
            .map(|topic| DescribeQuorumTopic {
                topic_name: topic.topic_name.clone(),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|asked| DescribeQuorumPartition {
                        partition_index: asked.partition_index,
                        error_code: ErrorCode::UnknownTopicOrPartition.code(),
                        ..DescribeQuorumPartition::default()
                    })
                    .collect(),
                ..DescribeQuorumTopic::default()
            })
            .collect(),
        ..DescribeQuorumResponse::default()
    }
}
