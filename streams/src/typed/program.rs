//! The typed graph of one task as the runtime drives it.

use super::{Arena, NodeContext, SourceNode, Step, internal};
use crate::StreamsError;
use crate::task::{Progress, Run, TaskContext, TaskProgram};

/// All nodes of a task: the trees below its sources, then the trees below its slots,
/// each list in topological order.
pub(crate) struct TypedProgram {
    /// By source of the sub-topology: the typed readers of its topic, in the order in
    /// which they were declared.
    sources: Vec<Vec<Box<dyn SourceNode>>>,
    /// Slots in topological order.
    slots: Vec<usize>,
    arena: Arena,
}

impl TypedProgram {
    pub(crate) fn new(
        sources: Vec<Vec<Box<dyn SourceNode>>>,
        slots: Vec<usize>,
        arena: Arena,
    ) -> Self {
        Self {
            sources,
            slots,
            arena,
        }
    }

    /// Walks all nodes. A node above has done its step before a node below begins, as a
    /// slot comes after every tree that reaches it.
    fn step(&mut self, step: Step, task: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        let mut cx = NodeContext {
            task,
            arena: &mut self.arena,
        };
        for source in self.sources.iter_mut().flatten() {
            if source.step(step, &mut cx)? == Progress::More {
                return Ok(Progress::More);
            }
        }
        for slot in &self.slots {
            if Arena::step(*slot, step, &mut cx)? == Progress::More {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }

    /// A step that has to come to its end in one go.
    fn whole_step(&mut self, step: Step, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        while self.step(step, cx)? == Progress::More {}
        Ok(())
    }
}

impl TaskProgram for TypedProgram {
    fn init(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        self.whole_step(Step::Init, cx)
    }

    fn run(
        &mut self,
        source: usize,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        let readers = self
            .sources
            .get_mut(source)
            .ok_or_else(|| internal(format!("the sub-topology has no source {source}")))?;
        while let Some(record) = run.next(cx) {
            let mut cx = NodeContext {
                task: &mut *cx,
                arena: &mut self.arena,
            };
            for reader in readers.iter_mut() {
                reader.record(&record, &mut cx)?;
            }
        }
        Ok(())
    }

    fn advance(&mut self, cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        self.step(Step::Advance, cx)
    }

    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        self.step(Step::Flush, cx)
    }

    fn close(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        self.whole_step(Step::Close, cx)
    }
}
