//! AlterReplicaLogDirs: moves replicas between the log directories of this broker.
//!
//! The answer says whether the move begins; the copy is made in the background, and
//! DescribeLogDirs shows how far it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::broker::core::{Core, now};
use crate::broker::topics;
use crate::storage::MoveError;
use crate::wire::messages::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use crate::wire::{ErrorCode, Str};

pub(crate) fn handle(
    core: &Arc<Core>,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for dir in request.dirs {
        let path = PathBuf::from(&*dir.path);
        for topic in dir.topics {
            for index in topic.partitions {
                let code = begin(core, &topic.name, index, &path);
                let result = AlterReplicaLogDirPartitionResult {
                    partition_index: index,
                    error_code: code.code(),
                    ..AlterReplicaLogDirPartitionResult::default()
                };
                match results.iter_mut().find(|r| r.topic_name == topic.name) {
                    Some(known) => known.partitions.push(result),
                    None => results.push(AlterReplicaLogDirTopicResult {
                        topic_name: topic.name.clone(),
                        partitions: vec![result],
                        ..AlterReplicaLogDirTopicResult::default()
                    }),
                }
            }
        }
    }
    AlterReplicaLogDirsResponse {
        results,
        ..AlterReplicaLogDirsResponse::default()
    }
}

fn begin(core: &Arc<Core>, topic: &Str, index: i32, path: &Path) -> ErrorCode {
    // The coordinators hold their logs open.
    if topics::is_internal(topic) {
        return ErrorCode::InvalidTopicException;
    }
    match core.logs.can_move(topic, index, path) {
        Ok(true) => {}
        Ok(false) => return ErrorCode::None,
        Err(error) => {
            tracing::warn!(topic = %topic, partition = index, %error, "a replica is not moved");
            return match error {
                MoveError::UnknownDir(_) => ErrorCode::LogDirNotFound,
                MoveError::UnknownLog { .. } => ErrorCode::ReplicaNotAvailable,
                _ => ErrorCode::KafkaStorageError,
            };
        }
    }
    let (core, topic, path) = (Arc::clone(core), topic.clone(), path.to_path_buf());
    tokio::task::spawn_blocking(
        move || match core.logs.move_log(&topic, index, &path, now()) {
            Ok(log) => core.replicas.moved(&topic, index, log),
            Err(error) => {
                tracing::error!(topic = %topic, partition = index, %error, "a replica was not moved");
            }
        },
    );
    ErrorCode::None
}
