//! What a columnar node is, and what it puts out.
//!
//! A node sees rows in chunks and time as a watermark that is told to it in order: every
//! row that was handed in before [`ColumnarNode::on_watermark`] is judged by the watermark
//! told before. So a row is late exactly if the node has been told that its window is
//! closed, however rows and watermarks were batched on their way.

use super::{Chunk, ChunkError};
use crate::StreamsError;
use crate::error::Cause;
use crate::task::{Progress, Run, TaskContext};
use arrow::datatypes::SchemaRef;

/// A node with input ports and output ports. It must keep nothing across a commit that
/// is not in a store: after an error it is dropped and built anew.
pub trait ColumnarNode {
    /// The columns of each input port.
    fn inputs(&self) -> Vec<SchemaRef>;

    /// The columns of each output port.
    fn outputs(&self) -> Vec<SchemaRef>;

    /// Resolves stores and reads the time of the last commit.
    fn init(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        let _ = cx;
        Ok(())
    }

    /// Takes the rows of an input port.
    fn process(
        &mut self,
        port: usize,
        chunk: Chunk,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<(), StreamsError>;

    /// The watermark has risen to `watermark`. Called again with the same one while the
    /// node answers [`Progress::More`]; what was put out goes downstream in between.
    fn on_watermark(
        &mut self,
        watermark: i64,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, StreamsError> {
        let _ = (watermark, cx, out);
        Ok(Progress::Done)
    }

    /// A commit is due: writes to stores and puts out what the node holds back. Called
    /// again while it answers [`Progress::More`].
    fn flush(
        &mut self,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, StreamsError> {
        let _ = (cx, out);
        Ok(Progress::Done)
    }

    /// The last call.
    fn close(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        let _ = cx;
        Ok(())
    }
}

/// Where rows enter a graph: takes the records of a run and puts out chunks.
pub trait ColumnarSource {
    /// The columns it puts out.
    fn output(&self) -> SchemaRef;

    /// Resolves stores and reads the time of the last commit.
    fn init(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        let _ = cx;
        Ok(())
    }

    /// Takes records until the run ends or a chunk is full; gives back whether there may
    /// be more. Nothing of what was taken may be held back when it returns `Done`.
    fn run(
        &mut self,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, StreamsError>;
}

/// The chunks a node puts out, by port.
#[derive(Debug, Default)]
pub struct Outputs {
    connected: Vec<bool>,
    chunks: Vec<(usize, Chunk)>,
}

impl Outputs {
    /// Takes everything from the ports that are `connected`.
    #[must_use]
    pub fn new(connected: Vec<bool>) -> Self {
        Self {
            connected,
            chunks: Vec::new(),
        }
    }

    /// Whether anybody reads the port; what is put on another is dropped.
    #[must_use]
    pub fn is_connected(&self, port: usize) -> bool {
        self.connected.get(port).copied().unwrap_or(false)
    }

    /// Puts a chunk on port 0.
    pub fn push(&mut self, chunk: Chunk) {
        self.push_to(0, chunk);
    }

    /// Puts a chunk on a port.
    pub fn push_to(&mut self, port: usize, chunk: Chunk) {
        if !chunk.is_empty() && self.is_connected(port) {
            self.chunks.push((port, chunk));
        }
    }

    /// Takes what was put out, in order.
    pub fn take(&mut self) -> impl Iterator<Item = (usize, Chunk)> {
        std::mem::take(&mut self.chunks).into_iter()
    }
}

/// Names the node in the errors of what it calls.
#[derive(Debug, Clone)]
pub struct NodeName(std::sync::Arc<str>);

impl NodeName {
    /// A name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The error `cause`, at this node.
    pub fn error(&self, cause: impl Into<Cause>) -> StreamsError {
        StreamsError::node(&*self.0, cause)
    }
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ChunkError> for StreamsError {
    fn from(error: ChunkError) -> Self {
        Self::node("chunk", error)
    }
}
