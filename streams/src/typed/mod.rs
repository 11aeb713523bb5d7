//! Typed nodes: the graph that a DSL topology becomes on its stream thread.
//!
//! A source deserializes one record after the other and pushes each through the whole
//! sub-topology, depth first, before it takes the next; so a stream-table join in a
//! diamond sees what Kafka Streams would show it. An edge carries `(&K, &V, &Meta)` and
//! is statically typed: a hop is one virtual call, without allocation, and records are
//! never boxed, erased or serialized inside a sub-topology.
//!
//! A node owns its children through [`Outputs`], so that a sub-topology is a forest of
//! trees. A node with several parents cannot be owned by one of them: it lives in the
//! task's [`Arena`] behind a typed [`Port`], is taken out of its slot while it is
//! called, and is the root of a tree of its own. Because records only ever flow
//! downwards, a slot that is being called is never entered again.
//!
//! Nodes are built on their stream thread from the factories of a [`graph::Graph`] and
//! stay there; nothing in here needs to be `Send` but the factories.

mod aggregate;
mod arena;
mod change;
mod context;
pub(crate) mod graph;
mod join;
mod meta;
mod node;
mod processor;
mod program;
mod query;
mod sink;
mod source;
mod stateless;
mod store;
mod table;
pub(crate) mod timers;
mod window;
mod windowed;

use crate::StreamsError;

/// An error that only a fault in this module can cause.
fn internal(message: String) -> StreamsError {
    StreamsError::node("typed graph", message)
}

pub use change::Change;
pub use context::NodeContext;
pub use join::AsKey;
pub use meta::Meta;
pub use processor::{Processor, ProcessorContext, PunctuationType, TimerId};
pub use query::{ReadOnlyTable, Row};
pub use source::OnBadRecord;
pub use store::{KeyValueStore, StoreAccess, StoreRef};
pub use window::{TimeWindows, Window, WindowError, Windowed};

pub(crate) use aggregate::*;
pub(crate) use arena::*;
pub(crate) use join::*;
pub(crate) use node::*;
pub(crate) use processor::ProcessorNode;
pub(crate) use program::*;
pub(crate) use sink::*;
pub(crate) use source::*;
pub(crate) use stateless::*;
pub(crate) use store::*;
pub(crate) use table::*;
pub(crate) use windowed::*;
