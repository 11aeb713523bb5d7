//! OffsetDelete, DeleteGroups, deleted topics, and offsets that expire.
//!
//! Invariant: an offset that a running transaction commits does not expire, and neither does its
//! group; deleting it by hand deletes it for the transaction too.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::Offsets;
use crate::group::coordinator::{Cx, Groups, Write};
use crate::group::records::GroupRecord;
use crate::group::types::{CommittedOffset, Reply, Token, TopicPartition};
use crate::wire::{ErrorCode, Str};

fn tombstones<'a>(
    group: &'a Str,
    partitions: impl IntoIterator<Item = &'a TopicPartition> + 'a,
) -> impl Iterator<Item = GroupRecord> + 'a {
    let partitions = partitions.into_iter();
    partitions.map(|at| GroupRecord::Offset(group.clone(), at.clone(), None))
}

/// DeleteGroups, for one group.
pub(in crate::group) fn delete_group(
    groups: &mut Groups,
    offsets: &mut Offsets,
    token: Token,
    id: Str,
    cx: &mut Cx<'_>,
) {
    let checked = groups.get_mut(&id).ok_or(ErrorCode::GroupIdNotFound);
    match checked.and_then(|group| group.check_delete().map(|()| group)) {
        Err(code) => cx.reply(token, Reply::Code(code)),
        Ok(group) => {
            let partitions = offsets.partitions(&id);
            let mut records: Vec<_> = tombstones(&id, &partitions).collect();
            records.extend(group.tombstones());
            group.set_deleting(true, cx.now);
            let order = offsets.next_order();
            let write = Write::Delete {
                group: id,
                token,
                partitions,
                order,
            };
            cx.persist(records, write);
        }
    }
}

/// OffsetDelete.
pub(in crate::group) fn delete_offsets(
    groups: &mut Groups,
    offsets: &mut Offsets,
    token: Token,
    id: Str,
    partitions: Vec<TopicPartition>,
    cx: &mut Cx<'_>,
) {
    let checked = match groups.get_mut(&id) {
        // Though a group of old clients may have no name.
        _ if id.is_empty() => Err(ErrorCode::InvalidGroupId),
        found => found.ok_or(ErrorCode::GroupIdNotFound),
    };
    match checked.and_then(|group| group.check_offset_delete().map(|()| group)) {
        Err(code) => cx.reply(token, Reply::Offsets(Err(code))),
        Ok(group) => {
            let codes = partitions
                .into_iter()
                .map(|at| {
                    let code = if group.is_subscribed_to(&at.0) {
                        ErrorCode::GroupSubscribedToTopic
                    } else {
                        ErrorCode::None
                    };
                    (at, code)
                })
                .collect();
            forget(offsets, id, codes, Some(token), cx);
        }
    }
}

/// Topics are gone, and with them what was committed for them, though not what was committed for
/// others of the same names since.
pub(in crate::group) fn topics_deleted(
    offsets: &mut Offsets,
    gone: &BTreeSet<(Str, Uuid)>,
    cx: &mut Cx<'_>,
) {
    for group in offsets.groups() {
        let codes: BTreeMap<_, _> = offsets
            .partitions(&group)
            .into_iter()
            .filter(|at| {
                let committed = offsets.get(&group, at);
                let id = committed.map_or(Uuid::nil(), |offset| offset.topic_id);
                gone.contains(&(at.0.clone(), id))
            })
            .map(|at| (at, ErrorCode::None))
            .collect();
        if !codes.is_empty() {
            forget(offsets, group, codes, None, cx);
        }
    }
}

fn forget(
    offsets: &mut Offsets,
    group: Str,
    codes: BTreeMap<TopicPartition, ErrorCode>,
    token: Option<Token>,
    cx: &mut Cx<'_>,
) {
    let gone = codes
        .iter()
        .filter(|(at, code)| code.is_none() && offsets.has(&group, at));
    let records: Vec<_> = tombstones(&group, gone.map(|(at, _)| at)).collect();
    if records.is_empty() {
        if let Some(token) = token {
            cx.reply(token, Reply::Offsets(Ok(codes)));
        }
        return;
    }
    let order = offsets.next_order();
    let write = Write::DeleteOffsets {
        group,
        token,
        codes,
        order,
    };
    cx.persist(records, write);
}

/// Drops the offsets that nobody has used for `offsets.retention.minutes`, and groups of which
/// nothing is left.
pub(in crate::group) fn expire(groups: &mut Groups, offsets: &mut Offsets, cx: &mut Cx<'_>) {
    let retention = cx.config.offsets_retention_ms;
    let now = cx.now;
    for (id, group) in groups.iter_mut() {
        let Some(expiry) = group.offset_expiry() else {
            continue;
        };
        let expired = |at: &TopicPartition, offset: &CommittedOffset| {
            let due = match offset.expire_timestamp {
                Some(expires) => now >= expires,
                None => {
                    let used = offset.commit_timestamp.max(expiry.unused_since);
                    now.saturating_sub(used) >= retention
                }
            };
            due && !group.is_subscribed_to(&at.0) && !offsets.is_unstable(id, at)
        };
        let all: Vec<_> = offsets.of(id).collect();
        let partitions: BTreeSet<TopicPartition> = all
            .iter()
            .filter(|(at, offset)| expired(at, offset))
            .map(|(at, _)| (*at).clone())
            .collect();
        let whole = partitions.len() == all.len()
            && !offsets.has_pending(id)
            && group.check_delete().is_ok()
            && !group.is_awaited();
        if partitions.is_empty() && !whole {
            continue;
        }
        let mut records: Vec<_> = tombstones(id, &partitions).collect();
        if whole {
            records.extend(group.tombstones());
        }
        let write = Write::Expire {
            group: id.clone(),
            partitions,
            whole,
            order: offsets.next_order(),
        };
        cx.persist(records, write);
    }
}
