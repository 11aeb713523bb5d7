//! Which bytes of a segment's file may be handed out as they lie there.
//!
//! Invariant: a byte is trusted only if this process wrote it (its batch was checked before the append) or has read
//! it with its batch's CRC, chain and epoch checked. What another process left is read once before it is trusted.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

#[derive(Debug)]
pub(crate) struct Trusted {
    /// Everything from here on is this process's own.
    own_from: AtomicU64,
    /// What was checked below it, as one range.
    checked: Mutex<Range<u64>>,
}

impl Trusted {
    /// Of a file that has `size` bytes already.
    pub(crate) fn beyond(size: u64) -> Self {
        Self {
            own_from: AtomicU64::new(size),
            checked: Mutex::new(0..0),
        }
    }

    /// The file was cut off here: what comes after is this process's own.
    pub(crate) fn cut(&self, position: u64) {
        let mut checked = self.checked.lock();
        checked.end = checked.end.min(position).max(checked.start);
        self.own_from.fetch_min(position, Ordering::AcqRel);
    }

    /// Whether the bytes may be handed out.
    pub(crate) fn contains(&self, range: &Range<u64>) -> bool {
        let own_from = self.own_from.load(Ordering::Acquire);
        if range.start >= own_from {
            return true;
        }
        let checked = self.checked.lock();
        range.start >= checked.start && (range.end <= checked.end || checked.end >= own_from)
    }

    /// The bytes were read and are sound.
    pub(crate) fn add(&self, range: Range<u64>) {
        let own_from = self.own_from.load(Ordering::Acquire);
        if range.start >= own_from || range.is_empty() {
            return;
        }
        let mut checked = self.checked.lock();
        if range.start <= checked.end && range.end >= checked.start && !checked.is_empty() {
            *checked = checked.start.min(range.start)..checked.end.max(range.end);
        } else {
            // Of two readers at different places only one is remembered: the other one's reads
            // are checked again.
            *checked = range;
        }
        if checked.start == 0 && checked.end >= own_from {
            self.own_from.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_bytes_are_trusted_and_others_once_they_were_read() {
        let trusted = Trusted::beyond(100);
        assert!(trusted.contains(&(100..200)));
        assert!(!trusted.contains(&(90..110)));
        trusted.add(40..60);
        assert!(trusted.contains(&(45..60)));
        assert!(!trusted.contains(&(45..61)));
        trusted.add(60..100);
        assert!(trusted.contains(&(45..1000)), "up to what is its own");
        assert!(!trusted.contains(&(39..50)));
        trusted.add(0..40);
        assert!(trusted.contains(&(0..1000)));
    }

    #[test]
    fn what_comes_after_a_cut_is_its_own() {
        let trusted = Trusted::beyond(100);
        trusted.add(10..60);
        trusted.cut(40);
        assert!(trusted.contains(&(40..80)));
        assert!(trusted.contains(&(10..80)));
        assert!(!trusted.contains(&(9..20)));
        trusted.cut(5);
        assert!(trusted.contains(&(5..80)));
        assert!(!trusted.contains(&(4..80)));
    }

    #[test]
    fn of_two_places_one_is_remembered() {
        let trusted = Trusted::beyond(100);
        trusted.add(0..10);
        trusted.add(50..60);
        assert!(!trusted.contains(&(0..10)));
        assert!(trusted.contains(&(50..60)));
        trusted.add(200..300);
        assert!(
            trusted.contains(&(50..60)),
            "its own are no range to remember"
        );
    }
}
