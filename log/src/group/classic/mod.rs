//! The classic group protocol: members join and sync, and the leader among them assigns.

mod group;
mod rebalance;
mod subscription;

pub(in crate::group) use group::{ClassicGroup, Member as ClassicMember};
