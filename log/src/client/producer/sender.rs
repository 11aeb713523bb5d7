//! The background task that takes batches out and sends them to the leaders.
//!
//! One task a producer; it owns everything about requests on their way, so nothing here
//! is locked. Whatever it must wait for (metadata, a producer id, answers, linger, backoff)
//! it waits for at once, so that one slow broker or topic holds back no other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use super::accumulator::{Accumulator, Head, PartitionQueue, TopicQueue};
use super::config::Acks;
use super::delivery::Written;
use super::partition::{Identity, Partition, Sealed, Verdict};
use super::transaction::{Machine, Transactions, concurrent_pause};
use crate::client::core::{Core, UNKNOWN_TOPIC_PATIENCE, after, backoff, millis, response_of};
use crate::client::metadata::Cluster;
use crate::client::transport::{Call, Destination, Lane, Reply};
use crate::client::{ClientError, TopicPartition};
use crate::wire::messages::{
    InitProducerIdRequest, PartitionProduceData, PartitionProduceResponse, ProduceRequest,
    TopicProduceData,
};
use crate::wire::{ErrorCode, Str};

pub(super) struct Sender {
    core: Arc<Core>,
    accumulator: Arc<Accumulator>,
    stopped: watch::Receiver<bool>,
    /// Nobody holds the producer any more: what is left is sent without lingering.
    orphaned: bool,
    /// Nothing is sent any more.
    stopping: bool,
    lane: Lane,
    idempotent: bool,
    partitions: Vec<Partition>,
    places: HashMap<TopicPartition, usize>,
    /// Places of partitions with something to do.
    active: Vec<usize>,
    /// Requests on their way, by broker.
    in_flight: HashMap<i32, usize>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    errands: FuturesUnordered<BoxFuture<'static, Errand>>,
    identity: Option<Identity>,
    identity_errand: Retries,
    metadata_errand: Retries,
    /// Topics whose metadata are needed before something can go on.
    wanted: BTreeSet<Arc<str>>,
    /// Topics with records that wait for the number of partitions.
    unresolved: Vec<Arc<TopicQueue>>,
    next_age_check: Instant,
    transactions: Option<Arc<Transactions>>,
    adding_errand: Retries,
}

/// A request with its answer.
struct Answer {
    broker: i32,
    batches: Vec<(usize, Sealed)>,
    reply: Result<Reply, ClientError>,
}

/// Something else that was asked for.
enum Errand {
    Metadata(Result<Vec<(Arc<str>, ErrorCode)>, ClientError>),
    ProducerId(Result<Identity, ClientError>),
    Adding(Vec<TopicPartition>, Result<(), ClientError>),
}

/// When an errand may be run again.
#[derive(Default)]
struct Retries {
    running: bool,
    attempt: u32,
    not_before: Option<Instant>,
}

impl Retries {
    fn may_start(&self, now: Instant) -> bool {
        !self.running && self.not_before.is_none_or(|t| t <= now)
    }

    fn succeeded(&mut self) {
        *self = Self::default();
    }

    fn failed(&mut self, core: &Core) {
        self.running = false;
        self.not_before = Some(Instant::now() + core.backoff(self.attempt));
        self.attempt += 1;
    }
}

impl Sender {
    pub(super) fn new(
        core: Arc<Core>,
        accumulator: Arc<Accumulator>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            idempotent: accumulator.config.is_idempotent(),
            transactions: accumulator.transactions.clone(),
            core,
            accumulator,
            stopped,
            orphaned: false,
            stopping: false,
            lane: Lane::fresh(),
            partitions: Vec::new(),
            places: HashMap::new(),
            active: Vec::new(),
            in_flight: HashMap::new(),
            answers: FuturesUnordered::new(),
            errands: FuturesUnordered::new(),
            identity: None,
            identity_errand: Retries::default(),
            metadata_errand: Retries::default(),
            wanted: BTreeSet::new(),
            unresolved: Vec::new(),
            next_age_check: Instant::now() + Duration::from_secs(1),
            adding_errand: Retries::default(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.take_news();
            let now = Instant::now();
            let mut next = after(Duration::from_secs(3600));
            self.expire(now, &mut next);
            self.sweep();
            while self.send_ready(now, &mut next) {}
            self.start_errands(now, &mut next);
            let stopped = *self.stopped.borrow();
            if stopped || (self.orphaned && self.is_idle()) {
                break;
            }
            tokio::select! {
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => {
                    self.on_answer(answer);
                    while let Some(Some(answer)) = self.answers.next().now_or_never() {
                        self.on_answer(answer);
                    }
                }
                Some(errand) = self.errands.next(), if !self.errands.is_empty() => {
                    self.on_errand(errand);
                }
                () = self.accumulator.wake.notified() => {}
                changed = self.stopped.changed(), if !self.orphaned => {
                    self.orphaned = changed.is_err();
                }
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
        // What is on its way gets its answer or its timeout; the rest gets nothing more.
        self.stopping = true;
        while let Some(answer) = self.answers.next().await {
            self.on_answer(answer);
        }
        self.fail_everything(&ClientError::Closed("producer"));
        self.core.transport.close_lane(self.lane);
    }

    /// Drops what waits, if its transaction will not commit.
    fn sweep(&mut self) {
        if let Some(transactions) = self.transactions.clone() {
            transactions.sweep(|error| self.fail_everything(error));
        }
    }

    fn is_idle(&self) -> bool {
        self.active.is_empty() && self.unresolved.is_empty() && self.answers.is_empty()
    }

    /// Takes notice of what has been appended.
    fn take_news(&mut self) {
        for queue in self.accumulator.take_announced() {
            self.activate(queue);
        }
        for topic in self.accumulator.take_unresolved() {
            self.wanted.insert(topic.name.clone());
            self.unresolved.push(topic);
        }
    }

    fn activate(&mut self, queue: Arc<PartitionQueue>) {
        let place = match self.places.get(&queue.topic_partition) {
            Some(place) => *place,
            None => {
                let place = self.partitions.len();
                self.places.insert(queue.topic_partition.clone(), place);
                self.partitions
                    .push(Partition::new(queue, self.transactions.is_some()));
                place
            }
        };
        if let Some(partition) = self.partitions.get_mut(place)
            && !std::mem::replace(&mut partition.active, true)
        {
            self.active.push(place);
        }
    }

    /// Gives up what has waited longer than `delivery.timeout.ms`.
    fn expire(&mut self, now: Instant, next: &mut Instant) {
        let timeout = self.accumulator.config.delivery_timeout_ms;
        let Some(limit) = now.checked_sub(timeout) else {
            return;
        };
        for place in &self.active {
            let Some(partition) = self.partitions.get_mut(*place) else {
                continue;
            };
            if partition.oldest_retry().is_some_and(|t| t <= limit) {
                for sealed in partition.expire(limit) {
                    let error = timed_out(&partition.queue, timeout, sealed.last_error.clone());
                    finish(&self.accumulator, sealed, Err(error));
                }
            }
            while let Head::Ready { created } | Head::Lingering { created } = partition.queue.head()
            {
                if created > limit {
                    *next = (*next).min(created + timeout);
                    break;
                }
                if let Some(batch) = partition.queue.take() {
                    let error = timed_out(&partition.queue, timeout, None);
                    self.accumulator.finish(
                        batch.id,
                        &batch.result,
                        batch.reserved,
                        batch.builder.records_count(),
                        Err(error),
                    );
                }
            }
        }
    }

    /// Sends one batch of each partition that has one to send. Returns whether it sent
    /// anything; `next` becomes the time at which there may be more.
    fn send_ready(&mut self, now: Instant, next: &mut Instant) -> bool {
        let hurry = self.orphaned
            || self.accumulator.flushing.load(Ordering::Acquire) > 0
            || self.accumulator.waiting.load(Ordering::Acquire) > 0;
        let cluster = self.core.metadata.snapshot();
        let mut requests: BTreeMap<i32, (usize, Vec<(usize, Sealed)>)> = BTreeMap::new();
        let mut unbuilt = Vec::new();
        let mut retired = false;
        for place in self.active.clone() {
            let Some(partition) = self.partitions.get_mut(place) else {
                continue;
            };
            let queue = partition.queue.clone();
            if !partition.has_retries() && queue.head() == Head::Empty {
                if !partition.has_in_flight() && queue.retire() {
                    partition.active = false;
                    retired = true;
                }
                continue;
            }
            if let Some(until) = partition.paused_until {
                if until > now {
                    *next = (*next).min(until);
                    continue;
                }
                partition.paused_until = None;
            }
            if partition.has_retries() {
                if !partition.may_retry() {
                    continue;
                }
            } else if let Head::Lingering { created } = queue.head() {
                let due = created
                    .checked_add(self.accumulator.config.linger_ms)
                    .unwrap_or(created);
                if due > now && !hurry {
                    *next = (*next).min(due);
                    continue;
                }
            }
            let limit = self
                .accumulator
                .config
                .max_in_flight_requests_per_connection;
            if limit == 1 && partition.has_in_flight() {
                continue;
            }
            if let Some(transactions) = &self.transactions {
                let (identity, adds) = transactions.with(|machine| {
                    let admitted = machine.admits(&queue.topic_partition);
                    (
                        machine.identity().filter(|_| admitted),
                        machine.is_version2(),
                    )
                });
                if !identity.is_some_and(|identity| partition.transaction_ready(identity, adds)) {
                    continue;
                }
            } else if self.idempotent {
                let Some(identity) = self.identity else {
                    continue;
                };
                match partition.sequence_ready(identity) {
                    Ok(true) => {}
                    Ok(false) => {
                        if partition.needs_new_id(identity) {
                            self.identity = None;
                        }
                        continue;
                    }
                    Err(error) => {
                        tracing::error!(%error, "a batch of our own cannot be read");
                        continue;
                    }
                }
            }
            let name = &queue.topic_partition.topic;
            let Some((leader, _)) = cluster.leader(name, queue.topic_partition.partition) else {
                self.wanted.insert(name.clone());
                continue;
            };
            if self.in_flight.get(&leader).is_some_and(|n| *n >= limit) {
                continue;
            }
            let (size, batches) = requests.entry(leader).or_default();
            if *size >= self.accumulator.config.max_request_size {
                continue;
            }
            let sealed = if partition.has_retries() {
                partition.take_retry()
            } else {
                let Some(batch) = queue.take() else { continue };
                match partition.seal(batch, self.idempotent) {
                    Ok(sealed) => Some(sealed),
                    Err(failed) => {
                        unbuilt.push(failed);
                        None
                    }
                }
            };
            if let Some(sealed) = sealed {
                *size += sealed.bytes.len();
                batches.push((place, sealed));
            }
        }
        for (batch, error) in unbuilt {
            self.accumulator.finish(
                batch.id,
                &batch.result,
                batch.reserved,
                batch.records,
                Err(error),
            );
        }
        if retired {
            let partitions = &self.partitions;
            self.active
                .retain(|place| partitions.get(*place).is_some_and(|p| p.active));
        }
        // Whoever came late in this round is early in the next.
        if !self.active.is_empty() {
            self.active.rotate_left(1);
        }
        let mut sent = false;
        for (broker, (_, batches)) in requests {
            if !batches.is_empty() {
                self.send(&cluster, broker, batches);
                sent = true;
            }
        }
        sent
    }

    fn send(&mut self, cluster: &Cluster, broker: i32, batches: Vec<(usize, Sealed)>) {
        let config = &self.accumulator.config;
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        let mut without_id = false;
        for (place, sealed) in &batches {
            let Some(partition) = self.partitions.get(*place) else {
                continue;
            };
            let tp = &partition.queue.topic_partition;
            let at = *places.entry(&*tp.topic).or_insert_with(|| {
                let topic_id = cluster.topic(&tp.topic).map(|t| t.id).unwrap_or_default();
                without_id |= topic_id.is_nil();
                topics.push(TopicProduceData {
                    name: Str::from(&*tp.topic),
                    topic_id,
                    ..TopicProduceData::default()
                });
                topics.len() - 1
            });
            if let Some(topic) = topics.get_mut(at) {
                topic.partition_data.push(PartitionProduceData {
                    index: tp.partition,
                    records: Some(sealed.bytes.clone()),
                    ..PartitionProduceData::default()
                });
            }
        }
        let request = ProduceRequest {
            transactional_id: self.transactions.as_ref().map(|t| Str::from(&**t.id())),
            acks: config.acks.code(),
            timeout_ms: millis(self.core.config.request_timeout_ms),
            topic_data: topics,
            ..ProduceRequest::default()
        };
        let mut call = Call::new(
            Destination::Broker(broker),
            request,
            self.core.config.request_timeout_ms,
        )
        .lane(self.lane);
        if without_id {
            // From version 13 on, topics have ids only.
            call = call.at_most(12);
        }
        if let Some(transactions) = &self.transactions {
            // From version 12 on, writing to a partition adds it to the transaction.
            call = match transactions.with(|machine| machine.is_version2()) {
                true => call.at_least(12),
                false => call.at_most(11),
            };
        }
        *self.in_flight.entry(broker).or_default() += 1;
        let reply = self.core.transport.call(call);
        self.answers.push(
            reply
                .map(move |reply| Answer {
                    broker,
                    batches,
                    reply,
                })
                .boxed(),
        );
    }

    fn on_answer(&mut self, answer: Answer) {
        if let Some(count) = self.in_flight.get_mut(&answer.broker) {
            *count = count.saturating_sub(1);
        }
        let response = answer.reply.and_then(response_of::<ProduceRequest>);
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                for (place, sealed) in answer.batches {
                    self.want_topic_of(place);
                    self.on_failure(place, sealed, error.clone());
                }
                return;
            }
        };
        let cluster = self.core.metadata.snapshot();
        let mut results: HashMap<(&str, i32), &PartitionProduceResponse> = HashMap::new();
        for topic in &response.responses {
            let name = if topic.name.is_empty() {
                cluster.name_of(&topic.topic_id).map_or("", |n| n)
            } else {
                &topic.name
            };
            for partition in &topic.partition_responses {
                results.insert((name, partition.index), partition);
            }
        }
        let unacknowledged = self.accumulator.config.acks == Acks::None;
        for (place, sealed) in answer.batches {
            let Some(partition) = self.partitions.get_mut(place) else {
                continue;
            };
            let tp = partition.queue.topic_partition.clone();
            // Nobody waits for an answer then, so whatever it says does not count.
            let result = results
                .get(&(&*tp.topic, tp.partition))
                .copied()
                .filter(|_| !unacknowledged);
            let code = match result {
                Some(result) => ErrorCode::from(result.error_code),
                None if unacknowledged => ErrorCode::None,
                None => {
                    let error = ClientError::Protocol {
                        what: "Produce".to_owned(),
                        reason: format!("it says nothing of {tp}"),
                    };
                    self.on_failure(place, sealed, error);
                    continue;
                }
            };
            if matches!(code, ErrorCode::None | ErrorCode::DuplicateSequenceNumber) {
                partition.succeeded(&sealed);
                let written = Written {
                    topic_partition: tp.clone(),
                    base_offset: result.map_or(-1, |r| r.base_offset),
                    log_append_time: result.map(|r| r.log_append_time_ms).filter(|t| *t >= 0),
                };
                finish(&self.accumulator, sealed, Ok(written));
                continue;
            }
            if code.is_stale_metadata() {
                self.wanted.insert(tp.topic.clone());
            }
            let message = result.and_then(|r| {
                let of_record = r
                    .record_errors
                    .iter()
                    .find_map(|e| e.batch_index_error_message.clone());
                of_record.or_else(|| r.error_message.clone())
            });
            let error = ClientError::broker_said(code, format!("produce to {tp}"), message);
            self.on_failure(place, sealed, error);
        }
    }

    fn want_topic_of(&mut self, place: usize) {
        if let Some(partition) = self.partitions.get(place) {
            self.wanted
                .insert(partition.queue.topic_partition.topic.clone());
        }
    }

    fn on_failure(&mut self, place: usize, mut sealed: Sealed, mut error: ClientError) {
        let config = &self.accumulator.config;
        let Some(partition) = self.partitions.get_mut(place) else {
            return;
        };
        let timeout = config.delivery_timeout_ms;
        let expired = sealed.created.elapsed() >= timeout;
        let wait = match error.code() {
            Some(ErrorCode::ConcurrentTransactions) => concurrent_pause(sealed.attempts),
            _ => backoff(
                self.core.config.retry_backoff_ms,
                self.core.config.retry_backoff_max_ms,
                sealed.attempts,
            ),
        };
        // Of a transaction that is given up nothing is sent again.
        let dropped = (self.transactions.as_ref())
            .and_then(|transactions| transactions.with(|machine| machine.dropping()));
        let goes_on = !self.stopping && !expired && dropped.is_none();
        if is_too_large(&error) {
            if goes_on && sealed.records > 1 {
                tracing::debug!(%error, records = sealed.records, "a batch is split");
                match partition.split(sealed, &self.accumulator) {
                    Ok(()) => return,
                    Err(unread) => (sealed, error) = *unread,
                }
            } else if sealed.records == 1 {
                error = ClientError::RecordRefused {
                    partition: partition.queue.topic_partition.clone(),
                    size: sealed.bytes.len(),
                    source: Arc::new(error),
                };
            }
        }
        let may_retry = goes_on && sealed.attempts < config.retries;
        tracing::debug!(%error, partition = %partition.queue.topic_partition, may_retry, "a batch was not written");
        if let Verdict::Failed(failed) = partition.failed(sealed, error, may_retry, wait) {
            for (sealed, error) in failed {
                let error = if expired {
                    timed_out(&partition.queue, timeout, Some(error))
                } else {
                    error
                };
                finish(&self.accumulator, sealed, Err(error));
            }
        }
    }

    /// Asks for metadata and a producer id where they are needed.
    fn start_errands(&mut self, now: Instant, next: &mut Instant) {
        if self.next_age_check <= now {
            self.next_age_check = now + Duration::from_secs(1);
            for topic in self.accumulator.topics() {
                let known = topic.partition_count() > 0;
                if known && self.core.metadata.is_stale([&*topic.name]) {
                    self.wanted.insert(topic.name.clone());
                }
            }
        }
        if !self.active.is_empty() {
            *next = (*next).min(self.next_age_check);
        }
        if !self.wanted.is_empty() && !self.metadata_errand.running {
            if self.metadata_errand.may_start(now) {
                self.metadata_errand.running = true;
                let topics: Vec<Arc<str>> = std::mem::take(&mut self.wanted).into_iter().collect();
                let core = self.core.clone();
                let refresh = async move { Errand::Metadata(core.refresh(&topics, true).await) };
                self.errands.push(refresh.boxed());
            } else if let Some(at) = self.metadata_errand.not_before {
                *next = (*next).min(at);
            }
        }
        if let Some(transactions) = &self.transactions {
            if self.adding_errand.may_start(now) {
                if let Some(adding) = transactions.start_adding() {
                    self.adding_errand.running = true;
                    let errand = adding.map(|(added, result)| Errand::Adding(added, result));
                    self.errands.push(errand.boxed());
                }
            } else if let Some(at) = self.adding_errand.not_before {
                *next = (*next).min(at);
            }
            return;
        }
        let needs_identity = self.idempotent && self.identity.is_none() && !self.active.is_empty();
        if needs_identity && !self.identity_errand.running {
            if self.identity_errand.may_start(now) {
                self.identity_errand.running = true;
                let core = self.core.clone();
                self.errands
                    .push(async move { Errand::ProducerId(producer_id(&core).await) }.boxed());
            } else if let Some(at) = self.identity_errand.not_before {
                *next = (*next).min(at);
            }
        }
    }

    fn on_errand(&mut self, errand: Errand) {
        match errand {
            Errand::ProducerId(Ok(identity)) => {
                self.identity = Some(identity);
                self.identity_errand.succeeded();
            }
            Errand::ProducerId(Err(error)) => {
                tracing::warn!(%error, "no producer id");
                self.identity_errand.failed(&self.core);
                if !error.is_retriable() {
                    self.fail_everything(&error);
                }
            }
            Errand::Metadata(result) => self.on_metadata(result),
            Errand::Adding(partitions, result) => {
                let Some(transactions) = &self.transactions else {
                    return;
                };
                match transactions.finish_adding(&partitions, result) {
                    Ok(()) => self.adding_errand.succeeded(),
                    Err(error) => {
                        tracing::debug!(%error, "adding partitions to the transaction again");
                        self.adding_errand.failed(&self.core);
                    }
                }
            }
        }
    }

    fn on_metadata(&mut self, result: Result<Vec<(Arc<str>, ErrorCode)>, ClientError>) {
        let (missing, error) = match result {
            Ok(missing) => (missing, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        for topic in self.accumulator.topics() {
            if let Some(info) = self.core.metadata.topic(&topic.name) {
                self.accumulator.resolve(&topic, info.partition_count());
            }
        }
        self.take_news();
        let now = Instant::now();
        let timeout = self.accumulator.config.delivery_timeout_ms;
        for topic in std::mem::take(&mut self.unresolved) {
            let code = missing.iter().find(|(t, _)| *t == topic.name);
            let (patience, error) = match (code, &error) {
                (Some((_, ErrorCode::UnknownTopicOrPartition)), _) => (
                    UNKNOWN_TOPIC_PATIENCE.min(timeout),
                    unknown_topic(&topic.name, ErrorCode::UnknownTopicOrPartition),
                ),
                (Some((_, code)), _) if code.is_retriable() => {
                    (timeout, unknown_topic(&topic.name, *code))
                }
                (Some((_, code)), _) => (Duration::ZERO, unknown_topic(&topic.name, *code)),
                (None, Some(error)) if error.is_retriable() => (timeout, error.clone()),
                (None, Some(error)) => (Duration::ZERO, error.clone()),
                (None, None) => continue,
            };
            if let Some(before) = now.checked_sub(patience) {
                self.accumulator
                    .fail_unresolved(&topic, Some(before), &error);
            }
            if topic.has_unresolved() {
                self.wanted.insert(topic.name.clone());
                self.unresolved.push(topic);
            }
        }
        // What is still without a leader asks again in the next round, after a pause.
        if missing.is_empty() && error.is_none() {
            self.metadata_errand.succeeded();
            self.metadata_errand.not_before = Some(now + self.core.config.retry_backoff_ms);
        } else {
            self.metadata_errand.failed(&self.core);
        }
    }

    /// Gives up everything that is not on its way.
    fn fail_everything(&mut self, error: &ClientError) {
        self.take_news();
        for topic in self.accumulator.topics() {
            self.accumulator.fail_unresolved(&topic, None, error);
        }
        self.unresolved.clear();
        for partition in &mut self.partitions {
            for sealed in partition.expire(after(Duration::MAX)) {
                if let Some(transactions) = &self.transactions {
                    // Whether it was written is not known.
                    transactions.with(Machine::sequence_lost);
                }
                finish(&self.accumulator, sealed, Err(error.clone()));
            }
            while let Some(batch) = partition.queue.take() {
                self.accumulator.finish(
                    batch.id,
                    &batch.result,
                    batch.reserved,
                    batch.builder.records_count(),
                    Err(error.clone()),
                );
            }
        }
    }
}

fn finish(accumulator: &Accumulator, sealed: Sealed, outcome: Result<Written, ClientError>) {
    accumulator.finish(
        sealed.id,
        &sealed.result,
        sealed.reserved,
        usize::try_from(sealed.records).unwrap_or(0),
        outcome,
    );
}

/// Whether a smaller batch may be taken.
fn is_too_large(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some(ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge)
    )
}

fn timed_out(
    queue: &PartitionQueue,
    after: Duration,
    last_error: Option<ClientError>,
) -> ClientError {
    ClientError::DeliveryTimeout {
        partition: queue.topic_partition.clone(),
        after,
        last_error: last_error.map(Box::new),
    }
}

fn unknown_topic(name: &str, code: ErrorCode) -> ClientError {
    ClientError::broker(code, format!("topic {name}"))
}

async fn producer_id(core: &Core) -> Result<Identity, ClientError> {
    let request = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let response = core.ask(Destination::Any, request).await?;
    match ErrorCode::from(response.error_code) {
        ErrorCode::None => Ok(Identity {
            id: response.producer_id,
            epoch: response.producer_epoch,
        }),
        code => Err(ClientError::broker(code, "initialize the producer id")),
    }
}
