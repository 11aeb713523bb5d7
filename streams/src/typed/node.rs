//! A node and its outputs: the typed edges of a sub-topology.

use super::{Meta, NodeContext};
use crate::StreamsError;
use crate::task::Progress;

/// A step in the life of all nodes of a task, in topological order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Stores are open, times are restored: get ready.
    Init,
    /// The watermark or the wall clock has moved.
    Advance,
    /// A commit follows: emit what was held back.
    Flush,
    /// The end; nothing may be emitted.
    Close,
}

/// A node that takes records of `K` and `V`.
pub(crate) trait Node<K, V> {
    /// Takes one record and pushes what follows from it downwards before it returns.
    fn process(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError>;

    /// Does its own share of `step`, then its outputs'. [`Progress::More`] stops the walk
    /// through the tree, which begins anew when the runtime calls again; a node with
    /// nothing to do is done at once.
    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError>;
}

/// A node behind its input type.
pub(crate) type BoxNode<K, V> = Box<dyn Node<K, V>>;

/// The outputs of a node: its children in the order in which they were added.
pub(crate) struct Outputs<K, V> {
    children: Vec<BoxNode<K, V>>,
}

impl<K, V> Outputs<K, V> {
    pub(crate) fn new(children: Vec<BoxNode<K, V>>) -> Self {
        Self { children }
    }

    /// Pushes a record to every child, one after the other.
    #[inline]
    pub(crate) fn forward(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        for child in &mut self.children {
            child.process(key, value, meta, cx)?;
        }
        Ok(())
    }

    /// Pushes a record to one child only; a child that is not there takes nothing.
    #[inline]
    pub(crate) fn forward_to(
        &mut self,
        child: usize,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        match self.children.get_mut(child) {
            Some(child) => child.process(key, value, meta, cx),
            None => Ok(()),
        }
    }

    /// The step of all children.
    pub(crate) fn step(
        &mut self,
        step: Step,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Progress, StreamsError> {
        for child in &mut self.children {
            if child.step(step, cx)? == Progress::More {
                return Ok(Progress::More);
            }
        }
        Ok(Progress::Done)
    }
}
