//! Fetch: reads record batches, waiting for `min.bytes` of them up to `max.wait.ms`.
//!
//! What is asked for, and what the client knows already, is the session's to say (`fetch_sessions`). A client over
//! a connection gets larger pieces from the file itself; in this process, and near the end of the log, records are
//! bytes in memory.
//! A fetch that waits is woken only by its own partitions, and only when enough bytes came.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::broker::codes;
use crate::broker::core::{Context, Core, now};
use crate::broker::fetch_sessions::Asked;
use crate::broker::partition::{Partition, Waiting};
use crate::broker::replicas::Registry;
use crate::net::FileRange;
use crate::record::Compression;
use crate::storage::{AbortedTxn, FetchIsolation, LogPosition};
use crate::wire::messages::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse,
    FetchableTopicResponse, PartitionData,
};
use crate::wire::{ErrorCode, Str};

/// Records behind the end of the log from where on a read may well have to go to the disk.
const COLD_RECORDS: i64 = 100_000;

/// Fewer bytes are read and written with the rest of the response: one system call instead of three.
const FILE_RANGE_FROM: usize = 32 * 1024;

/// The first version whose clients know zstd; older ones are not given what a topic stores by it.
const ZSTD_SINCE: i16 = 10;

/// Where the records of an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    /// In their files, where that saves something.
    Files,
}

/// What a fetch wants, whoever reads it.
struct Wanted {
    asked: Arc<Vec<Asked>>,
    max_bytes: i32,
    isolation: FetchIsolation,
    place: Place,
    version: i16,
}

impl Wanted {
    /// The end of what this reader may see.
    fn visible(&self, position: &LogPosition) -> i64 {
        match self.isolation {
            FetchIsolation::TxnCommitted => position.last_stable_offset,
            _ => position.high_watermark,
        }
    }
}

/// What one pass over the partitions read.
#[derive(Default)]
struct Pass {
    answers: Vec<Answered>,
    bytes: i64,
    /// Something must be told at once: an error, or a divergence.
    urgent: bool,
    /// The partitions that were read, each with the end that the reader saw.
    seen: Vec<(Arc<Partition>, i64)>,
}

/// The answer to what was asked of one partition.
struct Answered {
    topic: Str,
    topic_id: Uuid,
    data: PartitionData,
    /// The records; those in the data are then null.
    file: Option<FileRange>,
}

impl Answered {
    fn told(&self) -> (&PartitionData, bool) {
        (&self.data, self.has_records())
    }

    fn has_records(&self) -> bool {
        self.file.is_some() || self.data.records.as_ref().is_some_and(|r| !r.is_empty())
    }
}

/// Answers with the records in memory.
pub(crate) async fn handle(core: &Arc<Core>, cx: &Context, request: FetchRequest) -> FetchResponse {
    fetch(core, cx, request, Place::Memory).await.0
}

/// Answers with records in memory or, where they are null, in the files.
pub(crate) async fn answer(
    core: &Arc<Core>,
    cx: &Context,
    request: FetchRequest,
) -> (FetchResponse, Vec<FileRange>) {
    fetch(core, cx, request, Place::Files).await
}

async fn fetch(
    core: &Arc<Core>,
    cx: &Context,
    request: FetchRequest,
    place: Place,
) -> (FetchResponse, Vec<FileRange>) {
    let sessions = &core.fetch_sessions;
    let context = match sessions.begin(&request, cx.version, now()) {
        Ok(context) => context,
        Err(code) => return (refused(code, 0), vec![]),
    };
    let max_bytes = request.max_bytes.min(core.settings.fetch_max_bytes);
    // More than the client's quota lets through at once would make it pause for ever.
    let max_bytes = max_bytes.min(core.client_quotas.most_fetched(cx));
    let wanted = Arc::new(Wanted {
        asked: Arc::clone(&context.asked),
        max_bytes,
        isolation: if request.isolation_level == 1 {
            FetchIsolation::TxnCommitted
        } else {
            FetchIsolation::HighWatermark
        },
        place,
        version: cx.version,
    });
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    // Whole batches hardly come to exactly the most there may be: then any will do.
    let reachable = request.min_bytes <= max_bytes;
    let min_bytes = i64::from(if reachable {
        request.min_bytes.max(0)
    } else {
        1
    });
    let mut answers = gather(core, &wanted, wait, min_bytes).await;
    if cx.usage.is_some() {
        let pause = core.client_quotas.fetched(cx, size(&answers));
        if pause > 0 {
            return (throttled(sessions.throttled(&context), pause), vec![]);
        }
    }
    match sessions.finish(&context, &mut answers, Answered::told, now()) {
        Ok(session_id) => respond(answers, session_id),
        Err(code) => (refused(code, request.session_id), vec![]),
    }
}

/// Reads, waiting for enough bytes.
async fn gather(
    core: &Arc<Core>,
    wanted: &Arc<Wanted>,
    wait: Duration,
    min_bytes: i64,
) -> Vec<Answered> {
    let mut deadline = None;
    loop {
        let pass = read(core, wanted).await;
        let enough =
            pass.urgent || pass.bytes >= min_bytes || wait.is_zero() || pass.seen.is_empty();
        if enough {
            return pass.answers;
        }
        let deadline = *deadline.get_or_insert_with(|| tokio::time::Instant::now() + wait);
        if tokio::time::Instant::now() >= deadline {
            return pass.answers;
        }
        let partitions = pass.seen.iter().map(|(p, _)| Arc::clone(p)).collect();
        let missing = min_bytes.saturating_sub(pass.bytes);
        let waiting = Waiting::register(partitions, missing, wanted.isolation);
        // What came between the read and the registration woke nobody.
        let missed = pass
            .seen
            .iter()
            .any(|(p, end)| wanted.visible(&p.log.position()) > *end || p.is_deleted());
        if missed {
            continue;
        }
        if tokio::time::timeout_at(deadline, waiting.arrived())
            .await
            .is_err()
        {
            drop(waiting);
            return read(core, wanted).await.answers;
        }
    }
}

/// About the bytes of the response: the records, and what stands around them.
fn size(answers: &[Answered]) -> usize {
    const RESPONSE: usize = 16;
    const PARTITION: usize = 48;
    let told = answers
        .iter()
        .filter(|answer| answer.has_records() || answer.data.error_code != 0);
    let bytes = told.map(|answer| {
        let in_memory = answer.data.records.as_ref().map_or(0, Bytes::len);
        PARTITION + answer.file.as_ref().map_or(in_memory, FileRange::len)
    });
    RESPONSE + bytes.sum::<usize>()
}

/// The answer to a client that must pause: no records, and a session that is as it was.
fn throttled(session: Result<i32, (ErrorCode, i32)>, pause: i32) -> FetchResponse {
    let (code, session_id) = match session {
        Ok(session_id) => (ErrorCode::None, session_id),
        Err(refused) => refused,
    };
    FetchResponse {
        throttle_time_ms: pause,
        ..refused(code, session_id)
    }
}

fn refused(code: ErrorCode, session_id: i32) -> FetchResponse {
    FetchResponse {
        error_code: code.code(),
        session_id,
        ..FetchResponse::default()
    }
}

/// The response; what follows one another of a topic stands together in it.
fn respond(answers: Vec<Answered>, session_id: i32) -> (FetchResponse, Vec<FileRange>) {
    let mut responses: Vec<FetchableTopicResponse> = vec![];
    let mut files = vec![];
    for answer in answers {
        files.extend(answer.file);
        match responses.last_mut() {
            Some(last) if last.topic == answer.topic && last.topic_id == answer.topic_id => {
                last.partitions.push(answer.data);
            }
            _ => responses.push(FetchableTopicResponse {
                topic: answer.topic,
                topic_id: answer.topic_id,
                partitions: vec![answer.data],
                ..FetchableTopicResponse::default()
            }),
        }
    }
    let response = FetchResponse {
        session_id,
        responses,
        ..FetchResponse::default()
    };
    (response, files)
}

async fn read(core: &Arc<Core>, wanted: &Arc<Wanted>) -> Pass {
    let registry = core.replicas.registry();
    if !may_block(&registry, wanted) {
        return pass(&registry, wanted);
    }
    let ask = Arc::clone(wanted);
    let read = tokio::task::spawn_blocking(move || pass(&registry, &ask)).await;
    read.unwrap_or_else(|e| {
        tracing::error!(error = %e, "a fetch failed");
        Pass {
            urgent: true,
            ..Pass::default()
        }
    })
}

/// Whether any partition is read so far back that the page cache may not have it.
fn may_block(registry: &Registry, wanted: &Wanted) -> bool {
    wanted.asked.iter().any(|asked| {
        let found = registry
            .lookup(&asked.topic, asked.topic_id)
            .and_then(|replicas| replicas.partition(asked.partition.partition));
        found.is_ok_and(|partition| {
            let end = partition.log.log_end_offset();
            end.saturating_sub(asked.partition.fetch_offset) > COLD_RECORDS
        })
    })
}

fn pass(registry: &Registry, wanted: &Wanted) -> Pass {
    let mut budget = usize::try_from(wanted.max_bytes).unwrap_or(0);
    let mut pass = Pass {
        answers: Vec::with_capacity(wanted.asked.len()),
        ..Pass::default()
    };
    for asked in wanted.asked.iter() {
        let partition = registry
            .lookup(&asked.topic, asked.topic_id)
            .and_then(|replicas| replicas.partition(asked.partition.partition));
        let read = partition.and_then(|partition| {
            let nothing_yet = pass.bytes == 0;
            read_one(partition, &asked.partition, wanted, budget, nothing_yet)
        });
        let (data, file) = match read {
            Ok(read) => {
                pass.urgent |= read.diverging.is_some();
                budget = budget.saturating_sub(read.len());
                let bytes = i64::try_from(read.len()).unwrap_or(i64::MAX);
                pass.bytes = pass.bytes.saturating_add(bytes);
                if let Ok(partition) = partition {
                    let end = wanted.visible(&read.position);
                    pass.seen.push((Arc::clone(partition), end));
                }
                found(&asked.partition, read, wanted)
            }
            Err(code) => {
                pass.urgent = true;
                // Older clients do not know the error, and look for another leader.
                let unknown = wanted.version <= 5 && code == ErrorCode::KafkaStorageError;
                let code = if unknown {
                    ErrorCode::NotLeaderOrFollower
                } else {
                    code
                };
                (failed(&asked.partition, code, partition.ok()), None)
            }
        };
        pass.answers.push(Answered {
            topic: asked.topic.clone(),
            topic_id: asked.topic_id,
            data,
            file,
        });
    }
    pass
}

/// What was read of one partition.
struct Read {
    records: Bytes,
    file: Option<FileRange>,
    position: LogPosition,
    aborted: Option<Vec<AbortedTxn>>,
    /// Where the reader's log and this one part; nothing is read then.
    diverging: Option<EpochEndOffset>,
}

impl Read {
    fn len(&self) -> usize {
        self.file
            .as_ref()
            .map_or(self.records.len(), FileRange::len)
    }
}

fn read_one(
    partition: &Partition,
    asked: &FetchPartition,
    wanted: &Wanted,
    budget: usize,
    nothing_yet: bool,
) -> Result<Read, ErrorCode> {
    partition.check_epoch(asked.current_leader_epoch)?;
    if let Some(diverging) = diverging(partition, asked)? {
        return Ok(Read {
            records: Bytes::new(),
            file: None,
            position: partition.log.position(),
            aborted: None,
            diverging: Some(diverging),
        });
    }
    let read = read_log(partition, asked, wanted, budget, nothing_yet)?;
    // That the offset is none of the log's is told first.
    let zstd = || partition.log.config().codec() == Some(Compression::Zstd);
    if wanted.version < ZSTD_SINCE && zstd() {
        return Err(ErrorCode::UnsupportedCompressionType);
    }
    Ok(read)
}

fn read_log(
    partition: &Partition,
    asked: &FetchPartition,
    wanted: &Wanted,
    budget: usize,
    nothing_yet: bool,
) -> Result<Read, ErrorCode> {
    let max = usize::try_from(asked.partition_max_bytes)
        .unwrap_or(0)
        .min(budget);
    let (log, offset) = (&partition.log, asked.fetch_offset);
    let located = match wanted.place {
        Place::Memory => None,
        Place::Files => log.locate(offset, max, nothing_yet, FILE_RANGE_FROM, wanted.isolation),
    };
    if let Some(located) = located {
        return Ok(Read {
            records: Bytes::new(),
            file: Some(FileRange::new(located.file, located.position, located.len)),
            position: located.log,
            aborted: Some(located.aborted),
            diverging: None,
        });
    }
    let data = log.read(offset, max, nothing_yet, wanted.isolation).map_err(|e| {
        let code = codes::storage(&e);
        if code == ErrorCode::CorruptMessage || code == ErrorCode::KafkaStorageError {
            tracing::error!(topic = %partition.topic, partition = partition.index, error = %e, "a read failed");
        }
        code
    })?;
    Ok(Read {
        records: data.records,
        file: None,
        position: data.position,
        aborted: Some(data.aborted),
        diverging: None,
    })
}

/// Whether what the reader has last read is not in this log, or ends before it reads on (KIP-320, KIP-595).
fn diverging(
    partition: &Partition,
    asked: &FetchPartition,
) -> Result<Option<EpochEndOffset>, ErrorCode> {
    if asked.last_fetched_epoch < 0 {
        return Ok(None);
    }
    let end = partition.end_offset_for_epoch(asked.last_fetched_epoch);
    if end.end_offset < 0 || end.leader_epoch < 0 {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    if asked.fetch_offset < partition.log.log_start_offset() {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    let parted = end.leader_epoch < asked.last_fetched_epoch || end.end_offset < asked.fetch_offset;
    Ok(parted.then(|| EpochEndOffset {
        epoch: end.leader_epoch,
        end_offset: end.end_offset,
        ..EpochEndOffset::default()
    }))
}

fn found(
    asked: &FetchPartition,
    read: Read,
    wanted: &Wanted,
) -> (PartitionData, Option<FileRange>) {
    let committed = wanted.isolation == FetchIsolation::TxnCommitted;
    let data = PartitionData {
        partition_index: asked.partition,
        high_watermark: read.position.high_watermark,
        last_stable_offset: read.position.last_stable_offset,
        log_start_offset: read.position.log_start_offset,
        aborted_transactions: read.aborted.filter(|_| committed).map(|a| aborted(&a)),
        diverging_epoch: read.diverging.unwrap_or_default(),
        records: read.file.is_none().then_some(read.records),
        ..PartitionData::default()
    };
    (data, read.file)
}

/// What a reader of committed records drops.
fn aborted(transactions: &[AbortedTxn]) -> Vec<AbortedTransaction> {
    transactions
        .iter()
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
    PartitionData {
        partition_index: asked.partition,
        error_code: code.code(),
        high_watermark: -1,
        aborted_transactions: partition.is_none().then(Vec::new),
        records: Some(Bytes::new()),
        ..PartitionData::default()
    }
}
