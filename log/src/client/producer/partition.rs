//! What the sender keeps in order for one partition.
//!
//! A plain state machine. Invariants: batches get sequences in the order in which they
//! were taken out, without a gap inside one epoch; a batch that is sent again goes before
//! every younger one; a new epoch begins only when nothing of the old one is on its way,
//! at sequence 0, and only with batches of which the broker has said that they cannot follow
//! what it has. So a broker that knows the last five batches of a producer can neither
//! write a record twice nor out of order, whatever is lost on the way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::accumulator::{Accumulator, Batch, PartitionQueue, records_error};
use super::delivery::BatchResult;
use super::split::split;
use crate::client::ClientError;
use crate::record::{RecordBatch, add_sequence};
use crate::wire::ErrorCode;

/// Who writes: a producer id and its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// A batch with its final bytes.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) bytes: Bytes,
    pub(super) records: i32,
    pub(super) result: Arc<BatchResult>,
    pub(super) id: u64,
    pub(super) created: Instant,
    pub(super) reserved: usize,
    pub(super) attempts: u32,
    pub(super) last_error: Option<ClientError>,
    /// Its place among the batches of the partition. What it is split into shares it.
    number: u64,
    /// The sequence of its first record, if it has any.
    sequence: Option<i32>,
    /// An earlier attempt may have been written.
    doubtful: bool,
    /// It is a piece of a batch that may have been written whole.
    torn: bool,
}

/// What to do with a batch after its answer.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It will be sent again.
    Retry,
    /// It has failed for good, and with it what cannot be told apart from it.
    Failed(Vec<(Sealed, ClientError)>),
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) queue: Arc<PartitionQueue>,
    /// To be sent again, oldest first.
    retries: VecDeque<Sealed>,
    /// The numbers of the batches on their way.
    in_flight: Vec<u64>,
    next_number: u64,
    identity: Option<Identity>,
    next_sequence: i32,
    /// The sequence is broken: a new epoch is needed.
    broken: bool,
    /// A batch was given up, and may have left a gap. Nothing new is sent before what was
    /// sent already has an answer.
    unresolved: bool,
    /// The youngest batch that was written, and the sequence that follows it.
    written: Option<(u64, i32)>,
    /// The broker has written a batch of the present epoch.
    known: bool,
    /// Whether its batches belong to transactions.
    transactional: bool,
    /// Nothing is sent before.
    pub(super) paused_until: Option<Instant>,
    /// Whether the sender has it on its list.
    pub(super) active: bool,
}

impl Partition {
    pub(super) fn new(queue: Arc<PartitionQueue>, transactional: bool) -> Self {
        Self {
            queue,
            transactional,
            retries: VecDeque::new(),
            in_flight: Vec::new(),
            next_number: 0,
            identity: None,
            next_sequence: 0,
            broken: false,
            unresolved: false,
            written: None,
            known: false,
            paused_until: None,
            active: false,
        }
    }

    pub(super) fn has_in_flight(&self) -> bool {
        !self.in_flight.is_empty()
    }

    pub(super) fn has_retries(&self) -> bool {
        !self.retries.is_empty()
    }

    /// Whether the oldest batch to send again may go: nothing older is on its way.
    pub(super) fn may_retry(&self) -> bool {
        self.retries
            .front()
            .is_some_and(|retry| self.in_flight.iter().all(|n| *n > retry.number))
    }

    /// The creation time of the oldest batch to send again.
    pub(super) fn oldest_retry(&self) -> Option<Instant> {
        self.retries.iter().map(|r| r.created).min()
    }

    /// Whether a batch could be sequenced now. `fresh` is the identity that new partitions
    /// begin with.
    pub(super) fn sequence_ready(&mut self, fresh: Identity) -> Result<bool, ClientError> {
        let Some(identity) = self.identity else {
            self.begin(fresh);
            return self.restamp().map(|()| true);
        };
        if self.unresolved && !self.has_in_flight() && !self.has_retries() {
            let next = self.written.map(|(_, next)| next);
            self.broken |= next != Some(self.next_sequence);
            self.unresolved = false;
        }
        if !self.broken {
            if self.unresolved && !self.has_retries() {
                return Ok(false);
            }
            // A broker that does not know a producer takes its first batch for the
            // beginning, whatever its sequence: so there is only one until it is known.
            if !self.known {
                return Ok(!self.has_in_flight());
            }
            // It remembers the last five batches, so none may be younger by more than
            // that than one whose answer is still out.
            let oldest = self.in_flight.iter().min().copied();
            return Ok(self.has_retries() || oldest.is_none_or(|n| self.next_number - n < 5));
        }
        if self.has_in_flight() {
            return Ok(false);
        }
        self.begin(match identity.epoch.checked_add(1) {
            Some(epoch) => Identity {
                id: identity.id,
                epoch,
            },
            None if fresh.id != identity.id => fresh,
            // The epochs of this id are used up; the sender must ask for another id.
            None => return Ok(false),
        });
        self.restamp().map(|()| true)
    }

    /// Sequences begin anew, under an identity of which the broker knows nothing.
    fn begin(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.next_sequence = 0;
        self.broken = false;
        self.unresolved = false;
        self.written = None;
        self.known = false;
    }

    /// Whether a batch of a transaction could be sequenced now. `identity` is that of the
    /// transaction; where it is another than before, sequences begin anew. In a transaction
    /// nothing mends a broken sequence but its abort. If the first batch `adds` the
    /// partition to the transaction, the others wait until that is done: they would only be
    /// refused for being too early.
    pub(super) fn transaction_ready(&mut self, identity: Identity, adds: bool) -> bool {
        if self.identity != Some(identity) {
            if self.has_in_flight() || self.has_retries() {
                return false;
            }
            self.begin(identity);
            self.known = !adds;
        }
        if !self.known && self.has_in_flight() {
            return false;
        }
        let oldest = self.in_flight.iter().min();
        !self.broken && (self.has_retries() || oldest.is_none_or(|n| self.next_number - n < 5))
    }

    /// Whether only another producer id helps.
    pub(super) fn needs_new_id(&self, fresh: Identity) -> bool {
        self.broken
            && self
                .identity
                .is_some_and(|i| i.id == fresh.id && i.epoch == i16::MAX)
    }

    /// Numbers what is to be sent again from the beginning of the new epoch.
    fn restamp(&mut self) -> Result<(), ClientError> {
        let Some(identity) = self.identity else {
            return Ok(());
        };
        for retry in &mut self.retries {
            let batch = RecordBatch::new(retry.bytes.clone())
                .map_err(|e| records_error(&self.queue.topic_partition, e))?;
            let batch = batch.with_producer(identity.id, identity.epoch, self.next_sequence);
            retry.bytes = batch.bytes().clone();
            retry.sequence = Some(self.next_sequence);
            self.next_sequence = add_sequence(self.next_sequence, retry.records);
        }
        Ok(())
    }

    /// Takes the oldest batch to send again.
    pub(super) fn take_retry(&mut self) -> Option<Sealed> {
        let mut sealed = self.retries.pop_front()?;
        sealed.attempts += 1;
        self.in_flight.push(sealed.number);
        Some(sealed)
    }

    /// Gives a new batch its bytes and, if `idempotent`, the next sequence.
    pub(super) fn seal(
        &mut self,
        mut batch: Batch,
        idempotent: bool,
    ) -> Result<Sealed, (Unbuilt, ClientError)> {
        let records = i32::try_from(batch.builder.records_count()).unwrap_or(i32::MAX);
        let identity = self.identity.filter(|_| idempotent);
        let sequence = identity.map(|_| self.next_sequence);
        if let Some(identity) = identity {
            batch
                .builder
                .producer(identity.id, identity.epoch, self.next_sequence)
                .transactional(self.transactional);
        }
        match batch.builder.build() {
            Ok(bytes) => {
                if sequence.is_some() {
                    self.next_sequence = add_sequence(self.next_sequence, records);
                }
                let number = self.next_number;
                self.next_number += 1;
                self.in_flight.push(number);
                Ok(Sealed {
                    bytes,
                    records,
                    result: batch.result,
                    id: batch.id,
                    created: batch.created,
                    reserved: batch.reserved,
                    attempts: 0,
                    last_error: None,
                    number,
                    sequence,
                    doubtful: false,
                    torn: false,
                })
            }
            Err(error) => Err((
                Unbuilt {
                    result: batch.result,
                    id: batch.id,
                    reserved: batch.reserved,
                    records: usize::try_from(records).unwrap_or(0),
                },
                records_error(&self.queue.topic_partition, error),
            )),
        }
    }

    /// The batch was written.
    pub(super) fn succeeded(&mut self, sealed: &Sealed) {
        self.in_flight.retain(|n| *n != sealed.number);
        self.paused_until = None;
        if let Some(first) = sealed.sequence {
            self.known = true;
            if self
                .written
                .is_none_or(|(number, _)| number <= sealed.number)
            {
                let next = add_sequence(first, sealed.records);
                self.written = Some((sealed.number, next));
            }
        }
    }

    /// The batch was refused, or its fate is unknown. It goes back to be sent again, or is
    /// given up if `may_retry` is false or the error is final.
    pub(super) fn failed(
        &mut self,
        mut sealed: Sealed,
        error: ClientError,
        may_retry: bool,
        backoff: Duration,
    ) -> Verdict {
        self.in_flight.retain(|n| *n != sealed.number);
        let sequence_lost = sealed.sequence.is_some() && is_sequence_lost(&error);
        let mut torn = false;
        if sequence_lost {
            // Behind a batch that is sent again it is only early; alone, the broker and
            // this producer disagree.
            let oldest = self.in_flight.iter().all(|n| *n > sealed.number)
                && self.retries.iter().all(|r| r.number >= sealed.number);
            self.broken |= oldest;
            torn = oldest && sealed.torn;
        }
        let may_retry = may_retry && !torn && !(self.transactional && self.broken);
        if may_retry && (sequence_lost || error.is_retriable()) {
            self.paused_until = Some(Instant::now() + backoff);
            sealed.doubtful |= leaves_doubt(&error);
            sealed.last_error = Some(error);
            let place = self.retries.partition_point(|r| r.number < sealed.number);
            self.retries.insert(place, sealed);
            return Verdict::Retry;
        }
        let mut failed = Vec::new();
        if torn {
            // The batch was written whole before it was split: in a new epoch its pieces
            // would double it.
            let number = sealed.number;
            let (pieces, kept): (VecDeque<Sealed>, VecDeque<Sealed>) =
                std::mem::take(&mut self.retries)
                    .into_iter()
                    .partition(|r| r.number == number);
            self.retries = kept;
            failed.extend(pieces.into_iter().map(|piece| (piece, error.clone())));
        }
        self.given_up(&sealed);
        failed.insert(0, (sealed, error));
        Verdict::Failed(failed)
    }

    /// A batch will not be sent again.
    fn given_up(&mut self, sealed: &Sealed) {
        let sequenced = sealed.sequence.is_some();
        self.unresolved |= sequenced;
        // In a transaction nothing mends it but the abort.
        self.broken |= sequenced && self.transactional;
    }

    /// The batch was refused because it is too large: its pieces go instead. Gives it back
    /// where it cannot be read.
    pub(super) fn split(
        &mut self,
        sealed: Sealed,
        accumulator: &Accumulator,
    ) -> Result<(), Box<(Sealed, ClientError)>> {
        let pieces = match split(&sealed.bytes) {
            Ok(pieces) => pieces,
            Err(error) => {
                let error = records_error(&self.queue.topic_partition, error);
                return Err(Box::new((sealed, error)));
            }
        };
        self.in_flight.retain(|n| *n != sealed.number);
        let starts: Vec<i32> = pieces
            .iter()
            .scan(0, |next, piece| {
                Some(std::mem::replace(next, *next + piece.records))
            })
            .collect();
        let firsts: Vec<u32> = (starts.iter().skip(1))
            .filter_map(|start| u32::try_from(*start).ok())
            .collect();
        let results = accumulator.split(sealed.id, &sealed.result, &firsts);
        let place = self.retries.partition_point(|r| r.number < sealed.number);
        let younger = self.retries.split_off(place);
        // Together they give back what the batch took.
        let share = sealed.reserved / pieces.len().max(1);
        let mut rest = sealed.reserved - share * pieces.len();
        for ((piece, start), (id, result)) in pieces.into_iter().zip(starts).zip(results) {
            self.retries.push_back(Sealed {
                bytes: piece.bytes,
                records: piece.records,
                result,
                id,
                created: sealed.created,
                reserved: share + std::mem::take(&mut rest),
                attempts: 0,
                last_error: None,
                number: sealed.number,
                sequence: sealed.sequence.map(|first| add_sequence(first, start)),
                doubtful: false,
                torn: sealed.torn || sealed.doubtful,
            });
        }
        self.retries.extend(younger);
        Ok(())
    }

    /// Takes out what was created at or before `limit` and waits to be sent again.
    pub(super) fn expire(&mut self, limit: Instant) -> Vec<Sealed> {
        let (expired, kept): (VecDeque<Sealed>, VecDeque<Sealed>) =
            std::mem::take(&mut self.retries)
                .into_iter()
                .partition(|r| r.created <= limit);
        self.retries = kept;
        for sealed in &expired {
            self.given_up(sealed);
        }
        expired.into()
    }
}

/// What is left of a batch that could not be built.
#[derive(Debug)]
pub(super) struct Unbuilt {
    pub(super) result: Arc<BatchResult>,
    pub(super) id: u64,
    pub(super) reserved: usize,
    pub(super) records: usize,
}

/// Whether the broker says that the batch cannot follow what it has of the producer.
fn is_sequence_lost(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(
            ErrorCode::OutOfOrderSequenceNumber
                | ErrorCode::UnknownProducerId
                | ErrorCode::InvalidProducerEpoch
        )
    )
}

/// Whether the batch may have been written all the same.
fn leaves_doubt(error: &ClientError) -> bool {
    match error.code() {
        Some(ErrorCode::ConcurrentTransactions | ErrorCode::NotEnoughReplicas) => false,
        Some(_) => !is_sequence_lost(error),
        None => true,
    }
}
