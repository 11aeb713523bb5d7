//! Fetch: reads record batches, waiting for `min.bytes` of them up to `max.wait.ms`.
//!
//! Sessions are answered sessionless: with session id 0, which tells the client to ask in full.
//! A fetch that waits is woken only by its own partitions, and only when enough bytes came.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::codes;
use crate::broker::core::Core;
use crate::broker::partition::{Partition, Waiting};
use crate::broker::replicas::Registry;
use crate::storage::{FetchData, FetchIsolation};
use crate::wire::ErrorCode;
use crate::wire::messages::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse,
    PartitionData,
};

/// Records behind the end of the log from where on a read may well have to go to the disk.
const COLD_RECORDS: i64 = 100_000;

/// What one pass over the partitions read.
struct Pass {
    responses: Vec<FetchableTopicResponse>,
    bytes: i64,
    /// Something must be told at once: an error, or a divergence.
    urgent: bool,
    /// The partitions that were read, each with the end that the reader saw.
    seen: Vec<(Arc<Partition>, i64)>,
}

pub(crate) async fn handle(core: &Arc<Core>, request: FetchRequest) -> FetchResponse {
    if let Some(code) = session_error(&request) {
        return FetchResponse {
            error_code: code.code(),
            ..FetchResponse::default()
        };
    }
    let request = Arc::new(request);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let min_bytes = i64::from(request.min_bytes.max(0));
    let mut deadline = None;
    loop {
        let pass = read(core, &request).await;
        let enough =
            pass.urgent || pass.bytes >= min_bytes || wait.is_zero() || pass.seen.is_empty();
        if enough {
            return respond(pass);
        }
        let deadline = *deadline.get_or_insert_with(|| tokio::time::Instant::now() + wait);
        if tokio::time::Instant::now() >= deadline {
            return respond(pass);
        }
        let partitions = pass.seen.iter().map(|(p, _)| Arc::clone(p)).collect();
        let waiting = Waiting::register(
            partitions,
            min_bytes.saturating_sub(pass.bytes),
            isolation(&request),
        );
        // What came between the read and the registration woke nobody.
        let missed = pass
            .seen
            .iter()
            .any(|(p, end)| visible(p, &request) > *end || p.is_deleted());
        if missed {
            continue;
        }
        if tokio::time::timeout_at(deadline, waiting.arrived())
            .await
            .is_err()
        {
            drop(waiting);
            return respond(read(core, &request).await);
        }
    }
}

/// Sessions that were never given out are not known.
fn session_error(request: &FetchRequest) -> Option<ErrorCode> {
    match (request.session_id, request.session_epoch) {
        (0, -1 | 0) => None,
        (0, _) => Some(ErrorCode::InvalidFetchSessionEpoch),
        // Epoch -1 closes the session: there is nothing to close, and the fetch is a full one.
        (_, -1) => None,
        _ => Some(ErrorCode::FetchSessionIdNotFound),
    }
}

fn respond(pass: Pass) -> FetchResponse {
    FetchResponse {
        responses: pass.responses,
        ..FetchResponse::default()
    }
}

fn isolation(request: &FetchRequest) -> FetchIsolation {
    if request.isolation_level == 1 {
        FetchIsolation::TxnCommitted
    } else {
        FetchIsolation::HighWatermark
    }
}

/// The end of what this reader may see.
fn visible(partition: &Partition, request: &FetchRequest) -> i64 {
    let position = partition.log.position();
    match isolation(request) {
        FetchIsolation::TxnCommitted => position.last_stable_offset,
        _ => position.high_watermark,
    }
}

async fn read(core: &Arc<Core>, request: &Arc<FetchRequest>) -> Pass {
    let registry = core.replicas.registry();
    if !may_block(&registry, request) {
        return pass(core, &registry, request);
    }
    let (shared, ask) = (Arc::clone(core), Arc::clone(request));
    let read = tokio::task::spawn_blocking(move || pass(&shared, &registry, &ask)).await;
    read.unwrap_or_else(|e| {
        tracing::error!(error = %e, "a fetch failed");
        Pass {
            responses: vec![],
            bytes: 0,
            urgent: true,
            seen: vec![],
        }
    })
}

/// Whether any partition is read so far back that the page cache may not have it.
fn may_block(registry: &Registry, request: &FetchRequest) -> bool {
    request.topics.iter().any(|topic| {
        let Ok(replicas) = registry.lookup(&topic.topic, topic.topic_id) else {
            return false;
        };
        topic.partitions.iter().any(|p| {
            replicas.partition(p.partition).is_ok_and(|partition| {
                partition
                    .log
                    .log_end_offset()
                    .saturating_sub(p.fetch_offset)
                    > COLD_RECORDS
            })
        })
    })
}

fn pass(core: &Core, registry: &Registry, request: &FetchRequest) -> Pass {
    let limit = request.max_bytes.min(core.settings.fetch_max_bytes).max(0);
    let mut budget = usize::try_from(limit).unwrap_or(0);
    let mut pass = Pass {
        responses: vec![],
        bytes: 0,
        urgent: false,
        seen: vec![],
    };
    for topic in &request.topics {
        let replicas = registry.lookup(&topic.topic, topic.topic_id);
        let partitions = topic
            .partitions
            .iter()
            .map(|asked| {
                let partition = match &replicas {
                    Ok(replicas) => replicas.partition(asked.partition),
                    Err(code) => Err(*code),
                };
                let partition = match partition {
                    Ok(partition) => partition,
                    Err(code) => {
                        pass.urgent = true;
                        return failed(asked, code, None);
                    }
                };
                let nothing_yet = pass.bytes == 0;
                match read_one(partition, asked, request, budget, nothing_yet) {
                    Ok(data) => {
                        budget = budget.saturating_sub(data.records.len());
                        let bytes = i64::try_from(data.records.len()).unwrap_or(i64::MAX);
                        pass.bytes = pass.bytes.saturating_add(bytes);
                        let end = match isolation(request) {
                            FetchIsolation::TxnCommitted => data.position.last_stable_offset,
                            _ => data.position.high_watermark,
                        };
                        pass.seen.push((Arc::clone(partition), end));
                        found(asked, data, request)
                    }
                    Err(code) => {
                        pass.urgent = true;
                        failed(asked, code, Some(partition))
                    }
                }
            })
            .collect();
        pass.responses.push(FetchableTopicResponse {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions,
            ..FetchableTopicResponse::default()
        });
    }
    pass
}

fn read_one(
    partition: &Partition,
    asked: &FetchPartition,
    request: &FetchRequest,
    budget: usize,
    nothing_yet: bool,
) -> Result<FetchData, ErrorCode> {
    partition.check_epoch(asked.current_leader_epoch)?;
    let max = usize::try_from(asked.partition_max_bytes)
        .unwrap_or(0)
        .min(budget);
    partition
        .log
        .read(asked.fetch_offset, max, nothing_yet, isolation(request))
        .map_err(|e| {
            let code = codes::storage(&e);
            if code == ErrorCode::CorruptMessage || code == ErrorCode::KafkaStorageError {
                tracing::error!(topic = %partition.topic, partition = partition.index, error = %e, "a read failed");
            }
            code
        })
}

fn found(asked: &FetchPartition, data: FetchData, request: &FetchRequest) -> PartitionData {
    let committed = isolation(request) == FetchIsolation::TxnCommitted;
    PartitionData {
        partition_index: asked.partition,
        high_watermark: data.position.high_watermark,
        last_stable_offset: data.position.last_stable_offset,
        log_start_offset: data.position.log_start_offset,
        aborted_transactions: committed.then(|| aborted(&data)),
        records: Some(data.records),
        ..PartitionData::default()
    }
}

/// What a reader of committed records drops.
fn aborted(data: &FetchData) -> Vec<AbortedTransaction> {
    let transactions = data.aborted.iter();
    transactions
        .map(|aborted| AbortedTransaction {
            producer_id: aborted.producer_id,
            first_offset: aborted.first_offset,
            ..AbortedTransaction::default()
        })
        .collect()
}

fn failed(
    asked: &FetchPartition,
    code: ErrorCode,
    partition: Option<&Arc<Partition>>,
) -> PartitionData {
    let position = partition.map(|p| p.log.position());
    PartitionData {
        partition_index: asked.partition,
        error_code: code.code(),
        high_watermark: -1,
        log_start_offset: match (code, position) {
            (ErrorCode::OffsetOutOfRange, Some(p)) => p.log_start_offset,
            _ => -1,
        },
        aborted_transactions: None,
        records: Some(Bytes::new()),
        ..PartitionData::default()
    }
}
