//! Columnar nodes: what SQL runs on.
//!
//! Rows travel as [`Chunk`]s between the nodes of a [`ColumnarGraph`] and, through an
//! exchange (a repartition topic), between sub-topologies. Keys that are persisted or
//! hashed are encoded with [`KeyCodec`], never with an encoding of a library that may
//! change it.

mod chunk;
mod exchange;
mod graph;
mod ipc;
mod key;
mod node;
mod source;

#[cfg(test)]
mod tests;

pub use chunk::{Chunk, ChunkError, RowOp, RowOps};
pub use exchange::{DEFAULT_MAX_RECORD_BYTES, ExchangeSink, ExchangeSource};
pub use graph::{ColumnarGraph, GraphBuilder, NodeId, Port};
pub use ipc::{CHUNK_HEADER, ChunkCodec, IpcError};
pub use key::{EncodedKeys, KeyCodec, KeyColumns, KeyError, KeyVersion};
pub use node::{ColumnarNode, ColumnarSource, NodeName, Outputs};
pub use source::{
    CHUNK_ROWS, EventTime, Metadata, OnMalformed, RowSource, RowSourceConfig, TableSource,
    max_millis,
};
