//! The arena: where nodes with several parents live.
//!
//! Such a node sits in a slot. A parent holds a [`Port`], which knows the slot and the
//! node's type; it takes the node out, calls it, and puts it back, so that the node can
//! be called by `&mut` while the rest of the task stays reachable.

use std::any::Any;

use super::{Meta, Node, NodeContext, Outputs, Step, internal};
use crate::StreamsError;
use crate::task::Progress;

/// A node that lives in a slot.
pub(crate) trait SlotNode: Any {
    /// Its own share of a step and its outputs'.
    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError>;
}

/// The slots of one task.
#[derive(Default)]
pub(crate) struct Arena {
    slots: Vec<Option<Box<dyn SlotNode>>>,
}

impl Arena {
    pub(crate) fn new(slots: Vec<Option<Box<dyn SlotNode>>>) -> Self {
        Self { slots }
    }

    fn take(&mut self, slot: usize) -> Result<Box<dyn SlotNode>, StreamsError> {
        self.slots
            .get_mut(slot)
            .and_then(Option::take)
            .ok_or_else(|| {
                internal(format!(
                    "the node in slot {slot} is missing or was entered while it was being called"
                ))
            })
    }

    fn put(&mut self, slot: usize, node: Box<dyn SlotNode>) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(node);
        }
    }

    /// The step of the node in `slot`.
    pub(crate) fn step(
        slot: usize,
        step: Step,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<Progress, StreamsError> {
        let mut node = cx.arena.take(slot)?;
        let result = node.step(step, cx);
        cx.arena.put(slot, node);
        result
    }
}

/// The typed entry of one parent into the node `N` of a slot.
pub(crate) struct Port<N, K, V> {
    pub(crate) slot: usize,
    pub(crate) enter:
        fn(&mut N, &K, &V, &Meta<'_>, &mut NodeContext<'_, '_>) -> Result<(), StreamsError>,
}

impl<N: SlotNode, K, V> Node<K, V> for Port<N, K, V> {
    fn process(
        &mut self,
        key: &K,
        value: &V,
        meta: &Meta<'_>,
        cx: &mut NodeContext<'_, '_>,
    ) -> Result<(), StreamsError> {
        let mut node = cx.arena.take(self.slot)?;
        let any: &mut dyn Any = node.as_mut();
        let result = match any.downcast_mut::<N>() {
            Some(typed) => (self.enter)(typed, key, value, meta, cx),
            None => Err(internal(format!(
                "the node in slot {} is no {}",
                self.slot,
                std::any::type_name::<N>()
            ))),
        };
        cx.arena.put(self.slot, node);
        result
    }

    /// The node in the slot has a step of its own, after all of its parents'.
    fn step(
        &mut self,
        _step: Step,
        _cx: &mut NodeContext<'_, '_>,
    ) -> Result<Progress, StreamsError> {
        Ok(Progress::Done)
    }
}

/// A merge is nothing but outputs that several parents push into.
impl<K: 'static, V: 'static> SlotNode for Outputs<K, V> {
    fn step(&mut self, step: Step, cx: &mut NodeContext<'_, '_>) -> Result<Progress, StreamsError> {
        Outputs::step(self, step, cx)
    }
}
