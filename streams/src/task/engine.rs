//! The engine of one task: picks the next input, hands out runs, moves time, and gathers
//! what a commit needs. No thread, no network, no clock of its own.

use super::context::{Core, NO_TIMER, TaskContext};
use super::input::{InputBlock, InputQueue, InputRecord, Run, describe};
use super::output::{Output, OutputBuffer};
use super::time::{NO_WATERMARK, TaskTime};
use super::{Progress, TaskId, TaskProgram};
use crate::StreamsError;
use crate::topology::{InputOrder, Plan};
use std::sync::Arc;
use std::time::Duration;
use thalweg_state::TaskState;

/// The limits of a task.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// How long to wait for an input that has nothing buffered although its lag is known
    /// to be 0, before going on without it (`max.task.idle.ms`). An input that
    /// still has records in the log is always waited for.
    pub max_task_idle: Duration,
    /// The soft limit of the write-back cache, in bytes.
    pub max_cached_bytes: usize,
    /// The soft limit of outputs not taken yet, in bytes.
    pub max_pending_bytes: usize,
    /// How long the metadata of an offset commit may be, in bytes.
    pub max_metadata_bytes: usize,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            max_task_idle: Duration::ZERO,
            max_cached_bytes: 32 << 20,
            max_pending_bytes: 4 << 20,
            max_metadata_bytes: 4096,
        }
    }
}

/// Where a source stands: what to commit for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePosition {
    /// The source's index in the sub-topology.
    pub source: usize,
    /// The resolved topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record to take.
    pub offset: i64,
    /// The times, to be committed as the offset's metadata.
    pub metadata: String,
    /// Whether the position has moved since the last [`Task::committed`].
    pub moved: bool,
}

/// One task.
pub struct Task {
    program: Box<dyn TaskProgram>,
    core: Core,
    inputs: Vec<InputQueue>,
    max_task_idle: i64,
    max_metadata: usize,
    /// The watermark of the last finished `advance`.
    advanced: Option<i64>,
    unfinished: bool,
    processed: u64,
    /// How many runs there have been.
    runs: u64,
}

/// How many runs an input of free order may be passed over in favour of one that is
/// further behind.
const PATIENCE: u64 = 4;

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.core.id)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl Task {
    /// A task of a resolved topology over its opened stores. The sources it has are those
    /// whose topic has the task's partition.
    pub fn new(
        id: TaskId,
        plan: &Plan,
        state: TaskState,
        options: &TaskOptions,
    ) -> Result<Self, StreamsError> {
        let sub = plan.sub_topology(id.sub_topology)?;
        let mut time = TaskTime::default();
        let mut inputs = Vec::new();
        for (index, source) in sub.sources.iter().enumerate() {
            match &source.writers {
                Some(writers) => time.add_upstream(writers.iter().copied()),
                None => time.add_own(source.idle_timeout),
            }
            inputs.push(InputQueue::new(
                index,
                Arc::clone(&source.topic),
                id.partition,
                source.order,
                source.writers.is_some(),
            ));
        }
        // A source without this partition never has data and holds nothing back.
        for (index, source) in sub.sources.iter().enumerate() {
            if id.partition >= source.partitions {
                time.exclude(index);
            }
        }
        let outputs = OutputBuffer::new(id, sub.tasks, sub.sinks.clone());
        let program = sub.factory.create(id)?;
        Ok(Self {
            program,
            core: Core {
                id,
                state,
                time,
                outputs,
                wall_clock: 0,
                timer: NO_TIMER,
                wall_timer: NO_TIMER,
                holds_outputs: false,
                late: 0,
                skipped: 0,
                max_cached: options.max_cached_bytes,
                max_pending: options.max_pending_bytes,
                error: None,
            },
            inputs,
            max_task_idle: i64::try_from(options.max_task_idle.as_millis()).unwrap_or(i64::MAX),
            max_metadata: options.max_metadata_bytes,
            advanced: None,
            unfinished: false,
            processed: 0,
            runs: 0,
        })
    }

    /// Which task this is.
    pub fn id(&self) -> TaskId {
        self.core.id
    }

    /// The task's stores.
    pub fn state(&self) -> &TaskState {
        &self.core.state
    }

    /// The task's stores.
    pub fn state_mut(&mut self) -> &mut TaskState {
        &mut self.core.state
    }

    /// The task's times.
    pub fn time(&self) -> &TaskTime {
        &self.core.time
    }

    /// How many records were skipped because they have no place in the computation.
    pub fn skipped_records(&self) -> u64 {
        self.core.skipped
    }

    /// How many records came too late.
    pub fn late_records(&self) -> u64 {
        self.core.late
    }

    /// How many records have been processed.
    pub fn processed(&self) -> u64 {
        self.processed
    }

    /// Takes the store back, dropping program and input: what a closed or failed task leaves.
    pub fn into_state(self) -> TaskState {
        self.core.state
    }

    /// Sets where a source stands, from the committed offset or the reset policy.
    pub fn seek(&mut self, source: usize, offset: i64) {
        if let Some(queue) = self.inputs.get_mut(source) {
            queue.seek(offset);
        }
    }

    /// As [`seek`](Self::seek), for a place that is not committed and would not be found
    /// again: the next commit keeps it, input or not.
    pub fn begin(&mut self, source: usize, offset: i64) {
        if let Some(queue) = self.inputs.get_mut(source) {
            queue.seek(offset);
            queue.moved = true;
        }
    }

    /// Takes back the times that were committed with a source's offset; before `init`.
    pub fn restore_time(&mut self, source: usize, metadata: &str) -> Result<(), StreamsError> {
        self.core.time.restore(source, metadata)
    }

    /// Prepares the program. Stores are restored, times and positions are set.
    pub fn init(&mut self, wall_clock: i64) -> Result<(), StreamsError> {
        self.core.wall_clock = wall_clock;
        self.core.time.tick(wall_clock);
        let result = self.program.init(&mut TaskContext {
            core: &mut self.core,
        });
        self.checked(result)?;
        // What was promised before the restart holds, and is told again.
        let (watermark, idle) = (self.core.time.watermark(), self.core.time.idle());
        self.core.outputs.promise(watermark, idle);
        Ok(())
    }

    /// Buffers records of a source, in offset order.
    pub fn add_records(&mut self, source: usize, records: Vec<InputRecord>) {
        let Some(last) = records.last() else {
            return;
        };
        let next = last.offset + 1;
        let bytes = records
            .iter()
            .map(|r| {
                64 + r.key.as_ref().map_or(0, |k| k.len()) + r.value.as_ref().map_or(0, |v| v.len())
            })
            .sum();
        self.add_block(
            source,
            InputBlock::new(records.into_iter().map(Ok), next, bytes),
        );
    }

    /// Buffers a stretch of fetched records that are decoded as they are taken.
    pub fn add_block(&mut self, source: usize, block: InputBlock) {
        if let Some(queue) = self.inputs.get_mut(source) {
            queue.push(block);
        }
    }

    /// Says whether the log holds nothing for a source beyond what has been added.
    pub fn set_caught_up(&mut self, source: usize, caught_up: bool) {
        if let Some(queue) = self.inputs.get_mut(source) {
            queue.caught_up = caught_up;
        }
    }

    /// The bytes buffered for a source: stop fetching for it while they are many.
    pub fn buffered_bytes(&self, source: usize) -> usize {
        self.inputs.get(source).map_or(0, InputQueue::bytes)
    }

    /// Whether nothing is buffered and all inputs are known to be read to their end.
    pub fn drained(&self) -> bool {
        self.inputs.iter().all(|q| q.is_empty())
    }

    /// Hands up to `budget` records to the program, in as many runs as the order asks
    /// for, and returns how many it took. Stops early when a timer or a commit is due.
    pub fn process(&mut self, budget: usize, wall_clock: i64) -> Result<usize, StreamsError> {
        self.core.wall_clock = wall_clock;
        let mut total = 0;
        while total < budget {
            if self.time_moved() && self.advance(wall_clock)? == Progress::More {
                break;
            }
            if self.core.state.cached_bytes() >= self.core.max_cached
                || self.core.outputs.bytes() >= self.core.max_pending
            {
                break;
            }
            let Some((next, until)) = self.choose()? else {
                break;
            };
            let taken = self.run(next, until, budget - total)?;
            if taken == 0 {
                break;
            }
            total += taken;
        }
        self.processed += total as u64;
        Ok(total)
    }

    fn run(&mut self, index: usize, until: i64, budget: usize) -> Result<usize, StreamsError> {
        let wall_clock = self.core.wall_clock;
        let Some(queue) = self.inputs.get_mut(index) else {
            return Ok(0);
        };
        self.core.time.active(index, wall_clock);
        self.runs += 1;
        queue.last_run = self.runs;
        let place = describe(self.core.id, queue);
        let mut run = Run {
            queue,
            budget,
            until,
            taken: 0,
            failed: None,
        };
        let result = self.program.run(
            index,
            &mut run,
            &mut TaskContext {
                core: &mut self.core,
            },
        );
        let (taken, failed) = (run.taken, run.failed.take());
        tracing::trace!(place, taken, "run");
        match failed {
            Some(error) => Err(error),
            None => {
                self.checked(result)?;
                // What the last record said about its upstream task takes effect now.
                if let Some(queue) = self.inputs.get_mut(index) {
                    queue.settle(&mut self.core)?;
                }
                Ok(taken)
            }
        }
    }

    /// The input to take next, and the timestamp beyond which another one is due.
    fn choose(&mut self) -> Result<Option<(usize, i64)>, StreamsError> {
        let wall_clock = self.core.wall_clock;
        let mut best: Option<(i64, usize)> = None;
        // By watermark, then by who has waited longest.
        let mut free: Option<((i64, u64), usize)> = None;
        let mut hungry: Option<(u64, usize)> = None;
        let mut must_wait = false;
        for queue in &mut self.inputs {
            queue.settle(&mut self.core)?;
            let Some(timestamp) = queue.head_timestamp() else {
                if queue.order == InputOrder::RecordTime && !self.core.time.excluded(queue.source) {
                    let since = *queue.empty_since.get_or_insert(wall_clock);
                    let waited = wall_clock.saturating_sub(since);
                    must_wait |= !queue.caught_up || waited < self.max_task_idle;
                }
                continue;
            };
            queue.empty_since = None;
            if queue.order == InputOrder::RecordTime {
                if best.is_none_or(|(earliest, _)| timestamp < earliest) {
                    best = Some((timestamp, queue.source));
                }
                continue;
            }
            // Fair by watermark: the input that is furthest behind.
            let behind = (
                self.core.time.source_watermark(queue.source),
                queue.last_run,
            );
            if free.is_none_or(|(least, _)| behind < least) {
                free = Some((behind, queue.source));
            }
            let waits = self.runs.saturating_sub(queue.last_run) > PATIENCE;
            if waits && hungry.is_none_or(|(longest, _)| queue.last_run < longest) {
                hungry = Some((queue.last_run, queue.source));
            }
        }
        let best = best.filter(|_| !must_wait);
        let free = match (hungry, free) {
            // Who never says a time would be behind for ever, and the others starve.
            (Some((_, source)), _) | (None, Some((_, source))) => Some(source),
            (None, None) => None,
        };
        if let Some(source) = free
            && (best.is_none() || !self.runs.is_multiple_of(PATIENCE))
        {
            return Ok(Some((source, i64::MAX)));
        }
        let Some((_, source)) = best else {
            return Ok(None);
        };
        // Of equal timestamps the first source's go first, wherever a run begins.
        let until = self
            .inputs
            .iter()
            .filter(|q| q.source != source && q.order == InputOrder::RecordTime)
            .filter_map(|q| {
                Some(
                    q.head_timestamp()?
                        .saturating_sub((q.source < source).into()),
                )
            })
            .min();
        Ok(Some((source, until.unwrap_or(i64::MAX))))
    }

    fn time_moved(&self) -> bool {
        self.unfinished
            || self
                .advanced
                .is_none_or(|at| at != self.core.time.watermark())
                && self.core.time.watermark() != NO_WATERMARK
            || self.core.wall_clock >= self.core.wall_timer
    }

    /// Moves the wall clock, finds idle inputs, and lets the program react to time.
    pub fn advance(&mut self, wall_clock: i64) -> Result<Progress, StreamsError> {
        self.core.wall_clock = wall_clock;
        for queue in &mut self.inputs {
            queue.settle(&mut self.core)?;
            // Idle is who has nothing left in the log, not who has not been fetched yet.
            if !queue.is_empty() || !queue.caught_up {
                self.core.time.active(queue.source, wall_clock);
            }
        }
        self.core.time.tick(wall_clock);
        if !self.time_moved() {
            self.promise_if(!self.core.holds_outputs);
            return Ok(Progress::Done);
        }
        let watermark = self.core.time.watermark();
        self.core.timer = NO_TIMER;
        self.core.wall_timer = NO_TIMER;
        let result = self.program.advance(&mut TaskContext {
            core: &mut self.core,
        });
        let progress = self.checked(result)?;
        self.unfinished = progress == Progress::More;
        if progress == Progress::Done {
            self.advanced = Some(watermark);
            self.promise_if(!self.core.holds_outputs);
        }
        Ok(progress)
    }

    fn promise_if(&mut self, allowed: bool) {
        if allowed {
            let (watermark, idle) = (self.core.time.watermark(), self.core.time.idle());
            self.core.outputs.promise(watermark, idle);
        }
    }

    /// Ahead of a commit: time is settled, nodes write what they hold back, and watermarks
    /// go to the repartition partitions that have not heard them. Call until it is done,
    /// taking outputs in between. An [`advance`](Self::advance) that has yielded may be
    /// committed in the middle: what is left of it follows from the stores.
    pub fn flush(&mut self, wall_clock: i64) -> Result<Progress, StreamsError> {
        if !self.unfinished && self.time_moved() {
            let _ = self.advance(wall_clock)?;
        }
        let result = self.program.flush(&mut TaskContext {
            core: &mut self.core,
        });
        let progress = self.checked(result)?;
        if progress == Progress::Done {
            self.promise_if(!self.unfinished);
            self.core.outputs.push_markers(wall_clock);
        }
        Ok(progress)
    }

    /// The outputs since the last call, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        self.core.outputs.take()
    }

    /// Whether a commit would have anything to do.
    pub fn needs_commit(&self) -> bool {
        self.core.state.is_dirty()
            || !self.core.outputs.pending.is_empty()
            || self.inputs.iter().any(|q| q.moved)
            || self
                .core
                .outputs
                .is_untold(self.core.time.watermark(), self.core.time.idle())
    }

    /// Whether the wall clock matters to the task, also without records: a timer is set,
    /// or an input may become idle.
    pub fn wants_clock(&self) -> bool {
        self.unfinished
            || self.core.wall_timer != NO_TIMER
            || self.core.time.waits_for_idle()
            || self.inputs.iter().any(|q| !q.is_empty())
    }

    /// Whether the write-back cache is full: commit early.
    pub fn cache_full(&self) -> bool {
        self.core.state.cached_bytes() >= self.core.max_cached
    }

    /// Where every source stands, for the commit.
    pub fn positions(&self) -> Vec<SourcePosition> {
        self.inputs
            .iter()
            .filter_map(|queue| {
                Some(SourcePosition {
                    source: queue.source,
                    topic: Arc::clone(&queue.topic),
                    partition: queue.partition,
                    offset: queue.position()?,
                    metadata: self.core.time.encode(queue.source, self.max_metadata),
                    moved: queue.moved,
                })
            })
            .collect()
    }

    /// The positions have been committed.
    pub fn committed(&mut self) {
        for queue in &mut self.inputs {
            queue.moved = false;
        }
    }

    /// The last call to the program. Buffered input is dropped.
    pub fn close(&mut self) -> Result<(), StreamsError> {
        for queue in &mut self.inputs {
            queue.clear();
        }
        let result = self.program.close(&mut TaskContext {
            core: &mut self.core,
        });
        self.checked(result)
    }

    /// A result of the program, unless it misused its context.
    fn checked<T>(&mut self, result: Result<T, StreamsError>) -> Result<T, StreamsError> {
        match self.core.error.take() {
            Some(error) => Err(error),
            None => result,
        }
    }
}
