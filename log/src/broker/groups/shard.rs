//! One coordinator over its partition: carries out its actions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::broker::codes;
use crate::broker::core::{Core, now};
use crate::broker::handlers::produce::published;
use crate::broker::partition::Partition;
use crate::broker::replay::replay;
use crate::group::{
    Action, Coordinator, Event, GroupConfig, GroupRecord, Producer, Reply, Token, WriteId,
};
use crate::record::{BatchBuilder, Compression, NO_SEQUENCE, RecordBatch};
use crate::storage::{AppendInfo, AppendOrigin, LogState, Verification};
use crate::wire::ErrorCode;

/// One coordinator over its partition of `__consumer_offsets`.
#[derive(Debug)]
pub(crate) struct Shard {
    partition: Arc<Partition>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    coordinator: Coordinator,
    next_token: Token,
    waiting: HashMap<Token, oneshot::Sender<Reply>>,
    /// What the offsets of a transaction are to be appended with, while their event is handled.
    verification: Verification,
    /// Writes that are appended but not yet as durable as the topic wants them, oldest first.
    unflushed: VecDeque<(WriteId, i64)>,
}

impl Shard {
    /// Reads the whole partition.
    pub(super) fn load(partition: Arc<Partition>, config: GroupConfig, now: i64) -> Self {
        let mut coordinator = Coordinator::new(config);
        replay(&partition, |batch| load_batch(&mut coordinator, batch, now));
        let state = State {
            coordinator,
            next_token: 1,
            waiting: HashMap::new(),
            verification: Verification::Off,
            unflushed: VecDeque::new(),
        };
        Self {
            partition,
            state: Mutex::new(state),
        }
    }

    /// Steps a request and gives the answer, which may take long.
    pub(super) fn ask(
        self: &Arc<Self>,
        core: &Arc<Core>,
        event: impl FnOnce(Token) -> Event,
    ) -> oneshot::Receiver<Reply> {
        self.ask_verified(core, Verification::Off, event)
    }

    /// As [`ask`](Self::ask), for the offsets of a transaction: they are appended only if no
    /// marker came after the guard was taken.
    pub(super) fn ask_verified(
        self: &Arc<Self>,
        core: &Arc<Core>,
        verification: Verification,
        event: impl FnOnce(Token) -> Event,
    ) -> oneshot::Receiver<Reply> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        let token = state.next_token;
        state.next_token = token.wrapping_add(1);
        state.waiting.insert(token, answer);
        state.verification = verification;
        self.run(core, &mut state, event(token));
        state.verification = Verification::Off;
        answered
    }

    /// The index of the partition.
    pub(super) fn index(&self) -> i32 {
        self.partition.index
    }

    /// Steps an event that nobody waits for.
    pub(super) fn step(self: &Arc<Self>, core: &Arc<Core>, event: Event) {
        let mut state = self.state.lock();
        self.run(core, &mut state, event);
    }

    /// Looks at the coordinator.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Coordinator) -> T) -> T {
        look(&self.state.lock().coordinator)
    }

    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.state.lock().coordinator.next_deadline()
    }

    fn run(self: &Arc<Self>, core: &Arc<Core>, state: &mut State, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in state.coordinator.step(event, now()) {
                let (id, producer, records) = match action {
                    Action::Reply(token, reply) => {
                        if let Some(answer) = state.waiting.remove(&token) {
                            // Whoever asked may be gone.
                            let _ = answer.send(reply);
                        }
                        continue;
                    }
                    Action::Persist(id, records) => (id, None, records),
                    Action::PersistTransactional(id, producer, records) => {
                        (id, Some(producer), records)
                    }
                };
                match self.append(core, producer, &records, state.verification) {
                    Err(code) => events.push_back(Event::Persisted(id, Err(code))),
                    Ok(info) if self.is_durable(&info) && state.unflushed.is_empty() => {
                        events.push_back(Event::Persisted(id, Ok(())));
                    }
                    Ok(info) => self.wait_durable(core, state, id, info.last_offset),
                }
            }
        }
        core.groups.schedule(state.coordinator.next_deadline());
    }

    fn is_durable(&self, info: &AppendInfo) -> bool {
        self.partition.log.high_watermark() > info.last_offset
    }

    fn wait_durable(self: &Arc<Self>, core: &Arc<Core>, state: &mut State, id: WriteId, last: i64) {
        let first = state.unflushed.is_empty();
        state.unflushed.push_back((id, last));
        if first {
            core.runtime
                .spawn(drain(Arc::clone(self), Arc::clone(core)));
        }
    }

    fn append(
        &self,
        core: &Core,
        producer: Option<Producer>,
        records: &[GroupRecord],
        verification: Verification,
    ) -> Result<AppendInfo, ErrorCode> {
        let now = now();
        let mut batch = BatchBuilder::new(Compression::None);
        if let Some(producer) = producer {
            batch.producer(producer.id, producer.epoch, NO_SEQUENCE);
            batch.transactional(true);
        }
        for record in records {
            let (key, value) = record.encode();
            batch
                .append(now, Some(&key), value.as_deref(), &[])
                .map_err(|_| ErrorCode::InvalidCommitOffsetSize)?;
        }
        let bytes = batch
            .build()
            .map_err(|_| ErrorCode::InvalidCommitOffsetSize)?;
        let epoch = self.partition.leader_epoch();
        let log = &self.partition.log;
        let info =
            log.append_verified(bytes, epoch, AppendOrigin::Coordinator, now, verification).map_err(|e| {
                tracing::error!(partition = self.partition.index, error = %e, "group metadata could not be written");
                match codes::append(&e) {
                    ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
                        ErrorCode::InvalidCommitOffsetSize
                    }
                    code @ (ErrorCode::InvalidProducerEpoch | ErrorCode::InvalidTxnState)
                        if producer.is_some() =>
                    {
                        code
                    }
                    _ => ErrorCode::CoordinatorNotAvailable,
                }
            })?;
        published(core, &self.partition, &info);
        Ok(info)
    }
}

fn load_batch(coordinator: &mut Coordinator, batch: &RecordBatch, now: i64) {
    let header = *batch.header();
    let records = match batch.records() {
        Ok(records) => records,
        Err(e) => return tracing::error!(error = %e, "a batch of group metadata cannot be read"),
    };
    for record in records {
        if header.is_control() {
            if let Ok(record) = &record
                && let Some(committed) = record.key.as_deref().and_then(marker)
            {
                coordinator.load_marker(header.producer_id, committed);
            }
            continue;
        }
        let decoded = record.map_err(|e| e.to_string()).and_then(|r| {
            let key = r.key.unwrap_or_else(Bytes::new);
            GroupRecord::decode(key, r.value).map_err(|e| e.to_string())
        });
        match decoded {
            Ok(Some(record)) if header.is_transactional() => {
                coordinator.load_transactional(record, header.producer_id, now);
            }
            Ok(Some(record)) => coordinator.load(record, now),
            Ok(None) => {}
            Err(e) => tracing::error!(error = %e, "a record of group metadata cannot be read"),
        }
    }
}

/// What a control record says of its transaction: committed or aborted; other kinds say nothing.
fn marker(key: &[u8]) -> Option<bool> {
    match key {
        [_, _, 0, 0, ..] => Some(false),
        [_, _, 0, 1, ..] => Some(true),
        _ => None,
    }
}

/// Tells the coordinator of its writes, one after the other, as they become durable.
async fn drain(shard: Arc<Shard>, core: Arc<Core>) {
    let mut position = shard.partition.log.watch();
    loop {
        let Some((id, last)) = shard.state.lock().unflushed.front().copied() else {
            return;
        };
        let waited = position
            .wait_for(|p| p.high_watermark > last || p.state != LogState::Online)
            .await
            .is_ok_and(|p| p.high_watermark > last);
        let result = if waited {
            Ok(())
        } else {
            Err(ErrorCode::CoordinatorNotAvailable)
        };
        let mut state = shard.state.lock();
        shard.run(&core, &mut state, Event::Persisted(id, result));
        // Last, so that a write that the event caused has queued up behind this one.
        state.unflushed.pop_front();
        if state.unflushed.is_empty() {
            return;
        }
    }
}
