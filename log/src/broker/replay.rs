//! Reading a coordinator's partition, before the coordinator serves.
//!
//! Invariant: every batch is handed over, in order, up to the end of the log, or there is an error.
//! Compaction leaves stretches without records: an empty read ends the log only where it does not
//! move on either.

use super::partition::Partition;
use crate::record::{RecordBatch, batches};
use crate::storage::{FetchIsolation, StorageError};

/// Bytes read at once.
const BYTES: usize = 4 << 20;

/// Why a coordinator's partition could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] StorageError),
    /// A batch is not what it should be.
    #[error("{topic}-{partition}: the batch at offset {offset} cannot be read: {reason}")]
    Batch {
        topic: String,
        partition: i32,
        offset: i64,
        reason: String,
    },
}

/// Hands every batch of the partition to `load`, which says what is wrong with it.
///
/// # Errors
/// What cannot be read.
pub(crate) fn replay(
    partition: &Partition,
    mut load: impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<(), ReplayError> {
    let bad = |offset: i64, reason: String| ReplayError::Batch {
        topic: partition.topic.to_string(),
        partition: partition.index,
        offset,
        reason,
    };
    let mut next = partition.log.log_start_offset();
    loop {
        let data = partition
            .log
            .read(next, BYTES, true, FetchIsolation::LogEnd)?;
        if data.records.is_empty() && data.next_offset <= next {
            return Ok(());
        }
        for batch in batches(data.records) {
            let batch = batch.map_err(|e| bad(next, e.to_string()))?;
            load(&batch).map_err(|reason| bad(batch.header().base_offset, reason))?;
        }
        next = data.next_offset.max(next.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{BatchBuilder, Compression};
    use crate::storage::{AppendOrigin, LogConfig, LogManager, LogManagerConfig};

    const TOPIC_ID: uuid::Uuid = uuid::Uuid::from_u128(7);

    fn config() -> LogConfig {
        let settings = [
            ("cleanup.policy", "compact"),
            ("segment.bytes", "300"),
            ("index.interval.bytes", "80"),
            ("min.cleanable.dirty.ratio", "0"),
            ("delete.retention.ms", "0"),
            ("max.message.bytes", "280"),
        ];
        LogConfig::default().with(settings).unwrap()
    }

    fn open(dir: &std::path::Path, now: i64) -> (LogManager, Partition) {
        let manager = LogManager::open(LogManagerConfig::new(dir, 1), now).unwrap();
        let log = manager.get_or_create("t", 0, TOPIC_ID, config(), now);
        let partition = Partition::new(Arc::from("t"), 0, log.unwrap(), 0);
        (manager, partition)
    }

    fn batch(producer: Option<(i64, i32)>, key: &str, value: Option<&str>) -> bytes::Bytes {
        let mut batch = BatchBuilder::new(Compression::None);
        if let Some((id, sequence)) = producer {
            batch.producer(id, 0, sequence);
        }
        let value = value.map(str::as_bytes);
        batch.append(1, Some(key.as_bytes()), value, &[]).unwrap();
        batch.build().unwrap()
    }

    /// Offset and key of every record, and how many batches have none.
    fn replayed(partition: &Partition) -> (Vec<(i64, String)>, usize) {
        let (mut found, mut empty) = (Vec::new(), 0);
        replay(partition, |batch| {
            let mut records = batch.records().map_err(|e| e.to_string())?.peekable();
            empty += usize::from(records.peek().is_none());
            for record in records {
                let record = record.map_err(|e| e.to_string())?;
                let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                found.push((record.offset, key));
            }
            Ok(())
        })
        .unwrap();
        (found, empty)
    }

    #[test]
    fn stretches_that_compaction_emptied_are_stepped_over() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, partition) = open(dir.path(), 0);
        let append = |bytes| {
            let log = &partition.log;
            log.append(bytes, 0, AppendOrigin::Client, 0).unwrap();
        };
        append(batch(None, "first", Some("stays")));
        // Segments of nothing but what is overwritten or deleted later; of an idempotent producer
        // the last batch stays, though it is empty.
        for n in 0..20 {
            append(batch(Some((9, n)), "a", Some("old")));
        }
        for _ in 0..20 {
            append(batch(None, "b", Some("old")));
        }
        append(batch(None, "b", None));
        append(batch(None, "a", Some("new")));
        append(batch(None, "last", Some("stays")));
        for _ in 0..6 {
            append(batch(None, "end", Some("end")));
        }
        let mut now = 1_000;
        while manager.compact_dirtiest(now).is_some() {
            now += 1_000_000;
        }
        assert_eq!(manager.uncleanable(), []);
        let files = std::fs::read_dir(dir.path().join("t-0")).unwrap();
        let emptied = files.filter_map(Result::ok).filter(|file| {
            let log = file.path().extension().is_some_and(|e| e == "log");
            log && file.metadata().is_ok_and(|m| m.len() == 0)
        });
        assert!(emptied.count() > 2, "segments without a batch");
        let (found, empty) = replayed(&partition);
        let keys: Vec<&str> = found.iter().map(|(_, key)| key.as_str()).collect();
        assert_eq!(keys[..4], ["first", "b", "a", "last"], "{found:?}");
        assert_eq!(
            found.last().map(|(at, _)| at + 1),
            Some(partition.log.log_end_offset())
        );
        assert!(empty > 0, "the producer's last batch");
        // From the disk it is the same.
        drop((manager, partition));
        let (_manager, partition) = open(dir.path(), now);
        assert_eq!(replayed(&partition), (found, empty));
    }

    #[test]
    fn damage_is_an_error_that_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let (_manager, partition) = open(dir.path(), 0);
        for _ in 0..3 {
            let bytes = batch(None, "k", Some("v"));
            let log = &partition.log;
            log.append(bytes, 0, AppendOrigin::Client, 0).unwrap();
        }
        let mut seen = 0;
        let failed = replay(&partition, |_| {
            seen += 1;
            if seen == 3 {
                Err("nonsense".to_owned())
            } else {
                Ok(())
            }
        });
        let told = failed.unwrap_err().to_string();
        assert_eq!(told, "t-0: the batch at offset 2 cannot be read: nonsense");
        let file = dir.path().join("t-0/00000000000000000000.log");
        let mut bytes = std::fs::read(&file).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let told = replay(&partition, |_| Ok(())).unwrap_err().to_string();
        assert!(told.contains("corrupt at offset 2"), "{told}");
    }
}
