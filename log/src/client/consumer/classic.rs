//! A member of a group under Kafka's classic protocol, as a background task.
//!
//! It joins, synchronizes and heartbeats; as the leader it decides who reads what. See
//! [`membership`](super::membership) for what it keeps.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::assignor::{
    Assignment, GroupMember, PartitionAssignor, PartitionCounts, RebalanceProtocol,
};
use super::config::ConsumerConfig;
use super::coordinator::GroupCoordinator;
use super::membership::{Event, Orders, Parts, Shared, Subscription, Turn};
use super::protocol::{
    decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use crate::client::core::{Core, after, millis};
use crate::client::transport::Lane;
use crate::client::{ClientError, TopicPartition};
use crate::wire::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse,
    LeaveGroupRequest, MemberIdentity, SyncGroupRequest, SyncGroupRequestAssignment,
};
use crate::wire::{ErrorCode, Str};

/// How long a group is looked after more closely when a generation has begun.
const SETTLING: Duration = Duration::from_secs(2);
/// The longest time between two heartbeats meanwhile.
const SETTLING_HEARTBEAT: Duration = Duration::from_millis(50);

pub(super) struct Member {
    core: Arc<Core>,
    coordinator: GroupCoordinator,
    /// For heartbeats.
    heartbeat_lane: Lane,
    /// For what waits at the coordinator.
    join_lane: Lane,
    config: ConsumerConfig,
    assignors: Vec<Arc<dyn PartitionAssignor>>,
    cooperative: bool,
    shared: Arc<Shared>,
    orders: Orders,
    /// The subscribed topics; of a pattern, those that match.
    topics: Vec<Arc<str>>,
    outbox: mpsc::UnboundedSender<Event>,
    owned: BTreeSet<TopicPartition>,
    /// As the leader: what the last assignment was made from.
    leads: Option<PartitionCounts>,
    next_heartbeat: Instant,
    /// Until when heartbeats come more often than configured.
    settling_until: Instant,
    /// The number of the last event that the owner must go on from.
    event: u64,
    /// When a pattern is matched with the topics again.
    next_look: Instant,
}

impl Member {
    pub(super) fn new(parts: Parts, assignors: Vec<Arc<dyn PartitionAssignor>>) -> Self {
        // Cooperative only if all are: with one eager assignor, members may agree on it.
        let cooperative = assignors
            .iter()
            .all(|a| a.protocol() == RebalanceProtocol::Cooperative);
        let heartbeats = Lane::fresh();
        Self {
            coordinator: GroupCoordinator::in_lane(parts.core.clone(), parts.group_id, heartbeats),
            heartbeat_lane: heartbeats,
            join_lane: Lane::fresh(),
            config: parts.config,
            assignors,
            cooperative,
            shared: parts.shared,
            orders: parts.orders,
            topics: Vec::new(),
            outbox: parts.outbox,
            owned: BTreeSet::new(),
            leads: None,
            next_heartbeat: Instant::now(),
            settling_until: Instant::now(),
            event: 0,
            next_look: Instant::now(),
            core: parts.core,
        }
    }

    pub(super) async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let turn = self.take_part().await;
            match turn {
                Turn::Leave => break,
                Turn::Rejoin => attempt = 0,
                Turn::Lost { known } => {
                    attempt = 0;
                    self.lose(!known);
                }
                Turn::Away => {
                    self.lose(true);
                    let limit = self.config.max_poll_interval_ms;
                    if self.orders.await_poll(&self.shared, limit).await.is_err() {
                        break;
                    }
                }
                Turn::Failed(error) if error.is_retriable() => {
                    tracing::debug!(%error, group = self.coordinator.group_id(), "retrying");
                    let wait = self.core.backoff(attempt);
                    attempt += 1;
                    if self
                        .orders
                        .listen_until(Instant::now() + wait, |_| false)
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
                Turn::Failed(error) => {
                    self.lose(true);
                    self.event += 1;
                    let number = self.event;
                    let _ = self.outbox.send(Event::Failed { number, error });
                    let again = |m: &Orders| m.continued >= number || m.resubscribed;
                    if self
                        .orders
                        .listen_until(after(Duration::MAX), again)
                        .await
                        .is_err()
                    {
                        break;
                    }
                }
            }
        }
        self.leave_group().await;
        self.core.transport.close_lane(self.join_lane);
        if let Some(told) = self.orders.leaving.take() {
            let _ = told.send(());
        }
    }

    /// Joins once and stays until something happens.
    async fn take_part(&mut self) -> Turn {
        match self.try_take_part().await {
            Ok(never) => match never {},
            Err(turn) => turn,
        }
    }

    async fn try_take_part(&mut self) -> Result<std::convert::Infallible, Turn> {
        self.orders.resubscribed = false;
        self.orders.subscribed().await?;
        self.orders.resubscribed = false;
        self.topics = self.subscribed_topics().await?;
        if !self.cooperative && !self.owned.is_empty() {
            self.revoke(self.owned.iter().cloned().collect()).await?;
        }
        let joined = self.join().await?;
        let assignment = self.sync(&joined).await?;
        self.settling_until = Instant::now() + SETTLING;
        self.next_look = after(self.core.config.metadata_max_age_ms);
        self.next_heartbeat = self.after_heartbeat();
        let name = joined.protocol_name.as_deref().unwrap_or_default();
        let generation = self.shared.group.lock().clone();
        if let Some(assignor) = self.assignor(name) {
            assignor.on_assignment(&assignment, &generation);
        }
        self.adopt(assignment).await?;
        self.stay().await
    }

    /// The topics of the subscription as they are now.
    async fn subscribed_topics(&self) -> Result<Vec<Arc<str>>, ClientError> {
        match &self.orders.subscription {
            Subscription::Topics(topics) => Ok(topics.clone()),
            Subscription::Matching(pattern) => self.core.topics_matching(pattern).await,
            Subscription::Pattern(_) => Ok(Vec::new()),
        }
    }

    /// Takes the new assignment over, giving up first what is not in it.
    async fn adopt(&mut self, assignment: Assignment) -> Result<(), Turn> {
        let new: BTreeSet<TopicPartition> = assignment.partitions.into_iter().collect();
        let gone: Vec<TopicPartition> = self.owned.difference(&new).cloned().collect();
        let added: Vec<TopicPartition> = new.difference(&self.owned).cloned().collect();
        let again = !gone.is_empty();
        if again {
            self.revoke(gone).await?;
        }
        self.owned = new;
        let _ = self.outbox.send(Event::Assigned {
            added,
            all: self.owned.clone(),
        });
        // What was given up goes to its new owner in the rebalance that this begins.
        if again { Err(Turn::Rejoin) } else { Ok(()) }
    }

    /// Announces the end of partitions and waits for the owner, alive meanwhile.
    async fn revoke(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Turn> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.event += 1;
        let number = self.event;
        let _ = self.outbox.send(Event::Revoking {
            number,
            partitions: partitions.clone(),
        });
        while self.orders.continued < number {
            let due = self.next_heartbeat;
            self.orders
                .listen_until(due, |m| m.continued >= number)
                .await?;
            if self.orders.continued >= number {
                break;
            }
            match self.heartbeat().await {
                // A rebalance is what we are in.
                Ok(()) | Err(Turn::Rejoin) => {}
                Err(Turn::Failed(error)) => tracing::debug!(%error, "a heartbeat failed"),
                Err(turn) => return Err(turn),
            }
        }
        for partition in &partitions {
            self.owned.remove(partition);
        }
        Ok(())
    }

    /// What we have is gone: the owner is told, and we begin anew, as another member if
    /// `member_too`.
    fn lose(&mut self, member_too: bool) {
        self.forget_generation(member_too);
        if !self.owned.is_empty() {
            let lost = std::mem::take(&mut self.owned).into_iter().collect();
            let _ = self.outbox.send(Event::Lost(lost));
        }
    }

    fn forget_generation(&mut self, member_too: bool) {
        let mut group = self.shared.group.lock();
        group.generation_id = -1;
        if member_too {
            group.member_id.clear();
        }
        self.leads = None;
    }

    fn assignor(&self, name: &str) -> Option<Arc<dyn PartitionAssignor>> {
        self.assignors.iter().find(|a| a.name() == name).cloned()
    }

    fn subscription(&self, assignor: &dyn PartitionAssignor) -> GroupMember {
        let topics: Vec<String> = self.topics.iter().map(|t| t.to_string()).collect();
        GroupMember {
            user_data: assignor.user_data(&topics),
            topics,
            owned_partitions: self.owned.iter().cloned().collect(),
            generation_id: self.shared.group.lock().generation_id,
            rack_id: self.config.client_rack.clone(),
            ..GroupMember::default()
        }
    }

    fn protocols(&self) -> Result<Vec<JoinGroupRequestProtocol>, ClientError> {
        self.assignors
            .iter()
            .map(|assignor| {
                Ok(JoinGroupRequestProtocol {
                    name: Str::from(assignor.name()),
                    metadata: encode_subscription(&self.subscription(&**assignor))?,
                    ..JoinGroupRequestProtocol::default()
                })
            })
            .collect()
    }

    async fn join(&mut self) -> Result<JoinGroupResponse, Turn> {
        loop {
            let group = self.shared.group.lock().clone();
            let request = JoinGroupRequest {
                group_id: Str::from(&group.group_id),
                session_timeout_ms: millis(self.config.session_timeout_ms),
                rebalance_timeout_ms: millis(self.config.max_poll_interval_ms),
                member_id: Str::from(&group.member_id),
                group_instance_id: group.group_instance_id.as_ref().map(Str::from),
                protocol_type: Str::from("consumer"),
                protocols: self.protocols()?,
                ..JoinGroupRequest::default()
            };
            // The coordinator waits for the other members, as long as they may take.
            let timeout = self
                .config
                .max_poll_interval_ms
                .saturating_add(Duration::from_secs(5))
                .max(self.core.config.request_timeout_ms);
            let what = format!("join group {}", group.group_id);
            let shared = self.shared.clone();
            let asked = self
                .coordinator
                .ask(self.join_lane, timeout, request, |response| {
                    let code = ErrorCode::from(response.error_code);
                    if code == ErrorCode::MemberIdRequired {
                        shared.group.lock().member_id = response.member_id.to_string();
                    }
                    code.ok().map_err(|code| ClientError::broker(code, what))
                });
            // A command while we wait counts afterwards, unless it is to leave.
            let response = self.orders.attend(asked).await?;
            match response {
                Ok(response) => {
                    let mut group = self.shared.group.lock();
                    group.generation_id = response.generation_id;
                    group.member_id = response.member_id.to_string();
                    return Ok(response);
                }
                Err(error) if error.code() == Some(ErrorCode::MemberIdRequired) => {}
                Err(error) => {
                    if error.code() == Some(ErrorCode::UnknownMemberId) {
                        self.forget_generation(true);
                    }
                    return Err(error.into());
                }
            }
        }
    }

    async fn sync(&mut self, joined: &JoinGroupResponse) -> Result<Assignment, Turn> {
        let leads = joined.leader == joined.member_id;
        let name = joined
            .protocol_name
            .as_deref()
            .unwrap_or_default()
            .to_owned();
        self.leads = None;
        let assignments = if leads && !joined.skip_assignment {
            self.assign(&name, joined).await?
        } else {
            if leads {
                // A static member that came back: the assignment stands, the watch goes on.
                self.leads = Some(self.counts(self.topics.iter()));
            }
            Vec::new()
        };
        let group = self.shared.group.lock().clone();
        let request = SyncGroupRequest {
            group_id: Str::from(&group.group_id),
            generation_id: group.generation_id,
            member_id: Str::from(&group.member_id),
            group_instance_id: group.group_instance_id.as_ref().map(Str::from),
            protocol_type: Some(Str::from("consumer")),
            protocol_name: Some(Str::from(&name)),
            assignments,
            ..SyncGroupRequest::default()
        };
        let timeout = self
            .config
            .max_poll_interval_ms
            .max(self.core.config.request_timeout_ms);
        let what = format!("synchronize group {}", group.group_id);
        let asked = self
            .coordinator
            .ask(self.join_lane, timeout, request, |response| {
                ErrorCode::from(response.error_code)
                    .ok()
                    .map_err(|code| ClientError::broker(code, what))
            });
        let response = self.orders.attend(asked).await?;
        let response = response?;
        decode_assignment(response.assignment).map_err(|source| {
            Turn::Failed(ClientError::Wire {
                what: "SyncGroup".to_owned(),
                source: Arc::new(source),
            })
        })
    }

    /// As the leader, decides who reads what.
    async fn assign(
        &mut self,
        name: &str,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, Turn> {
        let failed = |reason: String| {
            Turn::Failed(ClientError::Assignor {
                assignor: name.to_owned(),
                reason,
            })
        };
        let mut members = Vec::with_capacity(joined.members.len());
        for member in &joined.members {
            let mut decoded = decode_subscription(member.metadata.clone()).map_err(|reason| {
                failed(format!(
                    "the subscription of member {} cannot be read: {reason}",
                    member.member_id
                ))
            })?;
            decoded.member_id = member.member_id.to_string();
            decoded.group_instance_id = member.group_instance_id.as_ref().map(|i| i.to_string());
            members.push(decoded);
        }
        let topics: BTreeSet<Arc<str>> = members
            .iter()
            .flat_map(|m| m.topics.iter().map(|t| Arc::from(&**t)))
            .collect();
        let topics: Vec<Arc<str>> = topics.into_iter().collect();
        // An assignment is only as good as what it is made from.
        self.core
            .refresh(&topics, self.config.allow_auto_create_topics)
            .await?;
        let counts = self.counts(topics.iter());
        let assignor = self.assignor(name).ok_or_else(|| {
            failed("the group uses it, but this consumer does not have it".into())
        })?;
        let assigned = assignor.assign(&counts, &members)?;
        self.leads = Some(counts);
        assigned
            .iter()
            .map(|(member, assignment)| {
                Ok(SyncGroupRequestAssignment {
                    member_id: Str::from(member),
                    assignment: encode_assignment(assignment)?,
                    ..SyncGroupRequestAssignment::default()
                })
            })
            .collect()
    }

    fn counts<'a>(&self, topics: impl Iterator<Item = &'a Arc<str>>) -> PartitionCounts {
        topics
            .filter_map(|t| {
                let info = self.core.metadata.topic(t)?;
                Some((t.clone(), info.partition_count()))
            })
            .collect()
    }

    /// Heartbeats until something changes.
    async fn stay(&mut self) -> Result<std::convert::Infallible, Turn> {
        loop {
            let due = self.next_heartbeat;
            self.orders.listen_until(due, |m| m.resubscribed).await?;
            if self.orders.resubscribed {
                return Err(Turn::Rejoin);
            }
            match self.heartbeat().await {
                Ok(()) => {}
                Err(Turn::Failed(error)) if error.is_retriable() => {
                    tracing::debug!(%error, "a heartbeat failed");
                }
                Err(turn) => return Err(turn),
            }
            if self.topics_have_changed().await {
                return Err(Turn::Rejoin);
            }
        }
    }

    /// Whether other topics match the pattern; and, as the leader, whether a topic came, went, or has other partitions than the
    /// assignment was made from.
    async fn topics_have_changed(&mut self) -> bool {
        if let Subscription::Matching(_) = self.orders.subscription
            && self.next_look <= Instant::now()
        {
            self.next_look = after(self.core.config.metadata_max_age_ms);
            match self.subscribed_topics().await {
                Ok(topics) if topics != self.topics => return true,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "topics could not be listed"),
            }
        }
        let Some(counts) = &self.leads else {
            return false;
        };
        let topics: Vec<Arc<str>> = self
            .topics
            .iter()
            .chain(counts.keys())
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let missing = self
            .topics
            .iter()
            .any(|t| self.core.metadata.topic(t).is_none());
        if missing || self.core.metadata.is_stale(topics.iter().map(|t| &**t)) {
            let create = self.config.allow_auto_create_topics;
            if let Err(error) = self.core.refresh(&topics, create).await {
                tracing::debug!(%error, "metadata could not be refreshed");
            }
        }
        self.counts(topics.iter()) != *counts
    }

    /// When the next heartbeat is due. A group that has just formed is often joined by
    /// more, and each waits until all others have heard of it: look often at first.
    fn after_heartbeat(&self) -> Instant {
        let now = Instant::now();
        let interval = self.config.heartbeat_interval_ms;
        if now < self.settling_until {
            now + interval.min(SETTLING_HEARTBEAT)
        } else {
            now + interval
        }
    }

    async fn heartbeat(&mut self) -> Result<(), Turn> {
        self.next_heartbeat = self.after_heartbeat();
        if self.shared.last_poll().elapsed() > self.config.max_poll_interval_ms {
            tracing::warn!(
                group = self.coordinator.group_id(),
                "poll was not called within max.poll.interval.ms; leaving the group"
            );
            self.leave_group().await;
            return Err(Turn::Away);
        }
        let group = self.shared.group.lock().clone();
        if group.generation_id < 0 {
            return Ok(());
        }
        let request = HeartbeatRequest {
            group_id: Str::from(&group.group_id),
            generation_id: group.generation_id,
            member_id: Str::from(&group.member_id),
            group_instance_id: group.group_instance_id.as_ref().map(Str::from),
            ..HeartbeatRequest::default()
        };
        let timeout = self
            .core
            .config
            .request_timeout_ms
            .min(self.config.session_timeout_ms);
        let what = format!("heartbeat of group {}", group.group_id);
        let asked = self
            .coordinator
            .ask(self.heartbeat_lane, timeout, request, |response| {
                ErrorCode::from(response.error_code)
                    .ok()
                    .map_err(|code| ClientError::broker(code, what))
            });
        let response = self.orders.attend(asked).await?;
        response?;
        Ok(())
    }

    /// Tells the coordinator that we go. A static member stays a member: it is expected
    /// back before its session ends.
    async fn leave_group(&mut self) {
        let group = self.shared.group.lock().clone();
        if group.member_id.is_empty() || group.group_instance_id.is_some() {
            return;
        }
        let request = LeaveGroupRequest {
            group_id: Str::from(&group.group_id),
            members: vec![MemberIdentity {
                member_id: Str::from(&group.member_id),
                ..MemberIdentity::default()
            }],
            ..LeaveGroupRequest::default()
        };
        let timeout = self.core.config.request_timeout_ms;
        let left = self
            .coordinator
            .ask(self.heartbeat_lane, timeout, request, |_| Ok(()))
            .await;
        if let Err(error) = left {
            tracing::debug!(%error, "the group could not be left; the session will end");
        }
        self.forget_generation(true);
    }
}
