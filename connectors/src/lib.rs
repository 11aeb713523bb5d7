//! Connectors of Thalweg: sources and sinks that are not topics.
//!
//! A [`SourceConnector`] is read into a topic and a [`SinkConnector`] is written from one,
//! so that jobs have one kind of input and output. The runners keep positions beside the
//! data, restart what failed for a passing reason, and show how far they are.
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

mod error;
mod file;
mod options;
mod progress;
mod registry;
mod runner;
mod sink;
mod source;
mod stdout;

pub use error::ConnectorError;
pub use file::{FileCompression, FileSink, FileSinkConfig, FileSource, FileSourceConfig, OnError};
pub use progress::{Unit, progress_bar, show_source};
pub use registry::{sink, source};
pub use runner::{
    ConnectorHandle, ConnectorState, ConnectorStatus, POSITIONS_TOPIC, SinkTask, SourceTask,
    forget_source, run_sink, run_source,
};
pub use sink::{SinkConnector, SinkRecord};
pub use source::{Position, SourceConnector, SourcePoll, SourceProgress, SourceRecord};
pub use stdout::StdoutSink;
