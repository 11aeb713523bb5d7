//! One coordinator over its partition: carries out its actions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::markers;
use crate::broker::codes;
use crate::broker::core::{Core, now};
use crate::broker::handlers::produce::published;
use crate::broker::partition::Partition;
use crate::broker::replay::replay;
use crate::record::{BatchBuilder, Compression, RecordBatch};
use crate::storage::{AppendInfo, AppendOrigin, LogState};
use crate::transaction::{
    Action, AllocationId, Coordinator, Event, Markers, MarkersId, Reply, Token, TransactionConfig,
    TransactionRecord, WriteId,
};
use crate::wire::{ErrorCode, Str};

/// One coordinator over its partition of `__transaction_state`.
#[derive(Debug)]
pub(super) struct Shard {
    partition: Arc<Partition>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    coordinator: Coordinator,
    next_token: Token,
    waiting: HashMap<Token, oneshot::Sender<Reply>>,
    /// Who waits until a transactional id is not between two states.
    settling: HashMap<Str, Vec<oneshot::Sender<()>>>,
    /// Writes that are appended but not yet as durable as the topic wants them, oldest first.
    unflushed: VecDeque<(WriteId, i64)>,
}

impl Shard {
    /// Reads the whole partition.
    pub(super) fn load(partition: Arc<Partition>, config: TransactionConfig) -> Self {
        let mut coordinator = Coordinator::new(config, partition.leader_epoch());
        replay(&partition, |batch| load_batch(&mut coordinator, batch));
        let state = State {
            coordinator,
            next_token: 1,
            waiting: HashMap::new(),
            settling: HashMap::new(),
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
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        let token = state.next_token;
        state.next_token = token.wrapping_add(1);
        state.waiting.insert(token, answer);
        self.run(core, &mut state, event(token));
        answered
    }

    /// Steps an event that nobody waits for.
    pub(super) fn step(self: &Arc<Self>, core: &Arc<Core>, event: Event) {
        self.run(core, &mut self.state.lock(), event);
    }

    /// Looks at the coordinator.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Coordinator) -> T) -> T {
        look(&self.state.lock().coordinator)
    }

    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.state.lock().coordinator.next_deadline()
    }

    /// Waits until a transactional id is not between two states. `false` if the time is up.
    pub(super) async fn settled(&self, id: &Str, deadline: Instant) -> bool {
        let settled = {
            let mut state = self.state.lock();
            if state.coordinator.is_settled(id) {
                return Instant::now() < deadline;
            }
            let (settle, settled) = oneshot::channel();
            let waiting = state.settling.entry(id.detach()).or_default();
            // Who gave up.
            waiting.retain(|other| !other.is_closed());
            waiting.push(settle);
            settled
        };
        matches!(tokio::time::timeout_at(deadline, settled).await, Ok(Ok(())))
    }

    fn run(self: &Arc<Self>, core: &Arc<Core>, state: &mut State, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in state.coordinator.step(event, now()) {
                match action {
                    Action::Reply(token, reply) => {
                        if let Some(answer) = state.waiting.remove(&token) {
                            // Whoever asked may be gone.
                            let _ = answer.send(reply);
                        }
                    }
                    Action::Persist(id, records) => match self.append(core, &records) {
                        Err(code) => events.push_back(Event::Persisted(id, Err(code))),
                        Ok(info) if self.is_durable(&info) && state.unflushed.is_empty() => {
                            events.push_back(Event::Persisted(id, Ok(())));
                        }
                        Ok(info) => self.wait_durable(core, state, id, info.last_offset),
                    },
                    Action::WriteMarkers(round, markers) => {
                        events.extend(self.mark(core, round, &markers));
                    }
                    Action::AllocateProducerId(id) => events.extend(self.allocate(core, id)),
                    Action::Settled(id) => {
                        for settle in state.settling.remove(&id).into_iter().flatten() {
                            // Whoever waited may be gone.
                            let _ = settle.send(());
                        }
                    }
                }
            }
        }
        core.transactions
            .schedule(state.coordinator.next_deadline());
    }

    /// Writes markers. Those of partitions that do not flush are there at once.
    fn mark(
        self: &Arc<Self>,
        core: &Arc<Core>,
        round: MarkersId,
        markers: &Markers,
    ) -> Option<Event> {
        let written = markers::append(core, markers, true);
        match written.finished() {
            Ok(results) => Some(Event::Marked(round, results)),
            Err(written) => {
                let (shard, core) = (Arc::clone(self), Arc::clone(core));
                core.runtime.clone().spawn(async move {
                    let results = written.finish(&core).await;
                    shard.step(&core, Event::Marked(round, results));
                });
                None
            }
        }
    }

    fn allocate(self: &Arc<Self>, core: &Arc<Core>, id: AllocationId) -> Option<Event> {
        if let Some(producer_id) = core.producer_ids.try_next() {
            return Some(Event::Allocated(id, Ok(producer_id)));
        }
        let (shard, core) = (Arc::clone(self), Arc::clone(core));
        core.runtime.clone().spawn(async move {
            let allocated = core.producer_ids.next(&core).await.map_err(|e| {
                tracing::warn!(error = %e, "no producer id could be allocated");
                e.code()
            });
            shard.step(&core, Event::Allocated(id, allocated));
        });
        None
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

    fn append(&self, core: &Core, records: &[TransactionRecord]) -> Result<AppendInfo, ErrorCode> {
        let now = now();
        let mut batch = BatchBuilder::new(Compression::None);
        for record in records {
            let (key, value) = record.encode().map_err(|e| {
                tracing::error!(error = %e, "the state of a transaction does not fit its format");
                ErrorCode::UnknownServerError
            })?;
            batch
                .append(now, Some(&key), value.as_deref(), &[])
                .map_err(|_| ErrorCode::UnknownServerError)?;
        }
        let bytes = batch.build().map_err(|_| ErrorCode::UnknownServerError)?;
        let epoch = self.partition.leader_epoch();
        let log = &self.partition.log;
        let info = log
            .append(bytes, epoch, AppendOrigin::Coordinator, now)
            .map_err(|e| {
                tracing::error!(partition = self.partition.index, error = %e, "the state of a transaction could not be written");
                match codes::append(&e) {
                    ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => {
                        ErrorCode::UnknownServerError
                    }
                    _ => ErrorCode::NotCoordinator,
                }
            })?;
        published(core, &self.partition, &info);
        Ok(info)
    }
}

fn load_batch(coordinator: &mut Coordinator, batch: &RecordBatch) {
    if batch.header().is_control() {
        return;
    }
    let records = match batch.records() {
        Ok(records) => records,
        Err(e) => {
            return tracing::error!(error = %e, "a batch of the transaction log cannot be read");
        }
    };
    for record in records {
        let decoded = record.map_err(|e| e.to_string()).and_then(|r| {
            let key = r.key.unwrap_or_else(Bytes::new);
            TransactionRecord::decode(key, r.value).map_err(|e| e.to_string())
        });
        match decoded {
            Ok(Some(record)) => coordinator.load(record),
            Ok(None) => {}
            Err(e) => tracing::error!(error = %e, "a record of the transaction log cannot be read"),
        }
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
            Err(ErrorCode::NotCoordinator)
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
