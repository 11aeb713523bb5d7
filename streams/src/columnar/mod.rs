//! Columnar nodes: what SQL runs on.
//!
//! Rows travel as [`Chunk`]s between the nodes of a sub-topology and, through repartition
//! topics, between sub-topologies. Keys that are persisted or hashed are encoded with
//! [`KeyCodec`], never with an encoding of a library that may change it.

mod chunk;
mod key;

pub use chunk::{Chunk, ChunkError, RowOp, RowOps};
pub use key::{EncodedKeys, KeyCodec, KeyColumns, KeyError, KeyVersion};
