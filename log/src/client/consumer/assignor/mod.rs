//! Who of a group reads which partition.
//!
//! The group's leader gives every member's subscription to a [`PartitionAssignor`]; its
//! answer goes to the members through the coordinator. An assignor is a pure function of
//! the subscriptions and the partition counts, so that any member may lead.

mod balance;
mod cooperative_sticky;
mod range;
mod round_robin;
mod sticky;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;

pub use cooperative_sticky::CooperativeStickyAssignor;
pub use range::RangeAssignor;
pub use round_robin::RoundRobinAssignor;
pub use sticky::StickyAssignor;

use crate::client::{ClientError, GroupMetadata, TopicPartition};

/// What members do with their partitions when the group rebalances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebalanceProtocol {
    /// All partitions are given up before the group is joined anew.
    Eager,
    /// A member keeps reading what it keeps; only what moves is given up, and a second
    /// rebalance hands it to its new owner.
    Cooperative,
}

/// A member of the group as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupMember {
    /// The id that the coordinator gave it.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
    /// The topics it wants.
    pub topics: Vec<String>,
    /// The partitions it has at the moment.
    pub owned_partitions: Vec<TopicPartition>,
    /// In which generation it got them; -1 if it does not know.
    pub generation_id: i32,
    /// `client.rack`.
    pub rack_id: Option<String>,
    /// What its assignor wants the leader to know.
    pub user_data: Option<Bytes>,
}

impl GroupMember {
    /// The key by which members are ordered: static ones by their instance id, so that
    /// an assignment survives their restart.
    pub fn sort_key(&self) -> (bool, &str) {
        match &self.group_instance_id {
            Some(id) => (false, id),
            None => (true, &self.member_id),
        }
    }
}

/// What one member gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Its partitions.
    pub partitions: Vec<TopicPartition>,
    /// What the leader's assignor wants the member's assignor to know.
    pub user_data: Option<Bytes>,
}

/// How many partitions each subscribed topic has; topics that do not exist are absent.
pub type PartitionCounts = BTreeMap<Arc<str>, i32>;

/// Decides who reads what. See the module.
pub trait PartitionAssignor: Debug + Send + Sync + 'static {
    /// The name under which members agree on this assignor.
    fn name(&self) -> &str;

    /// What members do with their partitions when the group rebalances. All assignors of
    /// one consumer must be eager for it to be eager; it is cooperative only if all are.
    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Eager
    }

    /// What the leader shall know about this member; asked before each join.
    fn user_data(&self, topics: &[String]) -> Option<Bytes> {
        let _ = topics;
        None
    }

    /// The assignment, by member id; runs on the leader only.
    fn assign(
        &self,
        partitions: &PartitionCounts,
        members: &[GroupMember],
    ) -> Result<BTreeMap<String, Assignment>, ClientError>;

    /// Called with what this member got, before `poll` returns it.
    fn on_assignment(&self, assignment: &Assignment, group: &GroupMetadata) {
        let _ = (assignment, group);
    }
}

/// The assignor of that name among those that come with the client.
pub(crate) fn built_in(name: &str) -> Option<Arc<dyn PartitionAssignor>> {
    // The names of the Java classes work too: configurations are copied around.
    match name.rsplit('.').next().unwrap_or(name) {
        "range" | "RangeAssignor" => Some(Arc::new(RangeAssignor)),
        "roundrobin" | "RoundRobinAssignor" => Some(Arc::new(RoundRobinAssignor)),
        "sticky" | "StickyAssignor" => Some(Arc::new(StickyAssignor::default())),
        "cooperative-sticky" | "CooperativeStickyAssignor" => {
            Some(Arc::new(CooperativeStickyAssignor))
        }
        _ => None,
    }
}

/// An assignment that gives nobody anything.
fn nothing_yet(members: &[GroupMember]) -> BTreeMap<String, Assignment> {
    let empty = |m: &GroupMember| (m.member_id.clone(), Assignment::default());
    members.iter().map(empty).collect()
}

/// The members that want each topic, in their stable order.
fn members_by_topic<'a>(
    partitions: &PartitionCounts,
    members: &'a [GroupMember],
) -> BTreeMap<Arc<str>, Vec<&'a GroupMember>> {
    let mut by_topic: BTreeMap<Arc<str>, Vec<&GroupMember>> = BTreeMap::new();
    for member in members {
        for topic in &member.topics {
            if let Some((name, _)) = partitions.get_key_value(topic.as_str()) {
                let wanting = by_topic.entry(name.clone()).or_default();
                if !wanting.iter().any(|m| m.member_id == member.member_id) {
                    wanting.push(member);
                }
            }
        }
    }
    for wanting in by_topic.values_mut() {
        wanting.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
    }
    by_topic
}

#[cfg(test)]
mod tests;
