//! Balanced, with as few moves as can be, and none that stops the world.
//!
//! Invariant: a partition is never in the assignment of one member while another still
//! owns it. What must move is left out in the first round; its owner gives it up and the
//! rebalance that follows hands it on.

use std::collections::BTreeMap;

use super::balance::{owners, sticky};
use super::{
    Assignment, GroupMember, PartitionAssignor, PartitionCounts, RebalanceProtocol, nothing_yet,
};
use crate::client::ClientError;

/// Keeps what members have as long as the load stays balanced.
#[derive(Debug, Clone, Copy, Default)]
pub struct CooperativeStickyAssignor;

impl PartitionAssignor for CooperativeStickyAssignor {
    fn name(&self) -> &str {
        "cooperative-sticky"
    }

    fn protocol(&self) -> RebalanceProtocol {
        RebalanceProtocol::Cooperative
    }

    fn assign(
        &self,
        partitions: &PartitionCounts,
        members: &[GroupMember],
    ) -> Result<BTreeMap<String, Assignment>, ClientError> {
        let mut order: Vec<&GroupMember> = members.iter().collect();
        order.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let owners = owners(&order, partitions);
        let mut result = nothing_yet(members);
        for (partition, member) in sticky(partitions, &order, &owners) {
            let moves = owners.get(&partition).is_some_and(|owner| *owner != member);
            if moves {
                continue;
            }
            let id = order.get(member).map(|m| m.member_id.as_str());
            if let Some(assignment) = id.and_then(|id| result.get_mut(id)) {
                assignment.partitions.push(partition);
            }
        }
        Ok(result)
    }
}
