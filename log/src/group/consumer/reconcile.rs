//! A member's way to the target assignment.
//!
//! Invariants: a member gets a partition only when nobody else has it, nor has yet to give it up; it
//! moves to the target's epoch only when it has given up what it shall not keep.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::assignor::Partitions;
use super::group::ConsumerGroup;
use super::member::{Held, Member, MemberState, Position};
use crate::group::coordinator::Cx;
use crate::wire::Str;

impl ConsumerGroup {
    /// Leads a member on, as far as it can go by now. `owned` is what it says it has, if it says so;
    /// `subscription_changed` that it may have to give up at once what it no longer subscribes to.
    pub(in crate::group) fn reconcile(
        &mut self,
        id: &Str,
        subscription_changed: bool,
        owned: Option<&Partitions>,
        cx: &Cx<'_>,
    ) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        if !subscription_changed && member.is_reconciled_to(self.target_epoch) {
            return;
        }
        let step = Step {
            group: self,
            member,
            subscribed: self.topics_of(member, cx.topics),
            owned,
        };
        let Some(position) = step.next(subscription_changed) else {
            return;
        };
        if position == member.position {
            return;
        }
        let unrevoked = position.state == MemberState::Unrevoked;
        self.set_position(id, position);
        // Members of the classic protocol are watched by how they join and sync.
        if let Some(member) = self.members.get_mut(id).filter(|m| !m.is_classic()) {
            let timeout = i64::from(member.profile.rebalance_timeout_ms);
            member.deadlines.rebalance = unrevoked.then(|| cx.now.saturating_add(timeout));
        }
    }

    /// Whether a member waits for partitions that others have not given up yet.
    pub(in crate::group) fn waits_for_others(&self, member: &Member) -> bool {
        member.position.state == MemberState::Unreleased
            && self.targets.get(&member.id).is_some_and(|target| {
                target.iter().any(|(topic, partitions)| {
                    let held = member.position.held.get(topic);
                    partitions.iter().any(|p| {
                        !held.is_some_and(|h| h.contains_key(p)) && self.owner(topic, *p).is_some()
                    })
                })
            })
    }
}

struct Step<'a> {
    group: &'a ConsumerGroup,
    member: &'a Member,
    subscribed: BTreeSet<Uuid>,
    owned: Option<&'a Partitions>,
}

impl Step<'_> {
    fn next(&self, subscription_changed: bool) -> Option<Position> {
        let now = &self.member.position;
        match now.state {
            MemberState::Stable if now.epoch != self.group.target_epoch => {
                Some(self.towards_target())
            }
            MemberState::Stable => subscription_changed.then(|| self.without_unsubscribed()),
            MemberState::Unrevoked if self.has_any(&now.revoking) => {
                subscription_changed.then(|| self.without_unsubscribed())
            }
            MemberState::Unrevoked | MemberState::Unreleased | MemberState::Unknown => {
                Some(self.towards_target())
            }
        }
    }

    /// Whether the member still has any of these; also if it does not say.
    fn has_any(&self, of: &Held) -> bool {
        self.owned.is_none_or(|owned| {
            owned.iter().any(|(topic, partitions)| {
                of.get(topic)
                    .is_some_and(|of| partitions.iter().any(|p| of.contains_key(p)))
            })
        })
    }

    /// The member gives up what it no longer subscribes to, and stays where it is otherwise.
    fn without_unsubscribed(&self) -> Position {
        let now = &self.member.position;
        let (held, dropped): (Held, Held) = now
            .held
            .clone()
            .into_iter()
            .partition(|(topic, _)| self.subscribed.contains(topic));
        if dropped.is_empty() {
            return now.clone();
        }
        let mut revoking = now.revoking.clone();
        for (topic, partitions) in dropped {
            revoking.entry(topic).or_default().extend(partitions);
        }
        if self.has_any(&revoking) {
            Position {
                held,
                revoking,
                ..now.at(now.epoch, MemberState::Unrevoked)
            }
        } else {
            Position {
                held,
                revoking: now.revoking.clone(),
                ..now.at(now.epoch, now.state)
            }
        }
    }

    fn towards_target(&self) -> Position {
        let now = &self.member.position;
        let nothing = Partitions::new();
        let target = self.group.targets.get(&self.member.id).unwrap_or(&nothing);
        let wanted = |topic: &Uuid, partition: i32| {
            self.subscribed.contains(topic)
                && target.get(topic).is_some_and(|t| t.contains(&partition))
        };
        let (mut held, mut revoking) = (Held::new(), Held::new());
        for (topic, partitions) in &now.held {
            for (partition, since) in partitions {
                let to = if wanted(topic, *partition) {
                    &mut held
                } else {
                    &mut revoking
                };
                to.entry(*topic).or_default().insert(*partition, *since);
            }
        }
        if !revoking.is_empty() && self.has_any(&revoking) {
            return Position {
                held,
                revoking,
                ..now.at(now.epoch, MemberState::Unrevoked)
            };
        }
        let epoch = self.group.target_epoch;
        let mut waits = false;
        for (topic, partitions) in target.iter().filter(|(t, _)| self.subscribed.contains(*t)) {
            let mut free = BTreeMap::new();
            for partition in partitions {
                let has = held.get(topic).is_some_and(|h| h.contains_key(partition));
                let owner = self.group.owner(topic, *partition);
                if has {
                    continue;
                } else if owner.is_none_or(|owner| *owner == self.member.id) {
                    free.insert(*partition, epoch);
                } else {
                    waits = true;
                }
            }
            if !free.is_empty() {
                held.entry(*topic).or_default().extend(free);
            }
        }
        let state = if waits {
            MemberState::Unreleased
        } else {
            MemberState::Stable
        };
        Position {
            held,
            ..now.at(epoch, state)
        }
    }
}
