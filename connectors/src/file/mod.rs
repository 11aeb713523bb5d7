//! Files as sources and sinks.

mod columns;
mod config;
mod framing;
mod reader;
mod sink;
mod source;

pub use config::{FileCompression, FileSinkConfig, FileSourceConfig, OnError};
pub use sink::FileSink;
pub use source::FileSource;
