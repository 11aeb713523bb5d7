//! ConsumerGroupHeartbeat: joining, staying, leaving.
//!
//! Invariant: a request is checked whole before it changes anything.

use super::assignor::{Assignor, Partitions};
use super::group::ConsumerGroup;
use super::member::{LEFT, LEFT_STATIC, Member, MemberState, Position, Profile, partitions};
use super::{fence, migrate, subscription};
use crate::group::coordinator::{Cx, Groups};
use crate::group::groups::Group;
use crate::group::types::{ConsumerBeat, ConsumerHeartbeat, Refused, Reply, Token};
use crate::wire::{ErrorCode, Str};

/// ConsumerGroupHeartbeat.
pub(in crate::group) fn on_heartbeat(
    groups: &mut Groups,
    token: Token,
    beat: ConsumerHeartbeat,
    cx: &mut Cx<'_>,
) {
    let done = check_request(&beat, cx).and_then(|()| {
        if beat.epoch < 0 {
            on_leave(groups, token, &beat, cx)
        } else {
            let group = group_of(groups, &beat, cx)?;
            let answer = group.beat(&beat, cx)?;
            group.finish(vec![(token, Reply::ConsumerBeat(Ok(answer)))], cx);
            Ok(())
        }
    });
    if let Err(refused) = done {
        cx.reply(token, Reply::ConsumerBeat(Err(refused)));
    }
}

fn check_request(beat: &ConsumerHeartbeat, cx: &Cx<'_>) -> Result<(), Refused> {
    let invalid = |what: &str| Err(Refused::new(ErrorCode::InvalidRequest, what));
    let blank = |text: &Option<Str>| text.as_ref().is_some_and(|t| t.trim().is_empty());
    if beat.member.trim().is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if beat.group.trim().is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if blank(&beat.instance) {
        return invalid("InstanceId can't be empty.");
    }
    if blank(&beat.rack) {
        return invalid("RackId can't be empty.");
    }
    match beat.epoch {
        0 if beat.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if beat.owned.as_ref().is_none_or(|owned| !owned.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if beat.topics.is_none() && beat.regex.is_none() => {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                 (re-)joining.",
            );
        }
        LEFT_STATIC if beat.instance.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < LEFT_STATIC => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    if let Some(assignor) = &beat.assignor {
        let offered = &cx.config.consumer.assignors;
        if !Assignor::named(assignor).is_some_and(|a| offered.contains(&a)) {
            let names: Vec<&str> = offered.iter().map(|a| a.name()).collect();
            return Err(Refused::new(
                ErrorCode::UnsupportedAssignor,
                format!(
                    "ServerAssignor {assignor} is not supported. Supported assignors: {}.",
                    names.join(", ")
                ),
            ));
        }
    }
    if let Some(regex) = beat.regex.as_ref().filter(|r| !r.is_empty()) {
        subscription::compile(regex)?;
    }
    Ok(())
}

/// The group; a member that joins makes one of nothing, or of a classic group.
fn group_of<'a>(
    groups: &'a mut Groups,
    beat: &ConsumerHeartbeat,
    cx: &mut Cx<'_>,
) -> Result<&'a mut ConsumerGroup, Refused> {
    let id = &beat.group;
    match groups.get(id) {
        Some(Group::Consumer(_)) => {}
        None if beat.epoch == 0 => groups.insert(Group::Consumer(ConsumerGroup::new(id.clone()))),
        Some(Group::Classic(_)) if beat.epoch == 0 => {
            migrate::upgrade(groups, id, &beat.member, cx)?
        }
        None => return Err(missing(format!("Consumer group {id} not found."))),
        Some(Group::Classic(_)) => return Err(no_consumer_group(id)),
    }
    groups.consumer_mut(id).ok_or_else(|| no_consumer_group(id))
}

fn missing(message: String) -> Refused {
    Refused::new(ErrorCode::GroupIdNotFound, message)
}

fn no_consumer_group(id: &Str) -> Refused {
    missing(format!("Group {id} is not a consumer group."))
}

fn unknown_member(member: &str, group: &str) -> Refused {
    Refused::new(
        ErrorCode::UnknownMemberId,
        format!("Member {member} is not a member of group {group}."),
    )
}

fn unknown_instance(instance: &str) -> Refused {
    Refused::new(
        ErrorCode::UnknownMemberId,
        format!("Instance id {instance} is unknown."),
    )
}

fn fenced_instance(member: &str, instance: &str, owner: &str) -> Refused {
    Refused::new(
        ErrorCode::FencedInstanceId,
        format!("Static member {member} with instance id {instance} was fenced by member {owner}."),
    )
}

/// How a member comes into the group.
enum Entry {
    /// It is in it.
    Known,
    /// It is new.
    New,
    /// It takes the place of a static member that left.
    InPlaceOf(Str),
}

impl ConsumerGroup {
    /// A member that joins or stays.
    fn beat(&mut self, beat: &ConsumerHeartbeat, cx: &Cx<'_>) -> Result<ConsumerBeat, Refused> {
        let entry = self.check_beat(beat, cx)?;
        self.enter(&beat.member, entry);
        let before = self.members.get(&beat.member).map(|m| m.position.clone());
        let text = |new: &Option<Str>, old: &Option<Str>| new.clone().or_else(|| old.clone());
        let changed = self.update_profile(&beat.member, cx, |old| Profile {
            instance: text(&beat.instance, &old.instance),
            rack: text(&beat.rack, &old.rack),
            client_id: beat.client_id.clone(),
            client_host: beat.client_host.clone(),
            topics: match &beat.topics {
                Some(topics) => topics.iter().cloned().collect(),
                None => old.topics.clone(),
            },
            regex: text(&beat.regex, &old.regex).filter(|r| !r.is_empty()),
            rebalance_timeout_ms: if beat.rebalance_timeout_ms == -1 {
                old.rebalance_timeout_ms
            } else {
                beat.rebalance_timeout_ms
            },
            assignor: text(&beat.assignor, &old.assignor),
            classic: None,
        });
        self.update_target(cx);
        self.reconcile(&beat.member, changed, beat.owned.as_ref(), cx);

        let session = i64::from(cx.session_timeout(&self.id));
        let interval = cx.heartbeat_interval(&self.id).min(self.target_due(cx));
        let member = self.members.get_mut(&beat.member);
        let member = member.ok_or_else(|| unknown_member(&beat.member, &self.id))?;
        member.deadlines.session = Some(cx.now.saturating_add(session));
        member.deadlines.join = None;
        member.deadlines.sync = None;
        let whole = beat.rebalance_timeout_ms != -1
            && (beat.topics.is_some() || beat.regex.is_some())
            && beat.owned.is_some();
        let moved = before.is_none_or(|before| before.held != member.position.held);
        Ok(ConsumerBeat {
            member: member.id.clone(),
            epoch: member.epoch(),
            heartbeat_interval_ms: interval,
            assignment: (beat.epoch == 0 || whole || moved)
                .then(|| partitions(&member.position.held)),
        })
    }

    fn check_beat(&self, beat: &ConsumerHeartbeat, cx: &Cx<'_>) -> Result<Entry, Refused> {
        if self.deleting {
            return Err(Refused::new(
                ErrorCode::CoordinatorNotAvailable,
                format!("Group {} is being deleted.", self.id),
            ));
        }
        self.check_room(&beat.member, cx)?;
        let joins = beat.epoch == 0;
        let known = self.members.get(&beat.member);
        let entry = match &beat.instance {
            None => match known {
                Some(_) => Entry::Known,
                None if joins => Entry::New,
                None => return Err(unknown_member(&beat.member, &self.id)),
            },
            Some(instance) => match self.instances.get(instance) {
                None if joins && known.is_some() => Entry::Known,
                None if joins => Entry::New,
                None => return Err(unknown_instance(instance)),
                Some(owner) if *owner == beat.member => Entry::Known,
                Some(owner) if joins => {
                    let left = self.members.get(owner);
                    if left.is_some_and(|m| !m.is_classic() && m.epoch() != LEFT_STATIC) {
                        return Err(Refused::new(
                            ErrorCode::UnreleasedInstanceId,
                            format!(
                                "Static member {} with instance id {instance} cannot join the \
                                 group because the instance id is owned by {owner} member.",
                                beat.member
                            ),
                        ));
                    }
                    Entry::InPlaceOf(owner.clone())
                }
                Some(owner) => return Err(fenced_instance(&beat.member, instance, owner)),
            },
        };
        if let (Entry::Known, Some(member)) = (&entry, known) {
            check_epoch(member, beat.epoch, beat.owned.as_ref())?;
        }
        Ok(entry)
    }

    /// Checks that there is room for a member, if it is not in the group.
    pub(in crate::group) fn check_room(&self, member: &Str, cx: &Cx<'_>) -> Result<(), Refused> {
        let most = cx.config.consumer.max_size;
        if self.members.len() >= most && !self.members.contains_key(member) {
            return Err(Refused::new(
                ErrorCode::GroupMaxSizeReached,
                format!("The consumer group has reached its maximum capacity of {most} members."),
            ));
        }
        Ok(())
    }

    fn enter(&mut self, id: &Str, entry: Entry) {
        match entry {
            Entry::Known => {}
            Entry::New => self.add(Member::new(id.clone())),
            Entry::InPlaceOf(owner) => self.replace(&owner, id),
        }
    }

    /// Changes what a member is and wants, and bumps the epoch if it matters. Says whether the
    /// member subscribes to something else now.
    pub(in crate::group) fn update_profile(
        &mut self,
        id: &Str,
        cx: &Cx<'_>,
        change: impl FnOnce(&Profile) -> Profile,
    ) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        let profile = change(&member.profile);
        let before = std::mem::replace(&mut member.profile, profile.clone());
        if before != profile {
            if let Some(instance) = &profile.instance {
                self.instances.insert(instance.clone(), id.clone());
            }
            self.mark(super::group::Key::Member(id.clone()));
        }
        let changed = before.topics != profile.topics || before.regex != profile.regex;
        let other_topics = self.resolve(cx);
        self.update_epoch(changed || other_topics, cx);
        changed
    }
}

/// Checks the epoch that a member knows. The one before is taken if the answer that told it the
/// next one may have been lost.
fn check_epoch(member: &Member, epoch: i32, owned: Option<&Partitions>) -> Result<(), Refused> {
    let fenced = |how: String| {
        Err(Refused::new(
            ErrorCode::FencedMemberEpoch,
            format!("{how} The member must abandon all its partitions and rejoin."),
        ))
    };
    let Position {
        epoch: known,
        previous_epoch,
        state,
        ..
    } = member.position;
    if epoch == 0 {
        return Ok(());
    }
    if epoch > known {
        return fenced(format!(
            "The consumer group member has a greater member epoch ({epoch}) than the one known by \
             the group coordinator ({known})."
        ));
    }
    if epoch < known && (epoch != previous_epoch || !member.holds(owned)) {
        return fenced(format!(
            "The consumer group member has a smaller member epoch ({epoch}) than the one known by \
             the group coordinator ({known})."
        ));
    }
    if state == MemberState::Unknown && owned.is_none_or(|owned| !owned.is_empty()) {
        return fenced("The consumer group member is in a unknown state.".to_owned());
    }
    Ok(())
}

/// A member leaves, for good or as a static member that comes back.
fn on_leave(
    groups: &mut Groups,
    token: Token,
    beat: &ConsumerHeartbeat,
    cx: &mut Cx<'_>,
) -> Result<(), Refused> {
    let id = &beat.group;
    let group = match groups.get_mut(id) {
        Some(Group::Consumer(group)) => group,
        Some(Group::Classic(_)) => return Err(no_consumer_group(id)),
        None => return Err(missing(format!("Group {id} not found."))),
    };
    let member = match &beat.instance {
        None => beat.member.clone(),
        Some(instance) => match group.instances.get(instance) {
            None => return Err(unknown_instance(instance)),
            Some(owner) if *owner != beat.member => {
                return Err(fenced_instance(&beat.member, instance, owner));
            }
            Some(owner) => owner.clone(),
        },
    };
    let Some(found) = group.members.get(&member) else {
        return Err(unknown_member(&member, id));
    };
    let answer = ConsumerBeat {
        member: member.clone(),
        epoch: beat.epoch,
        ..ConsumerBeat::default()
    };
    let reply = (token, Reply::ConsumerBeat(Ok(answer)));
    if beat.instance.is_some() && beat.epoch == LEFT_STATIC {
        let mut position = found.position.clone();
        position.epoch = LEFT_STATIC;
        position.revoking.clear();
        // Whoever takes its place has them from the beginning.
        let held = position.held.values_mut();
        held.flat_map(|p| p.values_mut())
            .for_each(|since| *since = 0);
        group.set_position(&member, position);
        if let Some(member) = group.members.get_mut(&member) {
            // It has nothing to give up any more, and as long as its session to come back.
            member.deadlines.rebalance = None;
        }
        group.finish(vec![reply], cx);
    } else {
        debug_assert!(beat.epoch == LEFT || beat.instance.is_none());
        fence::fence(groups, id, vec![member], vec![reply], cx);
    }
    Ok(())
}
