//! How a transaction coordinator runs over its partition of `__transaction_state`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::markers;
use crate::broker::codes;
use crate::broker::core::Core;
use crate::broker::replicas::TRANSACTIONS_TOPIC;
use crate::broker::shard::{self, Hosted, Todo, Write, WriteId};
use crate::broker::shards::Shards;
use crate::record::RecordBatch;
use crate::storage::AppendError;
use crate::transaction::{
    Action, AllocationId, Coordinator, Event, Markers, MarkersId, Reply, TransactionRecord,
};
use crate::wire::{ErrorCode, Str};

/// One coordinator over its partition of `__transaction_state`.
pub(super) type Shard = shard::Shard<Coordinator>;

/// Who waits until a transactional id is not between two states.
pub(crate) type Settling = HashMap<Str, Vec<oneshot::Sender<()>>>;

impl Shard {
    /// Waits until a transactional id is not between two states. `false` if the time is up.
    pub(super) async fn settled(&self, id: &Str, deadline: Instant) -> bool {
        let settled = self.with_beside(|coordinator, settling| {
            if coordinator.is_settled(id) {
                return None;
            }
            let (settle, settled) = oneshot::channel();
            let waiting = settling.entry(id.detach()).or_default();
            // Who gave up.
            waiting.retain(|other| !other.is_closed());
            waiting.push(settle);
            Some(settled)
        });
        match settled {
            None => Instant::now() < deadline,
            Some(settled) => {
                matches!(tokio::time::timeout_at(deadline, settled).await, Ok(Ok(())))
            }
        }
    }
}

impl Hosted for Coordinator {
    type Event = Event;
    type Action = Action;
    type Reply = Reply;
    type Beside = Settling;

    const TOPIC: &'static str = TRANSACTIONS_TOPIC;
    const KEEPS: &'static str = "the transactional ids";
    const TOO_LARGE: ErrorCode = ErrorCode::UnknownServerError;
    const LOST: ErrorCode = ErrorCode::NotCoordinator;

    fn shards(core: &Core) -> &Shards<Self> {
        &core.transactions.shards
    }

    fn load(&mut self, batch: &RecordBatch, _now: i64) -> Result<(), String> {
        if batch.header().is_control() {
            return Ok(());
        }
        for record in batch.records().map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            let key = record.key.unwrap_or_else(Bytes::new);
            // What is not decoded is of a kind that only a newer broker knows.
            if let Some(record) =
                TransactionRecord::decode(key, record.value).map_err(|e| e.to_string())?
            {
                Self::load(self, record);
            }
        }
        Ok(())
    }

    fn step(&mut self, event: Event, now: i64) -> Vec<Action> {
        Self::step(self, event, now)
    }

    fn next_deadline(&self) -> Option<i64> {
        Self::next_deadline(self)
    }

    fn tick() -> Event {
        Event::Tick
    }

    fn persisted(id: WriteId, result: Result<(), ErrorCode>) -> Event {
        Event::Persisted(id, result)
    }

    fn refused(error: &AppendError, _transactional: bool) -> ErrorCode {
        match codes::append(error) {
            ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => Self::TOO_LARGE,
            _ => ErrorCode::NotCoordinator,
        }
    }

    fn carry_out(
        shard: &Arc<Shard>,
        core: &Arc<Core>,
        settling: &mut Settling,
        action: Action,
    ) -> Todo<Self> {
        match action {
            Action::Reply(token, reply) => Todo::Reply(token, reply),
            Action::Persist(id, records) => {
                let encoded: Result<_, _> = records.iter().map(TransactionRecord::encode).collect();
                match encoded {
                    Ok(records) => Todo::Write(
                        id,
                        Write {
                            records,
                            producer: None,
                        },
                    ),
                    Err(error) => {
                        tracing::error!(%error, "the state of a transaction does not fit its format");
                        Todo::Step(Some(Event::Persisted(id, Err(Self::TOO_LARGE))))
                    }
                }
            }
            Action::WriteMarkers(round, markers) => Todo::Step(mark(shard, core, round, &markers)),
            Action::AllocateProducerId(id) => Todo::Step(allocate(shard, core, id)),
            Action::Settled(id) => {
                for settle in settling.remove(&id).into_iter().flatten() {
                    // Whoever waited may be gone.
                    let _ = settle.send(());
                }
                Todo::Step(None)
            }
        }
    }
}

/// Writes markers. Those of partitions that do not flush are there at once.
fn mark(
    shard: &Arc<Shard>,
    core: &Arc<Core>,
    round: MarkersId,
    markers: &Markers,
) -> Option<Event> {
    let written = markers::append(core, markers, true);
    match written.finished() {
        Ok(results) => Some(Event::Marked(round, results)),
        Err(written) => {
            let (shard, core) = (Arc::clone(shard), Arc::clone(core));
            core.runtime.clone().spawn(async move {
                let results = written.finish(&core).await;
                shard.step(&core, Event::Marked(round, results));
            });
            None
        }
    }
}

fn allocate(shard: &Arc<Shard>, core: &Arc<Core>, id: AllocationId) -> Option<Event> {
    if let Some(producer_id) = core.producer_ids.try_next() {
        return Some(Event::Allocated(id, Ok(producer_id)));
    }
    let (shard, core) = (Arc::clone(shard), Arc::clone(core));
    core.runtime.clone().spawn(async move {
        let allocated = core.producer_ids.next(&core).await.map_err(|e| {
            tracing::warn!(error = %e, "no producer id could be allocated");
            e.code()
        });
        shard.step(&core, Event::Allocated(id, allocated));
    });
    None
}
