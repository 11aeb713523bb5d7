//! DescribeLogDirs: what lies in the log directories, and how much room there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::broker::core::Core;
use crate::storage::{LogDirEntry, LogDirStatus};
use crate::wire::messages::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::wire::{ErrorCode, Str};

pub(crate) async fn handle(
    core: &Arc<Core>,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let logs = Arc::clone(&core.logs);
    // The file systems are asked.
    let done = tokio::task::spawn_blocking(move || logs.log_dirs()).await;
    let dirs = match done {
        Ok(dirs) => dirs,
        Err(e) => {
            tracing::error!(error = %e, "the log directories could not be described");
            return DescribeLogDirsResponse {
                error_code: ErrorCode::UnknownServerError.code(),
                ..DescribeLogDirsResponse::default()
            };
        }
    };
    DescribeLogDirsResponse {
        results: dirs
            .into_iter()
            .map(|dir| describe(dir, request.topics.as_deref()))
            .collect(),
        ..DescribeLogDirsResponse::default()
    }
}

fn describe(dir: LogDirStatus, wanted: Option<&[DescribableLogDirTopic]>) -> DescribeLogDirsResult {
    let is_wanted = |entry: &LogDirEntry| {
        wanted.is_none_or(|topics| {
            topics.iter().any(|topic| {
                *topic.topic == *entry.topic && topic.partitions.contains(&entry.partition)
            })
        })
    };
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    if dir.offline.is_none() {
        for entry in dir.logs.into_iter().filter(is_wanted) {
            let partition = DescribeLogDirsPartition {
                partition_index: entry.partition,
                partition_size: entry.size,
                offset_lag: entry.offset_lag,
                is_future_key: entry.is_future,
                ..DescribeLogDirsPartition::default()
            };
            topics.entry(entry.topic).or_default().push(partition);
        }
    }
    let code = match dir.offline {
        None => ErrorCode::None,
        Some(_) => ErrorCode::KafkaStorageError,
    };
    DescribeLogDirsResult {
        error_code: code.code(),
        log_dir: Str::from(dir.path.display().to_string()),
        topics: topics
            .into_iter()
            .map(|(name, mut partitions)| {
                partitions.sort_by_key(|p| p.partition_index);
                DescribeLogDirsTopic {
                    name: Str::from(name),
                    partitions,
                    ..DescribeLogDirsTopic::default()
                }
            })
            .collect(),
        total_bytes: dir.total_bytes,
        usable_bytes: dir.usable_bytes,
        ..DescribeLogDirsResult::default()
    }
}
