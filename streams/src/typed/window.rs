//! Windows of event time.

use std::fmt;
use std::time::Duration;

/// A span of event time: `start` belongs to it, `end` does not. Milliseconds since 1970.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Window {
    /// The first millisecond of the window.
    pub start: i64,
    /// The first millisecond after the window.
    pub end: i64,
}

/// A key within a window: what a windowed aggregation groups by.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Windowed<K> {
    /// The grouped key.
    pub key: K,
    /// The window.
    pub window: Window,
}

impl<K: fmt::Display> fmt::Display for Windowed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[{}@{}/{}]",
            self.key, self.window.start, self.window.end
        )
    }
}

/// Why windows cannot be as asked for. Reported when the topology is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// A window of no length.
    #[error("the size of a window must be at least 1 ms")]
    Size,
    /// An advance that skips time or stands still.
    #[error(
        "windows of {size_ms} ms cannot advance by {advance_ms} ms: choose 1 ms to {size_ms} ms"
    )]
    Advance {
        /// The windows' size.
        size_ms: i64,
        /// The advance asked for.
        advance_ms: i64,
    },
}

/// Windows of one size: tumbling (each begins where the last one ends) or hopping (they
/// overlap). All are aligned to 1970. A window closes for good when the watermark
/// reaches its end plus the grace period; a record for it that comes later is dropped
/// and counted.
///
/// ```
/// use std::time::Duration;
/// use thalweg_streams::TimeWindows;
///
/// let hourly = TimeWindows::of_size(Duration::from_secs(3600));
/// assert_eq!(hourly.windows_for(3_600_001).map(|w| w.start).collect::<Vec<_>>(), [3_600_000]);
///
/// let hopping = TimeWindows::of_size(Duration::from_millis(10))
///     .advance_by(Duration::from_millis(5))
///     .grace(Duration::from_millis(2));
/// assert_eq!(hopping.windows_for(12).map(|w| w.start).collect::<Vec<_>>(), [5, 10]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeWindows {
    size_ms: i64,
    advance_ms: i64,
    grace_ms: i64,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl TimeWindows {
    /// Tumbling windows of `size`, without grace.
    #[must_use]
    pub fn of_size(size: Duration) -> Self {
        Self {
            size_ms: millis(size),
            advance_ms: millis(size),
            grace_ms: 0,
        }
    }

    /// Makes the windows hop: one begins every `advance`.
    #[must_use]
    pub fn advance_by(self, advance: Duration) -> Self {
        Self {
            advance_ms: millis(advance),
            ..self
        }
    }

    /// Keeps a window open for `grace` after its end.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self {
            grace_ms: millis(grace),
            ..self
        }
    }

    /// The length of each window in milliseconds.
    pub fn size_ms(&self) -> i64 {
        self.size_ms
    }

    /// The distance between two windows' starts in milliseconds.
    pub fn advance_ms(&self) -> i64 {
        self.advance_ms
    }

    /// How long after its end a window stays open, in milliseconds.
    pub fn grace_ms(&self) -> i64 {
        self.grace_ms
    }

    /// How far behind the watermark the start of an open window can lie.
    pub(crate) fn span_ms(&self) -> i64 {
        self.size_ms.saturating_add(self.grace_ms)
    }

    /// Whether size and advance fit together.
    pub fn check(&self) -> Result<(), WindowError> {
        if self.size_ms < 1 {
            return Err(WindowError::Size);
        }
        if self.advance_ms < 1 || self.advance_ms > self.size_ms {
            return Err(WindowError::Advance {
                size_ms: self.size_ms,
                advance_ms: self.advance_ms,
            });
        }
        Ok(())
    }

    /// The windows that contain `timestamp`, earliest first. As in Kafka, none starts
    /// before 1970.
    pub fn windows_for(&self, timestamp: i64) -> impl Iterator<Item = Window> + use<> {
        let (size, advance) = (self.size_ms.max(1), self.advance_ms.max(1));
        let lowest = timestamp.saturating_sub(size).saturating_add(1).max(0);
        // The first multiple of `advance` that is not below `lowest`.
        let first = lowest.div_euclid(advance) * advance;
        let first = if first < lowest {
            first.saturating_add(advance)
        } else {
            first
        };
        std::iter::successors(Some(first), move |start| start.checked_add(advance))
            .take_while(move |start| *start <= timestamp)
            .map(move |start| Window {
                start,
                end: start.saturating_add(size),
            })
    }

    /// Whether `window` is closed for good: its end plus grace is at or below the
    /// watermark. Kafka's rule, equality included.
    pub fn is_closed(&self, window: &Window, watermark: i64) -> bool {
        window.end.saturating_add(self.grace_ms) <= watermark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(size: u64, advance: u64, at: i64) -> Vec<i64> {
        TimeWindows::of_size(Duration::from_millis(size))
            .advance_by(Duration::from_millis(advance))
            .windows_for(at)
            .map(|window| window.start)
            .collect()
    }

    #[test]
    fn a_window_has_its_start_and_not_its_end() {
        assert_eq!(windows(10, 10, 0), [0]);
        assert_eq!(windows(10, 10, 9), [0]);
        assert_eq!(windows(10, 10, 10), [10]);
    }

    #[test]
    fn hopping_windows_overlap_and_none_starts_before_1970() {
        assert_eq!(windows(10, 5, 3), [0]);
        assert_eq!(windows(10, 5, 10), [5, 10]);
        assert_eq!(windows(10, 3, 11), [3, 6, 9]);
        assert_eq!(windows(10, 10, -5), [0; 0]);
    }

    #[test]
    fn every_window_holds_the_timestamp_and_none_is_missing() {
        for size in 1..20_u64 {
            for advance in 1..=size {
                for at in 0..60_i64 {
                    let expected: Vec<i64> = (0..=at)
                        .step_by(advance as usize)
                        .filter(|start| start + (size as i64) > at)
                        .collect();
                    assert_eq!(
                        windows(size, advance, at),
                        expected,
                        "{size}/{advance} at {at}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_window_closes_when_the_watermark_reaches_end_plus_grace() {
        let windows =
            TimeWindows::of_size(Duration::from_millis(10)).grace(Duration::from_millis(5));
        let window = Window { start: 0, end: 10 };
        assert!(!windows.is_closed(&window, i64::MIN));
        assert!(!windows.is_closed(&window, 14));
        assert!(windows.is_closed(&window, 15));
    }

    #[test]
    fn windows_that_cannot_be_are_refused() {
        let ten = TimeWindows::of_size(Duration::from_millis(10));
        assert!(ten.check().is_ok());
        assert_eq!(
            TimeWindows::of_size(Duration::ZERO).check(),
            Err(WindowError::Size)
        );
        assert!(ten.advance_by(Duration::from_millis(11)).check().is_err());
        assert!(ten.advance_by(Duration::ZERO).check().is_err());
    }
}
