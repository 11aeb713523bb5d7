//! The stream-processing library of Thalweg: a typed DSL, columnar nodes, and the task
//! runtime that drives both.
//!
//! - [`topology`] describes a program as plain data: sub-topologies, sources, sinks, stores.
//! - [`task`] is the seam between the runtime and the nodes, and the engine of one task:
//!   sans-IO, driven alike by the runtime, the test driver and simulations.

pub mod columnar;
pub mod error;
pub mod task;
pub mod topology;

pub use error::StreamsError;
