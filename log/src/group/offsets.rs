//! A group's offsets: committing, deleting, expiring.

use std::collections::BTreeMap;

use super::coordinator::{Cx, Write};
use super::member::Group;
use super::records::GroupRecord;
use super::types::{Commit, CommittedOffset, GroupState, Reply, Token, TopicPartition};
use crate::wire::{ErrorCode, Str};

impl Group {
    /// OffsetCommit.
    pub(super) fn commit(&mut self, token: Token, commit: Commit, cx: &mut Cx<'_>) {
        if let Err(code) = self.check_commit(&commit) {
            let codes = commit
                .offsets
                .into_iter()
                .map(|(at, _)| (at, code))
                .collect();
            return cx.reply(token, Reply::Offsets(Ok(codes)));
        }
        if let Some(member) = self.members.get_mut(&commit.member)
            && member.deadline.is_some()
        {
            member.touch(cx.now);
        }
        let mut codes = BTreeMap::new();
        let mut accepted = Vec::with_capacity(commit.offsets.len());
        for (at, mut offset) in commit.offsets {
            if offset.metadata.len() > cx.config.offset_metadata_max_bytes {
                codes.insert(at, ErrorCode::OffsetMetadataTooLarge);
                continue;
            }
            codes.insert(at.clone(), ErrorCode::None);
            offset.commit_timestamp = cx.now;
            accepted.push((at, offset));
        }
        if accepted.is_empty() {
            return cx.reply(token, Reply::Offsets(Ok(codes)));
        }
        let records = accepted
            .iter()
            .map(|(at, offset)| {
                GroupRecord::Offset(self.id.clone(), at.clone(), Some(offset.clone()))
            })
            .collect();
        cx.persist(
            records,
            Write::Commit {
                group: self.id.clone(),
                token,
                offsets: accepted,
                codes,
            },
        );
    }

    fn check_commit(&self, commit: &Commit) -> Result<(), ErrorCode> {
        if self.state == GroupState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let outside =
            commit.generation < 0 && commit.member.is_empty() && commit.instance.is_none();
        if outside && self.state == GroupState::Empty {
            return Ok(());
        }
        if commit.generation < 0 && self.state == GroupState::Empty {
            // A consumer that assigns itself its partitions may still name itself.
            return Ok(());
        }
        self.check_member(&commit.member, commit.instance.as_ref())?;
        if commit.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        match self.state {
            GroupState::Stable | GroupState::PreparingRebalance => Ok(()),
            GroupState::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::Empty | GroupState::Dead => Err(ErrorCode::UnknownMemberId),
        }
    }

    /// DeleteGroups, for this group.
    pub(super) fn delete(&mut self, token: Token, cx: &mut Cx<'_>) {
        match self.state {
            GroupState::Empty if self.pending.is_empty() => {
                let mut records: Vec<_> = self
                    .offsets
                    .keys()
                    .map(|at| GroupRecord::Offset(self.id.clone(), at.clone(), None))
                    .collect();
                records.push(GroupRecord::Group(self.id.clone(), None));
                self.become_state(GroupState::Dead, cx.now);
                cx.persist(
                    records,
                    Write::Delete {
                        group: self.id.clone(),
                        token,
                    },
                );
            }
            GroupState::Dead => cx.reply(token, Reply::Code(ErrorCode::GroupIdNotFound)),
            _ => cx.reply(token, Reply::Code(ErrorCode::NonEmptyGroup)),
        }
    }

    /// OffsetDelete.
    pub(super) fn delete_offsets(
        &mut self,
        token: Token,
        partitions: Vec<TopicPartition>,
        cx: &mut Cx<'_>,
    ) {
        let subscribed = match self.state {
            GroupState::Dead => {
                return cx.reply(token, Reply::Offsets(Err(ErrorCode::GroupIdNotFound)));
            }
            GroupState::Empty => None,
            _ => match self.subscribed() {
                Some(topics) => Some(topics),
                None => return cx.reply(token, Reply::Offsets(Err(ErrorCode::NonEmptyGroup))),
            },
        };
        let codes: BTreeMap<_, _> = partitions
            .into_iter()
            .map(|at| {
                let used = subscribed
                    .as_ref()
                    .is_some_and(|topics| topics.contains(&at.0));
                let code = if used {
                    ErrorCode::GroupSubscribedToTopic
                } else {
                    ErrorCode::None
                };
                (at, code)
            })
            .collect();
        self.forget(codes, Some(token), cx);
    }

    /// Topics are gone, and their offsets with them.
    pub(super) fn topics_deleted(&mut self, topics: &[Str], cx: &mut Cx<'_>) {
        let codes: BTreeMap<_, _> = self
            .offsets
            .keys()
            .filter(|(topic, _)| topics.contains(topic))
            .map(|at| (at.clone(), ErrorCode::None))
            .collect();
        if !codes.is_empty() {
            self.forget(codes, None, cx);
        }
    }

    fn forget(
        &self,
        codes: BTreeMap<TopicPartition, ErrorCode>,
        token: Option<Token>,
        cx: &mut Cx<'_>,
    ) {
        let records: Vec<_> = codes
            .iter()
            .filter(|(at, code)| code.is_none() && self.offsets.contains_key(*at))
            .map(|(at, _)| GroupRecord::Offset(self.id.clone(), at.clone(), None))
            .collect();
        if records.is_empty() {
            if let Some(token) = token {
                cx.reply(token, Reply::Offsets(Ok(codes)));
            }
            return;
        }
        cx.persist(
            records,
            Write::DeleteOffsets {
                group: self.id.clone(),
                token,
                codes,
            },
        );
    }

    /// Drops the offsets of a group that nobody has used for `offsets.retention.minutes`.
    pub(super) fn expire_offsets(&mut self, cx: &mut Cx<'_>) {
        if self.state != GroupState::Empty || !self.pending.is_empty() {
            return;
        }
        let retention = cx.config.offsets_retention_ms;
        // A group without a protocol only stores offsets: each counts from its own commit.
        let idle_since = if self.protocol_type.is_some() {
            self.state_since
        } else {
            i64::MIN
        };
        let offsets: Vec<TopicPartition> = self
            .offsets
            .iter()
            .filter(|(_, o)| match o.expire_timestamp {
                Some(expires) => cx.now >= expires,
                None => cx.now.saturating_sub(o.commit_timestamp.max(idle_since)) >= retention,
            })
            .map(|(at, _)| at.clone())
            .collect();
        let whole = offsets.len() == self.offsets.len()
            && cx.now.saturating_sub(self.state_since) >= retention;
        if offsets.is_empty() && !whole {
            return;
        }
        let mut records: Vec<_> = offsets
            .iter()
            .map(|at| GroupRecord::Offset(self.id.clone(), at.clone(), None))
            .collect();
        if whole {
            records.push(GroupRecord::Group(self.id.clone(), None));
        }
        cx.persist(
            records,
            Write::Expire {
                group: self.id.clone(),
                offsets,
                whole,
            },
        );
    }
}

/// A commit is in the log, or could not be written.
pub(super) fn committed(
    group: Option<&mut Group>,
    token: Token,
    offsets: Vec<(TopicPartition, CommittedOffset)>,
    mut codes: BTreeMap<TopicPartition, ErrorCode>,
    result: Result<(), ErrorCode>,
    cx: &mut Cx<'_>,
) {
    match result {
        Ok(()) => {
            if let Some(group) = group {
                group.offsets.extend(offsets);
            }
        }
        Err(failed) => {
            for code in codes.values_mut().filter(|code| code.is_none()) {
                *code = failed;
            }
        }
    }
    cx.reply(token, Reply::Offsets(Ok(codes)));
}
