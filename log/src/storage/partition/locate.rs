//! Reading without reading: where in a file the batches lie that a fetch is answered with.
//!
//! Invariant: a range is given out only of bytes that are trusted (see [`Trusted`]) and that lie below what the
//! reader may see; it begins with the batch that contains the offset. Whatever is not plain to see, of damage or of
//! a reader near the end of what is visible, is left to [`PartitionLog::read`], which looks at every batch.
//!
//! [`Trusted`]: super::super::trusted::Trusted

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::scan::Scanner;
use super::super::txn_index::AbortedTxn;
use super::super::types::{FetchIsolation, LogPosition};
use super::PartitionLog;

/// From the index entry to the batch that is looked for it is an index interval or so.
const LOOK_AHEAD: usize = 4096 + 512;

/// Batches in a file.
#[derive(Debug)]
pub struct Located {
    /// The segment's file.
    pub file: Arc<File>,
    /// Where the first batch begins.
    pub position: u64,
    /// How many bytes there are; the last batch may be cut short.
    pub len: usize,
    /// The log's offsets.
    pub log: LogPosition,
    /// The aborted transactions among them, when only committed records are read; and maybe some that come after.
    pub aborted: Vec<AbortedTxn>,
}

impl PartitionLog {
    /// Where the bytes lie that [`read`](Self::read) would return, and at least `min_len` of them. `None`
    /// means that `read` must be asked, for whatever reason.
    pub fn locate(
        &self,
        offset: i64,
        max_bytes: usize,
        min_one: bool,
        min_len: usize,
        isolation: FetchIsolation,
    ) -> Option<Located> {
        self.check().ok()?;
        let truncations = self.truncations.load(Ordering::Acquire);
        let segment = self.segment_of(offset)?;
        // Before the position is taken: then all that lies below this size lies below the log end
        // offset of the position, too.
        let size = segment.size();
        let log = self.position();
        if offset < log.log_start_offset || offset >= log.log_end_offset {
            return None;
        }
        let limit = match isolation {
            FetchIsolation::LogEnd => log.log_end_offset,
            FetchIsolation::HighWatermark => log.high_watermark,
            FetchIsolation::TxnCommitted => log.last_stable_offset,
        };
        let next = self.segment_after(segment.base_offset());
        let end_offset = next.map_or(log.log_end_offset, |next| next.base_offset());
        if end_offset > limit {
            return None;
        }
        let (start, indexed) = segment.lookup(offset);
        let mut scanner = Scanner::new(&segment, start, size).reading_ahead(LOOK_AHEAD);
        let first = scanner.peek().ok()??;
        if indexed.is_some_and(|last| last != first.last_offset()) || first.base_offset > offset {
            return None;
        }
        let mut found = first;
        while found.last_offset() < offset {
            scanner.skip(&found);
            let header = scanner.peek().ok()??;
            if header.base_offset < found.next_offset() {
                return None;
            }
            found = header;
        }
        let begin = scanner.position();
        if found.size() > max_bytes && !min_one {
            return None;
        }
        let most = begin.saturating_add(max_bytes.max(found.size()) as u64);
        let end = if most < size {
            // Rather end with a whole batch, where the index knows of one.
            segment
                .indexed_before(most)
                .filter(|end| *end >= begin + found.size() as u64)
                .unwrap_or(most)
        } else {
            size
        };
        let len = usize::try_from(end.checked_sub(begin)?).ok()?;
        if len < min_len || !segment.trusted().contains(&(begin..end)) {
            return None;
        }
        let aborted = match isolation {
            FetchIsolation::TxnCommitted => self.aborted_transactions(offset, end_offset).ok()?,
            _ => Vec::new(),
        };
        let file = segment.shared_file().ok()?;
        let moved = self.truncations.load(Ordering::Acquire) != truncations
            || offset < self.log_start_offset();
        (!moved).then_some(Located {
            file,
            position: begin,
            len,
            log,
            aborted,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::record::{BatchBuilder, BatchHeader, Compression};
    use crate::storage::{
        AppendOrigin, LogConfig, LogManager, LogManagerConfig, Marker, TxnOutcome, Verification,
    };

    fn open(dir: &std::path::Path) -> (LogManager, Arc<PartitionLog>) {
        let logs = LogManager::open(LogManagerConfig::new(dir, 1), 0).unwrap();
        let config = LogConfig::default()
            .with([("segment.bytes", "20000"), ("index.interval.bytes", "512")])
            .unwrap();
        let id = uuid::Uuid::from_u128(7);
        let log = logs.get_or_create("t", 0, id, config.clone(), 0).unwrap();
        log.update_config(config);
        (logs, log)
    }

    fn append(log: &PartitionLog, count: usize) {
        let mut builder = BatchBuilder::new(Compression::None);
        for n in 0..count {
            builder
                .append(n as i64, Some(b"key"), Some(&[7; 60]), &[])
                .unwrap();
        }
        let batch = builder.build().unwrap();
        log.append(batch, 0, AppendOrigin::Client, 1000).unwrap();
    }

    fn bytes(located: &Located) -> Vec<u8> {
        let mut bytes = vec![0; located.len];
        located
            .file
            .read_exact_at(&mut bytes, located.position)
            .unwrap();
        bytes
    }

    const ALL: FetchIsolation = FetchIsolation::HighWatermark;

    #[test]
    fn what_is_located_is_what_would_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let (_logs, log) = open(dir.path());
        for n in 0..200 {
            append(&log, n % 7 + 1);
        }
        for offset in 0..log.log_end_offset() {
            for max in [1, 700, 5000, 1 << 20] {
                let located = log.locate(offset, max, true, 1, ALL).unwrap();
                let read = log.read(offset, max, true, ALL).unwrap();
                let found = bytes(&located);
                let common = found.len().min(read.records.len());
                assert!(common > 0);
                assert_eq!(found[..common], read.records[..common], "{offset} {max}");
                let first = BatchHeader::parse(&found).unwrap();
                assert!(first.base_offset <= offset && offset <= first.last_offset());
                assert!(found.len() <= max || found.len() == first.size());
            }
        }
        let end = log.log_end_offset();
        assert!(log.locate(end, 1000, true, 1, ALL).is_none(), "nothing yet");
        assert!(
            log.locate(0, 10, false, 1, ALL).is_none(),
            "it is too large"
        );
        assert!(log.locate(0, 1000, true, 2000, ALL).is_none(), "too little");
    }

    #[test]
    fn what_another_process_wrote_is_read_first() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, log) = open(dir.path());
        for _ in 0..20 {
            append(&log, 5);
        }
        logs.close().unwrap();
        drop(logs);
        let (_logs, log) = open(dir.path());
        assert!(log.locate(10, 1000, true, 1, ALL).is_none());
        let read = log.read(10, 1000, true, ALL).unwrap();
        let located = log.locate(10, read.records.len(), true, 1, ALL).unwrap();
        assert_eq!(bytes(&located), read.records);
        assert!(
            log.locate(10, 5000, true, 1, ALL).is_none(),
            "what follows was not read"
        );
        let end = log.log_end_offset();
        append(&log, 5);
        assert!(log.locate(end, 1000, true, 1, ALL).is_some(), "its own");
    }

    #[test]
    fn an_open_transaction_bars_readers_of_committed_records() {
        let committed = FetchIsolation::TxnCommitted;
        let dir = tempfile::tempdir().unwrap();
        let (_logs, log) = open(dir.path());
        append(&log, 3);
        let mut builder = BatchBuilder::new(Compression::None);
        builder.transactional(true).producer(9, 0, 0);
        builder.append(1, None, Some(b"x"), &[]).unwrap();
        let batch = builder.build().unwrap();
        log.append_verified(batch, 0, AppendOrigin::Client, 1000, Verification::Off)
            .unwrap();
        assert!(log.locate(0, 1000, true, 1, committed).is_none());
        assert!(log.locate(0, 1000, true, 1, ALL).is_some());
        let marker = Marker {
            producer_id: 9,
            producer_epoch: 0,
            coordinator_epoch: 0,
            outcome: TxnOutcome::Abort,
        };
        log.append_marker(marker, 1, 0, 1001).unwrap();
        let located = log.locate(0, 1000, true, 1, committed).unwrap();
        assert_eq!(located.aborted.len(), 1);
        assert_eq!(located.aborted[0].first_offset, 3);
    }
}
