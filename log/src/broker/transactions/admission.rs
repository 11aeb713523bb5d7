//! Whether the transactional batches of a produce request may be appended.
//!
//! Invariant: the first batch of a transaction is appended to a partition only after the
//! coordinator has said that the partition belongs to the transaction, and only if no marker came
//! in between: the partition's guard is taken before the coordinator is asked.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use super::SETTLE;
use crate::broker::codes;
use crate::broker::core::{Core, now};
use crate::broker::handlers::produce_shape::{self, first_header};
use crate::broker::replicas::OFFSETS_TOPIC;
use crate::broker::topics;
use crate::record::NO_SEQUENCE;
use crate::storage::Verification;
use crate::transaction::{AddPartitions, TopicPartition};
use crate::wire::messages::ProduceRequest;
use crate::wire::{ErrorCode, Str};

/// From this version on the error tells the client to abort.
const ABORTABLE_ERROR: i16 = 11;

/// From this version on a batch adds its partition to the transaction.
const IMPLICIT_ADD: i16 = 12;

/// The version of transactions that is spoken with [`IMPLICIT_ADD`].
const TRANSACTIONS_V2: i16 = 2;

/// What a client is told instead.
pub(crate) type Refusal = (ErrorCode, Option<String>);

/// What the append of each partition's batch is to come with; a partition that is not here has no
/// transactional batch.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    partitions: HashMap<(usize, usize), Result<Verification, Refusal>>,
}

impl Admission {
    /// For the `p`th partition of the `t`th topic of the request.
    pub(crate) fn of(&self, t: usize, p: usize) -> Result<Verification, Refusal> {
        match self.partitions.get(&(t, p)) {
            Some(admitted) => admitted.clone(),
            None => Ok(Verification::Required(None)),
        }
    }
}

/// The transactional batch of one partition.
struct Batch {
    slot: (usize, usize),
    at: TopicPartition,
    base_sequence: i32,
}

/// Asks the coordinator about the partitions in which a transaction is about to begin.
///
/// # Errors
/// An [`ErrorCode`] for the whole request.
pub(crate) async fn admit(
    core: &Arc<Core>,
    version: i16,
    transactional_id: &Str,
    request: &ProduceRequest,
) -> Result<Admission, ErrorCode> {
    let registry = core.replicas.registry();
    let mut producer = None;
    let mut batches = Vec::new();
    for (t, topic) in request.topic_data.iter().enumerate() {
        let replicas = registry.lookup(&topic.name, topic.topic_id);
        for (p, data) in topic.partition_data.iter().enumerate() {
            let Some(header) = first_header(data.records.as_ref())? else {
                continue;
            };
            // What is refused for its shape takes part in no transaction.
            if produce_shape::check(version, data.records.as_ref()).is_err() {
                continue;
            }
            if !header.is_transactional() || !header.has_producer_id() {
                continue;
            }
            let this = (header.producer_id, header.producer_epoch);
            if *producer.get_or_insert(this) != this {
                return Err(ErrorCode::InvalidProducerIdMapping);
            }
            // A partition that is not there is not added; the append says what is wrong.
            if let Ok(partition) = replicas.and_then(|r| r.partition(data.index))
                && !topics::is_internal(&partition.topic)
            {
                batches.push(Batch {
                    slot: (t, p),
                    at: (Str::from(&*partition.topic), data.index),
                    base_sequence: header.base_sequence,
                });
            }
        }
    }
    let Some(producer) = producer else {
        return Ok(Admission::default());
    };
    let implicit = version >= IMPLICIT_ADD;
    let must_verify = core.live().transactions.partition_verification;
    if !implicit && !must_verify {
        let off = |batch: &Batch| (batch.slot, Ok(Verification::Off));
        return Ok(Admission {
            partitions: batches.iter().map(off).collect(),
        });
    }
    let deadline = Instant::now() + SETTLE;
    loop {
        let (mut admission, asked) = guard(core, &batches, producer, implicit, must_verify);
        if asked.is_empty() {
            return Ok(admission);
        }
        let add = AddPartitions {
            transactional_id: transactional_id.clone(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            partitions: asked,
            version: if implicit { TRANSACTIONS_V2 } else { 0 },
        };
        let transactions = &core.transactions;
        let codes = transactions.add_or_verify(core, add, !implicit).await;
        let busy = codes
            .values()
            .any(|c| *c == ErrorCode::ConcurrentTransactions);
        if busy && implicit && transactions.settled(core, transactional_id, deadline).await {
            // The markers of the last transaction have made the guards worthless.
            continue;
        }
        for batch in &batches {
            let code = codes.get(&batch.at).copied().unwrap_or(ErrorCode::None);
            if code.is_error() {
                let refusal = refusal(code, version);
                admission.partitions.insert(batch.slot, Err(refusal));
            }
        }
        return Ok(admission);
    }
}

/// The offsets that a transaction is about to commit for a group.
pub(crate) struct OffsetsOf<'a> {
    /// The transaction.
    pub(crate) transactional_id: &'a Str,
    /// Its producer: id and epoch.
    pub(crate) producer: (i64, i16),
    /// The partition of `__consumer_offsets` where the group lives.
    pub(crate) partition: i32,
    /// The request adds the partition to the transaction (TxnOffsetCommit from version 5 on),
    /// where AddOffsetsToTxn has done it for the older ones.
    pub(crate) implicit: bool,
    /// The client knows [`ErrorCode::TransactionAbortable`] (TxnOffsetCommit from version 4 on).
    pub(crate) abortable: bool,
}

/// As [`admit`], for the offsets of a TxnOffsetCommit.
///
/// # Errors
/// An [`ErrorCode`] for all of them.
pub(crate) async fn admit_offsets(
    core: &Arc<Core>,
    offsets: OffsetsOf<'_>,
) -> Result<Verification, ErrorCode> {
    let must_verify = core.live().transactions.partition_verification;
    if !offsets.implicit && !must_verify {
        return Ok(Verification::Off);
    }
    let batch = Batch {
        slot: (0, 0),
        at: (Str::from_static(OFFSETS_TOPIC), offsets.partition),
        base_sequence: NO_SEQUENCE,
    };
    let deadline = Instant::now() + SETTLE;
    loop {
        let batches = std::slice::from_ref(&batch);
        let (admission, asked) = guard(
            core,
            batches,
            offsets.producer,
            offsets.implicit,
            must_verify,
        );
        let verification = admission.of(0, 0).map_err(|(code, _)| code)?;
        if asked.is_empty() {
            return Ok(verification);
        }
        let (producer_id, producer_epoch) = offsets.producer;
        let add = AddPartitions {
            transactional_id: offsets.transactional_id.clone(),
            producer_id,
            producer_epoch,
            partitions: asked,
            version: if offsets.implicit { TRANSACTIONS_V2 } else { 0 },
        };
        let transactions = &core.transactions;
        let codes = transactions
            .add_or_verify(core, add, !offsets.implicit)
            .await;
        let code = codes.get(&batch.at).copied().unwrap_or(ErrorCode::None);
        if code == ErrorCode::ConcurrentTransactions
            && offsets.implicit
            && transactions
                .settled(core, offsets.transactional_id, deadline)
                .await
        {
            continue;
        }
        return match code {
            ErrorCode::None => Ok(verification),
            ErrorCode::ProducerFenced => Err(ErrorCode::InvalidProducerEpoch),
            ErrorCode::TransactionAbortable if !offsets.abortable => {
                Err(ErrorCode::InvalidTxnState)
            }
            // The client asks the transaction's coordinator by itself; this one was asked for a group.
            ErrorCode::NotCoordinator | ErrorCode::NetworkException => {
                Err(ErrorCode::CoordinatorLoadInProgress)
            }
            code => Err(code),
        };
    }
}

/// Takes a guard where the transaction has not begun, and says where that is.
fn guard(
    core: &Core,
    batches: &[Batch],
    (producer_id, epoch): (i64, i16),
    implicit: bool,
    must_verify: bool,
) -> (Admission, BTreeSet<TopicPartition>) {
    let registry = core.replicas.registry();
    let now = now();
    let mut admission = Admission::default();
    let mut asked = BTreeSet::new();
    for batch in batches {
        let Ok(partition) = registry.partition(&batch.at.0, batch.at.1) else {
            continue;
        };
        let guard = partition.log.start_verification(
            producer_id,
            epoch,
            batch.base_sequence,
            implicit,
            now,
        );
        let admitted = match guard {
            Ok(guard) => {
                if guard.is_some() {
                    asked.insert(batch.at.clone());
                }
                Ok(if must_verify {
                    Verification::Required(guard)
                } else {
                    Verification::Off
                })
            }
            Err(e) => Err((codes::append(&e), Some(e.to_string()))),
        };
        admission.partitions.insert(batch.slot, admitted);
    }
    (admission, asked)
}

/// What the coordinator says, in words that the client of this version understands.
fn refusal(code: ErrorCode, version: i16) -> Refusal {
    let retry = || {
        let why = format!(
            "the coordinator of the transaction could not be asked whether the partition belongs to it: {code}"
        );
        // Retriable for clients of every version, and no reason to refresh metadata.
        (ErrorCode::NotEnoughReplicas, Some(why))
    };
    let not_added = "the partition was not added to the transaction".to_owned();
    match code {
        ErrorCode::ProducerFenced => (ErrorCode::InvalidProducerEpoch, None),
        ErrorCode::TransactionAbortable if version < ABORTABLE_ERROR => {
            (ErrorCode::InvalidTxnState, Some(not_added))
        }
        ErrorCode::TransactionAbortable | ErrorCode::InvalidTxnState => (code, Some(not_added)),
        ErrorCode::NetworkException
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::NotCoordinator => retry(),
        ErrorCode::ConcurrentTransactions if version < IMPLICIT_ADD => retry(),
        code => (code, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_told_what_it_understands() {
        let code = |code, version| refusal(code, version).0;
        for version in 3..=13 {
            assert_eq!(
                code(ErrorCode::ProducerFenced, version),
                ErrorCode::InvalidProducerEpoch
            );
            assert_eq!(
                code(ErrorCode::NotCoordinator, version),
                ErrorCode::NotEnoughReplicas
            );
            assert_eq!(
                code(ErrorCode::InvalidProducerIdMapping, version),
                ErrorCode::InvalidProducerIdMapping
            );
        }
        let abortable = ErrorCode::TransactionAbortable;
        assert_eq!(code(abortable, 10), ErrorCode::InvalidTxnState);
        assert_eq!(code(abortable, 11), abortable);
        let concurrent = ErrorCode::ConcurrentTransactions;
        assert_eq!(code(concurrent, 11), ErrorCode::NotEnoughReplicas);
        assert_eq!(code(concurrent, 12), concurrent);
    }
}
