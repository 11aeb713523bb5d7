//! Classic groups that become groups of the consumer protocol, and back
//! (`group.consumer.migration.policy`).
//!
//! Invariant: the members and what they have are the same before and after, and epochs go on from
//! generations, as generations do from epochs. What the log had of the group is deleted in the same
//! write in which the new form is written.
//!
//! What a member has is not what it shall have: it keeps what it has not given up yet, so that
//! however often a group changes its protocol, and however quickly, a partition changes hands only
//! after it was given up. Kafka hands on the target assignment instead, by which a member that has
//! not heard of it loses its partitions to whoever comes next.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::assignor::Partitions;
use super::classic_member::{CONSUMER, assignment, by_id, subscription};
use super::group::{ConsumerGroup, Key};
use super::member::{Classic, Member, MemberState, Position, Profile};
use crate::group::classic::{ClassicGroup, ClassicMember};
use crate::group::coordinator::{Cx, Groups, Write};
use crate::group::groups::Group;
use crate::group::records::GroupRecord;
use crate::group::types::{GroupState, Refused, Reply, Token};
use crate::wire::messages::ConsumerProtocolAssignment;
use crate::wire::{ErrorCode, Message, Str};

fn cannot(group: &Str, why: &str) -> Refused {
    Refused::new(
        ErrorCode::GroupIdNotFound,
        format!("Cannot upgrade classic group {group} to consumer group because {why}."),
    )
}

/// Makes a classic group one of the consumer protocol, for a member that joins.
pub(in crate::group) fn upgrade(
    groups: &mut Groups,
    id: &Str,
    joining: &Str,
    cx: &mut Cx<'_>,
) -> Result<(), Refused> {
    let Some(Group::Classic(classic)) = groups.get_mut(id) else {
        return Ok(());
    };
    let mut group = match classic.state {
        GroupState::Dead => {
            return Err(Refused::new(
                ErrorCode::CoordinatorNotAvailable,
                format!("Group {id} is being deleted."),
            ));
        }
        GroupState::Empty => {
            let mut group = ConsumerGroup::new(id.clone());
            group.epoch = classic.generation;
            group
        }
        _ => {
            check_upgrade(classic, joining, cx)?;
            let group = converted(classic, cx)?;
            classic.release_all(ErrorCode::RebalanceInProgress, cx);
            group
        }
    };
    group.mark(Key::Classic);
    tracing::info!(group = %id, "the classic group becomes one of the consumer protocol");
    groups.insert(Group::Consumer(group));
    Ok(())
}

fn check_upgrade(classic: &ClassicGroup, joining: &Str, cx: &Cx<'_>) -> Result<(), Refused> {
    let id = &classic.id;
    let config = &cx.config.consumer;
    let members = classic.members.len();
    if !config.upgrade {
        Err(cannot(id, "online upgrade is disabled"))
    } else if !classic.is_consumer() {
        Err(cannot(
            id,
            "the group does not use the consumer embedded protocol",
        ))
    } else if members > config.max_size {
        Err(cannot(
            id,
            "the group size exceeds the consumer group maximum size",
        ))
    } else if members >= config.max_size && !classic.members.contains_key(joining) {
        Err(Refused::new(
            ErrorCode::GroupMaxSizeReached,
            "The consumer group has reached its maximum capacity.",
        ))
    } else {
        Ok(())
    }
}

fn converted(classic: &ClassicGroup, cx: &Cx<'_>) -> Result<ConsumerGroup, Refused> {
    let malformed = || cannot(&classic.id, "the embedded consumer protocol is malformed");
    let mut group = ConsumerGroup::new(classic.id.clone());
    group.epoch = classic.generation;
    group.target_epoch = classic.generation;
    let mut claims = Vec::new();
    for m in classic.members.values() {
        let chosen = m.metadata(classic.protocol.as_ref());
        let metadata = match m.protocols.first() {
            Some((_, first)) if chosen.is_empty() => first.clone(),
            _ => chosen,
        };
        let subscribed = subscription(&metadata).map_err(|_| malformed())?;
        let target = if m.assignment.is_empty() {
            Partitions::new()
        } else {
            let raw = m.assignment.clone();
            let given = ConsumerProtocolAssignment::from_versioned_or_newer(raw)
                .map_err(|_| malformed())?;
            if given.user_data.is_some_and(|data| !data.is_empty()) {
                return Err(cannot(
                    &classic.id,
                    "an unsupported custom assignor is in use. Please refer to the documentation \
                     or switch to a default assignor before re-attempting the upgrade",
                ));
            }
            by_id(&given.assigned_partitions, cx.topics)
        };
        let mut member = Member::new(m.id.clone());
        member.profile = Profile {
            instance: m.instance.clone(),
            rack: subscribed.rack_id.as_ref().map(Str::detach),
            client_id: m.client_id.clone(),
            client_host: m.client_host.clone(),
            topics: subscribed.topics.iter().map(Str::detach).collect(),
            regex: None,
            rebalance_timeout_ms: m.rebalance_timeout_ms,
            assignor: None,
            classic: Some(Classic {
                session_timeout_ms: m.session_timeout_ms,
                protocols: m.protocols.clone(),
            }),
        };
        member.position = Position {
            epoch: classic.generation,
            previous_epoch: classic.generation,
            state: MemberState::Stable,
            held: group.unowned(&target, classic.generation),
            ..Position::default()
        };
        let session = i64::from(m.session_timeout_ms);
        member.deadlines.session = Some(cx.now.saturating_add(session));
        group.targets.insert(m.id.clone(), target);
        group.add(member);
        claims.push((m.id.clone(), by_id(&subscribed.owned_partitions, cx.topics)));
    }
    // A cooperative member that has yet to see its assignment still has what it had when it joined.
    for (id, claimed) in claims {
        let more = group.unowned(&claimed, classic.generation);
        let Some(member) = group.members.get(&id).filter(|_| !more.is_empty()) else {
            continue;
        };
        let mut position = member.position.clone();
        for (topic, partitions) in more {
            position.held.entry(topic).or_default().extend(partitions);
        }
        group.set_position(&id, position);
    }
    // What the leader's assignment was made of is not known: members may have come, gone or asked for
    // another since, and topics have grown. With no hash of topics, whoever joins bumps the epoch and
    // has the target computed anew, even a static member that takes the place of its former self.
    group.metadata_hash = 0;
    group.mark_all();
    Ok(group)
}

/// Whether a group, as it stands, is to become a classic one: all its members are.
pub(in crate::group) fn should_downgrade(group: &ConsumerGroup, cx: &Cx<'_>) -> bool {
    let members = group.members.len();
    members > 0
        && group.classic_members() == members
        && cx.config.consumer.downgrade
        && members <= cx.config.max_size
}

/// Makes a group, all of whose members speak the classic protocol, a classic one. Unless everybody
/// already has what it shall have, the new group rebalances.
pub(in crate::group) fn downgrade(
    groups: &mut Groups,
    id: &Str,
    rebalance: bool,
    replies: Vec<(Token, Reply)>,
    cx: &mut Cx<'_>,
) {
    let Some(group) = groups.consumer_mut(id) else {
        return;
    };
    let settled = |m: &Member| m.is_reconciled_to(group.target_epoch);
    let rebalance = rebalance || !group.members.values().all(settled);
    let mut records = group.tombstones();
    let mut classic = ClassicGroup::new(id.clone(), cx.now);
    classic.generation = group.epoch;
    classic.protocol_type = Some(Str::from_static(CONSUMER));
    for m in group.members.values() {
        let spoken = m.profile.classic.clone().unwrap_or_default();
        let mut member = ClassicMember::returning(
            m.id.clone(),
            spoken.protocols,
            spoken.session_timeout_ms,
            m.profile.rebalance_timeout_ms,
        );
        member.instance = m.profile.instance.clone();
        member.client_id = m.profile.client_id.clone();
        member.client_host = m.profile.client_host.clone();
        member.touch(cx.now);
        if let Some(instance) = &member.instance {
            classic
                .instances
                .insert(instance.clone(), member.id.clone());
        }
        classic.members.insert(m.id.clone(), member);
    }
    classic.leader = classic.members.keys().next().cloned();
    classic.protocol = classic.elect_protocol();
    let protocol = classic.protocol.clone();
    for member in classic.members.values_mut() {
        let has = group.members.get(&member.id).map(|m| m.position.all());
        let metadata: Bytes = member.metadata(protocol.as_ref());
        member.assignment = assignment(&has.unwrap_or_default(), &metadata, cx.topics);
    }
    classic.become_state(GroupState::Stable, cx.now);
    let mut stored = classic.stored(&BTreeMap::new());
    if rebalance {
        // Whoever loads the group before it has rebalanced takes it for one that has: nobody may go
        // on in this generation, as nobody would get what is left over.
        stored.generation = stored.generation.saturating_add(1);
    }
    records.push(GroupRecord::Group(id.clone(), Some(stored)));
    let write = Write::Converted {
        before: Box::new(group.clone()),
        replies,
    };
    cx.persist(records, write);
    if rebalance {
        classic.rebalance(cx);
    }
    tracing::info!(group = %id, "the group of the consumer protocol becomes a classic one");
    groups.insert(Group::Classic(classic));
}

/// An empty group of the consumer protocol that a member of the classic protocol joins becomes a
/// classic one. What deletes it from the log is written before anything else is.
pub(in crate::group) fn take_back_empty(groups: &mut Groups, id: &Str, cx: &mut Cx<'_>) {
    if let Some(Group::Consumer(group)) = groups.get(id)
        && group.members.is_empty()
        && !group.deleting
    {
        let write = Write::Converted {
            before: Box::new(group.clone()),
            replies: vec![],
        };
        let records = group.tombstones();
        let mut classic = ClassicGroup::new(id.clone(), cx.now);
        classic.generation = group.epoch;
        groups.insert(Group::Classic(classic));
        cx.persist(records, write);
    }
}

/// The change to the classic protocol could not be written: the group is what it was. Whoever joined
/// meanwhile joins again.
pub(in crate::group) fn not_converted(
    groups: &mut Groups,
    mut before: ConsumerGroup,
    cx: &mut Cx<'_>,
) {
    tracing::warn!(group = %before.id, "the group's change of protocol could not be stored");
    if let Some(classic) = groups.classic_mut(&before.id) {
        classic.release_all(ErrorCode::CoordinatorNotAvailable, cx);
        before.epoch = before.epoch.max(classic.generation);
    }
    // Members that left when it was to change are missing from the target assignment.
    before.epoch = before.epoch.saturating_add(1);
    before.mark(Key::Epoch);
    before.refresh = true;
    groups.insert(Group::Consumer(before));
}
