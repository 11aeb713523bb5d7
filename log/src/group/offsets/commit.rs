//! OffsetCommit and TxnOffsetCommit: who may commit, and what is written.
//!
//! Invariant: a plain commit counts once it is written; one of a transaction is pending from the
//! moment its write is asked for, so that a marker, which follows it in the log, never misses it.

use std::collections::BTreeMap;

use super::{Offsets, Order};
use crate::group::coordinator::{Cx, Groups, Write};
use crate::group::records::GroupRecord;
use crate::group::types::{Commit, CommittedOffset, Producer, Reply, Token, TopicPartition};
use crate::wire::{ErrorCode, Str};

/// Offsets on their way to the log.
#[derive(Debug, Clone)]
pub(in crate::group) struct Written {
    pub(in crate::group) group: Str,
    pub(in crate::group) token: Token,
    /// The transaction they belong to.
    pub(in crate::group) producer: Option<Producer>,
    pub(in crate::group) order: Order,
    pub(in crate::group) offsets: Vec<(TopicPartition, CommittedOffset)>,
    pub(in crate::group) codes: BTreeMap<TopicPartition, ErrorCode>,
}

impl Written {
    /// They are in the log, or could not be written.
    pub(in crate::group) fn done(
        mut self,
        result: Result<(), ErrorCode>,
        offsets: &mut Offsets,
        cx: &mut Cx<'_>,
    ) {
        match (result, self.producer) {
            (Ok(()), None) => {
                for (at, offset) in self.offsets {
                    offsets.commit(&self.group, at, offset, self.order);
                }
            }
            (Ok(()), Some(_)) => {}
            (Err(failed), producer) => {
                if let Some(producer) = producer {
                    for (at, _) in &self.offsets {
                        offsets.undo_pending(producer.id, &self.group, at, self.order);
                    }
                }
                for code in self.codes.values_mut().filter(|code| code.is_none()) {
                    *code = failed;
                }
            }
        }
        cx.reply(self.token, Reply::Offsets(Ok(self.codes)));
    }
}

fn all(commit: &Commit, code: ErrorCode) -> Reply {
    let codes = commit.offsets.iter().map(|(at, _)| (at.clone(), code));
    Reply::Offsets(Ok(codes.collect()))
}

/// OffsetCommit.
pub(in crate::group) fn on_commit(
    groups: &mut Groups,
    offsets: &mut Offsets,
    token: Token,
    commit: Commit,
    cx: &mut Cx<'_>,
) {
    if !groups.contains(&commit.group) && commit.generation >= 0 {
        let code = if commit.version >= 9 {
            ErrorCode::GroupIdNotFound
        } else {
            ErrorCode::IllegalGeneration
        };
        return cx.reply(token, all(&commit, code));
    }
    let now = cx.now;
    let group = groups.get_or_simple(&commit.group, now);
    if let Err(code) = group.check_commit(&commit, false, cx.topics) {
        return cx.reply(token, all(&commit, code));
    }
    group.committing(&commit.member, now);
    write(offsets, token, commit, None, cx);
}

/// TxnOffsetCommit.
pub(in crate::group) fn on_transactional_commit(
    groups: &mut Groups,
    offsets: &mut Offsets,
    token: Token,
    commit: Commit,
    producer: Producer,
    cx: &mut Cx<'_>,
) {
    let error = if commit.group.is_empty() {
        Some(ErrorCode::InvalidGroupId)
    } else if !groups.contains(&commit.group) && commit.generation >= 0 {
        Some(ErrorCode::IllegalGeneration)
    } else {
        None
    };
    if let Some(code) = error {
        return cx.reply(token, all(&commit, code));
    }
    let group = groups.get_or_simple(&commit.group, cx.now);
    match group.check_commit(&commit, true, cx.topics) {
        Ok(()) => write(offsets, token, commit, Some(producer), cx),
        // The API is older than member epochs.
        Err(ErrorCode::StaleMemberEpoch) => {
            cx.reply(token, all(&commit, ErrorCode::IllegalGeneration));
        }
        Err(code) => cx.reply(token, all(&commit, code)),
    }
}

fn write(
    offsets: &mut Offsets,
    token: Token,
    commit: Commit,
    producer: Option<Producer>,
    cx: &mut Cx<'_>,
) {
    let order = offsets.next_order();
    let mut written = Written {
        group: commit.group,
        token,
        producer,
        order,
        offsets: Vec::with_capacity(commit.offsets.len()),
        codes: BTreeMap::new(),
    };
    let mut records = Vec::with_capacity(commit.offsets.len());
    for (at, mut offset) in commit.offsets {
        // Counted as Java counts the characters of a string.
        if offset.metadata.encode_utf16().count() > cx.config.offset_metadata_max_bytes {
            written.codes.insert(at, ErrorCode::OffsetMetadataTooLarge);
            continue;
        }
        written.codes.insert(at.clone(), ErrorCode::None);
        offset.commit_timestamp = cx.now;
        let record = GroupRecord::Offset(written.group.clone(), at.clone(), Some(offset.clone()));
        records.push(record);
        if let Some(producer) = producer {
            let at = at.clone();
            offsets.commit_pending(producer.id, &written.group, at, offset.clone(), order);
        }
        written.offsets.push((at, offset));
    }
    if records.is_empty() {
        return cx.reply(token, Reply::Offsets(Ok(written.codes)));
    }
    match producer {
        Some(producer) => cx.persist_for(producer, records, Write::Commit(written)),
        None => cx.persist(records, Write::Commit(written)),
    }
}
