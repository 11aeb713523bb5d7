//! How often a worker has gone back to its last commit without getting past it.
//!
//! Invariant: between two attempts lies a pause that doubles up to [`LONGEST`]; once nothing
//! has been committed for `task.timeout.ms` since the first setback, there is no further
//! attempt (Kafka Streams' rule: with a timeout above 0 there is at least one). A commit
//! forgets them all, and so does a time without any that is longer than an attempt can last:
//! a worker that had nothing to do has not failed all the while.

use std::time::{Duration, Instant};

/// The pause behind the first setback.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest pause.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// The setbacks since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Setbacks {
    count: u32,
    since: Option<Instant>,
    last: Option<Instant>,
}

/// What a setback leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt after this pause.
    Again(Duration),
    /// None: there were so many setbacks, in this time.
    Over(u32, Duration),
}

impl Setbacks {
    /// Another one, at `now`, of attempts that last `attempt` at most.
    pub(crate) fn another(&mut self, timeout: Duration, attempt: Duration, now: Instant) -> Next {
        let quiet = LONGEST.saturating_add(timeout).saturating_add(attempt);
        let since_last = self.last.map(|last| now.saturating_duration_since(last));
        if since_last.is_some_and(|time| time > quiet) {
            self.forget();
        }
        self.last = Some(now);
        let since = *self.since.get_or_insert(now);
        let lasted = now.saturating_duration_since(since);
        self.count += 1;
        if timeout.is_zero() || (self.count > 1 && lasted >= timeout) {
            return Next::Over(self.count, lasted);
        }
        let doublings = (self.count - 1).min(16);
        let pause = SHORTEST.saturating_mul(1 << doublings).min(LONGEST);
        // The last attempt comes when the time is up, not after it.
        Next::Again(pause.min(timeout.saturating_sub(lasted)))
    }

    /// There was a commit.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Duration = Duration::from_secs(60);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew_after_a_commit() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let Next::Again(pause) = setbacks.another(secs(300), ATTEMPT, now) else {
                panic!()
            };
            pauses.push(pause);
        }
        assert_eq!(pauses[..3], [50, 100, 200].map(Duration::from_millis));
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&LONGEST));
        setbacks.forget();
        assert_eq!(
            setbacks.another(secs(300), ATTEMPT, now),
            Next::Again(SHORTEST)
        );
    }

    #[test]
    fn the_time_counts_from_the_first_setback_and_the_last_attempt_is_on_time() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        setbacks.another(secs(20), ATTEMPT, now);
        for _ in 0..10 {
            setbacks.another(secs(20), ATTEMPT, now);
        }
        let late = setbacks.another(secs(20), ATTEMPT, now + secs(19));
        assert_eq!(late, Next::Again(secs(1)));
        let over = setbacks.another(secs(20), ATTEMPT, now + secs(20));
        assert_eq!(over, Next::Over(13, secs(20)));
    }

    #[test]
    fn a_timeout_of_zero_fails_at_once_and_any_other_tries_again_at_least_once() {
        let now = Instant::now();
        let first = Setbacks::default().another(Duration::ZERO, ATTEMPT, now);
        assert_eq!(first, Next::Over(1, Duration::ZERO));
        let tiny = Duration::from_millis(1);
        let mut setbacks = Setbacks::default();
        assert_eq!(setbacks.another(tiny, ATTEMPT, now), Next::Again(tiny));
        assert!(matches!(
            setbacks.another(tiny, ATTEMPT, now + tiny),
            Next::Over(2, _)
        ));
    }

    #[test]
    fn what_happened_long_ago_does_not_count() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        setbacks.another(secs(300), ATTEMPT, now);
        let next = setbacks.another(secs(300), ATTEMPT, now + secs(371));
        assert_eq!(next, Next::Again(SHORTEST));
        let next = setbacks.another(secs(300), ATTEMPT, now + secs(371 + 369));
        assert_eq!(next, Next::Over(2, secs(369)));
    }
}
