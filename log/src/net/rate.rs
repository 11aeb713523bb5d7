//! Measured rates: how fast something comes, and how long whoever is too fast has to pause.
//!
//! Invariants: time is the caller's, in milliseconds, and never goes back; what is older than the window counts
//! nothing; pausing for as long as is said brings the rate back to its limit.

use std::collections::VecDeque;

/// How rates are measured: over so many samples, each so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// `quota.window.num`.
    pub samples: i64,
    /// `quota.window.size.seconds`, in milliseconds.
    pub sample_ms: i64,
}

impl Window {
    /// A window of so many samples of so many seconds.
    pub fn new(samples: i32, seconds: i32) -> Self {
        Window {
            samples: i64::from(samples.max(1)),
            sample_ms: i64::from(seconds.max(1)) * 1000,
        }
    }

    /// The seconds that count before anything has been measured: all samples but the one under way.
    pub fn full_seconds(&self) -> f64 {
        (self.samples - 1) as f64 * self.sample_seconds()
    }

    fn sample_seconds(&self) -> f64 {
        self.sample_ms as f64 / 1000.0
    }

    fn total_ms(&self) -> i64 {
        self.samples.saturating_mul(self.sample_ms)
    }
}

impl Default for Window {
    /// Eleven samples of a second.
    fn default() -> Self {
        Window::new(11, 1)
    }
}

/// How much there was of something in the last samples.
#[derive(Debug, Default)]
pub struct Rate {
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    start: i64,
    last: i64,
    total: f64,
}

impl Rate {
    /// Counts an amount; a negative one takes back what was counted.
    pub fn record(&mut self, amount: f64, window: Window, now: i64) {
        if let Some(sample) = self.samples.back_mut()
            && now - sample.start < window.sample_ms
        {
            sample.total += amount;
            sample.last = now;
            return;
        }
        self.purge(window, now);
        self.samples.push_back(Sample {
            start: now,
            last: now,
            total: amount,
        });
    }

    /// How long it takes, in milliseconds and without more, until the rate is back at the limit (a second); 0 where
    /// it is not beyond.
    pub fn pause(&mut self, limit: f64, window: Window, now: i64) -> i64 {
        self.purge(window, now);
        let total: f64 = self.samples.iter().map(|sample| sample.total).sum();
        let since = self.samples.front().map_or(now, |sample| sample.start);
        let elapsed = (now - since).max(0);
        // At least all samples but the one under way count, however new the rate is.
        let missing = (window.samples - 1 - elapsed / window.sample_ms).max(0);
        let span = (elapsed + missing * window.sample_ms).max(1) as f64;
        let rate = total / span * 1000.0;
        if rate > limit {
            ((rate - limit) / limit * span).round() as i64
        } else {
            0
        }
    }

    /// Whether nothing of it counts any more.
    pub fn is_idle(&self, window: Window, now: i64) -> bool {
        let last = self.samples.back();
        last.is_none_or(|sample| now - sample.last >= window.total_ms())
    }

    fn purge(&mut self, window: Window, now: i64) {
        while self
            .samples
            .front()
            .is_some_and(|sample| now - sample.last >= window.total_ms())
        {
            self.samples.pop_front();
        }
    }
}

/// Credit that grows at a rate, up to what the whole window gives, and may be overdrawn once.
#[derive(Debug, Default)]
pub struct TokenBucket {
    /// What is left, and when that was; a new bucket is full.
    left: Option<(f64, i64)>,
}

impl TokenBucket {
    /// Takes an amount out; a negative one puts it back.
    pub fn take(&mut self, amount: f64, limit: f64, window: Window, now: i64) {
        let left = self.refill(limit, window, now) - amount;
        self.left = Some((left.min(burst(limit, window)), now));
    }

    /// How long it takes, in milliseconds, until the bucket is no longer overdrawn.
    pub fn pause(&mut self, limit: f64, window: Window, now: i64) -> i64 {
        let left = self.refill(limit, window, now);
        if left < 0.0 {
            (-left / limit * 1000.0).round() as i64
        } else {
            0
        }
    }

    fn refill(&mut self, limit: f64, window: Window, now: i64) -> f64 {
        let burst = burst(limit, window);
        let left = match self.left {
            Some((left, then)) => left + limit * (now - then).max(0) as f64 / 1000.0,
            None => burst,
        };
        let left = left.min(burst);
        self.left = Some((left, now));
        left
    }
}

fn burst(limit: f64, window: Window) -> f64 {
    limit * window.samples as f64 * window.sample_seconds()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window {
        samples: 11,
        sample_ms: 1000,
    };

    #[test]
    fn a_burst_is_free_and_what_goes_beyond_is_paused_for() {
        let mut rate = Rate::default();
        rate.record(1000.0, WINDOW, 0);
        assert_eq!(rate.pause(100.0, WINDOW, 0), 0);
        rate.record(500.0, WINDOW, 10);
        // 1500 at 100 a second take 15 seconds, of which 10 are free and 10 ms are over.
        assert_eq!(rate.pause(100.0, WINDOW, 10), 4990);
        rate.record(-500.0, WINDOW, 10);
        assert_eq!(rate.pause(100.0, WINDOW, 10), 0);
    }

    #[test]
    fn the_window_is_as_large_as_it_is_set() {
        let window = Window::new(3, 2);
        let mut rate = Rate::default();
        rate.record(500.0, window, 0);
        // Two full samples of two seconds are free.
        assert_eq!(rate.pause(100.0, window, 0), 1000);
        assert!(!rate.is_idle(window, 5999));
        assert!(rate.is_idle(window, 6000));
        assert_eq!(window.full_seconds(), 4.0);
    }

    /// Whoever pauses as he is told keeps to the rate in the long run.
    #[test]
    fn pauses_keep_the_rate() {
        let (mut rate, mut now, mut total) = (Rate::default(), 0, 0.0);
        while now < 600_000 {
            rate.record(10.0, WINDOW, now);
            total += 10.0;
            now += 1 + rate.pause(100.0, WINDOW, now);
        }
        let mean = total * 1000.0 / now as f64;
        assert!((90.0..=110.0).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let mut rate = Rate::default();
        rate.record(1e9, WINDOW, 0);
        assert!(rate.pause(100.0, WINDOW, 0) > 1_000_000);
        rate.record(1.0, WINDOW, 11_000);
        assert_eq!(rate.pause(100.0, WINDOW, 11_000), 0);
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_in() {
        let mut rate = Rate::default();
        rate.record(1.0, WINDOW, 0);
        assert_eq!(rate.pause(0.0, WINDOW, 0), i64::MAX);
    }

    #[test]
    fn a_bucket_may_be_overdrawn_once_and_fills_again() {
        let mut bucket = TokenBucket::default();
        // Eleven seconds' worth are there from the start.
        bucket.take(55.0, 5.0, WINDOW, 100);
        assert_eq!(bucket.pause(5.0, WINDOW, 100), 0);
        bucket.take(60.0, 5.0, WINDOW, 100);
        assert_eq!(bucket.pause(5.0, WINDOW, 100), 12_000);
        assert_eq!(bucket.pause(5.0, WINDOW, 10_100), 2_000);
        assert_eq!(bucket.pause(5.0, WINDOW, 12_100), 0);
        bucket.take(55.0, 5.0, WINDOW, 1_000_000);
        assert_eq!(bucket.pause(5.0, WINDOW, 1_000_000), 0);
        bucket.take(1.0, 5.0, WINDOW, 1_000_000);
        assert_eq!(bucket.pause(5.0, WINDOW, 1_000_000), 200);
    }
}
