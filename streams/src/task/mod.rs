//! The task: a sub-topology times a partition.
//!
//! A [`Task`] owns its nodes (a [`TaskProgram`]), its stores, its times, its buffered
//! input and its pending output, and knows neither threads nor network. Whoever drives
//! it (the runtime's stream thread, the test driver, a simulation) hands it records and
//! the wall clock, and takes outputs, dirty store entries and positions from it.
//!
//! # Driving a task
//!
//! ```text
//! let plan = Plan::resolve(topology, "app", |topic| partitions_of(topic))?;
//! let mut task = Task::new(id, &plan, state, TaskOptions::default())?;
//! task.restore_time(source, metadata)?;      // from the committed offsets, if any
//! task.init(now)?;
//! loop {
//!     task.add_records(source, records);     // or add_block, for records decoded late
//!     task.set_caught_up(source, true);      // nothing more is at hand in the log
//!     while task.process(budget, now)? > 0 {
//!         for output in task.take_outputs() { /* to the log: see Output */ }
//!     }
//!     while task.advance(now)? == Progress::More {}
//!     // A commit:
//!     while task.flush(now)? == Progress::More {}
//!     task.take_outputs();                   // includes watermarks for repartition topics
//!     task.state_mut().dirty_entries(store)?; // to the changelogs
//!     task.positions();                      // offsets and the metadata to commit with them
//!     task.state_mut().apply(&positions_of_changelogs)?;
//! }
//! ```
//!
//! [`Output::partition`] is set for every repartition topic; for other topics it is what
//! the program asked for, and `None` leaves it to the producer's partitioner.

mod context;
mod engine;
mod input;
mod output;
mod program;
mod time;

pub use context::TaskContext;
pub use engine::{SourcePosition, Task, TaskOptions};
pub use input::{InputBlock, InputRecord, Run};
pub(crate) use output::Sink;
pub use output::{Header, Output, OutputRecord, murmur2, partition_for_key};
pub use program::{ProgramFactory, Progress, TaskProgram};
pub use time::{NO_WATERMARK, TIME_HEADER, TaskTime, TimeReport};

use std::fmt;

/// Which task: the sub-topology and the partition of its inputs that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The sub-topology's id.
    pub sub_topology: u32,
    /// The partition.
    pub partition: i32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.sub_topology, self.partition)
    }
}

impl std::str::FromStr for TaskId {
    type Err = crate::StreamsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (sub_topology, partition) = text.split_once('_')?;
            Some(Self {
                sub_topology: sub_topology.parse().ok()?,
                partition: partition.parse().ok()?,
            })
        };
        parse().ok_or_else(|| crate::StreamsError::Format {
            what: "a task id",
            reason: format!("`{text}` is not <sub-topology>_<partition>"),
        })
    }
}
