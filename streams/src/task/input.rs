//! Buffered input, and the runs that programs take from it.
//!
//! A queue holds what has been fetched for one source and is decoded record by record as
//! it is taken. What comes with a record about an upstream task's time takes effect
//! behind that record; records that carry nothing else are never shown. Where the
//! queue stands is what commits.

use super::TaskId;
use super::context::{Core, TaskContext};
use super::output::Header;
use super::time::{TIME_HEADER, TimeReport};
use crate::StreamsError;
use crate::topology::InputOrder;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// A record as a program sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record's timestamp in milliseconds.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<Header>,
}

/// A stretch of fetched records of one partition, decoded as they are taken.
pub struct InputBlock {
    records: Box<dyn Iterator<Item = Result<InputRecord, StreamsError>>>,
    /// The offset behind the block, also where the log has gaps or control records.
    next_offset: i64,
    /// About how many bytes the block keeps alive.
    bytes: usize,
}

impl std::fmt::Debug for InputBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputBlock")
            .field("next_offset", &self.next_offset)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl InputBlock {
    /// A block of records in offset order; `next_offset` is where the next block begins.
    pub fn new(
        records: impl Iterator<Item = Result<InputRecord, StreamsError>> + 'static,
        next_offset: i64,
        bytes: usize,
    ) -> Self {
        Self {
            records: Box::new(records),
            next_offset,
            bytes,
        }
    }
}

/// The buffered input of one source.
pub(crate) struct InputQueue {
    pub(crate) source: usize,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) order: InputOrder,
    repartition: bool,
    blocks: VecDeque<InputBlock>,
    bytes: usize,
    head: Option<(InputRecord, Option<TimeReport>)>,
    /// What the record taken last said about an upstream task; takes effect when the
    /// next one is asked for.
    said: Option<TimeReport>,
    /// The offset of the next record to take; `None` until anything is known.
    position: Option<i64>,
    /// Whether a record has been taken since the last commit.
    pub(crate) moved: bool,
    /// Whether the log holds nothing beyond the buffer.
    pub(crate) caught_up: bool,
    /// Since when, by the wall clock, the buffer has been empty.
    pub(crate) empty_since: Option<i64>,
    /// The task's count of runs when this input had its last one.
    pub(crate) last_run: u64,
}

impl std::fmt::Debug for InputQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InputQueue")
            .field("topic", &self.topic)
            .field("partition", &self.partition)
            .field("position", &self.position)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl InputQueue {
    pub(crate) fn new(
        source: usize,
        topic: Arc<str>,
        partition: i32,
        order: InputOrder,
        repartition: bool,
    ) -> Self {
        Self {
            source,
            topic,
            partition,
            order,
            repartition,
            blocks: VecDeque::new(),
            bytes: 0,
            head: None,
            said: None,
            position: None,
            moved: false,
            caught_up: false,
            empty_since: None,
            last_run: 0,
        }
    }

    pub(crate) fn push(&mut self, block: InputBlock) {
        self.bytes += block.bytes;
        self.blocks.push_back(block);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn position(&self) -> Option<i64> {
        self.position
    }

    pub(crate) fn seek(&mut self, offset: i64) {
        self.position = Some(offset);
    }

    /// Decodes up to the next record that a program may see; markers before it take effect.
    pub(crate) fn settle(&mut self, core: &mut Core) -> Result<(), StreamsError> {
        if let Some(report) = self.said.take() {
            core.time.report(self.source, &report);
        }
        while self.head.is_none() {
            let Some(block) = self.blocks.front_mut() else {
                return Ok(());
            };
            let Some(record) = block.records.next() else {
                self.bytes = self.bytes.saturating_sub(block.bytes);
                let end = block.next_offset;
                if self.position.is_none_or(|position| position < end) {
                    self.position = Some(end);
                    self.moved = true;
                }
                self.blocks.pop_front();
                continue;
            };
            let mut record = record?;
            if !self.repartition {
                self.head = Some((record, None));
                return Ok(());
            }
            let mut said = None;
            let mut marker = false;
            let time = record
                .headers
                .iter()
                .rposition(|h| h.key == TIME_HEADER.as_bytes());
            if let Some(at) = time {
                let header = record.headers.remove(at);
                let value = header.value.unwrap_or_default();
                let (report, only) = TimeReport::decode(&value)?;
                said = Some(report);
                marker = only;
            }
            if !marker {
                self.head = Some((record, said));
                return Ok(());
            }
            self.position = Some(record.offset + 1);
            self.moved = true;
            if let Some(report) = said {
                core.time.report(self.source, &report);
            }
        }
        Ok(())
    }

    /// The timestamp of the next record, once settled.
    pub(crate) fn head_timestamp(&self) -> Option<i64> {
        self.head.as_ref().map(|(record, _)| record.timestamp)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none() && self.blocks.is_empty()
    }

    fn pop(&mut self) -> Option<InputRecord> {
        let (record, said) = self.head.take()?;
        self.position = Some(record.offset + 1);
        self.moved = true;
        self.said = said;
        Some(record)
    }

    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.bytes = 0;
        self.head = None;
        self.said = None;
    }
}

/// What a program is handed: a cursor on the records at hand of one source.
///
/// It ends when another input is due by the order, when the budget is used up, when a
/// timer or a commit is due, or when nothing is left. What has been taken is what the
/// next commit covers, so take no record without processing it.
#[derive(Debug)]
pub struct Run<'a> {
    pub(crate) queue: &'a mut InputQueue,
    /// How many records may still be taken.
    pub(crate) budget: usize,
    /// The run ends before a record later than this: another input's head is due.
    pub(crate) until: i64,
    pub(crate) taken: usize,
    pub(crate) failed: Option<StreamsError>,
}

impl Run<'_> {
    /// The next record, or `None` when the run has ended.
    pub fn next(&mut self, cx: &mut TaskContext<'_>) -> Option<InputRecord> {
        if self.failed.is_some() {
            return None;
        }
        if let Err(error) = self.queue.settle(cx.core) {
            self.failed = Some(error);
            return None;
        }
        let timestamp = self.queue.head_timestamp()?;
        if self.budget == 0 || timestamp > self.until || (self.taken > 0 && cx.core.must_stop()) {
            return None;
        }
        let record = self.queue.pop()?;
        self.budget -= 1;
        self.taken += 1;
        cx.core.time.record(record.timestamp);
        if self.queue.order == InputOrder::RecordTime {
            cx.core.time.observe(self.queue.source, record.timestamp);
        }
        Some(record)
    }

    /// The partition the records are of.
    pub fn partition(&self) -> i32 {
        self.queue.partition
    }

    /// The topic the records are of.
    pub fn topic(&self) -> &str {
        &self.queue.topic
    }

    /// How many records the run has given out.
    pub fn taken(&self) -> usize {
        self.taken
    }
}

/// Used in messages.
pub(crate) fn describe(task: TaskId, queue: &InputQueue) -> String {
    format!("task {task}, {}-{}", queue.topic, queue.partition)
}
