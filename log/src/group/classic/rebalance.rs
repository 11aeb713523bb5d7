//! Joining, syncing and leaving: how a group comes from one generation to the next.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::group::{ClassicGroup, Initial, Member};
use super::subscription;
use crate::group::coordinator::{Cx, Write};
use crate::group::records::GroupRecord;
use crate::group::types::{
    GroupState, Heartbeat, Join, Joined, Leaver, Reply, Sync, Synced, Token,
};
use crate::wire::{ErrorCode, Str};

/// How long a member that is new may wait for its first join to end.
const NEW_MEMBER_TIMEOUT_MS: i64 = 5 * 60 * 1000;

fn refused(member: &Str, code: ErrorCode) -> Reply {
    Reply::Joined(Joined {
        error: Some(code),
        generation: -1,
        member: member.clone(),
        ..Joined::default()
    })
}

fn unsynced(code: ErrorCode) -> Reply {
    Reply::Synced(Synced {
        error: Some(code),
        ..Synced::default()
    })
}

impl ClassicGroup {
    /// JoinGroup, once the request itself was checked.
    pub(in crate::group) fn join(&mut self, token: Token, join: Join, cx: &mut Cx<'_>) {
        if self.state == GroupState::Dead {
            return cx.reply(
                token,
                refused(&join.member, ErrorCode::CoordinatorNotAvailable),
            );
        }
        let returns = join.member.is_empty()
            && join
                .instance
                .as_ref()
                .is_some_and(|i| self.instances.contains_key(i));
        if !returns && !self.accepts(&join.member, cx) {
            self.pending.remove(&join.member);
            self.drop_member(&join.member, cx);
            let full = refused(&Str::new(), ErrorCode::GroupMaxSizeReached);
            return cx.reply(token, full);
        }
        if join.member.is_empty() {
            self.join_new(token, join, cx);
        } else {
            self.join_known(token, join, cx);
        }
    }

    fn join_new(&mut self, token: Token, join: Join, cx: &mut Cx<'_>) {
        let replaced = join
            .instance
            .as_ref()
            .and_then(|i| self.instances.get(i))
            .cloned();
        if !self.supports(&join.protocol_type, &join.protocols) {
            return cx.reply(
                token,
                refused(&join.member, ErrorCode::InconsistentGroupProtocol),
            );
        }
        let id = join.new_member.clone();
        match replaced {
            Some(old) => self.replace_static(&old, token, join, cx),
            None if join.instance.is_none() && join.member_id_required => {
                let lapses = cx.now.saturating_add(i64::from(join.session_timeout_ms));
                self.pending.insert(id.clone(), lapses);
                cx.reply(token, refused(&id, ErrorCode::MemberIdRequired));
            }
            None => self.add_and_rebalance(id, token, &join, cx),
        }
    }

    /// Whether there is room for a member. Ids that were given out take none: whoever joins first
    /// with one is in. While the group is joining, those count that have joined.
    fn accepts(&self, id: &Str, cx: &Cx<'_>) -> bool {
        let most = cx.config.max_size;
        match self.state {
            GroupState::Empty | GroupState::Dead => true,
            GroupState::PreparingRebalance => {
                let joined = |m: &&Member| m.joining.is_some();
                self.members.get(id).is_some_and(|m| joined(&m))
                    || self.members.values().filter(joined).count() < most
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.members.contains_key(id) || self.members.len() < most
            }
        }
    }

    fn join_known(&mut self, token: Token, join: Join, cx: &mut Cx<'_>) {
        let id = join.member.clone();
        if !self.supports(&join.protocol_type, &join.protocols) {
            return cx.reply(token, refused(&id, ErrorCode::InconsistentGroupProtocol));
        }
        if self.pending.contains_key(&id) {
            if join.instance.is_some() {
                return cx.reply(token, refused(&id, ErrorCode::UnknownMemberId));
            }
            return self.add_and_rebalance(id, token, &join, cx);
        }
        if let Err(code) = self.check_member(&id, join.instance.as_ref()) {
            return cx.reply(token, refused(&id, code));
        }
        let same = self
            .members
            .get(&id)
            .is_some_and(|m| m.protocols == join.protocols);
        match self.state {
            GroupState::PreparingRebalance => self.update_and_rebalance(&id, token, &join, cx),
            // The answer to its join got lost.
            GroupState::CompletingRebalance if same => {
                cx.reply(token, Reply::Joined(self.joined(&id)));
                self.touch(&id, cx.now);
            }
            // A follower that merely asks again; the leader asks for a rebalance by joining.
            GroupState::Stable if same && !self.is_leader(&id) => {
                cx.reply(token, Reply::Joined(self.joined(&id)));
                self.touch(&id, cx.now);
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.update_and_rebalance(&id, token, &join, cx);
            }
            GroupState::Empty | GroupState::Dead => {
                cx.reply(token, refused(&id, ErrorCode::UnknownMemberId));
            }
        }
    }

    fn touch(&mut self, id: &Str, now: i64) {
        if let Some(member) = self.members.get_mut(id) {
            member.touch(now);
        }
    }

    fn add_and_rebalance(&mut self, id: Str, token: Token, join: &Join, cx: &mut Cx<'_>) {
        let lapses = cx.now.saturating_add(NEW_MEMBER_TIMEOUT_MS);
        self.add(id, join, token, lapses);
        if let Some(initial) = &mut self.initial {
            initial.newcomer = true;
        }
        self.rebalance(cx);
    }

    fn update_and_rebalance(&mut self, id: &Str, token: Token, join: &Join, cx: &mut Cx<'_>) {
        if let Some(member) = self.members.get_mut(id) {
            member.protocols = join.protocols.clone();
            member.session_timeout_ms = join.session_timeout_ms;
            member.rebalance_timeout_ms = join.rebalance_timeout_ms;
            if let Some(older) = member.joining.replace(token) {
                // The client gave up on its former request.
                cx.reply(older, refused(id, ErrorCode::RebalanceInProgress));
            }
            if !member.is_new {
                member.deadline = None;
            }
        }
        if self.members.len() == 1 {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.rebalance(cx);
    }

    /// A static member came back under a new id: the old id is fenced, the assignment stays.
    fn replace_static(&mut self, old: &Str, token: Token, join: Join, cx: &mut Cx<'_>) {
        let id = join.new_member.clone();
        let Some(mut member) = self.members.remove(old) else {
            return cx.reply(token, refused(&join.member, ErrorCode::UnknownMemberId));
        };
        if let Some(waiting) = member.joining.take() {
            cx.reply(waiting, refused(old, ErrorCode::FencedInstanceId));
        }
        if let Some(waiting) = member.syncing.take() {
            cx.reply(waiting, unsynced(ErrorCode::FencedInstanceId));
        }
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.unsynced.remove(old) {
            self.unsynced.insert(id.clone());
        }
        let led = self.is_leader(old);
        let former_leader = self.leader.clone().unwrap_or_default();
        if led {
            self.leader = Some(id.clone());
        }
        let before = member.metadata(self.protocol.as_ref());
        member.id = id.clone();
        member.client_id = join.client_id.clone();
        member.client_host = join.client_host.clone();
        member.protocols = join.protocols.clone();
        member.session_timeout_ms = join.session_timeout_ms;
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.touch(cx.now);
        let after = member.metadata(self.protocol.as_ref());
        self.members.insert(id.clone(), member);

        let unchanged = self.elect_protocol() == self.protocol && same_topics(&before, &after);
        if self.state == GroupState::Stable && unchanged {
            let mut joined = self.joined(&id);
            if join.can_skip_assignment {
                joined.skip_assignment = led;
            } else {
                // Told of its former self as the leader, it does not assign.
                joined.leader = former_leader;
                joined.members.clear();
            }
            let record = GroupRecord::Group(self.id.clone(), Some(self.stored(&BTreeMap::new())));
            let write = Write::StaticMember {
                group: self.id.clone(),
                token,
                joined,
            };
            return cx.persist(vec![record], write);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.joining = Some(token);
            member.deadline = None;
        }
        self.rebalance(cx);
    }

    /// Begins a rebalance, or goes on with the one under way.
    pub(in crate::group) fn rebalance(&mut self, cx: &mut Cx<'_>) {
        if self.state == GroupState::PreparingRebalance {
            return self.try_complete_join(cx);
        }
        self.cancel_sync(ErrorCode::RebalanceInProgress, cx);
        let timeout = self.rebalance_timeout();
        let delay = cx.config.initial_rebalance_delay_ms;
        if self.state == GroupState::Empty && delay <= 0 {
            // The first member waits for nobody, least of all for an id that was given out and may never be used.
            self.become_state(GroupState::PreparingRebalance, cx.now);
            return self.complete_join(cx);
        }
        if self.state == GroupState::Empty {
            let until = cx.now.saturating_add(timeout.max(delay));
            self.initial = Some(Initial {
                until,
                newcomer: false,
            });
            self.join_deadline = Some(cx.now.saturating_add(delay));
        } else {
            self.initial = None;
            self.join_deadline = Some(cx.now.saturating_add(timeout));
        }
        self.become_state(GroupState::PreparingRebalance, cx.now);
        self.try_complete_join(cx);
    }

    /// Rebalances if there are more members than there may be, as when the group was loaded under
    /// another setting: those who join last are refused.
    pub(in crate::group) fn shrink(&mut self, cx: &mut Cx<'_>) {
        let settled = matches!(
            self.state,
            GroupState::Stable | GroupState::CompletingRebalance
        );
        if settled && self.members.len() > cx.config.max_size {
            tracing::info!(
                group = %self.id, members = self.members.len(), most = cx.config.max_size,
                "there are more members than there may be: the group rebalances"
            );
            self.rebalance(cx);
        }
    }

    /// Whoever waits is told that there is nothing to wait for.
    pub(in crate::group) fn release_all(&mut self, code: ErrorCode, cx: &mut Cx<'_>) {
        for member in self.members.values_mut() {
            if let Some(token) = member.joining.take() {
                cx.reply(token, refused(&member.id, code));
            }
            if let Some(token) = member.syncing.take() {
                cx.reply(token, unsynced(code));
            }
        }
    }

    /// Whoever waits for an assignment is told that there will be none in this generation.
    fn cancel_sync(&mut self, code: ErrorCode, cx: &mut Cx<'_>) {
        self.unsynced.clear();
        self.sync_deadline = None;
        self.assigning = false;
        if self.state == GroupState::CompletingRebalance {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
                if let Some(token) = member.syncing.take() {
                    member.touch(cx.now);
                    cx.reply(token, unsynced(code));
                }
            }
        }
    }

    /// Ends the join phase if everybody is there; an initial delay is waited out in any case.
    pub(in crate::group) fn try_complete_join(&mut self, cx: &mut Cx<'_>) {
        if self.state == GroupState::PreparingRebalance
            && self.initial.is_none()
            && self.all_joined()
        {
            self.complete_join(cx);
        }
    }

    fn join_timed_out(&mut self, cx: &mut Cx<'_>) {
        if let Some(initial) = &mut self.initial
            && initial.newcomer
            && cx.now < initial.until
        {
            initial.newcomer = false;
            let next = cx.now.saturating_add(cx.config.initial_rebalance_delay_ms);
            self.join_deadline = Some(next.min(initial.until));
            return;
        }
        self.complete_join(cx);
    }

    fn complete_join(&mut self, cx: &mut Cx<'_>) {
        let late: Vec<Str> = self
            .members
            .values()
            .filter(|m| m.joining.is_none() && m.instance.is_none())
            .map(|m| m.id.clone())
            .collect();
        for id in &late {
            self.remove(id);
        }
        let joined = |g: &Self, id: &Str| g.members.get(id).is_some_and(|m| m.joining.is_some());
        if !self.leader.as_ref().is_some_and(|l| joined(self, l)) {
            match self.members.values().find(|m| m.joining.is_some()) {
                Some(member) => self.leader = Some(member.id.clone()),
                // Only absent static members are left: they have their sessions to come back.
                None if !self.members.is_empty() => {
                    self.initial = None;
                    self.join_deadline =
                        Some(cx.now.saturating_add(self.rebalance_timeout().max(1)));
                    return;
                }
                None => self.leader = None,
            }
        }
        self.initial = None;
        self.join_deadline = None;
        self.generation = if self.generation == i32::MAX {
            1
        } else {
            self.generation.saturating_add(1)
        };
        if self.members.is_empty() {
            self.protocol = None;
            self.become_state(GroupState::Empty, cx.now);
            let record = GroupRecord::Group(self.id.clone(), Some(self.stored(&BTreeMap::new())));
            return cx.persist(
                vec![record],
                Write::Emptied {
                    group: self.id.clone(),
                },
            );
        }
        self.protocol = self.elect_protocol();
        self.become_state(GroupState::CompletingRebalance, cx.now);
        self.unsynced = self.members.keys().cloned().collect();
        self.sync_deadline = Some(cx.now.saturating_add(self.rebalance_timeout()));
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
                if let Some(token) = member.joining.take() {
                    member.touch(cx.now);
                    cx.reply(token, Reply::Joined(answer));
                }
            }
        }
    }

    /// SyncGroup.
    pub(in crate::group) fn sync(&mut self, token: Token, sync: Sync, cx: &mut Cx<'_>) {
        if let Err(code) = self.check_sync(&sync) {
            return cx.reply(token, unsynced(code));
        }
        let id = sync.member;
        self.unsynced.remove(&id);
        if self.unsynced.is_empty() {
            self.sync_deadline = None;
        }
        if self.state == GroupState::Stable {
            self.touch(&id, cx.now);
            return cx.reply(token, self.synced(&id));
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.deadline = None;
            if let Some(older) = member.syncing.replace(token) {
                cx.reply(older, unsynced(ErrorCode::RebalanceInProgress));
            }
        }
        if self.is_leader(&id) && !self.assigning {
            self.assigning = true;
            let given: BTreeMap<Str, Bytes> = sync.assignments.into_iter().collect();
            let assignments: BTreeMap<Str, Bytes> = self
                .members
                .keys()
                .map(|id| (id.clone(), given.get(id).cloned().unwrap_or_default()))
                .collect();
            let record = GroupRecord::Group(self.id.clone(), Some(self.stored(&assignments)));
            let write = Write::Assignment {
                group: self.id.clone(),
                generation: self.generation,
                assignments,
            };
            cx.persist(vec![record], write);
        }
    }

    fn check_sync(&self, sync: &Sync) -> Result<(), ErrorCode> {
        if self.state == GroupState::Dead {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        self.check_member(&sync.member, sync.instance.as_ref())?;
        if sync.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |theirs: &Option<Str>, ours: &Option<Str>| theirs.is_some() && theirs != ours;
        if differs(&sync.protocol_type, &self.protocol_type)
            || differs(&sync.protocol, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => Err(ErrorCode::UnknownMemberId),
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        }
    }

    fn synced(&self, id: &Str) -> Reply {
        Reply::Synced(Synced {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self
                .members
                .get(id)
                .map(|m| m.assignment.clone())
                .unwrap_or_default(),
        })
    }

    /// The leader's assignment is stored, or could not be.
    pub(in crate::group) fn assigned(
        &mut self,
        generation: i32,
        assignments: &BTreeMap<Str, Bytes>,
        result: Result<(), ErrorCode>,
        cx: &mut Cx<'_>,
    ) {
        if self.state != GroupState::CompletingRebalance || self.generation != generation {
            return;
        }
        self.assigning = false;
        if let Err(code) = result {
            self.cancel_sync(code, cx);
            return self.rebalance(cx);
        }
        self.become_state(GroupState::Stable, cx.now);
        let ids: Vec<Str> = self.members.keys().cloned().collect();
        for id in ids {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignments.get(&id).cloned().unwrap_or_default();
            }
            let answer = self.synced(&id);
            if let Some(member) = self.members.get_mut(&id)
                && let Some(token) = member.syncing.take()
            {
                member.touch(cx.now);
                cx.reply(token, answer);
            }
        }
    }

    /// Heartbeat.
    pub(in crate::group) fn heartbeat(&mut self, beat: &Heartbeat, now: i64) -> ErrorCode {
        if self.state == GroupState::Dead {
            return ErrorCode::CoordinatorNotAvailable;
        }
        if let Err(code) = self.check_member(&beat.member, beat.instance.as_ref()) {
            return code;
        }
        if beat.generation != self.generation {
            return ErrorCode::IllegalGeneration;
        }
        match self.state {
            GroupState::Empty | GroupState::Dead => ErrorCode::UnknownMemberId,
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.touch(&beat.member, now);
                ErrorCode::None
            }
            GroupState::PreparingRebalance => {
                self.touch(&beat.member, now);
                ErrorCode::RebalanceInProgress
            }
        }
    }

    /// LeaveGroup, for one member.
    pub(in crate::group) fn leave(&mut self, leaver: &Leaver, cx: &mut Cx<'_>) -> ErrorCode {
        let id = match &leaver.instance {
            Some(instance) => match self.instances.get(instance) {
                None => return ErrorCode::UnknownMemberId,
                Some(owner) if !leaver.member.is_empty() && *owner != leaver.member => {
                    return ErrorCode::FencedInstanceId;
                }
                Some(owner) => owner.clone(),
            },
            None => leaver.member.clone(),
        };
        if self.pending.remove(&id).is_some() {
            self.try_complete_join(cx);
            return ErrorCode::None;
        }
        if !self.members.contains_key(&id) {
            return ErrorCode::UnknownMemberId;
        }
        self.drop_member(&id, cx);
        ErrorCode::None
    }

    /// A member is gone: it left, or its session ran out.
    fn drop_member(&mut self, id: &Str, cx: &mut Cx<'_>) {
        let Some(member) = self.remove(id) else {
            return;
        };
        if let Some(token) = member.joining {
            cx.reply(token, refused(id, ErrorCode::UnknownMemberId));
        }
        if let Some(token) = member.syncing {
            cx.reply(token, unsynced(ErrorCode::UnknownMemberId));
        }
        match self.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.rebalance(cx),
            GroupState::PreparingRebalance => self.try_complete_join(cx),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Does what is due at `now`.
    pub(in crate::group) fn tick(&mut self, cx: &mut Cx<'_>) {
        let lapsed: Vec<Str> = self
            .pending
            .iter()
            .filter(|(_, at)| **at <= cx.now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in lapsed {
            self.pending.remove(&id);
            self.try_complete_join(cx);
        }
        let dead: Vec<Str> = self
            .members
            .values()
            .filter(|m| m.deadline.is_some_and(|at| at <= cx.now))
            .map(|m| m.id.clone())
            .collect();
        for id in dead {
            // A rebalance that another death began may have set it right.
            let still = self
                .members
                .get(&id)
                .is_some_and(|m| m.deadline.is_some_and(|at| at <= cx.now));
            if still {
                self.drop_member(&id, cx);
            }
        }
        if self.join_deadline.is_some_and(|at| at <= cx.now) {
            self.join_timed_out(cx);
        }
        if self.sync_deadline.is_some_and(|at| at <= cx.now) {
            self.sync_deadline = None;
            let late: Vec<Str> = std::mem::take(&mut self.unsynced).into_iter().collect();
            for id in late {
                self.drop_member(&id, cx);
            }
        }
    }
}

/// Whether two metadata subscribe to the same topics; metadata of other protocols must be equal.
fn same_topics(before: &Bytes, after: &Bytes) -> bool {
    match (subscription::topics(before), subscription::topics(after)) {
        (Some(before), Some(after)) => before == after,
        _ => before == after,
    }
}
