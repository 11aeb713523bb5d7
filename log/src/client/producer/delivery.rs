//! What became of a record.
//!
//! All records of a batch share one [`BatchResult`]; a [`Delivery`] is the place of one
//! record in it, so that sending allocates nothing per record.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::Mutex;

use crate::client::{ClientError, TopicPartition};

/// Where and as what a record was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordMetadata {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The record's offset; -1 if the producer does not wait for acknowledgements, or
    /// the broker no longer knows it.
    pub offset: i64,
    /// The time that the broker set under `message.timestamp.type=LogAppendTime`; else
    /// `None`, and the record has the time that it was sent with.
    pub log_append_time: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) topic_partition: TopicPartition,
    /// -1 if unknown.
    pub(super) base_offset: i64,
    pub(super) log_append_time: Option<i64>,
}

/// The result of a batch, once it is known.
#[derive(Debug, Default)]
pub(super) struct BatchResult {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    wakers: Vec<Waker>,
    /// Results of records that were taken in before their partition was known, with
    /// their place in this batch.
    followers: Vec<(u32, Arc<BatchResult>)>,
}

/// What became of a batch.
#[derive(Debug, Clone)]
enum Outcome {
    Known(Result<Written, ClientError>),
    /// It was split, and each piece has a result of its own.
    Split(Arc<Pieces>),
}

/// The results of what a batch was split into.
#[derive(Debug)]
pub(super) struct Pieces {
    pub(super) first: Arc<BatchResult>,
    /// Each with the place in the batch of its first record, in order.
    pub(super) rest: Vec<(u32, Arc<BatchResult>)>,
}

impl Pieces {
    /// The piece that a record went to, and the record's place in it.
    fn of(&self, index: u32) -> (u32, &Arc<BatchResult>) {
        let later = self.rest.iter().rev().find(|(first, _)| *first <= index);
        later.map_or((index, &self.first), |(first, piece)| {
            (index - first, piece)
        })
    }
}

impl Outcome {
    /// Tells `follower`, a batch of one, what became of the record at `index`.
    fn tell(&self, index: u32, follower: Arc<BatchResult>) {
        match self {
            Outcome::Known(result) => {
                follower.complete(result.clone().map(|mut written| {
                    if written.base_offset >= 0 {
                        written.base_offset += i64::from(index);
                    }
                    written
                }));
            }
            Outcome::Split(pieces) => {
                let (index, piece) = pieces.of(index);
                piece.lead(index, follower);
            }
        }
    }
}

impl BatchResult {
    /// Tells the result to all who wait; only the first call counts.
    pub(super) fn complete(&self, result: Result<Written, ClientError>) {
        self.settle(Outcome::Known(result));
    }

    /// From now on the records' results are those of the pieces.
    pub(super) fn split(&self, pieces: Pieces) {
        self.settle(Outcome::Split(Arc::new(pieces)));
    }

    fn settle(&self, outcome: Outcome) {
        let (wakers, followers) = {
            let mut state = self.state.lock();
            if state.outcome.is_some() {
                return;
            }
            state.outcome = Some(outcome.clone());
            (
                std::mem::take(&mut state.wakers),
                std::mem::take(&mut state.followers),
            )
        };
        for (index, follower) in followers {
            outcome.tell(index, follower);
        }
        for waker in wakers {
            waker.wake();
        }
    }

    /// Lets `follower`, a batch of one, have the result of the record at `index`.
    pub(super) fn lead(&self, index: u32, follower: Arc<BatchResult>) {
        let outcome = {
            let mut state = self.state.lock();
            let Some(outcome) = &state.outcome else {
                state.followers.push((index, follower));
                return;
            };
            outcome.clone()
        };
        outcome.tell(index, follower);
    }

    fn poll(&self, waker: &Waker) -> Poll<Outcome> {
        let mut state = self.state.lock();
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        if !state.wakers.iter().any(|w| w.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Waits until the batch is done with all its pieces, well or not.
    pub(super) async fn done(self: Arc<Self>) {
        let mut waiting = vec![self];
        while let Some(result) = waiting.pop() {
            let outcome = std::future::poll_fn(|cx| result.poll(cx.waker())).await;
            if let Outcome::Split(pieces) = outcome {
                waiting.push(pieces.first.clone());
                waiting.extend(pieces.rest.iter().map(|(_, piece)| piece.clone()));
            }
        }
    }
}

/// The outcome of one record: a future that may be dropped without taking the record back.
#[derive(Debug)]
#[must_use = "errors of a record are told here and by `flush`; use `enqueue` if only `flush` shall tell"]
pub struct Delivery {
    result: Arc<BatchResult>,
    index: u32,
}

impl Delivery {
    pub(super) fn new(result: Arc<BatchResult>, index: u32) -> Self {
        Self { result, index }
    }

    /// Tells `follower`, a batch of one, what becomes of this record.
    pub(super) fn forward_to(self, follower: Arc<BatchResult>) {
        self.result.lead(self.index, follower);
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match ready!(self.result.poll(cx.waker())) {
                Outcome::Known(result) => {
                    return Poll::Ready(result.map(|written| RecordMetadata {
                        topic_partition: written.topic_partition,
                        offset: match written.base_offset {
                            0.. => written.base_offset + i64::from(self.index),
                            _ => -1,
                        },
                        log_append_time: written.log_append_time,
                    }));
                }
                Outcome::Split(pieces) => {
                    let (index, piece) = pieces.of(self.index);
                    *self = Delivery::new(piece.clone(), index);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn written(base_offset: i64) -> Written {
        Written {
            topic_partition: TopicPartition::new("t", 0),
            base_offset,
            log_append_time: None,
        }
    }

    #[test]
    fn records_of_a_batch_and_those_that_came_before_it_get_their_own_offsets() {
        let early = Arc::new(BatchResult::default());
        let batch = Arc::new(BatchResult::default());
        batch.lead(1, early.clone());
        let mut early = Delivery::new(early, 0);
        let mut later = Delivery::new(batch.clone(), 2);
        assert!((&mut early).now_or_never().is_none());
        assert!((&mut later).now_or_never().is_none());
        batch.complete(Ok(written(40)));
        batch.complete(Err(ClientError::Closed("producer")));
        assert_eq!(early.now_or_never().unwrap().unwrap().offset, 41);
        assert_eq!(later.now_or_never().unwrap().unwrap().offset, 42);
    }

    #[test]
    fn an_unknown_offset_stays_unknown() {
        let batch = Arc::new(BatchResult::default());
        batch.complete(Ok(written(-1)));
        let metadata = Delivery::new(batch, 5).now_or_never().unwrap().unwrap();
        assert_eq!(metadata.offset, -1);
    }

    #[test]
    fn records_of_a_batch_that_was_split_get_the_results_of_their_pieces() {
        let results: Vec<Arc<BatchResult>> = (0..4).map(|_| Arc::default()).collect();
        let [batch, first, second, third] = results.as_slice() else {
            panic!()
        };
        let early: Arc<BatchResult> = Arc::default();
        batch.lead(3, early.clone());
        let mut deliveries: Vec<Delivery> =
            (0..5).map(|n| Delivery::new(batch.clone(), n)).collect();
        assert!((&mut deliveries[4]).now_or_never().is_none());
        let mut all = Box::pin(batch.clone().done());
        batch.split(Pieces {
            first: first.clone(),
            rest: vec![(2, second.clone())],
        });
        // A piece may be split again, and what was told late is told all the same.
        second.split(Pieces {
            first: third.clone(),
            rest: vec![(2, Arc::default())],
        });
        let late: Arc<BatchResult> = Arc::default();
        batch.lead(1, late.clone());
        assert!((&mut all).now_or_never().is_none());
        first.complete(Ok(written(10)));
        third.complete(Ok(written(20)));
        let offset = |delivery: Delivery| delivery.now_or_never().map(|d| d.unwrap().offset);
        let offsets: Vec<Option<i64>> = deliveries.into_iter().map(offset).collect();
        assert_eq!(offsets, [Some(10), Some(11), Some(20), Some(21), None]);
        assert_eq!(offset(Delivery::new(early, 0)), Some(21));
        assert_eq!(offset(Delivery::new(late, 0)), Some(11));
        assert!((&mut all).now_or_never().is_none(), "one piece is out");
    }
}
