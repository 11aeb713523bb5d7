//! Members that leave or are thrown out.

use super::group::Key;
use super::migrate;
use crate::group::coordinator::{Cx, Groups};
use crate::group::types::{Reply, Token};
use crate::wire::Str;

/// Takes members out of their group, which may make it a classic one; answers once it is written.
pub(in crate::group) fn fence(
    groups: &mut Groups,
    id: &Str,
    members: Vec<Str>,
    replies: Vec<(Token, Reply)>,
    cx: &mut Cx<'_>,
) {
    let Some(group) = groups.consumer_mut(id) else {
        return;
    };
    if members.is_empty() {
        return group.finish(replies, cx);
    }
    for member in &members {
        group.remove(member);
    }
    if migrate::should_downgrade(group, cx) {
        return migrate::downgrade(groups, id, true, replies, cx);
    }
    group.resolve(cx);
    group.metadata_hash = cx.topics.hash(group.subscribed().into_iter());
    group.epoch = group.epoch.saturating_add(1);
    group.mark(Key::Epoch);
    group.finish(replies, cx);
}

/// Throws out the members that were not heard of in time.
pub(in crate::group) fn tick(groups: &mut Groups, id: &Str, cx: &mut Cx<'_>) {
    let Some(group) = groups.consumer_mut(id) else {
        return;
    };
    let late: Vec<Str> = group
        .members
        .values()
        .filter(|m| m.deadlines.next().is_some_and(|at| at <= cx.now))
        .map(|m| m.id.clone())
        .collect();
    if !late.is_empty() {
        tracing::info!(group = %id, members = ?late, "thrown out: not heard of in time");
        fence(groups, id, late, vec![], cx);
    }
}
