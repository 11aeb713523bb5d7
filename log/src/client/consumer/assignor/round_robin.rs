//! All partitions of all topics in turn.

use std::collections::BTreeMap;

use super::{
    Assignment, GroupMember, PartitionAssignor, PartitionCounts, members_by_topic, nothing_yet,
};
use crate::client::{ClientError, TopicPartition};

/// Deals the partitions of all topics like cards to the members that want their topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobinAssignor;

impl PartitionAssignor for RoundRobinAssignor {
    fn name(&self) -> &str {
        "roundrobin"
    }

    fn assign(
        &self,
        partitions: &PartitionCounts,
        members: &[GroupMember],
    ) -> Result<BTreeMap<String, Assignment>, ClientError> {
        let mut result = nothing_yet(members);
        let mut order: Vec<&GroupMember> = members.iter().collect();
        order.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let mut turns = order.iter().cycle();
        for topic in members_by_topic(partitions, members).into_keys() {
            let count = partitions.get(&topic).copied().unwrap_or(0).max(0);
            for partition in 0..count {
                // The topic is here because someone wants it, so the search ends.
                let member = turns.find(|m| m.topics.iter().any(|t| **t == *topic));
                if let Some(assignment) = member.and_then(|m| result.get_mut(&m.member_id)) {
                    assignment
                        .partitions
                        .push(TopicPartition::new(topic.clone(), partition));
                }
            }
        }
        Ok(result)
    }
}
