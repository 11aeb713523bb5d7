//! The columnar program of a task: sources and nodes in topological order.
//!
//! Invariants: a node reads only from nodes before it, through ports of the same column
//! types; chunks wait in front of a node only while they are small and no watermark or
//! commit is due, so that every row reaches every node before the watermark that
//! follows it; and a pass over the nodes that yields goes on at the node where it was.

use super::{Chunk, ColumnarNode, ColumnarSource, Outputs};
use crate::StreamsError;
use crate::task::{Progress, Run, TaskContext, TaskProgram};
use arrow::datatypes::{Schema, SchemaRef};

/// Chunks wait for more rows below this many.
const COALESCE_ROWS: usize = 1024;

/// A node of a graph being built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(usize);

/// An output port of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// The node.
    pub node: NodeId,
    /// Its output.
    pub output: usize,
}

impl From<NodeId> for Port {
    /// The node's first output.
    fn from(node: NodeId) -> Self {
        Self { node, output: 0 }
    }
}

enum Kind {
    Source(Box<dyn ColumnarSource>),
    Node(Box<dyn ColumnarNode>),
}

struct Inbox {
    schema: SchemaRef,
    chunks: Vec<Chunk>,
    rows: usize,
}

struct Slot {
    name: String,
    kind: Kind,
    inboxes: Vec<Inbox>,
    outputs: Outputs,
    /// Who reads which output: (output, node, port).
    readers: Vec<(usize, usize, usize)>,
}

/// Puts a [`ColumnarGraph`] together, upstream first.
#[derive(Default)]
pub struct GraphBuilder {
    slots: Vec<Slot>,
    sources: Vec<usize>,
}

impl GraphBuilder {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next source: the order is that of the sub-topology's list of sources.
    pub fn source(&mut self, name: &str, source: Box<dyn ColumnarSource>) -> NodeId {
        self.sources.push(self.slots.len());
        self.push(name, Kind::Source(source), Vec::new())
    }

    /// Adds a node that reads `inputs`, one a port.
    pub fn node(
        &mut self,
        name: &str,
        node: Box<dyn ColumnarNode>,
        inputs: &[Port],
    ) -> Result<NodeId, StreamsError> {
        let schemas = node.inputs();
        if schemas.len() != inputs.len() {
            return Err(StreamsError::Topology(format!(
                "node `{name}` reads {} inputs but is given {}",
                schemas.len(),
                inputs.len()
            )));
        }
        let reader = self.slots.len();
        for (port, (input, wanted)) in inputs.iter().zip(&schemas).enumerate() {
            let given = self
                .slots
                .get(input.node.0)
                .and_then(|slot| match &slot.kind {
                    Kind::Source(s) => (input.output == 0).then(|| s.output()),
                    Kind::Node(n) => n.outputs().get(input.output).cloned(),
                });
            let given = given.ok_or_else(|| {
                StreamsError::Topology(format!("node `{name}` reads an output that there is not"))
            })?;
            if !same_types(&given, wanted) {
                return Err(StreamsError::Topology(format!(
                    "node `{name}` wants ({}) at input {port} but is given ({})",
                    types(wanted),
                    types(&given)
                )));
            }
            if let Some(slot) = self.slots.get_mut(input.node.0) {
                slot.readers.push((input.output, reader, port));
            }
        }
        Ok(self.push(name, Kind::Node(node), schemas))
    }

    fn push(&mut self, name: &str, kind: Kind, inputs: Vec<SchemaRef>) -> NodeId {
        let inboxes = inputs
            .into_iter()
            .map(|schema| Inbox {
                schema,
                chunks: Vec::new(),
                rows: 0,
            })
            .collect();
        self.slots.push(Slot {
            name: name.to_owned(),
            kind,
            inboxes,
            outputs: Outputs::default(),
            readers: Vec::new(),
        });
        NodeId(self.slots.len() - 1)
    }

    /// The finished graph.
    #[must_use]
    pub fn build(mut self) -> ColumnarGraph {
        for slot in &mut self.slots {
            let ports = slot.readers.iter().map(|r| r.0 + 1).max().unwrap_or(0);
            slot.outputs = Outputs::new(
                (0..ports)
                    .map(|port| slot.readers.iter().any(|r| r.0 == port))
                    .collect(),
            );
        }
        ColumnarGraph {
            slots: self.slots,
            sources: self.sources,
            told: i64::MIN,
            advancing: None,
            flushing: None,
        }
    }
}

fn same_types(a: &Schema, b: &Schema) -> bool {
    a.fields().len() == b.fields().len()
        && a.fields()
            .iter()
            .zip(b.fields())
            .all(|(a, b)| a.data_type() == b.data_type())
}

fn types(schema: &Schema) -> String {
    let types: Vec<_> = schema
        .fields()
        .iter()
        .map(|f| format!("{} {}", f.name(), f.data_type()))
        .collect();
    types.join(", ")
}

/// Sources and nodes, driven as the program of a task.
pub struct ColumnarGraph {
    slots: Vec<Slot>,
    sources: Vec<usize>,
    /// The watermark that all nodes have been told.
    told: i64,
    /// A pass that tells a watermark: which, and the node where it stands.
    advancing: Option<(i64, usize)>,
    /// A flush: the node where it stands.
    flushing: Option<usize>,
}

impl std::fmt::Debug for ColumnarGraph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.slots.iter().map(|s| &s.name))
            .finish()
    }
}

impl ColumnarGraph {
    /// Hands what node `from` has put out to its readers.
    fn distribute(&mut self, from: usize) {
        let Some(slot) = self.slots.get_mut(from) else {
            return;
        };
        let chunks: Vec<_> = slot.outputs.take().collect();
        if chunks.is_empty() {
            return;
        }
        let readers = slot.readers.clone();
        for (output, chunk) in chunks {
            for (_, node, port) in readers.iter().filter(|r| r.0 == output) {
                let inbox = self
                    .slots
                    .get_mut(*node)
                    .and_then(|s| s.inboxes.get_mut(*port));
                if let Some(inbox) = inbox {
                    inbox.rows += chunk.num_rows();
                    inbox.chunks.push(chunk.clone());
                }
            }
        }
    }

    /// Lets node `at` process what waits in front of it; with `all`, however little.
    fn deliver(
        &mut self,
        at: usize,
        all: bool,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        let Some(slot) = self.slots.get_mut(at) else {
            return Ok(());
        };
        let Kind::Node(node) = &mut slot.kind else {
            return Ok(());
        };
        let mut any = false;
        for (port, inbox) in slot.inboxes.iter_mut().enumerate() {
            if inbox.rows == 0 || (!all && inbox.rows < COALESCE_ROWS) {
                continue;
            }
            any = true;
            let waiting = std::mem::take(&mut inbox.chunks);
            inbox.rows = 0;
            for chunk in coalesce(&inbox.schema, waiting)? {
                node.process(port, chunk, cx, &mut slot.outputs)?;
            }
        }
        if any {
            self.distribute(at);
        }
        Ok(())
    }

    /// Delivers behind node `from`, in topological order.
    fn settle(
        &mut self,
        from: usize,
        all: bool,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        self.distribute(from);
        for at in from + 1..self.slots.len() {
            self.deliver(at, all, cx)?;
        }
        Ok(())
    }
}

/// Joins neighbours that are small; a large chunk is not copied.
fn coalesce(schema: &SchemaRef, chunks: Vec<Chunk>) -> Result<Vec<Chunk>, StreamsError> {
    let mut out = Vec::new();
    let mut small: Vec<Chunk> = Vec::new();
    let mut rows = 0;
    for chunk in chunks {
        if rows > 0 && rows + chunk.num_rows() > 2 * COALESCE_ROWS {
            out.push(join(schema, &small)?);
            small.clear();
            rows = 0;
        }
        rows += chunk.num_rows();
        small.push(chunk);
    }
    if rows > 0 {
        out.push(join(schema, &small)?);
    }
    Ok(out)
}

fn join(schema: &SchemaRef, chunks: &[Chunk]) -> Result<Chunk, StreamsError> {
    match chunks {
        [one] => Ok(one.clone()),
        many => {
            let schema = many.first().map_or_else(|| schema.clone(), Chunk::schema);
            Ok(Chunk::concat(&schema, many)?)
        }
    }
}

impl TaskProgram for ColumnarGraph {
    fn init(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        self.told = cx.watermark();
        for slot in &mut self.slots {
            match &mut slot.kind {
                Kind::Source(source) => source.init(cx)?,
                Kind::Node(node) => node.init(cx)?,
            }
        }
        Ok(())
    }

    fn run(
        &mut self,
        source: usize,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        let at = self.sources.get(source).copied();
        let at = at.ok_or_else(|| {
            StreamsError::Topology(format!("the columnar graph has no source number {source}"))
        })?;
        loop {
            let progress = match self.slots.get_mut(at) {
                Some(Slot {
                    kind: Kind::Source(source),
                    outputs,
                    ..
                }) => source.run(run, cx, outputs)?,
                _ => Progress::Done,
            };
            self.settle(at, false, cx)?;
            if progress == Progress::Done {
                return Ok(());
            }
        }
    }

    fn advance(&mut self, cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        loop {
            let (watermark, mut at) = match self.advancing.take() {
                Some(pass) => pass,
                None if cx.watermark() > self.told => (cx.watermark(), 0),
                None => return Ok(Progress::Done),
            };
            while at < self.slots.len() {
                self.deliver(at, true, cx)?;
                let progress = match self.slots.get_mut(at) {
                    Some(Slot {
                        kind: Kind::Node(node),
                        outputs,
                        ..
                    }) => node.on_watermark(watermark, cx, outputs)?,
                    _ => Progress::Done,
                };
                self.distribute(at);
                match progress {
                    Progress::Done => at += 1,
                    Progress::More => {
                        self.settle(at, false, cx)?;
                        if cx.should_yield() {
                            self.advancing = Some((watermark, at));
                            return Ok(Progress::More);
                        }
                    }
                }
            }
            self.told = watermark;
        }
    }

    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<Progress, StreamsError> {
        // A watermark that is half told goes first: nodes must agree on the time they commit.
        if self.advancing.is_some() && self.advance(cx)? == Progress::More {
            return Ok(Progress::More);
        }
        let mut at = self.flushing.take().unwrap_or(0);
        while at < self.slots.len() {
            self.deliver(at, true, cx)?;
            let progress = match self.slots.get_mut(at) {
                Some(Slot {
                    kind: Kind::Node(node),
                    outputs,
                    ..
                }) => node.flush(cx, outputs)?,
                _ => Progress::Done,
            };
            self.distribute(at);
            match progress {
                Progress::Done => at += 1,
                Progress::More => {
                    self.settle(at, false, cx)?;
                    if cx.should_yield() {
                        self.flushing = Some(at);
                        return Ok(Progress::More);
                    }
                }
            }
        }
        Ok(Progress::Done)
    }

    fn close(&mut self, cx: &mut TaskContext<'_>) -> Result<(), StreamsError> {
        for slot in &mut self.slots {
            if let Kind::Node(node) = &mut slot.kind {
                node.close(cx)?;
            }
        }
        Ok(())
    }
}
