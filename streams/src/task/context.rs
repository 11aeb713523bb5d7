//! What a node may touch, by `&mut`.

use super::output::{OutputBuffer, OutputRecord};
use super::time::TaskTime;
use super::{NO_WATERMARK, TaskId};
use crate::StreamsError;
use thalweg_state::{StoreId, TaskState};

/// What a task owns besides its program and its input.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: TaskId,
    pub(crate) state: TaskState,
    pub(crate) time: TaskTime,
    pub(crate) outputs: OutputBuffer,
    pub(crate) wall_clock: i64,
    /// The earliest event time at which the program wants `advance`.
    pub(crate) timer: i64,
    /// The earliest wall-clock time at which the program wants `advance`.
    pub(crate) wall_timer: i64,
    /// Outputs trail their inputs until the flush.
    pub(crate) holds_outputs: bool,
    pub(crate) late: u64,
    pub(crate) skipped: u64,
    pub(crate) max_cached: usize,
    pub(crate) max_pending: usize,
    pub(crate) error: Option<StreamsError>,
}

impl Core {
    /// Whether a run must end: a timer is due, a buffer is full, or something failed.
    pub(crate) fn must_stop(&self) -> bool {
        self.time.watermark() >= self.timer
            || self.state.cached_bytes() >= self.max_cached
            || self.outputs.bytes() >= self.max_pending
            || self.error.is_some()
    }
}

/// The task as its nodes see it: stores, time, outputs.
#[derive(Debug)]
pub struct TaskContext<'a> {
    pub(crate) core: &'a mut Core,
}

impl TaskContext<'_> {
    /// Which task this is.
    pub fn task(&self) -> TaskId {
        self.core.id
    }

    /// The task's stores.
    pub fn state(&mut self) -> &mut TaskState {
        &mut self.core.state
    }

    /// The store of that name; look it up once, at init.
    pub fn store(&self, name: &str) -> Result<StoreId, StreamsError> {
        self.core.state.store_id(name).ok_or_else(|| {
            let known: Vec<_> = self.core.state.specs().map(|s| s.name.as_str()).collect();
            StreamsError::UnknownStore {
                name: name.to_owned(),
                known: known.join(", "),
            }
        })
    }

    /// The task's watermark: the minimum over its channels that are not idle, or
    /// [`NO_WATERMARK`]. A record is late when its timestamp is less than the watermark
    /// minus the grace.
    pub fn watermark(&self) -> i64 {
        self.core.time.watermark()
    }

    /// The watermark of one source alone.
    pub fn source_watermark(&self, source: usize) -> i64 {
        self.core.time.source_watermark(source)
    }

    /// The greatest timestamp of a record seen so far, or [`NO_WATERMARK`].
    pub fn stream_time(&self) -> i64 {
        self.core.time.stream_time()
    }

    /// The wall clock in milliseconds, as of the event being handled.
    pub fn wall_clock(&self) -> i64 {
        self.core.wall_clock
    }

    /// Raises the watermark of a source whose order is `extracted` or `free`, to what the
    /// program has read from the payload. Say it behind the records it follows from:
    /// what is processed after it is judged by it. A repartition source takes its
    /// time from upstream and ignores this.
    pub fn observe_event_time(&mut self, source: usize, watermark: i64) {
        self.core.time.observe(source, watermark);
    }

    /// Asks for [`advance`](super::TaskProgram::advance) as soon as the watermark reaches
    /// `event_time`: the current run ends there. The request is forgotten when `advance`
    /// is called. Without one, `advance` is called between runs.
    pub fn advance_at(&mut self, event_time: i64) {
        self.core.timer = self.core.timer.min(event_time);
    }

    /// Asks for [`advance`](super::TaskProgram::advance) when the wall clock reaches
    /// `wall_clock`. The request is forgotten when `advance` is called.
    pub fn advance_at_wall_clock(&mut self, wall_clock: i64) {
        self.core.wall_timer = self.core.wall_timer.min(wall_clock);
    }

    /// Declares, at init, that outputs may trail their inputs until the flush, because a
    /// node deduplicates or pre-aggregates. The watermark told downstream then moves only
    /// behind a flush; otherwise it moves behind each [`advance`](super::TaskProgram::advance).
    pub fn hold_outputs_until_flush(&mut self) {
        self.core.holds_outputs = true;
    }

    /// Sends a record to a sink: an index into the sub-topology's list of sinks.
    pub fn send(&mut self, sink: usize, record: OutputRecord) {
        if !self.core.outputs.push(sink, record) && self.core.error.is_none() {
            self.core.error = Some(StreamsError::Topology(format!(
                "sub-topology {} has no sink number {sink}",
                self.core.id.sub_topology
            )));
        }
    }

    /// How many partitions the topic of a sink has; 0 for a sink that there is not.
    pub fn sink_partitions(&self, sink: usize) -> i32 {
        self.core
            .outputs
            .sinks
            .get(sink)
            .map_or(0, |s| s.partitions)
    }

    /// Counts `n` records that came too late.
    pub fn late_record(&mut self, n: u64) {
        self.core.late += n;
    }

    /// Counts `n` records that were skipped because they have no place in the computation:
    /// a null key where one is grouped or joined by it, or bytes that cannot be read.
    pub fn skipped_record(&mut self, n: u64) {
        self.core.skipped += n;
    }

    /// Whether what may be unbounded should yield: the write-back cache or the output
    /// buffer is full. Remember where you are and return `Progress::More`.
    pub fn should_yield(&self) -> bool {
        self.core.state.cached_bytes() >= self.core.max_cached
            || self.core.outputs.bytes() >= self.core.max_pending
    }
}

/// No timer is set.
pub(crate) const NO_TIMER: i64 = i64::MAX;

const _: () = assert!(NO_WATERMARK < NO_TIMER);
