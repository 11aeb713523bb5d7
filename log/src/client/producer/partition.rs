//! What the sender keeps in order for one partition.
//!
//! A plain state machine. Invariants: batches get sequences in the order in which they
//! were taken out, without a gap inside one epoch; a batch that is sent again goes before
//! every younger one; a new epoch begins only when nothing of the old one is on its way,
//! at sequence 0. So a broker that knows the last five batches of a producer can neither
//! write a record twice nor out of order, whatever is lost on the way.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::accumulator::{Batch, PartitionQueue, records_error};
use super::delivery::BatchResult;
use crate::client::ClientError;
use crate::record::RecordBatch;
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
    /// Its place among the batches of the partition.
    number: u64,
    sequenced: bool,
}

/// What to do with a batch after its answer.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It will be sent again.
    Retry,
    /// It has failed for good.
    Failed(Box<(Sealed, ClientError)>),
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
            self.identity = Some(fresh);
            self.next_sequence = 0;
            return self.restamp().map(|()| true);
        };
        if !self.broken {
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
        self.identity = Some(match identity.epoch.checked_add(1) {
            Some(epoch) => Identity {
                id: identity.id,
                epoch,
            },
            None if fresh.id != identity.id => fresh,
            // The epochs of this id are used up; the sender must ask for another id.
            None => return Ok(false),
        });
        self.next_sequence = 0;
        self.broken = false;
        self.known = false;
        self.restamp().map(|()| true)
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
            self.identity = Some(identity);
            self.next_sequence = 0;
            self.broken = false;
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
            retry.sequenced = true;
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
        if let Some(identity) = identity {
            batch
                .builder
                .producer(identity.id, identity.epoch, self.next_sequence)
                .transactional(self.transactional);
        }
        match batch.builder.build() {
            Ok(bytes) => {
                if identity.is_some() {
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
                    sequenced: identity.is_some(),
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
        self.known |= sealed.sequenced;
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
        let sequence_lost = sealed.sequenced
            && matches!(
                error.code(),
                Some(
                    ErrorCode::OutOfOrderSequenceNumber
                        | ErrorCode::UnknownProducerId
                        | ErrorCode::InvalidProducerEpoch
                )
            );
        if sequence_lost {
            // Behind a batch that is sent again it is only early; alone, the broker and
            // this producer disagree.
            let oldest = self.in_flight.iter().all(|n| *n > sealed.number)
                && self.retries.iter().all(|r| r.number > sealed.number);
            if oldest {
                self.broken = true;
            }
        }
        let may_retry = may_retry && !(self.transactional && self.broken);
        if may_retry && (sequence_lost || error.is_retriable()) {
            self.paused_until = Some(Instant::now() + backoff);
            sealed.last_error = Some(error);
            let place = self.retries.partition_point(|r| r.number < sealed.number);
            self.retries.insert(place, sealed);
            return Verdict::Retry;
        }
        // It leaves a gap, or its fate is unknown: what follows needs a new epoch.
        self.broken |= sealed.sequenced;
        Verdict::Failed(Box::new((sealed, error)))
    }

    /// Takes out what was created at or before `limit` and waits to be sent again.
    pub(super) fn expire(&mut self, limit: Instant) -> Vec<Sealed> {
        let (expired, kept): (VecDeque<Sealed>, VecDeque<Sealed>) =
            std::mem::take(&mut self.retries)
                .into_iter()
                .partition(|r| r.created <= limit);
        self.retries = kept;
        self.broken |= expired.iter().any(|r| r.sequenced);
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

/// Sequences count from 0 to `i32::MAX` and begin again.
fn add_sequence(sequence: i32, records: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(records);
    i32::try_from(sum % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}
