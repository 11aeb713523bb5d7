//! How a group coordinator runs over its partition of `__consumer_offsets`.

use std::sync::Arc;

use bytes::Bytes;

use crate::broker::codes;
use crate::broker::core::Core;
use crate::broker::replicas::OFFSETS_TOPIC;
use crate::broker::shard::{self, Hosted, Todo, Write, WriteId};
use crate::broker::shards::Shards;
use crate::group::{Action, Coordinator, Event, GroupRecord, Reply};
use crate::record::RecordBatch;
use crate::storage::AppendError;
use crate::wire::ErrorCode;

/// One coordinator over its partition of `__consumer_offsets`.
pub(crate) type Shard = shard::Shard<Coordinator>;

impl Hosted for Coordinator {
    type Event = Event;
    type Action = Action;
    type Reply = Reply;
    type Beside = ();

    const TOPIC: &'static str = OFFSETS_TOPIC;
    const KEEPS: &'static str = "the groups and their committed offsets";
    const TOO_LARGE: ErrorCode = ErrorCode::InvalidCommitOffsetSize;
    const LOST: ErrorCode = ErrorCode::CoordinatorNotAvailable;

    fn shards(core: &Core) -> &Shards<Self> {
        &core.groups.shards
    }

    fn load(&mut self, batch: &RecordBatch, now: i64) -> Result<(), String> {
        let header = *batch.header();
        for record in batch.records().map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            if header.is_control() {
                if let Some(committed) = record.key.as_deref().and_then(marker) {
                    self.load_marker(header.producer_id, committed);
                }
                continue;
            }
            let key = record.key.unwrap_or_else(Bytes::new);
            match GroupRecord::decode(key, record.value).map_err(|e| e.to_string())? {
                Some(record) if header.is_transactional() => {
                    self.load_transactional(record, header.producer_id, now);
                }
                Some(record) => Self::load(self, record, now),
                // Of a kind that only a newer broker knows.
                None => {}
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

    fn refused(error: &AppendError, transactional: bool) -> ErrorCode {
        match codes::append(error) {
            ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => Self::TOO_LARGE,
            code @ (ErrorCode::InvalidProducerEpoch | ErrorCode::InvalidTxnState)
                if transactional =>
            {
                code
            }
            _ => ErrorCode::CoordinatorNotAvailable,
        }
    }

    fn carry_out(_: &Arc<Shard>, _: &Arc<Core>, (): &mut (), action: Action) -> Todo<Self> {
        let encode = |records: Vec<GroupRecord>| records.iter().map(GroupRecord::encode).collect();
        match action {
            Action::Reply(token, reply) => Todo::Reply(token, reply),
            Action::Persist(id, records) => Todo::Write(
                id,
                Write {
                    records: encode(records),
                    producer: None,
                },
            ),
            Action::PersistTransactional(id, producer, records) => Todo::Write(
                id,
                Write {
                    records: encode(records),
                    producer: Some((producer.id, producer.epoch, producer.verification)),
                },
            ),
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
