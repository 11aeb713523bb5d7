//! The map inside of a write-back cache, in the shape that fits how its store is read.

use crate::KeyRange;
use crate::window::START_LEN;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

/// What the cache knows of a key.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// `None` is a delete.
    pub(crate) value: Option<Bytes>,
    /// Whether it has not been committed yet.
    pub(crate) dirty: bool,
}

/// The first bytes of a window key: its window's start.
type Start = [u8; START_LEN];

/// The map of a cache.
#[derive(Debug)]
pub(crate) enum Index {
    /// For stores that are only point-read.
    Hash(HashMap<Bytes, Slot>),
    /// For stores that are range-scanned.
    Tree(BTreeMap<Bytes, Slot>),
    /// For window stores: ordered by window, hashed within. Few windows are open at a
    /// time, so that finding a key costs what a hash map does, and scans and expiry
    /// touch only their windows.
    Windows(BTreeMap<Start, HashMap<Bytes, Slot>>),
}

/// The window a stored key belongs to; a shorter key sorts where its bytes do.
fn start(key: &[u8]) -> Start {
    let mut start = [0; START_LEN];
    for (to, from) in start.iter_mut().zip(key) {
        *to = *from;
    }
    start
}

impl Index {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        match self {
            Self::Hash(map) => map.get(key),
            Self::Tree(map) => map.get(key),
            Self::Windows(windows) => windows.get(&start(key))?.get(key),
        }
    }

    pub(crate) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Slot> {
        match self {
            Self::Hash(map) => map.get_mut(key),
            Self::Tree(map) => map.get_mut(key),
            Self::Windows(windows) => windows.get_mut(&start(key))?.get_mut(key),
        }
    }

    pub(crate) fn insert(&mut self, key: Bytes, slot: Slot) {
        match self {
            Self::Hash(map) => {
                map.insert(key, slot);
            }
            Self::Tree(map) => {
                map.insert(key, slot);
            }
            Self::Windows(windows) => {
                windows.entry(start(&key)).or_default().insert(key, slot);
            }
        }
    }

    /// Drops every key below `end`, telling each.
    pub(crate) fn expire(&mut self, end: &Bytes, mut gone: impl FnMut(&Bytes, &Slot)) {
        let mut retain = |key: &Bytes, slot: &mut Slot| {
            let keep = key >= end;
            if !keep {
                gone(key, slot);
            }
            keep
        };
        match self {
            Self::Hash(map) => map.retain(retain),
            Self::Tree(map) => {
                let kept = map.split_off(end);
                for (key, slot) in map.iter_mut() {
                    retain(key, slot);
                }
                *map = kept;
            }
            Self::Windows(windows) => {
                let end_start = start(end);
                let kept = windows.split_off(&end_start);
                for (key, slot) in windows.values_mut().flatten() {
                    retain(key, slot);
                }
                *windows = kept;
                // `end` may lie within a window.
                if end.len() > START_LEN
                    && let Some(window) = windows.get_mut(&end_start)
                {
                    window.retain(retain);
                }
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Self::Hash(map) => map.clear(),
            Self::Tree(map) => map.clear(),
            Self::Windows(windows) => windows.clear(),
        }
    }

    /// The first entry of a range, of an index that is in key order throughout.
    pub(crate) fn first(&self, range: &KeyRange) -> Option<(&Bytes, &Slot)> {
        match self {
            Self::Tree(map) if !range.is_empty() => {
                map.range((range.from.clone(), range.to.clone())).next()
            }
            _ => None,
        }
    }

    /// The entries of a range, in key order.
    pub(crate) fn entries<C: FromIterator<(Bytes, Option<Bytes>)>>(&self, range: &KeyRange) -> C {
        let owned = |(key, slot): (&Bytes, &Slot)| (key.clone(), slot.value.clone());
        if range.is_empty() {
            return C::from_iter([]);
        }
        match self {
            Self::Hash(map) => sorted(map, range).into_iter().map(owned).collect(),
            Self::Tree(map) => map
                .range((range.from.clone(), range.to.clone()))
                .map(owned)
                .collect(),
            Self::Windows(windows) => {
                let bound = |bound: &Bound<Bytes>| match bound {
                    // The window that holds the bound may hold keys on its other side too.
                    Bound::Included(key) | Bound::Excluded(key) => Bound::Included(start(key)),
                    Bound::Unbounded => Bound::Unbounded,
                };
                windows
                    .range((bound(&range.from), bound(&range.to)))
                    .flat_map(|(_, window)| sorted(window, range))
                    .map(owned)
                    .collect()
            }
        }
    }
}

/// The entries of a hash map that lie in a range, sorted.
fn sorted<'a>(map: &'a HashMap<Bytes, Slot>, range: &KeyRange) -> Vec<(&'a Bytes, &'a Slot)> {
    let entries = map.iter().filter(|(key, _)| range.contains(key));
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}
