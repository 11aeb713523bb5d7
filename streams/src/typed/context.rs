//! What a typed node may touch while it is called.

use super::Arena;
use crate::task::TaskContext;

/// The task's context and the arena of its nodes with several parents, by `&mut`.
pub struct NodeContext<'a, 't> {
    pub(crate) task: &'a mut TaskContext<'t>,
    pub(crate) arena: &'a mut Arena,
}

impl<'t> NodeContext<'_, 't> {
    /// The task's context: stores, time, outputs.
    pub fn task(&mut self) -> &mut TaskContext<'t> {
        self.task
    }
}
