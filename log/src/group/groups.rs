//! The groups of a coordinator, of whichever protocol.

use std::collections::BTreeMap;
use std::collections::btree_map::IterMut;

use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::records::GroupRecord;
use super::topics::Topics;
use super::types::{Commit, GroupState};
use crate::wire::{ErrorCode, Str};

/// A group.
#[derive(Debug, Clone)]
pub(super) enum Group {
    /// Of the classic protocol.
    Classic(ClassicGroup),
    /// Of the consumer protocol.
    Consumer(ConsumerGroup),
}

/// How the offsets of a group expire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry {
    /// They are unused since then, or since their commits, whichever is later.
    pub(super) unused_since: i64,
}

impl Group {
    /// Whether this commit may be made.
    pub(super) fn check_commit(
        &self,
        commit: &Commit,
        transactional: bool,
        topics: &Topics,
    ) -> Result<(), ErrorCode> {
        match self {
            Self::Classic(group) => group.check_commit(commit, transactional),
            Self::Consumer(group) => group.check_commit(commit, transactional, |topic| {
                topics.get(topic).map(|(id, _)| id)
            }),
        }
    }

    /// A member commits.
    pub(super) fn committing(&mut self, member: &Str, now: i64) {
        match self {
            Self::Classic(group) => group.committing(member, now),
            Self::Consumer(_) => {}
        }
    }

    /// Whether the group may be deleted.
    pub(super) fn check_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Self::Classic(group) => match group.state {
                GroupState::Empty => Ok(()),
                GroupState::Dead => Err(ErrorCode::GroupIdNotFound),
                _ => Err(ErrorCode::NonEmptyGroup),
            },
            Self::Consumer(group) if group.deleting => Err(ErrorCode::GroupIdNotFound),
            Self::Consumer(group) if group.members.is_empty() => Ok(()),
            Self::Consumer(_) => Err(ErrorCode::NonEmptyGroup),
        }
    }

    /// Whether offsets of the group may be deleted, but for those of subscribed topics.
    pub(super) fn check_offset_delete(&self) -> Result<(), ErrorCode> {
        match self {
            Self::Classic(group) => match group.state {
                GroupState::Dead => Err(ErrorCode::GroupIdNotFound),
                GroupState::Empty => Ok(()),
                _ if group.is_consumer() => Ok(()),
                _ => Err(ErrorCode::NonEmptyGroup),
            },
            Self::Consumer(_) => Ok(()),
        }
    }

    /// Whether a member subscribed to the topic.
    pub(super) fn is_subscribed_to(&self, topic: &Str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// How the group's offsets expire; `None` if they do not.
    pub(super) fn offset_expiry(&self) -> Option<Expiry> {
        match self {
            Self::Classic(group) => group
                .offsets_unused_since()
                .map(|unused_since| Expiry { unused_since }),
            Self::Consumer(_) => Some(Expiry {
                unused_since: i64::MIN,
            }),
        }
    }

    /// Whether somebody is about to join.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Classic(group) => !group.pending.is_empty(),
            Self::Consumer(_) => false,
        }
    }

    /// Whether nobody is in the group, nor about to join.
    pub(super) fn is_unused(&self) -> bool {
        match self {
            Self::Classic(group) => group.members.is_empty() && group.pending.is_empty(),
            Self::Consumer(group) => group.members.is_empty(),
        }
    }

    /// What deletes the group from the log.
    pub(super) fn tombstones(&self) -> Vec<GroupRecord> {
        match self {
            Self::Classic(group) => vec![GroupRecord::Group(group.id.clone(), None)],
            Self::Consumer(group) => group.tombstones(),
        }
    }

    /// While the deletion is being written nobody may use the group.
    pub(super) fn set_deleting(&mut self, deleting: bool, now: i64) {
        match self {
            Self::Classic(group) => {
                let state = if deleting {
                    GroupState::Dead
                } else {
                    GroupState::Empty
                };
                group.become_state(state, now);
            }
            Self::Consumer(group) => group.deleting = deleting,
        }
    }

    /// The next time at which something happens by itself.
    pub(super) fn next_deadline(&self) -> Option<i64> {
        match self {
            Self::Classic(group) => group.next_deadline(),
            Self::Consumer(group) => group.next_deadline(),
        }
    }
}

/// The groups by their ids.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    map: BTreeMap<Str, Group>,
}

impl Groups {
    pub(super) fn contains(&self, id: &str) -> bool {
        self.map.contains_key(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Group> {
        self.map.get(id)
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.map.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Group> {
        self.map.remove(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Str, &Group)> {
        self.map.iter()
    }

    pub(super) fn iter_mut(&mut self) -> IterMut<'_, Str, Group> {
        self.map.iter_mut()
    }

    /// The group; an empty one that only stores offsets if there is none.
    pub(super) fn get_or_simple(&mut self, id: &Str, now: i64) -> &mut Group {
        self.map
            .entry(id.clone())
            .or_insert_with(|| Group::Classic(ClassicGroup::new(id.clone(), now)))
    }

    /// The group if it is of the classic protocol.
    pub(super) fn classic_mut(&mut self, id: &str) -> Option<&mut ClassicGroup> {
        match self.map.get_mut(id) {
            Some(Group::Classic(group)) => Some(group),
            Some(Group::Consumer(_)) | None => None,
        }
    }

    /// The group if it is of the consumer protocol.
    pub(super) fn consumer_mut(&mut self, id: &str) -> Option<&mut ConsumerGroup> {
        match self.map.get_mut(id) {
            Some(Group::Consumer(group)) => Some(group),
            Some(Group::Classic(_)) | None => None,
        }
    }

    /// Puts a group in the place of whatever had its id.
    pub(super) fn insert(&mut self, group: Group) {
        let id = match &group {
            Group::Classic(group) => group.id.clone(),
            Group::Consumer(group) => group.id.clone(),
        };
        self.map.insert(id, group);
    }

    /// Every group's id.
    pub(super) fn ids(&self) -> Vec<Str> {
        self.map.keys().cloned().collect()
    }
}
