//! The consumer: partitions in, records out, one owner.
//!
//! Reading, lookups and the group's protocol go on while nobody polls, but nothing that
//! the owner sees changes before it polls: an assignment and its end are values that
//! [`Consumer::poll`] returns. Whatever `poll` waits for is kept in the consumer, so that
//! its future may be dropped at any time.

mod assignor;
mod classic;
mod config;
mod coordinator;
mod fetcher;
mod lookup;
mod membership;
mod modern;
mod offsets;
mod partitions;
mod protocol;
mod records;
mod session;
#[cfg(test)]
mod tests;
mod validation;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

pub use assignor::{
    Assignment, CooperativeStickyAssignor, GroupMember, PartitionAssignor, PartitionCounts,
    RangeAssignor, RebalanceProtocol, RoundRobinAssignor, StickyAssignor,
};
pub use config::{AutoOffsetReset, ConsumerConfig, GroupProtocol, IsolationLevel};
pub(crate) use coordinator::GroupCoordinator;
pub(crate) use protocol::{assigned_partitions, subscribed_topics};
pub use records::{ConsumerRecord, PartitionRecords, RecordIter};

use fetcher::{Fetcher, METADATA_PAUSE, take_verdicts};
use lookup::{Found, look_up};
use membership::{Command, Event, Membership, Subscription};
use partitions::{Partitions, Position, Start};
use validation::{Verdicts, validate};

use super::core::{Core, after};
use super::{ClientError, GroupMetadata, OffsetSpec, TopicPartition};

/// What a call of [`Consumer::poll`] brought.
#[derive(Debug, Clone)]
pub enum Polled {
    /// Records; none if the time was up.
    Records(Vec<PartitionRecords>),
    /// These partitions will be taken away. They are still assigned until the next call of
    /// `poll`, which goes on with the rebalance: commit before it.
    Revoking(Vec<TopicPartition>),
    /// The group has been joined; these partitions were added to the assignment (none, if
    /// others have them all). Reading begins with the next call of `poll`, so a `seek`
    /// before it decides where.
    Assigned(Vec<TopicPartition>),
    /// These partitions have been taken away without notice: others may have read them
    /// already, and nothing can be committed for them any more.
    Lost(Vec<TopicPartition>),
}

/// Reads partitions, alone or as a member of a group.
///
/// It has one owner, who must come back to [`poll`](Self::poll) within
/// `max.poll.interval.ms` if it is a member of a group. Dropping it leaves the group;
/// [`close`](Self::close) also commits.
pub struct Consumer {
    core: Arc<Core>,
    config: ConsumerConfig,
    coordinator: Option<Arc<GroupCoordinator>>,
    membership: Option<Membership>,
    partitions: Partitions,
    fetcher: Fetcher,
    lookup: Option<BoxFuture<'static, Vec<Found>>>,
    validation: Option<BoxFuture<'static, Verdicts>>,
    refresh: Option<BoxFuture<'static, Result<(), ClientError>>>,
    next_refresh: Instant,
    committing: Option<BoxFuture<'static, Result<(), ClientError>>>,
    next_commit: Instant,
    /// An event that was taken out of the channel but not returned yet.
    event: Option<Event>,
    /// Returned as `Revoking`; they go with the next poll.
    revoking: Vec<TopicPartition>,
    /// The number of the event from which the next poll goes on.
    going_on: Option<u64>,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("group_id", &self.config.group_id)
            .field("assignment", &self.partitions.names())
            .finish_non_exhaustive()
    }
}

impl Consumer {
    pub(crate) fn new(core: Arc<Core>, config: ConsumerConfig) -> Result<Self, ClientError> {
        let coordinator = config.group_id.as_ref().map(|group| {
            let lane = super::Lane::fresh();
            Arc::new(GroupCoordinator::in_lane(core.clone(), group.clone(), lane))
        });
        assignors(&config)?;
        Ok(Self {
            fetcher: Fetcher::new(core.clone()),
            next_commit: after(config.auto_commit_interval_ms),
            next_refresh: Instant::now(),
            core,
            config,
            coordinator,
            membership: None,
            partitions: Partitions::default(),
            lookup: None,
            validation: None,
            refresh: None,
            committing: None,
            event: None,
            revoking: Vec::new(),
            going_on: None,
        })
    }

    /// Joins the group and shares the partitions of `topics` with its other members.
    /// Replaces the topics of an earlier call.
    pub fn subscribe<T: AsRef<str>>(&mut self, topics: &[T]) -> Result<(), ClientError> {
        let topics: BTreeSet<Arc<str>> = topics.iter().map(|t| Arc::from(t.as_ref())).collect();
        if topics.is_empty() {
            self.unsubscribe();
            return Ok(());
        }
        self.share(Subscription::Topics(topics.into_iter().collect()))
    }

    /// Joins the group and shares the partitions of all topics whose whole name matches
    /// the regular expression, also of those that come later. Replaces the topics of an
    /// earlier call. Under the classic protocol the pattern is matched here, and internal
    /// topics are left out; under `group.protocol=consumer` by the coordinator (RE2).
    pub fn subscribe_pattern(&mut self, pattern: &str) -> Result<(), ClientError> {
        let subscription = match self.config.group_protocol {
            GroupProtocol::Consumer => Subscription::Pattern(Arc::from(pattern)),
            GroupProtocol::Classic => {
                let whole = regex::Regex::new(&format!("^(?:{pattern})$"));
                Subscription::Matching(whole.map_err(|error| {
                    ClientError::IllegalState(format!(
                        "cannot subscribe to the pattern `{pattern}`: {error}"
                    ))
                })?)
            }
        };
        self.share(subscription)
    }

    fn share(&mut self, subscription: Subscription) -> Result<(), ClientError> {
        if self.membership.is_none() {
            if !self.partitions.names().is_empty() {
                return Err(ClientError::IllegalState(
                    "partitions are assigned by hand: call unsubscribe before subscribe".into(),
                ));
            }
            let Some(group_id) = self.config.group_id.clone() else {
                return Err(ClientError::NoGroup { what: "subscribe" });
            };
            let group = GroupMetadata {
                group_id,
                generation_id: -1,
                member_id: String::new(),
                group_instance_id: self.config.group_instance_id.clone(),
            };
            self.membership = Some(Membership::start(
                self.core.clone(),
                &self.config,
                group,
                assignors(&self.config)?,
            )?);
        }
        if let Some(membership) = &self.membership {
            let _ = membership.commands.send(Command::Subscribe(subscription));
        }
        Ok(())
    }

    /// Leaves the group, or drops the assigned partitions. Nothing is committed.
    pub fn unsubscribe(&mut self) {
        // The task leaves the group when nobody listens to it any more.
        self.membership = None;
        self.event = None;
        self.revoking.clear();
        self.going_on = None;
        self.lookup = None;
        self.partitions.clear();
    }

    /// Reads exactly these partitions, without group management. Positions of partitions
    /// that were assigned before are kept.
    pub fn assign(&mut self, partitions: Vec<TopicPartition>) -> Result<(), ClientError> {
        if self.membership.is_some() {
            return Err(ClientError::IllegalState(
                "the consumer has subscribed: call unsubscribe before assign".into(),
            ));
        }
        self.partitions
            .retain(&partitions.iter().cloned().collect());
        self.partitions.add(&partitions);
        Ok(())
    }

    /// The partitions that are assigned now.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        self.partitions.names()
    }

    /// Waits up to `timeout` for records or a change of the assignment.
    ///
    /// The future may be dropped at any time: nothing is lost, the next call goes on where
    /// it stood.
    pub async fn poll(&mut self, timeout: Duration) -> Result<Polled, ClientError> {
        let deadline = after(timeout);
        self.go_on();
        loop {
            if let Some(polled) = self.step()? {
                return Ok(polled);
            }
            let now = Instant::now();
            let mut until = deadline;
            let retries = [
                // An owner that waits here has not stayed away.
                (self.membership.as_ref()).map(|_| now + self.config.max_poll_interval_ms / 2),
                self.fetcher.next_retry(&self.partitions),
                Some(self.next_commit).filter(|_| self.auto_commits()),
                Some(self.next_refresh).filter(|t| *t > now && !self.fetcher.stale.is_empty()),
            ];
            for at in retries.into_iter().flatten() {
                until = until.min(at);
            }
            tokio::select! {
                biased;
                event = next_event(&mut self.membership), if self.event.is_none() => {
                    self.event = Some(event);
                }
                answer = self.fetcher.next() => {
                    self.fetcher.take_in(answer, &mut self.partitions, &self.config)?;
                }
                found = pending(&mut self.lookup) => {
                    self.lookup = None;
                    self.take_found(found)?;
                }
                verdicts = pending(&mut self.validation) => {
                    self.validation = None;
                    self.take_verdicts(verdicts)?;
                }
                result = pending(&mut self.refresh) => {
                    self.refresh = None;
                    if let Err(error) = result {
                        tracing::debug!(%error, "metadata could not be refreshed");
                    }
                }
                result = pending(&mut self.committing) => {
                    self.committing = None;
                    if let Err(error) = result {
                        tracing::warn!(%error, "positions were not committed");
                    }
                }
                () = tokio::time::sleep_until(until.into()) => {
                    if until >= deadline {
                        return Ok(Polled::Records(Vec::new()));
                    }
                }
            }
        }
    }

    /// [`poll`](Self::poll) for owners that need not know of rebalances. With
    /// `enable.auto.commit`, positions are committed before partitions go.
    pub async fn poll_records(
        &mut self,
        timeout: Duration,
    ) -> Result<Vec<PartitionRecords>, ClientError> {
        let deadline = after(timeout);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Polled::Records(records) = self.poll(left).await? {
                return Ok(records);
            }
        }
    }

    /// The owner is back: what waited for it goes on.
    fn go_on(&mut self) {
        if let Some(membership) = &self.membership {
            membership.shared.polled();
            self.partitions.remove(&std::mem::take(&mut self.revoking));
            if let Some(number) = self.going_on.take() {
                let _ = membership.commands.send(Command::Continue(number));
            }
        }
        if self.auto_commits() && self.committing.is_none() && self.next_commit <= Instant::now() {
            self.start_commit();
        }
    }

    /// Does what can be done without waiting. `Some` is for the owner.
    fn step(&mut self) -> Result<Option<Polled>, ClientError> {
        if let Some(membership) = &mut self.membership {
            membership.shared.polled();
            if self.event.is_none() {
                self.event = membership.events.try_recv().ok();
            }
        }
        if let Some(polled) = self.take_event()? {
            return Ok(Some(polled));
        }
        while let Some(answer) = self.fetcher.try_next() {
            self.fetcher
                .take_in(answer, &mut self.partitions, &self.config)?;
        }
        self.start_lookup();
        self.start_refresh();
        let records = if self.partitions.has_records() {
            self.partitions
                .take_records(self.config.isolation_level, self.config.control_records)?
        } else {
            Vec::new()
        };
        // The brokers read on while the owner works.
        self.fetcher.send(&mut self.partitions, &self.config);
        self.start_validation();
        Ok((!records.is_empty()).then_some(Polled::Records(records)))
    }

    fn take_event(&mut self) -> Result<Option<Polled>, ClientError> {
        let Some(event) = self.event.take() else {
            return Ok(None);
        };
        match event {
            Event::Revoking { number, partitions } => {
                let first = partitions
                    .iter()
                    .any(|p| self.partitions.get(p).is_some_and(|s| !s.revoking));
                self.partitions.announce_end(&partitions);
                if self.config.enable_auto_commit {
                    if first {
                        // Also what an earlier commit, still on its way, has missed.
                        self.start_commit();
                    }
                    if self.committing.is_some() {
                        self.event = Some(Event::Revoking { number, partitions });
                        return Ok(None);
                    }
                }
                self.revoking.clone_from(&partitions);
                self.going_on = Some(number);
                Ok(Some(Polled::Revoking(partitions)))
            }
            Event::Assigned { added, all } => {
                self.partitions.retain(&all);
                self.partitions.add(&added);
                Ok(Some(Polled::Assigned(added)))
            }
            Event::Lost(partitions) => {
                self.partitions.remove(&partitions);
                Ok(Some(Polled::Lost(partitions)))
            }
            Event::Failed { number, error } => {
                self.going_on = Some(number);
                Err(error)
            }
        }
    }

    fn auto_commits(&self) -> bool {
        self.config.enable_auto_commit && self.coordinator.is_some()
    }

    fn start_commit(&mut self) {
        self.next_commit = after(self.config.auto_commit_interval_ms);
        if self.coordinator.is_some() {
            let commit = self.commit(self.partitions.positions());
            self.committing = Some(commit.boxed());
        }
    }

    /// Looks for the positions of partitions that have none.
    fn start_lookup(&mut self) {
        if self.lookup.is_some() {
            return;
        }
        let mut wanted = Vec::new();
        for (partition, state) in self.partitions.iter_mut() {
            if state.position().is_none() && !state.revoking {
                wanted.push((partition.clone(), state.start));
            }
        }
        if !wanted.is_empty() {
            let found = look_up(
                self.core.clone(),
                self.coordinator.clone(),
                wanted,
                self.config.auto_offset_reset,
                self.config.isolation_level,
            );
            self.lookup = Some(found.boxed());
        }
    }

    fn take_found(&mut self, found: Vec<Found>) -> Result<(), ClientError> {
        let mut result = Ok(());
        for found in found {
            let Some(state) = self.partitions.get_mut(&found.partition) else {
                continue;
            };
            // Sought in the meantime.
            if state.start != found.start {
                continue;
            }
            match found.result {
                Ok(position) => state.restart(Start::At(position)),
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Asks the leaders about positions in doubt.
    fn start_validation(&mut self) {
        if self.validation.is_none() && !self.fetcher.doubts.is_empty() {
            let doubts = std::mem::take(&mut self.fetcher.doubts);
            self.validation = Some(validate(self.core.clone(), doubts).boxed());
        }
    }

    fn take_verdicts(&mut self, verdicts: Verdicts) -> Result<(), ClientError> {
        take_verdicts(
            verdicts,
            &mut self.partitions,
            &mut self.fetcher.stale,
            self.config.auto_offset_reset,
            Instant::now() + self.core.config.retry_backoff_ms,
        )
    }

    fn start_refresh(&mut self) {
        let now = Instant::now();
        if self.refresh.is_some() || self.next_refresh > now {
            return;
        }
        let mut topics: Vec<Arc<str>> = self.fetcher.stale.drain().collect();
        let assigned = self.partitions.topics();
        if self
            .core
            .metadata
            .is_stale(assigned.iter().map(|topic| &**topic))
        {
            topics.extend(assigned);
        }
        if !topics.is_empty() {
            let core = self.core.clone();
            self.next_refresh = now + METADATA_PAUSE;
            self.refresh =
                Some(async move { core.refresh(&topics, false).await.map(drop) }.boxed());
        }
    }

    fn assigned(
        &mut self,
        partition: &TopicPartition,
    ) -> Result<&mut partitions::Partition, ClientError> {
        self.partitions
            .get_mut(partition)
            .ok_or_else(|| ClientError::NotAssigned {
                partition: partition.clone(),
            })
    }

    fn restart(&mut self, partitions: &[TopicPartition], start: Start) -> Result<(), ClientError> {
        for partition in partitions {
            self.assigned(partition)?.restart(start);
        }
        Ok(())
    }

    /// Goes on reading at `offset`.
    pub fn seek(&mut self, partition: &TopicPartition, offset: i64) -> Result<(), ClientError> {
        if offset < 0 {
            return Err(ClientError::IllegalState(format!(
                "cannot seek {partition} to {offset}: an offset is 0 or more"
            )));
        }
        let position = Position {
            offset,
            epoch: None,
        };
        self.restart(std::slice::from_ref(partition), Start::At(position))
    }

    /// Goes on reading at the first offset of the log.
    pub fn seek_to_beginning(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.restart(partitions, Start::Spec(OffsetSpec::Earliest))
    }

    /// Goes on reading at the end of the log.
    pub fn seek_to_end(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        self.restart(partitions, Start::Spec(OffsetSpec::Latest))
    }

    /// Returns no records of these partitions until [`resume`](Self::resume). What has
    /// been fetched of them is kept.
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        for partition in partitions {
            self.assigned(partition)?.paused = true;
        }
        Ok(())
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        for partition in partitions {
            self.assigned(partition)?.paused = false;
        }
        Ok(())
    }

    /// The partitions that are paused.
    pub fn paused(&self) -> BTreeSet<TopicPartition> {
        self.partitions
            .iter()
            .filter(|(_, state)| state.paused)
            .map(|(partition, _)| partition.clone())
            .collect()
    }

    /// The offset of the next record that `poll` will return; looks it up if reading has
    /// not begun.
    pub async fn position(&mut self, partition: &TopicPartition) -> Result<i64, ClientError> {
        loop {
            if let Some(position) = self.assigned(partition)?.position() {
                return Ok(position.offset);
            }
            self.start_lookup();
            if self.lookup.is_none() {
                return Err(ClientError::IllegalState(format!(
                    "{partition} is being revoked and reading it never began"
                )));
            }
            let found = pending(&mut self.lookup).await;
            self.lookup = None;
            self.take_found(found)?;
        }
    }

    /// Who this member is at the moment: what a transactional commit must name.
    pub fn group_metadata(&self) -> Result<GroupMetadata, ClientError> {
        if let Some(membership) = &self.membership {
            return Ok(membership.shared.group.lock().clone());
        }
        let Some(group_id) = self.config.group_id.clone() else {
            return Err(ClientError::NoGroup {
                what: "group_metadata",
            });
        };
        Ok(GroupMetadata {
            group_id,
            generation_id: -1,
            member_id: String::new(),
            group_instance_id: None,
        })
    }

    /// Commits positions if `enable.auto.commit`, and leaves the group (a static member
    /// keeps its place until its session ends).
    pub async fn close(mut self) -> Result<(), ClientError> {
        let committed = if self.auto_commits() {
            self.partitions.remove(&std::mem::take(&mut self.revoking));
            self.commit_positions().await
        } else {
            Ok(())
        };
        if let Some(membership) = self.membership.take() {
            let (told, left) = oneshot::channel();
            let _ = membership.commands.send(Command::Leave(told));
            let _ = tokio::time::timeout(self.core.config.request_timeout_ms, left).await;
        }
        self.fetcher.end_sessions().await;
        committed
    }
}

/// The next event; forever without a membership. May be dropped.
async fn next_event(membership: &mut Option<Membership>) -> Event {
    if let Some(membership) = membership
        && let Some(event) = membership.events.recv().await
    {
        return event;
    }
    std::future::pending().await
}

/// The result of a future that may not be there; then it is waited for forever. The future
/// stays where it is when this one is dropped.
async fn pending<T>(future: &mut Option<impl Future<Output = T> + Unpin>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The assignors of a configuration, in order of preference.
fn assignors(config: &ConsumerConfig) -> Result<Vec<Arc<dyn PartitionAssignor>>, ClientError> {
    let named = &config.partition_assignment_strategy;
    let mut list: Vec<Arc<dyn PartitionAssignor>> = config
        .assignors
        .iter()
        .filter(|a| !named.iter().any(|n| n == a.name()))
        .cloned()
        .collect();
    for name in named {
        let own = config.assignors.iter().find(|a| a.name() == name).cloned();
        list.push(own.or_else(|| assignor::built_in(name)).ok_or_else(|| {
            ClientError::InvalidConfig {
                key: "partition.assignment.strategy".to_owned(),
                value: name.clone(),
                reason:
                    "expected range, roundrobin, sticky, cooperative-sticky, or the name of one of \
                         `ConsumerConfig::assignors`"
                        .to_owned(),
            }
        })?);
    }
    if list.is_empty() {
        return Err(ClientError::InvalidConfig {
            key: "partition.assignment.strategy".to_owned(),
            value: String::new(),
            reason: "name at least one assignor".to_owned(),
        });
    }
    Ok(list)
}
