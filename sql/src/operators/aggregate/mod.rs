//! Streaming aggregates: signed, mergeable, with states of our own.

mod accumulator;
mod calls;
mod codec;
mod group;
mod groups;
mod multiset;
mod partial;
mod window;

#[cfg(test)]
mod tests;

pub use group::GroupAggregate;
pub use partial::{PartialAggregate, split_aggregate};
