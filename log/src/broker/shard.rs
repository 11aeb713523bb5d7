//! One coordinator over its partition: reads it, carries out what the coordinator asks for, and
//! tells it how that went.
//!
//! Invariants: the coordinator has read its whole partition before it hears of anything else, and if
//! it cannot, there is no shard; its records are appended in the order in which it asks for them,
//! while its lock is held, and it hears that they are written in that order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::core::{Core, now};
use super::handlers::produce::published;
use super::partition::Partition;
use super::replay::{ReplayError, replay};
use super::shards::Shards;
use crate::record::{BatchBuilder, Compression, NO_SEQUENCE, RecordBatch};
use crate::storage::{AppendError, AppendInfo, AppendOrigin, LogState, Verification};
use crate::wire::ErrorCode;

/// Names a request, so that its answer finds its way back.
pub(crate) type Token = u64;

/// Names a write.
pub(crate) type WriteId = u64;

/// A sans-IO coordinator that a [`Shard`] runs.
pub(crate) trait Hosted: std::fmt::Debug + Sized + Send + 'static {
    /// What happens to it.
    type Event: Send + 'static;
    /// What it wants done.
    type Action;
    /// What it answers.
    type Reply: std::fmt::Debug + Send + 'static;
    /// What the shard keeps for it, under its lock.
    type Beside: std::fmt::Debug + Default + Send + 'static;

    /// The topic over whose partitions it is spread.
    const TOPIC: &'static str;
    /// What it keeps there, in words.
    const KEEPS: &'static str;
    /// Why a write failed that is more than a batch may hold.
    const TOO_LARGE: ErrorCode;
    /// Why a write failed that was appended but did not become durable.
    const LOST: ErrorCode;

    /// All of them.
    fn shards(core: &Core) -> &Shards<Self>;

    /// Takes over a batch of the log. What is wrong with it is said in words.
    fn load(&mut self, batch: &RecordBatch, now: i64) -> Result<(), String>;

    /// Handles an event and says what is to be done, in order.
    fn step(&mut self, event: Self::Event, now: i64) -> Vec<Self::Action>;

    /// When [`tick`](Self::tick) is due.
    fn next_deadline(&self) -> Option<i64>;

    /// Time has passed.
    fn tick() -> Self::Event;

    /// A write was made, or could not be made.
    fn persisted(id: WriteId, result: Result<(), ErrorCode>) -> Self::Event;

    /// Why a write failed that could not be appended.
    fn refused(error: &AppendError, transactional: bool) -> ErrorCode;

    /// Carries out what is its own business, and says what the shard is to do.
    fn carry_out(
        shard: &Arc<Shard<Self>>,
        core: &Arc<Core>,
        beside: &mut Self::Beside,
        action: Self::Action,
    ) -> Todo<Self>;
}

/// What a shard does for its coordinator.
pub(crate) enum Todo<C: Hosted> {
    /// Answers a request.
    Reply(Token, C::Reply),
    /// Appends records.
    Write(WriteId, Write),
    /// Steps what has happened at once, if anything.
    Step(Option<C::Event>),
}

/// Records that are appended all or none.
pub(crate) struct Write {
    /// Keys and values; without a value it deletes.
    pub(crate) records: Vec<(Bytes, Option<Bytes>)>,
    /// Whose transaction they belong to, if they do: producer id, epoch, and what they come with.
    pub(crate) producer: Option<(i64, i16, Verification)>,
}

/// One coordinator over its partition.
#[derive(Debug)]
pub(crate) struct Shard<C: Hosted> {
    partition: Arc<Partition>,
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C: Hosted> {
    coordinator: C,
    beside: C::Beside,
    next_token: Token,
    waiting: HashMap<Token, oneshot::Sender<C::Reply>>,
    /// Writes that are appended but not yet as durable as the topic wants them, oldest first.
    unflushed: VecDeque<(WriteId, i64)>,
}

impl<C: Hosted> Shard<C> {
    /// Reads the whole partition.
    ///
    /// # Errors
    /// What cannot be read.
    pub(crate) fn load(
        partition: Arc<Partition>,
        mut coordinator: C,
        now: i64,
    ) -> Result<Self, ReplayError> {
        replay(&partition, |batch| coordinator.load(batch, now))?;
        let state = State {
            coordinator,
            beside: C::Beside::default(),
            next_token: 1,
            waiting: HashMap::new(),
            unflushed: VecDeque::new(),
        };
        Ok(Self {
            partition,
            state: Mutex::new(state),
        })
    }

    /// The index of the partition.
    pub(crate) fn index(&self) -> i32 {
        self.partition.index
    }

    /// Steps a request and gives the answer, which may take long.
    pub(crate) fn ask(
        self: &Arc<Self>,
        core: &Arc<Core>,
        event: impl FnOnce(Token) -> C::Event,
    ) -> oneshot::Receiver<C::Reply> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        let token = state.next_token;
        state.next_token = token.wrapping_add(1);
        state.waiting.insert(token, answer);
        self.run(core, &mut state, event(token));
        answered
    }

    /// Steps an event that nobody waits for.
    pub(crate) fn step(self: &Arc<Self>, core: &Arc<Core>, event: C::Event) {
        self.run(core, &mut self.state.lock(), event);
    }

    /// Looks at the coordinator.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&C) -> T) -> T {
        look(&self.state.lock().coordinator)
    }

    /// Looks at the coordinator, and changes what is kept beside it.
    pub(crate) fn with_beside<T>(&self, look: impl FnOnce(&C, &mut C::Beside) -> T) -> T {
        let state = &mut *self.state.lock();
        look(&state.coordinator, &mut state.beside)
    }

    /// When the coordinator is to be woken.
    pub(crate) fn next_deadline(&self) -> Option<i64> {
        self.state.lock().coordinator.next_deadline()
    }

    fn run(self: &Arc<Self>, core: &Arc<Core>, state: &mut State<C>, event: C::Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in state.coordinator.step(event, now()) {
                match C::carry_out(self, core, &mut state.beside, action) {
                    Todo::Reply(token, reply) => {
                        if let Some(answer) = state.waiting.remove(&token) {
                            // Whoever asked may be gone.
                            let _ = answer.send(reply);
                        }
                    }
                    Todo::Write(id, write) => match self.append(core, &write) {
                        Err(code) => events.push_back(C::persisted(id, Err(code))),
                        Ok(info)
                            if self.partition.log.high_watermark() > info.last_offset
                                && state.unflushed.is_empty() =>
                        {
                            events.push_back(C::persisted(id, Ok(())));
                        }
                        Ok(info) => self.wait_durable(core, state, id, info.last_offset),
                    },
                    Todo::Step(more) => events.extend(more),
                }
            }
        }
        C::shards(core).schedule(state.coordinator.next_deadline());
    }

    fn wait_durable(
        self: &Arc<Self>,
        core: &Arc<Core>,
        state: &mut State<C>,
        id: WriteId,
        last: i64,
    ) {
        let first = state.unflushed.is_empty();
        state.unflushed.push_back((id, last));
        if first {
            core.runtime
                .spawn(drain(Arc::clone(self), Arc::clone(core)));
        }
    }

    fn append(&self, core: &Core, write: &Write) -> Result<AppendInfo, ErrorCode> {
        let now = now();
        let mut batch = BatchBuilder::new(Compression::None);
        let mut verification = Verification::Off;
        if let Some((id, epoch, guard)) = write.producer {
            batch.producer(id, epoch, NO_SEQUENCE);
            batch.transactional(true);
            verification = guard;
        }
        for (key, value) in &write.records {
            batch
                .append(now, Some(key), value.as_deref(), &[])
                .map_err(|_| C::TOO_LARGE)?;
        }
        let bytes = batch.build().map_err(|_| C::TOO_LARGE)?;
        let partition = &self.partition;
        let epoch = partition.leader_epoch();
        let origin = AppendOrigin::Coordinator;
        let appended = partition
            .log
            .append_verified(bytes, epoch, origin, now, verification);
        let info = appended.map_err(|error| {
            tracing::error!(
                topic = C::TOPIC, partition = partition.index, %error,
                "{} could not be written", C::KEEPS
            );
            C::refused(&error, write.producer.is_some())
        })?;
        published(core, partition, &info);
        Ok(info)
    }
}

/// Tells the coordinator of its writes, one after the other, as they become durable.
async fn drain<C: Hosted>(shard: Arc<Shard<C>>, core: Arc<Core>) {
    let mut position = shard.partition.log.watch();
    loop {
        let Some((id, last)) = shard.state.lock().unflushed.front().copied() else {
            return;
        };
        let durable = position
            .wait_for(|p| p.high_watermark > last || p.state != LogState::Online)
            .await
            .is_ok_and(|p| p.high_watermark > last);
        let result = if durable { Ok(()) } else { Err(C::LOST) };
        let mut state = shard.state.lock();
        shard.run(&core, &mut state, C::persisted(id, result));
        // Last, so that a write that the event caused has queued up behind this one.
        state.unflushed.pop_front();
        if state.unflushed.is_empty() {
            return;
        }
    }
}
