//! Members of a consumer group that speak the classic protocol: JoinGroup, SyncGroup, Heartbeat and
//! LeaveGroup, on the way from one protocol to the other.
//!
//! Such a member's generation is its epoch. It is led to the target assignment each time it joins,
//! and told to join again by its heartbeats.
//!
//! Unlike in Kafka, whoever is not in the group and yet claims to have partitions is told that it is
//! not known, as in a classic group: it was thrown out, and others may have them by now.

use bytes::Bytes;

use super::assignor::Partitions;
use super::fence;
use super::group::ConsumerGroup;
use super::member::{Classic, Member, MemberState, Profile, partitions};
use super::migrate;
use crate::group::coordinator::{Cx, Groups};
use crate::group::topics::Topics;
use crate::group::types::{Heartbeat, Join, Joined, Leaver, Reply, Sync, Synced, Token};
use crate::wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartition,
};
use crate::wire::{ErrorCode, Message, Str, peek_version};

/// The protocol type of consumers.
pub(in crate::group) const CONSUMER: &str = "consumer";

/// What a member told that it wants and has.
pub(in crate::group) fn subscription(
    metadata: &Bytes,
) -> Result<ConsumerProtocolSubscription, ErrorCode> {
    ConsumerProtocolSubscription::from_versioned_or_newer(metadata.clone())
        .map_err(|_| ErrorCode::InconsistentGroupProtocol)
}

/// Partitions by topic id, as far as the topics exist.
pub(in crate::group) fn by_id(
    named: &[ConsumerProtocolTopicPartition],
    topics: &Topics,
) -> Partitions {
    let mut all = Partitions::new();
    for of in named {
        if let Some((id, _)) = topics.get(&of.topic) {
            all.entry(id)
                .or_default()
                .extend(of.partitions.iter().copied());
        }
    }
    all
}

/// An assignment as classic members read it, in the version of the member's own metadata.
pub(in crate::group) fn assignment(
    assigned: &Partitions,
    metadata: &Bytes,
    topics: &Topics,
) -> Bytes {
    let version = peek_version(metadata).unwrap_or(0).clamp(0, 3);
    let assigned_partitions = assigned
        .iter()
        .filter_map(|(id, partitions)| {
            Some(ConsumerProtocolTopicPartition {
                topic: topics.name(id)?.clone(),
                partitions: partitions.iter().copied().collect(),
                ..ConsumerProtocolTopicPartition::default()
            })
        })
        .collect();
    ConsumerProtocolAssignment {
        assigned_partitions,
        ..ConsumerProtocolAssignment::default()
    }
    .to_versioned(version)
    .unwrap_or_default()
}

fn metadata(member: &Member) -> Option<&Bytes> {
    let classic = member.profile.classic.as_ref()?;
    classic.protocols.first().map(|(_, metadata)| metadata)
}

fn refused(member: &Str, code: ErrorCode) -> Reply {
    Reply::Joined(Joined {
        error: Some(code),
        generation: -1,
        member: member.clone(),
        ..Joined::default()
    })
}

impl ConsumerGroup {
    /// Whether a member with these protocols can be in the group: one of them is known to all
    /// members that speak the classic protocol.
    fn supports(&self, join: &Join) -> bool {
        let classic = || {
            self.members
                .values()
                .filter_map(|m| m.profile.classic.as_ref())
        };
        join.protocol_type == CONSUMER
            && join.protocols.iter().any(|(name, _)| {
                classic().all(|c| c.protocols.iter().any(|(other, _)| other == name))
            })
    }

    /// The member of a request of the classic protocol.
    fn classic_member(&self, member: &Str, instance: Option<&Str>) -> Result<&Member, ErrorCode> {
        let id = match instance {
            None => member,
            Some(instance) => match self.instances.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(owner) if owner != member => return Err(ErrorCode::FencedInstanceId),
                Some(owner) => owner,
            },
        };
        let member = self.members.get(id).filter(|m| m.is_classic());
        member.ok_or(ErrorCode::UnknownMemberId)
    }

    fn check_join(&self, join: &Join, cx: &Cx<'_>) -> Result<(), ErrorCode> {
        let id = new_id(join);
        self.check_room(id, cx).map_err(|refused| refused.code)?;
        if !self.supports(join) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        if join.member.is_empty() && join.instance.is_none() && join.member_id_required {
            return Err(ErrorCode::MemberIdRequired);
        }
        match join.instance.as_ref().map(|i| self.instances.get(i)) {
            None => Ok(()),
            Some(_) if join.member.is_empty() => Ok(()),
            Some(None) => Err(ErrorCode::UnknownMemberId),
            Some(Some(owner)) if *owner != join.member => Err(ErrorCode::FencedInstanceId),
            Some(Some(_)) => Ok(()),
        }
    }
}

fn new_id(join: &Join) -> &Str {
    if join.member.is_empty() {
        &join.new_member
    } else {
        &join.member
    }
}

/// JoinGroup to a consumer group that has members.
pub(in crate::group) fn join(groups: &mut Groups, token: Token, join: Join, cx: &mut Cx<'_>) {
    let Some(group) = groups.consumer_mut(&join.group) else {
        return cx.reply(token, refused(&join.member, ErrorCode::UnknownMemberId));
    };
    let id = new_id(&join).clone();
    let subscribed = group.check_join(&join, cx).and_then(|()| {
        let (_, metadata) = join
            .protocols
            .first()
            .ok_or(ErrorCode::InconsistentGroupProtocol)?;
        let subscribed = subscription(metadata)?;
        let stranger = !join.member.is_empty() && !group.members.contains_key(&join.member);
        if stranger && !subscribed.owned_partitions.is_empty() {
            return Err(ErrorCode::UnknownMemberId);
        }
        Ok(subscribed)
    });
    let subscribed = match subscribed {
        Ok(subscribed) => subscribed,
        Err(code) => return cx.reply(token, refused(&id, code)),
    };
    let replaced = join
        .instance
        .as_ref()
        .and_then(|i| group.instances.get(i))
        .cloned();
    let was_consumer = replaced
        .as_ref()
        .and_then(|old| group.members.get(old))
        .is_some_and(|old| !old.is_classic());
    match replaced {
        Some(old) if old != id => group.replace(&old, &id),
        None if !group.members.contains_key(&id) => group.add(Member::new(id.clone())),
        _ => {}
    }
    let changed = group.update_profile(&id, cx, |old| Profile {
        instance: join.instance.clone().or_else(|| old.instance.clone()),
        rack: subscribed
            .rack_id
            .as_ref()
            .map(Str::detach)
            .or_else(|| old.rack.clone()),
        client_id: join.client_id.clone(),
        client_host: join.client_host.clone(),
        topics: subscribed.topics.iter().map(Str::detach).collect(),
        regex: None,
        rebalance_timeout_ms: join.rebalance_timeout_ms,
        assignor: old.assignor.clone(),
        classic: Some(Classic {
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols.clone(),
        }),
    });
    let owned = by_id(&subscribed.owned_partitions, cx.topics);
    let downgrade = was_consumer && migrate::should_downgrade(group, cx);
    let rebalance = group.target_epoch < group.epoch;
    if !downgrade {
        group.update_target(cx);
    }
    if !downgrade || !rebalance {
        group.reconcile(&id, changed, Some(&owned), cx);
    }
    let Some(member) = group.members.get_mut(&id) else {
        return cx.reply(token, refused(&id, ErrorCode::UnknownMemberId));
    };
    let later = |millis: i32| Some(cx.now.saturating_add(i64::from(millis)));
    member.deadlines.session = later(join.session_timeout_ms);
    member.deadlines.sync = later(join.rebalance_timeout_ms);
    member.deadlines.join = None;
    member.deadlines.rebalance = None;
    let joined = Joined {
        generation: member.epoch(),
        protocol_type: Some(Str::from_static(CONSUMER)),
        protocol: join.protocols.first().map(|(name, _)| name.clone()),
        member: id,
        ..Joined::default()
    };
    let replies = vec![(token, Reply::Joined(joined))];
    if downgrade {
        migrate::downgrade(groups, &join.group, rebalance, replies, cx);
    } else {
        group.finish(replies, cx);
    }
}

/// SyncGroup to a consumer group.
pub(in crate::group) fn sync(
    group: &mut ConsumerGroup,
    token: Token,
    sync: &Sync,
    cx: &mut Cx<'_>,
) {
    let synced = group.sync(sync, cx);
    let (error, assignment) = match synced {
        Ok(assignment) => (None, assignment),
        Err(code) => (Some(code), Bytes::new()),
    };
    let answer = Synced {
        protocol_type: error
            .is_none()
            .then(|| sync.protocol_type.clone())
            .flatten(),
        protocol: error.is_none().then(|| sync.protocol.clone()).flatten(),
        error,
        assignment,
    };
    group.finish(vec![(token, Reply::Synced(answer))], cx);
}

impl ConsumerGroup {
    fn sync(&mut self, sync: &Sync, cx: &Cx<'_>) -> Result<Bytes, ErrorCode> {
        let member = self.classic_member(&sync.member, sync.instance.as_ref())?;
        if member.epoch() != sync.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let classic = member.profile.classic.clone().unwrap_or_default();
        let named = classic.protocols.first().map(|(name, _)| name);
        if sync.protocol_type.as_deref().is_some_and(|t| t != CONSUMER)
            || sync.protocol.as_ref().is_some_and(|p| Some(p) != named)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        // Whoever has yet to give partitions up has joined already, and joins again after that.
        let behind =
            self.target_epoch > member.epoch() && member.position.state != MemberState::Unrevoked;
        let id = member.id.clone();
        let assigned = assignment(
            &partitions(&member.position.held),
            metadata(member).unwrap_or(&Bytes::new()),
            cx.topics,
        );
        if behind {
            self.must_join(&id, cx.now);
            return Err(ErrorCode::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(&id) {
            let session = i64::from(classic.session_timeout_ms);
            member.deadlines.sync = None;
            member.deadlines.session = Some(cx.now.saturating_add(session));
        }
        Ok(assigned)
    }

    /// The member is told to join again; from then on it has as long as it asked for.
    fn must_join(&mut self, id: &Str, now: i64) {
        if let Some(member) = self.members.get_mut(id) {
            let timeout = i64::from(member.profile.rebalance_timeout_ms);
            let until = now.saturating_add(timeout);
            member.deadlines.join.get_or_insert(until);
        }
    }

    fn classic_heartbeat(&mut self, beat: &Heartbeat, now: i64) -> ErrorCode {
        let member = match self.classic_member(&beat.member, beat.instance.as_ref()) {
            Ok(member) if member.epoch() != beat.generation => {
                return ErrorCode::IllegalGeneration;
            }
            Ok(member) => member,
            Err(code) => return code,
        };
        let state = member.position.state;
        let joins = member.epoch() < self.target_epoch
            || state == MemberState::Unrevoked
            || (state == MemberState::Unreleased && !self.waits_for_others(member));
        let (id, classic) = (member.id.clone(), member.profile.classic.clone());
        if let Some(member) = self.members.get_mut(&id) {
            let session = i64::from(classic.unwrap_or_default().session_timeout_ms);
            member.deadlines.session = Some(now.saturating_add(session));
        }
        if joins {
            self.must_join(&id, now);
            ErrorCode::RebalanceInProgress
        } else {
            ErrorCode::None
        }
    }
}

/// Heartbeat to a consumer group.
pub(in crate::group) fn heartbeat(
    group: &mut ConsumerGroup,
    token: Token,
    beat: &Heartbeat,
    cx: &mut Cx<'_>,
) {
    let code = group.classic_heartbeat(beat, cx.now);
    group.finish(vec![(token, Reply::Code(code))], cx);
}

/// LeaveGroup to a consumer group.
pub(in crate::group) fn leave(
    groups: &mut Groups,
    id: &Str,
    token: Token,
    leavers: Vec<Leaver>,
    cx: &mut Cx<'_>,
) {
    let Some(group) = groups.consumer_mut(id) else {
        return cx.reply(token, Reply::Left(Err(ErrorCode::UnknownMemberId)));
    };
    let mut gone = Vec::new();
    let left = leavers
        .into_iter()
        .map(|leaver| {
            let found = match &leaver.instance {
                None => Some(&leaver.member).filter(|m| group.members.contains_key(*m)),
                Some(instance) => group.instances.get(instance),
            };
            let code = match found {
                None => ErrorCode::UnknownMemberId,
                Some(m) if !leaver.member.is_empty() && *m != leaver.member => {
                    ErrorCode::FencedInstanceId
                }
                Some(m) => {
                    gone.push(m.clone());
                    ErrorCode::None
                }
            };
            (leaver, code)
        })
        .collect();
    gone.sort();
    gone.dedup();
    fence::fence(groups, id, gone, vec![(token, Reply::Left(Ok(left)))], cx);
}
