//! Contiguous ranges of each topic's partitions.

use std::collections::BTreeMap;

use super::{
    Assignment, GroupMember, PartitionAssignor, PartitionCounts, members_by_topic, nothing_yet,
};
use crate::client::{ClientError, TopicPartition};

/// Gives each member one range of every topic; members with the same place get the same
/// partition numbers of topics with equal counts, so co-partitioned topics stay together.
#[derive(Debug, Clone, Copy, Default)]
pub struct RangeAssignor;

impl PartitionAssignor for RangeAssignor {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(
        &self,
        partitions: &PartitionCounts,
        members: &[GroupMember],
    ) -> Result<BTreeMap<String, Assignment>, ClientError> {
        let mut result = nothing_yet(members);
        for (topic, wanting) in members_by_topic(partitions, members) {
            let count = partitions.get(&topic).copied().unwrap_or(0).max(0);
            let n = i32::try_from(wanting.len()).unwrap_or(i32::MAX).max(1);
            let (each, more) = (count / n, count % n);
            let mut next = 0;
            for (place, member) in (0i32..).zip(wanting) {
                let take = each + i32::from(place < more);
                if let Some(assignment) = result.get_mut(&member.member_id) {
                    assignment
                        .partitions
                        .extend((next..next + take).map(|p| TopicPartition::new(topic.clone(), p)));
                }
                next += take;
            }
        }
        Ok(result)
    }
}
