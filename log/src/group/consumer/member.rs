//! A member of a group of the consumer protocol.
//!
//! Invariant: what it holds and what it has yet to give up are disjoint; in both, each partition
//! carries the epoch in which the member got it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use uuid::Uuid;

use super::assignor::Partitions;
use crate::wire::Str;

/// Topic id to partitions, each with the epoch in which it was assigned.
pub(in crate::group) type Held = BTreeMap<Uuid, BTreeMap<i32, i32>>;

/// The epoch of a static member that left and will come back.
pub(in crate::group) const LEFT_STATIC: i32 = -2;

/// The epoch of a member that leaves for good.
pub(in crate::group) const LEFT: i32 = -1;

/// The partitions without their epochs.
pub(in crate::group) fn partitions(held: &Held) -> Partitions {
    held.iter()
        .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
        .collect()
}

/// Where a member is on its way to the target assignment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::group) enum MemberState {
    /// It is where it was last led to.
    #[default]
    Stable,
    /// It has yet to give partitions up.
    Unrevoked,
    /// It waits for partitions that others have yet to give up.
    Unreleased,
    /// A newer broker wrote something that this one does not know.
    Unknown,
}

impl MemberState {
    /// Kafka's number of the state.
    pub(in crate::group) fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::Unrevoked => 1,
            Self::Unreleased => 2,
            Self::Unknown => 127,
        }
    }

    pub(in crate::group) fn of(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::Unrevoked,
            2 => Self::Unreleased,
            _ => Self::Unknown,
        }
    }
}

/// What a member that speaks the classic protocol told when it joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::group) struct Classic {
    pub(in crate::group) session_timeout_ms: i32,
    pub(in crate::group) protocols: Vec<(Str, Bytes)>,
}

/// What a member is and wants: the part of it that changes with its requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::group) struct Profile {
    pub(in crate::group) instance: Option<Str>,
    pub(in crate::group) rack: Option<Str>,
    pub(in crate::group) client_id: Str,
    pub(in crate::group) client_host: Str,
    pub(in crate::group) topics: BTreeSet<Str>,
    /// Never the empty string.
    pub(in crate::group) regex: Option<Str>,
    pub(in crate::group) rebalance_timeout_ms: i32,
    pub(in crate::group) assignor: Option<Str>,
    pub(in crate::group) classic: Option<Classic>,
}

/// Where a member is: the part of it that changes as it is led to the target assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::group) struct Position {
    pub(in crate::group) epoch: i32,
    pub(in crate::group) previous_epoch: i32,
    pub(in crate::group) state: MemberState,
    pub(in crate::group) held: Held,
    pub(in crate::group) revoking: Held,
}

impl Position {
    /// What the member has: what it holds, and what it has yet to give up.
    pub(in crate::group) fn all(&self) -> Partitions {
        let mut all = partitions(&self.held);
        for (topic, revoking) in &self.revoking {
            let of = all.entry(*topic).or_default();
            of.extend(revoking.keys().copied());
        }
        all
    }

    /// Moves to an epoch.
    pub(in crate::group) fn at(&self, epoch: i32, state: MemberState) -> Self {
        Self {
            epoch,
            previous_epoch: self.epoch,
            state,
            held: Held::new(),
            revoking: Held::new(),
        }
    }
}

/// When a member is thrown out unless it is heard of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::group) struct Deadlines {
    /// It has not been heard of at all.
    pub(in crate::group) session: Option<i64>,
    /// It has not given up what it shall not keep.
    pub(in crate::group) rebalance: Option<i64>,
    /// Of the classic protocol: it has not joined again.
    pub(in crate::group) join: Option<i64>,
    /// Of the classic protocol: it has not asked for its assignment.
    pub(in crate::group) sync: Option<i64>,
}

impl Deadlines {
    pub(in crate::group) fn next(&self) -> Option<i64> {
        let all = [self.session, self.rebalance, self.join, self.sync];
        all.into_iter().flatten().min()
    }
}

/// A member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::group) struct Member {
    pub(in crate::group) id: Str,
    pub(in crate::group) profile: Profile,
    pub(in crate::group) position: Position,
    pub(in crate::group) deadlines: Deadlines,
}

impl Member {
    pub(in crate::group) fn new(id: Str) -> Self {
        Self {
            id,
            profile: Profile {
                rebalance_timeout_ms: -1,
                ..Profile::default()
            },
            ..Self::default()
        }
    }

    pub(in crate::group) fn epoch(&self) -> i32 {
        self.position.epoch
    }

    pub(in crate::group) fn is_classic(&self) -> bool {
        self.profile.classic.is_some()
    }

    /// Whether it has all that it shall have by the target assignment of an epoch.
    pub(in crate::group) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.position.state == MemberState::Stable && self.position.epoch == epoch
    }

    /// The epoch in which it got a partition that it holds, or has yet to give up.
    pub(in crate::group) fn assigned_in(&self, topic: &Uuid, partition: i32) -> Option<i32> {
        let position = &self.position;
        [&position.held, &position.revoking]
            .into_iter()
            .find_map(|held| held.get(topic)?.get(&partition).copied())
    }

    /// Whether `owned` is nothing but what it holds; not if that is not known.
    pub(in crate::group) fn holds(&self, owned: Option<&Partitions>) -> bool {
        owned.is_some_and(|owned| {
            owned.iter().all(|(topic, partitions)| {
                let held = self.position.held.get(topic);
                partitions
                    .iter()
                    .all(|p| held.is_some_and(|held| held.contains_key(p)))
            })
        })
    }
}
