//! What one request has used of the broker's threads.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Stands for "not at work".
const IDLE: u64 = u64::MAX;

/// The time that threads have worked on a request: what it waits for does not count.
#[derive(Debug)]
pub(crate) struct Usage {
    begun: Instant,
    worked: AtomicU64,
    /// When the work under way began.
    since: AtomicU64,
    recorded: AtomicBool,
}

impl Usage {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            worked: AtomicU64::new(0),
            since: AtomicU64::new(IDLE),
            recorded: AtomicBool::new(false),
        }
    }

    /// Does the work of the request.
    pub(crate) async fn measure<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        poll_fn(|cx| {
            let since = self.now();
            self.since.store(since, Ordering::Relaxed);
            let polled = work.as_mut().poll(cx);
            self.since.store(IDLE, Ordering::Relaxed);
            self.worked
                .fetch_add(self.now().saturating_sub(since), Ordering::Relaxed);
            polled
        })
        .await
    }

    /// How long threads have worked on it, as percentage of a second of one thread.
    pub(super) fn percent(&self) -> f64 {
        let under_way = match self.since.load(Ordering::Relaxed) {
            IDLE => 0,
            since => self.now().saturating_sub(since),
        };
        let nanos = self.worked.load(Ordering::Relaxed) + under_way;
        nanos as f64 * 1e-7
    }

    /// Whether it has been counted; from now on it has.
    pub(super) fn take(&self) -> bool {
        self.recorded.swap(true, Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(IDLE - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_work_counts() {
        let usage = Usage::new();
        assert_eq!(usage.percent(), 0.0);
        let (done, waiting) = tokio::sync::oneshot::channel();
        let work = usage.measure(async {
            let before = usage.percent();
            waiting.await.unwrap();
            before
        });
        let ((), before) = tokio::join!(
            async {
                // The work waits now.
                let waiting = usage.worked.load(Ordering::Relaxed);
                assert_eq!(usage.percent(), waiting as f64 * 1e-7);
                done.send(()).unwrap();
            },
            work
        );
        assert!(before >= 0.0 && usage.percent() > before);
        assert!(!usage.take() && usage.take());
    }
}
