//! The Processor API: a user's own node in the typed graph.

use std::time::Duration;

use super::timers::Timers;
pub use super::timers::{PunctuationType, TimerId};
use super::{Meta, Node, NodeContext, Outputs, Step, StoreAccess, StoreTask};
use crate::StreamsError;
use crate::task::Progress;

/// A node of one's own: it takes records of `KIn`, `VIn`, keeps what it likes in stores,
/// and forwards records of `KOut`, `VOut` when it likes.
///
/// It is built on its stream thread and stays there. After a failure it is built anew,
/// so whatever must survive belongs into a store.
pub trait Processor<KIn, VIn, KOut, VOut> {
    /// Called once before the first record: the place to schedule timers.
    fn init(
        &mut self,
        _cx: &mut ProcessorContext<'_, '_, '_, KOut, VOut>,
    ) -> Result<(), StreamsError> {
        Ok(())
    }

    /// Takes one record.
    fn process(
        &mut self,
        key: &KIn,
        value: &VIn,
        meta: &Meta<'_>,
        cx: &mut ProcessorContext<'_, '_, '_, KOut, VOut>,
    ) -> Result<(), StreamsError>;

    /// Called when a timer is due, with the time its clock shows.
    fn punctuate(
        &mut self,
        _timer: TimerId,
        _timestamp: i64,
        _cx: &mut ProcessorContext<'_, '_, '_, KOut, VOut>,
    ) -> Result<(), StreamsError> {
        Ok(())
    }

    /// Called once at the end; nothing can be forwarded any more.
    fn close(&mut self) {}
}

/// What a [`Processor`] may do while it is called.
pub struct ProcessorContext<'c, 'a, 't, K, V> {
    cx: &'c mut NodeContext<'a, 't>,
    out: &'c mut Outputs<K, V>,
    timers: &'c mut Timers,
}

impl<K, V> ProcessorContext<'_, '_, '_, K, V> {
    /// Pushes a record downwards; it is processed to its end before this returns.
    pub fn forward(&mut self, key: &K, value: &V, meta: &Meta<'_>) -> Result<(), StreamsError> {
        self.out.forward(key, value, meta, self.cx)
    }

    /// Fires [`Processor::punctuate`] every `interval` from now on.
    pub fn schedule(&mut self, interval: Duration, kind: PunctuationType) -> TimerId {
        self.timers
            .schedule(interval, kind, self.cx.task.wall_clock())
    }

    /// Ends a timer.
    pub fn cancel(&mut self, timer: TimerId) {
        self.timers.cancel(timer);
    }

    /// The task's event time: no input promises a record below it any more. `i64::MIN`
    /// before the first record.
    pub fn watermark(&self) -> i64 {
        self.cx.task.watermark()
    }

    /// The largest timestamp that the task has seen.
    pub fn stream_time(&self) -> i64 {
        self.cx.task.stream_time()
    }

    /// The time on the wall, in milliseconds since 1970.
    pub fn wall_clock(&self) -> i64 {
        self.cx.task.wall_clock()
    }

    /// The partition of this task.
    pub fn partition(&self) -> i32 {
        self.cx.task.task().partition
    }

    /// Counts a record that came too late to be used.
    pub fn late_record(&mut self) {
        self.cx.task.late_record(1);
    }
}

impl<K, V> StoreAccess for ProcessorContext<'_, '_, '_, K, V> {
    fn task_context(&mut self) -> &mut dyn StoreTask {
        self.cx.task
    }
}

/// A [`Processor`] among the nodes of a task.
pub(crate) struct ProcessorNode<P, K, V> {
    processor: P,
    timers: Timers,
    out: Outputs<K, V>,
}

impl<P, K, V> ProcessorNode<P, K, V> {
    pub(crate) fn new(processor: P, out: Outputs<K, V>) -> Self {
        Self {
            processor,
            timers: Timers::default(),
            out,
        }
    }
}

impl<P, KIn, VIn, K, V> Node<KIn, VIn> for ProcessorNode<P, K, V>
where
    P: Processor<KIn, VIn, K, V>,
{
    fn process(
        &mut self,
        key: &KIn,
        value: &VIn,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let Self {
            processor,
            timers,
            out,
        } = self;
        processor.process(key, value, meta, &mut ProcessorContext { cx, out, timers })
    }

    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        let Self {
            processor,
            timers,
            out,
        } = self;
        match step {
            Step::Init => {
                let cx = &mut *cx;
                processor.init(&mut ProcessorContext { cx, out, timers })?;
            }
            Step::Advance => {
                let (watermark, wall_clock) = (cx.task.watermark(), cx.task.wall_clock());
                for index in 0..timers.len() {
                    if let Some(now) = timers.fire(index, watermark, wall_clock) {
                        let cx = &mut *cx;
                        let mut cx = ProcessorContext { cx, out, timers };
                        processor.punctuate(TimerId(index), now, &mut cx)?;
                    }
                }
            }
            Step::Flush => {}
            Step::Close => processor.close(),
        }
        // The run ends and `advance` is called when a timer is due.
        if let Some(at) = timers.next_due(PunctuationType::StreamTime) {
            cx.task.advance_at(at);
        }
        if let Some(at) = timers.next_due(PunctuationType::WallClockTime) {
            cx.task.advance_at_wall_clock(at);
        }
        out.step(step, cx)
    }
}
