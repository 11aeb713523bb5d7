//! What became of a record.
//!
//! All records of a batch share one [`BatchResult`]; a [`Delivery`] is the place of one
//! record in it, so that sending allocates nothing per record.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

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
    result: Option<Result<Written, ClientError>>,
    wakers: Vec<Waker>,
    /// Results of records that were taken in before their partition was known, with
    /// their place in this batch.
    followers: Vec<(u32, Arc<BatchResult>)>,
}

impl BatchResult {
    /// Tells the result to all who wait; only the first call counts.
    pub(super) fn complete(&self, result: Result<Written, ClientError>) {
        let (wakers, followers) = {
            let mut state = self.state.lock();
            if state.result.is_some() {
                return;
            }
            state.result = Some(result.clone());
            (
                std::mem::take(&mut state.wakers),
                std::mem::take(&mut state.followers),
            )
        };
        for (index, follower) in followers {
            follower.complete(result.clone().map(|mut written| {
                if written.base_offset >= 0 {
                    written.base_offset += i64::from(index);
                }
                written
            }));
        }
        for waker in wakers {
            waker.wake();
        }
    }

    /// Lets `follower`, a batch of one, have the result of the record at `index`.
    pub(super) fn lead(&self, index: u32, follower: Arc<BatchResult>) {
        self.state.lock().followers.push((index, follower));
    }

    fn poll(&self, waker: &Waker) -> Poll<Result<Written, ClientError>> {
        let mut state = self.state.lock();
        if let Some(result) = &state.result {
            return Poll::Ready(result.clone());
        }
        if !state.wakers.iter().any(|w| w.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// Waits until the batch is done, well or not.
    pub(super) async fn done(self: Arc<Self>) {
        let _ = std::future::poll_fn(|cx| self.poll(cx.waker())).await;
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.result.poll(cx.waker()).map(|result| {
            result.map(|written| RecordMetadata {
                topic_partition: written.topic_partition,
                offset: match written.base_offset {
                    0.. => written.base_offset + i64::from(self.index),
                    _ => -1,
                },
                log_append_time: written.log_append_time,
            })
        })
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
}
