//! Produce: appends record batches and says where they are.
//!
//! The append happens before anything is waited for. What is waited for is the high watermark, with
//! `acks=all` and wherever the topic wants its records on disk before they count.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::broker::codes;
use crate::broker::core::{Context, Core, now};
use crate::broker::handlers::produce_shape;
use crate::broker::partition::Partition;
use crate::broker::topics;
use crate::broker::transactions::{Admission, admit};
use crate::storage::{
    AppendError, AppendInfo, AppendOrigin, LogState, PartitionLog, RejectedRecord, Verification,
};
use crate::wire::messages::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceResponse,
};
use crate::wire::{ErrorCode, Str};

/// An append that is done, but not yet durable enough to be acknowledged.
struct Pending {
    topic: usize,
    partition: usize,
    replica: Arc<Partition>,
    last_offset: i64,
}

pub(crate) async fn handle(
    core: &Arc<Core>,
    cx: &Context,
    request: ProduceRequest,
) -> ProduceResponse {
    let admission = match admission(core, cx.version, &request).await {
        Ok(admission) => admission,
        Err(code) => return refused_all(request, code),
    };
    let now = now();
    let acks_valid = matches!(request.acks, -1..=1);
    let registry = core.replicas.registry();
    let mut pending = Vec::new();
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for (t, topic) in request.topic_data.into_iter().enumerate() {
        let replicas = registry.lookup(&topic.name, topic.topic_id);
        let mut answers = Vec::with_capacity(topic.partition_data.len());
        for (p, data) in topic.partition_data.into_iter().enumerate() {
            let appended = replicas
                .and_then(|replicas| replicas.partition(data.index))
                .map_err(Refusal::from)
                .and_then(|partition| {
                    produce_shape::check(cx.version, data.records.as_ref())
                        .map_err(|(code, why)| Refusal::said((code, Some(why.to_owned()))))?;
                    let verification = admission.of(t, p).map_err(Refusal::said)?;
                    if !acks_valid {
                        return Err(Refusal::from(ErrorCode::InvalidRequiredAcks));
                    }
                    let records = data.records.unwrap_or_default();
                    append(core, partition, records, verification, now)
                });
            answers.push(match appended {
                Ok((replica, info)) => {
                    if needs_wait(request.acks, &replica, &info) {
                        pending.push(Pending {
                            topic: t,
                            partition: p,
                            replica,
                            last_offset: info.last_offset,
                        });
                    }
                    PartitionProduceResponse {
                        index: data.index,
                        base_offset: info.first_offset,
                        log_append_time_ms: info.log_append_time,
                        log_start_offset: info.log_start_offset,
                        ..PartitionProduceResponse::default()
                    }
                }
                Err(refusal) => refused(data.index, refusal),
            });
        }
        responses.push(TopicProduceResponse {
            name: topic.name,
            topic_id: topic.topic_id,
            partition_responses: answers,
            ..TopicProduceResponse::default()
        });
    }
    if !pending.is_empty() {
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let deadline = tokio::time::Instant::now() + timeout;
        for wait in pending {
            if let Err(code) = committed(&wait, deadline).await
                && let Some(answer) = responses
                    .get_mut(wait.topic)
                    .and_then(|t| t.partition_responses.get_mut(wait.partition))
            {
                *answer = refused(answer.index, Refusal::from(code));
            }
        }
    }
    ProduceResponse {
        responses,
        ..ProduceResponse::default()
    }
}

/// What the transactional batches of the request may do; the others need no admission.
async fn admission(
    core: &Arc<Core>,
    version: i16,
    request: &ProduceRequest,
) -> Result<Admission, ErrorCode> {
    match &request.transactional_id {
        Some(id) => admit(core, version, id, request).await,
        None => {
            for data in request.topic_data.iter().flat_map(|t| &t.partition_data) {
                let header = produce_shape::first_header(data.records.as_ref())?;
                if header.is_some_and(|h| h.is_transactional()) {
                    return Err(ErrorCode::TransactionalIdAuthorizationFailed);
                }
            }
            Ok(Admission::default())
        }
    }
}

fn refused_all(request: ProduceRequest, code: ErrorCode) -> ProduceResponse {
    let responses = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.iter();
        TopicProduceResponse {
            partition_responses: partitions.map(|p| refused(p.index, code.into())).collect(),
            name: topic.name,
            topic_id: topic.topic_id,
            ..TopicProduceResponse::default()
        }
    });
    ProduceResponse {
        responses: responses.collect(),
        ..ProduceResponse::default()
    }
}

/// Why a partition's batch was not appended.
struct Refusal {
    code: ErrorCode,
    message: Option<String>,
    /// The records that are to blame.
    records: Vec<RejectedRecord>,
    /// Where the log begins, which Kafka tells unless it is the batch as such that is bad; -1 is untold.
    log_start_offset: i64,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self {
            code,
            message: None,
            records: Vec::new(),
            log_start_offset: -1,
        }
    }
}

impl Refusal {
    fn said((code, message): (ErrorCode, Option<String>)) -> Self {
        Self {
            message,
            ..Self::from(code)
        }
    }

    fn of(error: AppendError, log: &PartitionLog) -> Self {
        let code = codes::append(&error);
        Self {
            log_start_offset: match &error {
                _ if code == ErrorCode::CorruptMessage => -1,
                AppendError::Storage(_)
                | AppendError::MessageTooLarge { .. }
                | AppendError::RecordListTooLarge { .. } => -1,
                _ => log.log_start_offset(),
            },
            code,
            message: Some(error.to_string()),
            records: match error {
                AppendError::InvalidRecords(records) | AppendError::InvalidTimestamps(records) => {
                    records
                }
                _ => Vec::new(),
            },
        }
    }
}

fn refused(index: i32, refusal: Refusal) -> PartitionProduceResponse {
    let records = refusal.records.into_iter();
    PartitionProduceResponse {
        index,
        error_code: refusal.code.code(),
        base_offset: -1,
        log_start_offset: refusal.log_start_offset,
        record_errors: records
            .map(|record| BatchIndexAndErrorMessage {
                batch_index: record.index,
                batch_index_error_message: Some(Str::from(record.reason.into_owned())),
                ..BatchIndexAndErrorMessage::default()
            })
            .collect(),
        error_message: refusal.message.map(Str::from),
        ..PartitionProduceResponse::default()
    }
}

fn append(
    core: &Arc<Core>,
    partition: &Arc<Partition>,
    records: Bytes,
    verification: Verification,
    now: i64,
) -> Result<(Arc<Partition>, AppendInfo), Refusal> {
    if topics::is_internal(&partition.topic) {
        return Err(Refusal {
            message: Some(format!("the topic {} is the broker's own", partition.topic)),
            ..Refusal::from(ErrorCode::InvalidTopicException)
        });
    }
    let epoch = partition.leader_epoch();
    let log = &partition.log;
    let info = log
        .append_verified(records, epoch, AppendOrigin::Client, now, verification)
        .map_err(|error| Refusal::of(error, log))?;
    published(core, partition, &info);
    Ok((Arc::clone(partition), info))
}

/// Wakes the fetches that wait for what was appended, as soon as it may be read.
pub(crate) fn published(core: &Core, partition: &Arc<Partition>, info: &AppendInfo) {
    if info.duplicate {
        return;
    }
    if partition.log.high_watermark() > info.last_offset {
        partition.appended(info);
        return;
    }
    let (partition, info) = (Arc::clone(partition), info.clone());
    let last = info.last_offset;
    let mut position = partition.log.watch();
    core.runtime.spawn(async move {
        let _ = position
            .wait_for(|p| p.high_watermark > last || p.state != LogState::Online)
            .await;
        partition.appended(&info);
    });
}

fn needs_wait(acks: i16, partition: &Partition, info: &AppendInfo) -> bool {
    acks != 0
        && partition.log.high_watermark() <= info.last_offset
        && (acks == -1 || partition.log.config().flush_before_ack())
}

async fn committed(wait: &Pending, deadline: tokio::time::Instant) -> Result<(), ErrorCode> {
    let mut position = wait.replica.log.watch();
    let done =
        position.wait_for(|p| p.high_watermark > wait.last_offset || p.state != LogState::Online);
    match tokio::time::timeout_at(deadline, done).await {
        Err(_) => Err(ErrorCode::RequestTimedOut),
        Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower),
        Ok(Ok(p)) if p.high_watermark > wait.last_offset => Ok(()),
        Ok(Ok(p)) if p.state == LogState::Offline => Err(ErrorCode::KafkaStorageError),
        Ok(Ok(_)) => Err(ErrorCode::NotLeaderOrFollower),
    }
}
