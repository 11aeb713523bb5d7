//! What a batch must be before it is appended, as far as that needs no lock.
//!
//! Of a client's batch the header is checked and the CRC. The records are looked at only where the
//! topic asks for it (a compacted topic for keys, a limit on old timestamps), or to say which of
//! them are to blame.

use std::borrow::Cow;

use bytes::Bytes;

use super::super::config::LogConfig;
use super::super::error::{AppendError, RejectedRecord};
use super::super::types::AppendOrigin;
use crate::record::{NO_TIMESTAMP, Record, RecordBatch, RecordError, TimestampType, batches};

/// Cuts the bytes into batches and checks their CRCs. All of the bytes must be batches.
pub(super) fn parse(records: Bytes) -> Result<Vec<RecordBatch>, AppendError> {
    let available = records.len();
    let mut walk = batches(records);
    let mut found = Vec::with_capacity(1);
    for batch in walk.by_ref() {
        let batch = batch?;
        batch.verify()?;
        found.push(batch);
    }
    if !walk.rest().is_empty() {
        return Err(RecordError::Truncated {
            what: "batch",
            needed: available + 1,
            available,
        }
        .into());
    }
    if found.is_empty() {
        return Err(RecordError::Empty.into());
    }
    Ok(found)
}

pub(super) fn validate(
    batches: &[RecordBatch],
    config: &LogConfig,
    origin: AppendOrigin,
    now: i64,
) -> Result<(), AppendError> {
    let invalid = |reason: &str| Err(AppendError::InvalidRecord(reason.to_owned()));
    if origin == AppendOrigin::Client && batches.len() != 1 {
        return invalid("a produce request has exactly one batch for a partition");
    }
    check_sizes(batches, config, origin)?;
    for batch in batches {
        if batch.records_count == 0 || batch.records_count != batch.last_offset_delta + 1 {
            return invalid("the number of records does not match the offsets of the batch");
        }
        if origin != AppendOrigin::Client {
            continue;
        }
        if batch.base_offset != 0 {
            return invalid("the base offset of a produced batch must be 0");
        }
        if batch.is_control() {
            return invalid("clients may not write control batches");
        }
        if batch.is_transactional() && !batch.has_producer_id() {
            return invalid("a transactional batch needs a producer id");
        }
        if batch.has_producer_id() && (batch.base_sequence < 0 || batch.producer_epoch < 0) {
            return invalid("a batch with a producer id needs an epoch and a sequence");
        }
        if batch.timestamp_type() == TimestampType::LogAppendTime {
            let reason = "only the broker says that it has stamped a batch";
            return Err(AppendError::InvalidTimestamps(vec![RejectedRecord {
                index: 0,
                reason: Cow::Borrowed(reason),
            }]));
        }
        if config.message_timestamp_type == TimestampType::CreateTime {
            check_timestamps(batch, config, now)?;
        }
        if config.cleanup_compact {
            check_keys(batch)?;
        }
    }
    Ok(())
}

/// The limits of the topic on what is to be stored.
pub(super) fn check_sizes(
    batches: &[RecordBatch],
    config: &LogConfig,
    origin: AppendOrigin,
) -> Result<(), AppendError> {
    if origin == AppendOrigin::Client {
        let limit = config.max_message_bytes as usize;
        let sizes = batches.iter().map(|batch| batch.size());
        if let Some(size) = sizes.into_iter().find(|size| *size > limit) {
            return Err(AppendError::MessageTooLarge { size, limit });
        }
    }
    let size: usize = batches.iter().map(|batch| batch.size()).sum();
    let limit = config.segment_bytes as usize;
    if size > limit {
        return Err(AppendError::RecordListTooLarge { size, limit });
    }
    Ok(())
}

fn check_timestamps(batch: &RecordBatch, config: &LogConfig, now: i64) -> Result<(), AppendError> {
    let earliest = now.saturating_sub(config.message_timestamp_before_max_ms);
    let latest = now.saturating_add(config.message_timestamp_after_max_ms);
    // The header tells the largest timestamp, and nothing of the others.
    let old_matter = config.message_timestamp_before_max_ms != i64::MAX;
    if batch.max_timestamp <= latest && !old_matter {
        return Ok(());
    }
    let rejected = rejected(batch, |record| {
        let out =
            record.timestamp != NO_TIMESTAMP && !(earliest..=latest).contains(&record.timestamp);
        out.then(|| {
            Cow::Owned(format!(
                "the timestamp {} is not within {earliest} to {latest} (message.timestamp.before.max.ms, \
                 message.timestamp.after.max.ms)",
                record.timestamp
            ))
        })
    })?;
    if !rejected.is_empty() {
        return Err(AppendError::InvalidTimestamps(rejected));
    }
    if batch.max_timestamp > latest {
        return Err(AppendError::InvalidRecord(
            "the batch says that its largest timestamp is above those of its records".to_owned(),
        ));
    }
    Ok(())
}

/// Compaction goes by keys: a record without one would stay for ever.
fn check_keys(batch: &RecordBatch) -> Result<(), AppendError> {
    let rejected = rejected(batch, |record| {
        let reason = "a compacted topic takes only records with a key";
        record.key.is_none().then_some(Cow::Borrowed(reason))
    })?;
    if rejected.is_empty() {
        Ok(())
    } else {
        Err(AppendError::InvalidRecords(rejected))
    }
}

/// The records that something is wrong with, by their places in the batch.
fn rejected(
    batch: &RecordBatch,
    wrong: impl Fn(&Record) -> Option<Cow<'static, str>>,
) -> Result<Vec<RejectedRecord>, AppendError> {
    let mut rejected = Vec::new();
    for (index, record) in (0..).zip(batch.records()?) {
        if let Some(reason) = wrong(&record?) {
            rejected.push(RejectedRecord { index, reason });
        }
    }
    Ok(rejected)
}
