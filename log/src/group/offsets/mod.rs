//! Committed offsets: keeping, committing, deleting and expiring them.

mod commit;
mod delete;
mod store;

pub(in crate::group) use commit::{Written, on_commit, on_transactional_commit};
pub(in crate::group) use delete::{delete_group, delete_offsets, expire, topics_deleted};
pub(in crate::group) use store::{Offsets, Order};
