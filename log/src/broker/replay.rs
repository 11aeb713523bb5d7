//! Reading a coordinator's partition, before the coordinator serves.
//!
//! Invariant: every batch is handed over, in order, up to the end of the log. Compaction leaves
//! stretches without records: an empty read ends the log only where it does not move on either.

use super::partition::Partition;
use crate::record::{RecordBatch, batches};
use crate::storage::FetchIsolation;

/// Bytes read at once.
const BYTES: usize = 4 << 20;

/// Hands every batch of the partition to `load`. What cannot be read is told and left out.
pub(crate) fn replay(partition: &Partition, mut load: impl FnMut(&RecordBatch)) {
    let (topic, index) = (&partition.topic, partition.index);
    let mut next = partition.log.log_start_offset();
    loop {
        let read = partition
            .log
            .read(next, BYTES, true, FetchIsolation::LogEnd);
        let data = match read {
            Ok(data) if data.records.is_empty() && data.next_offset <= next => break,
            Ok(data) => data,
            Err(e) => {
                tracing::error!(%topic, partition = index, error = %e, "the coordinator's log cannot be read past offset {next}");
                break;
            }
        };
        for batch in batches(data.records) {
            match batch {
                Ok(batch) => load(&batch),
                Err(e) => {
                    tracing::error!(%topic, partition = index, error = %e, "a batch of the coordinator's log cannot be read");
                }
            }
        }
        next = data.next_offset.max(next.saturating_add(1));
    }
}
