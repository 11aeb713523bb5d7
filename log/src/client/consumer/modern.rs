//! A member of a group under the consumer protocol (KIP-848), as a background task.
//!
//! The coordinator decides who reads what and tells each member by the answers to its
//! heartbeats; the member moves from what it owns to what it was given at its own pace and
//! says in the next heartbeat what it owns. Invariants: a partition is named as owned as
//! long as the owner may read it, and no longer; a heartbeat carries only what has changed
//! since the coordinator last heard it, and everything when the member joins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use uuid::Uuid;

use super::config::ConsumerConfig;
use super::coordinator::GroupCoordinator;
use super::membership::{Event, Orders, Parts, Shared, Subscription, Turn};
use crate::client::core::{Core, after, millis};
use crate::client::transport::Lane;
use crate::client::{ClientError, TopicPartition};
use crate::wire::messages::{
    ConsumerGroupHeartbeatAssignment, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatRequestTopicPartitions, ConsumerGroupHeartbeatResponse,
};
use crate::wire::{ErrorCode, Str};

/// Says that the member leaves for good.
const LEAVE: i32 = -1;
/// Says that a static member leaves and will come back.
const LEAVE_STATIC: i32 = -2;
/// The pause before names of topics are looked up again.
const LOOKUP_PAUSE: Duration = Duration::from_millis(50);

/// Partitions by topic id, as the protocol names them.
type ByTopic = BTreeMap<Uuid, BTreeSet<i32>>;

pub(super) struct Member {
    core: Arc<Core>,
    coordinator: GroupCoordinator,
    lane: Lane,
    config: ConsumerConfig,
    shared: Arc<Shared>,
    orders: Orders,
    outbox: mpsc::UnboundedSender<Event>,
    /// What the owner reads, with the topics' ids.
    owned: BTreeMap<TopicPartition, Uuid>,
    /// What the coordinator has given; `None` once it is what we own.
    target: Option<ByTopic>,
    /// What the coordinator was last told that we own.
    told: Option<ByTopic>,
    /// Whether the coordinator knows the subscription.
    told_subscription: bool,
    /// Whether the coordinator knows a pattern.
    told_pattern: bool,
    /// Whether the owner has been told that the group is joined.
    told_owner: bool,
    /// The event that the owner must go on from, and what is given up then.
    revoking: Option<(u64, Vec<TopicPartition>)>,
    interval: Duration,
    next_heartbeat: Instant,
    next_lookup: Instant,
    /// The number of the last event that the owner must go on from.
    event: u64,
}

impl Member {
    pub(super) fn new(parts: Parts) -> Self {
        let lane = Lane::fresh();
        {
            // The member names itself, once for its whole life.
            let mut group = parts.shared.group.lock();
            group.member_id = Uuid::new_v4().to_string();
        }
        Self {
            coordinator: GroupCoordinator::in_lane(parts.core.clone(), parts.group_id, lane),
            lane,
            interval: parts.config.heartbeat_interval_ms,
            config: parts.config,
            shared: parts.shared,
            orders: parts.orders,
            outbox: parts.outbox,
            owned: BTreeMap::new(),
            target: None,
            told: None,
            told_subscription: false,
            told_pattern: false,
            told_owner: false,
            revoking: None,
            next_heartbeat: Instant::now(),
            next_lookup: Instant::now(),
            event: 0,
            core: parts.core,
        }
    }

    pub(super) async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let turn = match self.take_part(&mut attempt).await {
                Ok(never) => match never {},
                Err(turn) => turn,
            };
            match turn {
                Turn::Leave => break,
                Turn::Rejoin => attempt = 0,
                Turn::Lost { .. } => {
                    attempt = 0;
                    self.lose();
                }
                Turn::Away => {
                    self.lose();
                    let limit = self.config.max_poll_interval_ms;
                    if self.orders.await_poll(&self.shared, limit).await.is_err() {
                        break;
                    }
                }
                Turn::Failed(error) if error.is_retriable() => {
                    tracing::debug!(%error, group = self.coordinator.group_id(), "retrying");
                    let until = Instant::now() + self.core.backoff(attempt);
                    attempt += 1;
                    if self.orders.listen_until(until, |_| false).await.is_err() {
                        break;
                    }
                }
                Turn::Failed(error) => {
                    self.lose();
                    self.event += 1;
                    let number = self.event;
                    let _ = self.outbox.send(Event::Failed { number, error });
                    let again = |m: &Orders| m.continued >= number || m.resubscribed;
                    let forever = after(Duration::MAX);
                    if self.orders.listen_until(forever, again).await.is_err() {
                        break;
                    }
                }
            }
        }
        self.leave_group().await;
        if let Some(told) = self.orders.leaving.take() {
            let _ = told.send(());
        }
    }

    /// Heartbeats and reconciles until something ends that.
    async fn take_part(&mut self, attempt: &mut u32) -> Result<std::convert::Infallible, Turn> {
        self.orders.subscribed().await?;
        loop {
            if std::mem::take(&mut self.orders.resubscribed) {
                self.told_subscription = false;
            }
            self.reconcile().await?;
            let due = if self.has_news() {
                Instant::now()
            } else if self.target.is_some() && self.revoking.is_none() {
                self.next_heartbeat.min(self.next_lookup)
            } else {
                self.next_heartbeat
            };
            let waits_for = self.revoking.as_ref().map(|(number, _)| *number);
            self.orders
                .listen_until(due, |orders| {
                    orders.resubscribed || waits_for.is_some_and(|n| orders.continued >= n)
                })
                .await?;
            if self.has_news() || self.next_heartbeat <= Instant::now() {
                self.heartbeat().await?;
                *attempt = 0;
            }
        }
    }

    fn epoch(&self) -> i32 {
        self.shared.group.lock().generation_id
    }

    fn has_joined(&self) -> bool {
        self.epoch() > 0
    }

    /// Whether the coordinator should hear at once.
    fn has_news(&self) -> bool {
        !self.has_joined()
            || !self.told_subscription
            || self
                .told
                .as_ref()
                .is_some_and(|told| *told != self.owned_by_topic())
    }

    fn owned_by_topic(&self) -> ByTopic {
        let mut by_topic = ByTopic::new();
        for (partition, id) in &self.owned {
            by_topic.entry(*id).or_default().insert(partition.partition);
        }
        by_topic
    }

    /// Moves towards what the coordinator has given, as far as the owner allows.
    async fn reconcile(&mut self) -> Result<(), Turn> {
        if let Some((number, _)) = &self.revoking {
            if self.orders.continued < *number {
                return Ok(());
            }
            if let Some((_, gone)) = self.revoking.take() {
                for partition in &gone {
                    self.owned.remove(partition);
                }
            }
        }
        let Some(target) = &self.target else {
            return Ok(());
        };
        let unknown: Vec<Uuid> = {
            let cluster = self.core.metadata.snapshot();
            let unknown = target.keys().filter(|id| cluster.name_of(id).is_none());
            unknown.copied().collect()
        };
        if !unknown.is_empty() && self.next_lookup <= Instant::now() {
            self.next_lookup = Instant::now() + LOOKUP_PAUSE;
            let (transport, timeout) = (&*self.core.transport, self.core.config.request_timeout_ms);
            let asked = self.core.metadata.fetch_ids(transport, &unknown, timeout);
            if let Err(error) = self.orders.attend(asked).await? {
                tracing::debug!(%error, "assigned topics could not be looked up");
            }
        }
        let cluster = self.core.metadata.snapshot();
        let mut complete = true;
        let mut new: BTreeMap<TopicPartition, Uuid> = BTreeMap::new();
        for (id, partitions) in target {
            let Some(name) = cluster.name_of(id) else {
                complete = false;
                continue;
            };
            new.extend(
                partitions
                    .iter()
                    .map(|p| (TopicPartition::new(name.clone(), *p), *id)),
            );
        }
        let gone: Vec<TopicPartition> = self
            .owned
            .iter()
            .filter(|(partition, id)| new.get(partition) != Some(id))
            .map(|(partition, _)| partition.clone())
            .collect();
        if !gone.is_empty() {
            self.event += 1;
            let number = self.event;
            let partitions = gone.clone();
            self.revoking = Some((number, gone));
            let _ = self.outbox.send(Event::Revoking { number, partitions });
            return Ok(());
        }
        if complete {
            self.target = None;
        }
        let added: Vec<TopicPartition> = new
            .keys()
            .filter(|partition| !self.owned.contains_key(partition))
            .cloned()
            .collect();
        self.owned = new;
        if !added.is_empty() || !self.told_owner {
            self.told_owner = true;
            let all = self.owned.keys().cloned().collect();
            let _ = self.outbox.send(Event::Assigned { added, all });
        }
        Ok(())
    }

    async fn heartbeat(&mut self) -> Result<(), Turn> {
        if self.shared.last_poll().elapsed() > self.config.max_poll_interval_ms {
            tracing::warn!(
                group = self.coordinator.group_id(),
                "poll was not called within max.poll.interval.ms; leaving the group"
            );
            self.leave_group().await;
            return Err(Turn::Away);
        }
        self.next_heartbeat = Instant::now() + self.interval;
        let owned = self.owned_by_topic();
        let request = self.request(&owned);
        let what = format!("heartbeat of group {}", request.group_id);
        let timeout = self.core.config.request_timeout_ms;
        // Patterns are of version 1 on.
        let pattern = request.subscribed_topic_regex.is_some();
        self.told_pattern |= pattern;
        let asked = self.coordinator.ask_with(
            self.lane,
            timeout,
            request,
            |call| if pattern { call.at_least(1) } else { call },
            |response: &ConsumerGroupHeartbeatResponse| {
                let code = ErrorCode::from(response.error_code);
                code.ok().map_err(|code| {
                    ClientError::broker_said(code, what, response.error_message.clone())
                })
            },
        );
        let answered = self.orders.attend(asked).await?;
        match answered {
            Ok(response) => {
                self.told = Some(owned);
                // What was subscribed while the heartbeat was on its way is still to tell.
                self.told_subscription = !self.orders.resubscribed;
                self.take_in(response);
                Ok(())
            }
            Err(error) => {
                // What the coordinator has heard is not known.
                self.told = None;
                self.told_subscription = false;
                let backoff = Instant::now() + self.core.backoff(0);
                self.next_heartbeat = self.next_heartbeat.min(backoff);
                Err(match error.code() {
                    Some(ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch) => {
                        Turn::Lost { known: false }
                    }
                    _ => Turn::Failed(error),
                })
            }
        }
    }

    /// What the coordinator does not know yet.
    fn request(&self, owned: &ByTopic) -> ConsumerGroupHeartbeatRequest {
        let group = self.shared.group.lock().clone();
        let joining = group.generation_id <= 0;
        let (mut names, mut pattern) = (None, None);
        if joining || !self.told_subscription {
            match &self.orders.subscription {
                Subscription::Topics(topics) => {
                    names = Some(topics.iter().map(|t| Str::from(&**t)).collect());
                    // An empty pattern takes an earlier one back.
                    pattern = Some(Str::from_static("")).filter(|_| self.told_pattern);
                }
                Subscription::Pattern(text) => {
                    // The names of an earlier subscription are taken back.
                    names = Some(Vec::new()).filter(|_| !joining);
                    pattern = Some(Str::from(&**text));
                }
                Subscription::Matching(_) => names = Some(Vec::new()),
            }
        }
        let full = joining || self.told.is_none();
        ConsumerGroupHeartbeatRequest {
            group_id: Str::from(&group.group_id),
            member_id: Str::from(&group.member_id),
            member_epoch: group.generation_id.max(0),
            instance_id: group.group_instance_id.as_ref().map(Str::from),
            rack_id: (self.config.client_rack.as_ref())
                .filter(|_| full)
                .map(Str::from),
            rebalance_timeout_ms: if full {
                millis(self.config.max_poll_interval_ms)
            } else {
                -1
            },
            subscribed_topic_names: names,
            subscribed_topic_regex: pattern,
            server_assignor: (self.config.group_remote_assignor.as_ref())
                .filter(|_| full)
                .map(Str::from),
            topic_partitions: (full || self.told.as_ref() != Some(owned)).then(|| {
                owned
                    .iter()
                    .map(
                        |(id, partitions)| ConsumerGroupHeartbeatRequestTopicPartitions {
                            topic_id: *id,
                            partitions: partitions.iter().copied().collect(),
                            ..ConsumerGroupHeartbeatRequestTopicPartitions::default()
                        },
                    )
                    .collect()
            }),
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }

    fn take_in(&mut self, response: ConsumerGroupHeartbeatResponse) {
        {
            let mut group = self.shared.group.lock();
            group.generation_id = response.member_epoch;
            if let Some(member_id) = response.member_id.filter(|id| !id.is_empty()) {
                group.member_id = member_id.to_string();
            }
        }
        if response.heartbeat_interval_ms > 0 {
            let interval = response.heartbeat_interval_ms.unsigned_abs();
            self.interval = Duration::from_millis(interval.into());
            self.next_heartbeat = Instant::now() + self.interval;
        }
        if let Some(assignment) = response.assignment {
            self.target = Some(by_topic(&assignment));
            self.next_lookup = Instant::now();
        }
    }

    /// What we have is gone: the owner is told, and we join anew under the same id.
    fn lose(&mut self) {
        self.shared.group.lock().generation_id = -1;
        self.target = None;
        self.told = None;
        self.told_subscription = false;
        self.told_pattern = false;
        self.told_owner = false;
        self.revoking = None;
        self.next_heartbeat = Instant::now();
        let lost: Vec<TopicPartition> = std::mem::take(&mut self.owned).into_keys().collect();
        if !lost.is_empty() {
            let _ = self.outbox.send(Event::Lost(lost));
        }
    }

    /// Tells the coordinator that we go. A static member is expected back.
    async fn leave_group(&mut self) {
        let group = self.shared.group.lock().clone();
        if group.generation_id <= 0 {
            return;
        }
        let request = ConsumerGroupHeartbeatRequest {
            group_id: Str::from(&group.group_id),
            member_id: Str::from(&group.member_id),
            member_epoch: match group.group_instance_id {
                Some(_) => LEAVE_STATIC,
                None => LEAVE,
            },
            instance_id: group.group_instance_id.as_ref().map(Str::from),
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let timeout = self.core.config.request_timeout_ms;
        let left = self
            .coordinator
            .ask(self.lane, timeout, request, |_| Ok(()))
            .await;
        if let Err(error) = left {
            tracing::debug!(%error, "the group could not be left; the session will end");
        }
        self.shared.group.lock().generation_id = -1;
    }
}

fn by_topic(assignment: &ConsumerGroupHeartbeatAssignment) -> ByTopic {
    let mut by_topic = ByTopic::new();
    for topic in &assignment.topic_partitions {
        by_topic
            .entry(topic.topic_id)
            .or_default()
            .extend(&topic.partitions);
    }
    by_topic
}
