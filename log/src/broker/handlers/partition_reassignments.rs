//! AlterPartitionReassignments and ListPartitionReassignments.
//!
//! A move to other brokers takes brokers to move to, and a move on the only broker is done when it is asked for:
//! there is never one under way.

use crate::broker::core::Core;
use crate::broker::topics::{Refused, check_assignment};
use crate::controller::{MetadataImage, PartitionImage};
use crate::wire::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsResponse, ReassignablePartition, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};
use crate::wire::{ErrorCode, Str};

pub(crate) fn alter(
    core: &Core,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let image = core.image();
    let resize = request.allow_replication_factor_change;
    let responses = request
        .topics
        .into_iter()
        .map(|topic| ReassignableTopicResponse {
            partitions: topic
                .partitions
                .iter()
                .map(|target| {
                    answer(
                        target.partition_index,
                        reassign(&image, &topic.name, target, resize),
                    )
                })
                .collect(),
            name: topic.name,
            ..ReassignableTopicResponse::default()
        })
        .collect();
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: resize,
        error_message: None,
        responses,
        ..AlterPartitionReassignmentsResponse::default()
    }
}

pub(crate) fn list() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse {
        error_message: None,
        ..ListPartitionReassignmentsResponse::default()
    }
}

fn answer(partition_index: i32, result: Result<(), Refused>) -> ReassignablePartitionResponse {
    let (error, message) = match result {
        Ok(()) => (ErrorCode::None, None),
        Err((error, message)) => (error, Some(message.into())),
    };
    ReassignablePartitionResponse {
        partition_index,
        error_code: error.code(),
        error_message: message,
        ..ReassignablePartitionResponse::default()
    }
}

fn reassign(
    image: &MetadataImage,
    topic: &Str,
    target: &ReassignablePartition,
    resize: bool,
) -> Result<(), Refused> {
    let unknown = |message| (ErrorCode::UnknownTopicOrPartition, message);
    let found = image
        .topic(topic)
        .ok_or_else(|| unknown(format!("There is no topic {topic}.")))?;
    let index = target.partition_index;
    let partition = usize::try_from(index)
        .ok()
        .and_then(|index| found.partitions.get(index))
        .ok_or_else(|| unknown(format!("There is no partition {topic}-{index}.")))?;
    let Some(replicas) = &target.replicas else {
        let error = ErrorCode::NoReassignmentInProgress;
        return Err((error, error.message().to_owned()));
    };
    check(image, partition, replicas, resize)
}

fn check(
    image: &MetadataImage,
    partition: &PartitionImage,
    replicas: &[i32],
    resize: bool,
) -> Result<(), Refused> {
    check_assignment(image, &[replicas.to_vec()], replicas.len())?;
    if !resize && replicas.len() != partition.replicas.len() {
        return Err((
            ErrorCode::InvalidReplicationFactor,
            format!(
                "The replication factor would change from {} to {}, which the request does not allow.",
                partition.replicas.len(),
                replicas.len()
            ),
        ));
    }
    let mut sorted = replicas.to_vec();
    let mut held = partition.replicas.clone();
    sorted.sort_unstable();
    held.sort_unstable();
    if sorted != held {
        // Registered brokers that are not this one can only be left over from another node id.
        return Err((
            ErrorCode::InvalidReplicaAssignment,
            "Partitions cannot be moved between brokers yet.".to_owned(),
        ));
    }
    Ok(())
}
