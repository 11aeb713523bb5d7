//! What a task runs: the seam between the task runtime and the nodes.
//!
//! The runtime knows inputs, order, time, stores, outputs and commits; a
//! [`TaskProgram`] knows nodes. There are two programs, the typed graph of the DSL and
//! the columnar graph of SQL, and the runtime cannot tell which one it drives. A
//! program is built on its stream thread by a [`ProgramFactory`], never leaves it, and
//! so needs no lock and no `Send`.

use super::{Run, TaskContext, TaskId};
use crate::StreamsError;

/// Whether a resumable step has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Progress {
    /// Finished for now.
    Done,
    /// Yielded with work left; call again after a look at budget and cache.
    More,
}

/// The nodes of one sub-topology for one task.
///
/// Its life is: [`init`](Self::init), then any mix of [`run`](Self::run) and
/// [`advance`](Self::advance), [`flush`](Self::flush) before each commit, and
/// [`close`](Self::close). After an error or an aborted transaction the program is
/// dropped and built anew; it must keep nothing that is not in a store.
pub trait TaskProgram {
    /// Prepares the nodes. Stores are open and restored, times are those of the last commit.
    fn init(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError>;

    /// Takes records of the source `source` (its index in the sub-topology's list) until
    /// the run ends. What was taken from the run is what the next commit covers.
    fn run(
        &mut self,
        source: usize,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError>;

    /// Reacts to time: called when the watermark or the wall clock in `cx` has moved.
    /// Windows close and timers fire here; what may be unbounded yields with
    /// [`Progress::More`].
    fn advance(&mut self, cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError>;

    /// Writes what nodes hold back (deduplicated updates, pre-aggregated chunks) into
    /// stores and outputs, in topological order, ahead of a commit.
    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError>;

    /// The last call: releases what the nodes hold. Nothing may be emitted.
    fn close(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError>;
}

/// Builds the program of a task on the stream thread that will drive it.
pub trait ProgramFactory: Send + Sync {
    /// Builds the nodes of `task`.
    fn create(&self, task: TaskId) -> Result<Box<dyn TaskProgram>, StreamsError>;
}
