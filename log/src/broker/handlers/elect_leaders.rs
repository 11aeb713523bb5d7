//! ElectLeaders: makes the preferred replica, or any at all, the leader of a partition that has another, or none.
//!
//! A replica leads whenever its broker is registered, so that there is never anything to elect: a partition that
//! has its leader says so, and one without has no broker that could lead it.

use crate::broker::core::Core;
use crate::controller::{MetadataImage, PartitionImage};
use crate::wire::messages::{
    ElectLeadersPartitionResult, ElectLeadersRequest, ElectLeadersResponse, ReplicaElectionResult,
};
use crate::wire::{ErrorCode, Str};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(crate) fn handle(core: &Core, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let kind = request.election_type;
    if ![PREFERRED, UNCLEAN].contains(&kind) {
        return unknown_type(request);
    }
    let image = core.image();
    let replica_election_results = match request.topic_partitions {
        Some(topics) => topics
            .into_iter()
            .map(|topic| ReplicaElectionResult {
                partition_result: topic
                    .partitions
                    .into_iter()
                    .map(|index| elect(&image, &topic.topic, index, kind))
                    .collect(),
                topic: topic.topic,
                ..ReplicaElectionResult::default()
            })
            .collect(),
        // All topics are named, but only partitions that lack the leader they should have.
        None => image
            .topics()
            .map(|topic| ReplicaElectionResult {
                topic: Str::from(&*topic.name),
                partition_result: (0..)
                    .take(topic.partitions.len())
                    .map(|index| elect(&image, &topic.name, index, kind))
                    .filter(|result| result.error_code != ErrorCode::ElectionNotNeeded.code())
                    .collect(),
                ..ReplicaElectionResult::default()
            })
            .collect(),
    };
    ElectLeadersResponse {
        replica_election_results,
        ..ElectLeadersResponse::default()
    }
}

fn elect(image: &MetadataImage, topic: &str, index: i32, kind: i8) -> ElectLeadersPartitionResult {
    let (error, message) = match find(image, topic, index) {
        Err(message) => (ErrorCode::UnknownTopicOrPartition, message),
        Ok(partition) => {
            let error = if is_led(partition, kind) {
                ErrorCode::ElectionNotNeeded
            } else if kind == PREFERRED {
                ErrorCode::PreferredLeaderNotAvailable
            } else {
                ErrorCode::EligibleLeadersNotAvailable
            };
            (error, error.message().to_owned())
        }
    };
    ElectLeadersPartitionResult {
        partition_id: index,
        error_code: error.code(),
        error_message: Some(message.into()),
        ..ElectLeadersPartitionResult::default()
    }
}

fn find<'a>(
    image: &'a MetadataImage,
    topic: &str,
    index: i32,
) -> Result<&'a PartitionImage, String> {
    let found = image
        .topic(topic)
        .ok_or_else(|| format!("There is no topic {topic}."))?;
    usize::try_from(index)
        .ok()
        .and_then(|index| found.partitions.get(index))
        .ok_or_else(|| format!("There is no partition {topic}-{index}."))
}

fn is_led(partition: &PartitionImage, kind: i8) -> bool {
    match kind {
        PREFERRED => partition.replicas.first() == Some(&partition.leader),
        _ => partition.leader >= 0,
    }
}

fn unknown_type(request: ElectLeadersRequest) -> ElectLeadersResponse {
    let error = ErrorCode::InvalidRequest;
    let message = Str::from(format!("Unknown election type {}", request.election_type));
    let results = request
        .topic_partitions
        .unwrap_or_default()
        .into_iter()
        .map(|topic| ReplicaElectionResult {
            topic: topic.topic,
            partition_result: topic
                .partitions
                .into_iter()
                .map(|partition_id| ElectLeadersPartitionResult {
                    partition_id,
                    error_code: error.code(),
                    error_message: Some(message.clone()),
                    ..ElectLeadersPartitionResult::default()
                })
                .collect(),
            ..ReplicaElectionResult::default()
        });
    ElectLeadersResponse {
        error_code: error.code(),
        replica_election_results: results.collect(),
        ..ElectLeadersResponse::default()
    }
}
