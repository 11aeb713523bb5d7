//! The producers' state, made again from the log: the latest snapshot that can be read, and the
//! batches since.
//!
//! What is known of the producers and of their transactions is a function of the batches; so is the
//! index of aborted transactions of each segment. Replaying from a snapshot at or below a segment's
//! beginning gives that segment's index.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::error::{StorageError, StorageResult};
use super::super::files::{SNAPSHOT_SUFFIX, offset_file, offset_of, remove_if_there};
use super::super::marker::Marker;
use super::super::producers::{Producers, Undecided};
use super::super::scan::{ScanError, Scanner};
use super::super::segment::Segment;
use super::super::txn_index::AbortedTxn;
use crate::record::BATCH_HEADER_SIZE;

/// What a log says of its producers.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) producers: Producers,
    pub(super) undecided: Undecided,
    /// The aborted transactions that were seen, by the base offset of the marker's segment.
    pub(super) aborted: BTreeMap<i64, Vec<AbortedTxn>>,
}

/// The state at `end`. With `index_from`, every abort marker at or above that segment's beginning
/// is seen.
pub(super) fn replay(
    folder: &Path,
    segments: &[&Segment],
    end: i64,
    index_from: Option<i64>,
) -> StorageResult<State> {
    let mut state = State::default();
    let mut from = segments.first().map_or(end, |first| first.base_offset());
    let latest = index_from.unwrap_or(end).min(end);
    for offset in snapshots(folder)?.into_iter().rev() {
        let path = offset_file(folder, offset, SNAPSHOT_SUFFIX);
        if offset > latest {
            continue;
        }
        match Producers::read_snapshot(&path) {
            Ok(read) => {
                state.undecided = read.undecided();
                state.producers = read;
                from = offset;
                break;
            }
            // An older one does, and more batches; without any, all of them.
            Err(error) => tracing::warn!(%error, "a producer snapshot is not used"),
        }
    }
    for (n, segment) in segments.iter().enumerate() {
        let beyond = segments.get(n + 1).map_or(end, |next| next.base_offset());
        if from < beyond && segment.base_offset() < end {
            scan(&mut state, segment, from, end)?;
        }
    }
    Ok(state)
}

fn scan(state: &mut State, segment: &Segment, from: i64, end: i64) -> StorageResult<()> {
    let (start, _) = segment.lookup(from);
    let mut scanner = Scanner::new(segment, start, segment.size());
    let result = (|| {
        while let Some(header) = scanner.peek()? {
            if header.base_offset >= end {
                break;
            }
            if header.base_offset < from || !header.has_producer_id() {
                scanner.skip(&header);
                continue;
            }
            if !header.is_control() {
                scanner.skip(&header);
                state.producers.update(&header, &mut state.undecided);
                continue;
            }
            let position = scanner.position();
            let Some((_, batch)) = scanner.next_batch()? else {
                break;
            };
            let body = batch.bytes().slice(BATCH_HEADER_SIZE..);
            let marker = Marker::read(&header, body).map_err(|e| ScanError::Damaged {
                position,
                reason: e.to_string(),
            })?;
            if let Some(marker) = marker {
                let aborted = state.producers.update_marker(
                    &marker,
                    header.base_offset,
                    header.max_timestamp,
                    &mut state.undecided,
                );
                let list = state.aborted.entry(segment.base_offset()).or_default();
                list.extend(aborted);
            }
        }
        Ok(())
    })();
    match result {
        Ok(()) => Ok(()),
        // Reads will tell of the damage; what the producers did after it is unknown.
        Err(ScanError::Damaged { position, reason }) => {
            tracing::warn!(file = %segment.path().display(), position, reason,
                "damage in the log: the producers' state may be incomplete");
            Ok(())
        }
        Err(ScanError::Storage(error)) => Err(error),
    }
}

/// Deletes the snapshots that are of no use: beyond the end of the log, which something else may
/// come to fill, and between the segments' beginnings, but for the last, that of a clean close or of
/// a compaction.
pub(super) fn tidy_snapshots(
    folder: &Path,
    bases: impl Fn(i64) -> bool,
    end: i64,
) -> StorageResult<()> {
    let mut snapshots = snapshots(folder)?;
    snapshots.retain(|offset| !bases(*offset));
    let last = snapshots
        .iter()
        .rev()
        .find(|offset| **offset <= end)
        .copied();
    for offset in snapshots {
        if Some(offset) != last {
            remove_if_there(&offset_file(folder, offset, SNAPSHOT_SUFFIX))?;
        }
    }
    Ok(())
}

/// The offsets of the producer snapshots in a folder, in order.
pub(super) fn snapshots(folder: &Path) -> StorageResult<Vec<i64>> {
    let list = std::fs::read_dir(folder).map_err(|e| StorageError::io("list", folder, e))?;
    let mut offsets: Vec<_> = list
        .flatten()
        .filter_map(|entry| offset_of(entry.file_name().to_str()?, SNAPSHOT_SUFFIX))
        .collect();
    offsets.sort_unstable();
    Ok(offsets)
}
