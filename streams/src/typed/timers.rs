//! Punctuators: a processor's timers on event time or wall-clock time.
//!
//! A schedule fires at most once for each move of its clock, however far it moved, and
//! keeps its rhythm: the next time is a multiple of the interval after its start.

use std::time::Duration;

/// Which clock drives a punctuator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PunctuationType {
    /// The task's watermark, which only data moves; so a replay fires the same again.
    StreamTime,
    /// The clock on the wall (in the test driver, the clock of the test).
    WallClockTime,
}

/// One of a processor's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId(pub(crate) usize);

#[derive(Debug)]
struct Schedule {
    kind: PunctuationType,
    interval: i64,
    next: Option<i64>,
    cancelled: bool,
}

/// The timers of one processor.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    schedules: Vec<Schedule>,
}

impl Timers {
    pub(crate) fn schedule(
        &mut self,
        interval: Duration,
        kind: PunctuationType,
        wall_clock: i64,
    ) -> TimerId {
        let interval = i64::try_from(interval.as_millis())
            .unwrap_or(i64::MAX)
            .max(1);
        self.schedules.push(Schedule {
            kind,
            interval,
            // Event time begins with the first record, whose arrival is the first tick.
            next: match kind {
                PunctuationType::StreamTime => None,
                PunctuationType::WallClockTime => Some(wall_clock.saturating_add(interval)),
            },
            cancelled: false,
        });
        TimerId(self.schedules.len() - 1)
    }

    pub(crate) fn cancel(&mut self, timer: TimerId) {
        if let Some(schedule) = self.schedules.get_mut(timer.0) {
            schedule.cancelled = true;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.schedules.len()
    }

    /// The time at which timer `index` fires now, if it does; its schedule moves on.
    pub(crate) fn fire(&mut self, index: usize, watermark: i64, wall_clock: i64) -> Option<i64> {
        let schedule = self.schedules.get_mut(index)?;
        let now = match schedule.kind {
            PunctuationType::StreamTime => watermark,
            PunctuationType::WallClockTime => wall_clock,
        };
        if schedule.cancelled || now == i64::MIN {
            return None;
        }
        let due = schedule.next.unwrap_or(now);
        if now < due {
            return None;
        }
        // Event time ticks at multiples of the interval, wall-clock time from its start.
        let base = match schedule.kind {
            PunctuationType::StreamTime => 0,
            PunctuationType::WallClockTime => due,
        };
        let ticks = (now - base).div_euclid(schedule.interval);
        schedule.next = Some(base.saturating_add((ticks + 1).saturating_mul(schedule.interval)));
        Some(now)
    }

    /// The earliest time at which a timer of `kind` is due.
    pub(crate) fn next_due(&self, kind: PunctuationType) -> Option<i64> {
        self.schedules
            .iter()
            .filter(|schedule| schedule.kind == kind && !schedule.cancelled)
            // One that has not begun is due with the first record.
            .map(|schedule| schedule.next.unwrap_or(i64::MIN + 1))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_time_ticks_with_the_first_record_and_then_at_multiples() {
        let mut timers = Timers::default();
        timers.schedule(Duration::from_millis(10), PunctuationType::StreamTime, 0);
        assert_eq!(timers.fire(0, i64::MIN, 1_000), None);
        assert_eq!(timers.fire(0, 3, 1_000), Some(3));
        assert_eq!(timers.fire(0, 9, 1_000), None);
        assert_eq!(timers.fire(0, 10, 1_000), Some(10));
        assert_eq!(timers.fire(0, 45, 1_000), Some(45));
        assert_eq!(timers.fire(0, 49, 1_000), None);
        assert_eq!(timers.fire(0, 50, 1_000), Some(50));
    }

    #[test]
    fn wall_clock_time_ticks_once_for_a_gap_and_keeps_its_rhythm() {
        let mut timers = Timers::default();
        let timer = timers.schedule(Duration::from_millis(10), PunctuationType::WallClockTime, 5);
        assert_eq!(timers.fire(0, 0, 14), None);
        assert_eq!(timers.fire(0, 0, 15), Some(15));
        assert_eq!(timers.fire(0, 0, 47), Some(47));
        assert_eq!(timers.fire(0, 0, 54), None);
        assert_eq!(timers.fire(0, 0, 55), Some(55));
        assert_eq!(timers.next_due(PunctuationType::WallClockTime), Some(65));
        timers.cancel(timer);
        assert_eq!(timers.fire(0, 0, 100), None);
    }
}
