//! Ranges of keys, in the order of their bytes.

use bytes::Bytes;
use std::ops::Bound;

/// A range of keys of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The lower end.
    pub from: Bound<Bytes>,
    /// The upper end.
    pub to: Bound<Bytes>,
}

impl KeyRange {
    /// Every key.
    pub fn all() -> Self {
        Self {
            from: Bound::Unbounded,
            to: Bound::Unbounded,
        }
    }

    /// Keys from `from`, included, to `to`, not included.
    pub fn half_open(from: impl Into<Bytes>, to: impl Into<Bytes>) -> Self {
        Self {
            from: Bound::Included(from.into()),
            to: Bound::Excluded(to.into()),
        }
    }

    /// Keys from `from` to `to`, both included.
    pub fn inclusive(from: impl Into<Bytes>, to: impl Into<Bytes>) -> Self {
        Self {
            from: Bound::Included(from.into()),
            to: Bound::Included(to.into()),
        }
    }

    /// Keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        let to = match prefix_end(&prefix) {
            Some(end) => Bound::Excluded(end),
            None => Bound::Unbounded,
        };
        Self {
            from: Bound::Included(prefix),
            to,
        }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        let above = match &self.from {
            Bound::Included(from) => key >= from.as_ref(),
            Bound::Excluded(from) => key > from.as_ref(),
            Bound::Unbounded => true,
        };
        above && self.below_end(key)
    }

    /// Whether `key` lies below the upper end.
    pub(crate) fn below_end(&self, key: &[u8]) -> bool {
        match &self.to {
            Bound::Included(to) => key <= to.as_ref(),
            Bound::Excluded(to) => key < to.as_ref(),
            Bound::Unbounded => true,
        }
    }

    /// Whether no key can lie in the range; an ordered map panics on some of these.
    pub fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (
                Bound::Included(from) | Bound::Excluded(from),
                Bound::Included(to) | Bound::Excluded(to),
            ) => from >= to,
        }
    }
}

/// The first key behind all keys that begin with `prefix`, if there is one.
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_range_ends_before_the_next_prefix() {
        let range = KeyRange::prefix(&b"a\xff"[..]);
        assert!(range.contains(b"a\xff"));
        assert!(range.contains(b"a\xff\xff\xff"));
        assert!(!range.contains(b"b"));
        assert!(!range.contains(b"a\xfe"));
        assert_eq!(prefix_end(b"\xff\xff"), None);
        assert!(KeyRange::prefix(&b"\xff"[..]).contains(b"\xff\xff\xff"));
    }

    #[test]
    fn ranges_turned_around_are_empty() {
        assert!(KeyRange::inclusive(&b"b"[..], &b"a"[..]).is_empty());
        assert!(KeyRange::half_open(&b"a"[..], &b"a"[..]).is_empty());
        assert!(!KeyRange::inclusive(&b"a"[..], &b"a"[..]).is_empty());
    }
}
