//! The write-back cache of one store: every uncommitted write, and the committed ones
//! that were written last.
//!
//! The cache decides alone for every key it holds, and for every key in a range that was
//! expired in this transaction; only for the others is the committed store asked.
//! Cursors that are open while the cache changes get what they have not read yet copied
//! out first, so that each sees the store as it was when it was opened.

use crate::KeyRange;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Weak};

/// What an entry costs besides its bytes, roughly.
const OVERHEAD: usize = 96;

#[derive(Debug, Clone)]
struct Slot {
    /// `None` is a delete.
    value: Option<Bytes>,
    dirty: bool,
}

#[derive(Debug)]
enum Index {
    Hash(HashMap<Bytes, Slot>),
    Tree(BTreeMap<Bytes, Slot>),
}

/// What the cache says about a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// The value; `None`: the key is deleted.
    Known(Option<Bytes>),
    /// Ask the committed store.
    Unknown,
}

/// The part of an open cursor that lies in the cache.
#[derive(Debug)]
pub(crate) enum Overlay {
    /// Nothing has changed since the cursor was opened: read the cache behind this key.
    Live(Option<Bytes>),
    /// What the cache held when it first changed.
    Copied(VecDeque<(Bytes, Option<Bytes>)>),
}

#[derive(Debug)]
struct OpenCursor {
    range: KeyRange,
    overlay: Weak<Mutex<Overlay>>,
}

/// The write-back cache of one store.
#[derive(Debug)]
pub(crate) struct WriteCache {
    index: Index,
    /// Keys that became dirty since the last commit; some may have gone again.
    dirty: Vec<Bytes>,
    dirty_bytes: usize,
    clean_bytes: usize,
    /// Keys below this were expired in this transaction.
    expired: Option<Bytes>,
    /// Keys below this were expired at some time, and none is there unless `below`.
    floor: Option<Bytes>,
    /// Whether a key below the floor has been written since.
    below: bool,
    cursors: Vec<OpenCursor>,
}

fn size(key: &[u8], value: Option<&Bytes>) -> usize {
    OVERHEAD + key.len() + value.map_or(0, Bytes::len)
}

impl WriteCache {
    pub(crate) fn new(scanned: bool) -> Self {
        Self {
            index: match scanned {
                true => Index::Tree(BTreeMap::new()),
                false => Index::Hash(HashMap::new()),
            },
            dirty: Vec::new(),
            dirty_bytes: 0,
            clean_bytes: 0,
            expired: None,
            floor: None,
            below: false,
            cursors: Vec::new(),
        }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Cached {
        let slot = match &self.index {
            Index::Hash(map) => map.get(key),
            Index::Tree(map) => map.get(key),
        };
        match slot {
            Some(slot) => Cached::Known(slot.value.clone()),
            None if self.is_expired(key) => Cached::Known(None),
            None => Cached::Unknown,
        }
    }

    /// Whether a key was expired in this transaction, and not written since.
    fn is_expired(&self, key: &[u8]) -> bool {
        self.expired.as_ref().is_some_and(|end| key < end.as_ref())
    }

    pub(crate) fn expired(&self) -> Option<&Bytes> {
        self.expired.as_ref()
    }

    pub(crate) fn write(&mut self, key: &[u8], value: Option<Bytes>) {
        self.copy_out();
        self.below |= self
            .floor
            .as_ref()
            .is_some_and(|floor| key < floor.as_ref());
        let added = size(key, value.as_ref());
        let slot = match &mut self.index {
            Index::Hash(map) => map.get_mut(key),
            Index::Tree(map) => map.get_mut(key),
        };
        match slot {
            Some(slot) => {
                let old = size(key, slot.value.as_ref());
                slot.value = value;
                if slot.dirty {
                    self.dirty_bytes = self.dirty_bytes.saturating_sub(old);
                } else {
                    slot.dirty = true;
                    self.clean_bytes = self.clean_bytes.saturating_sub(old);
                    self.dirty.push(Bytes::copy_from_slice(key));
                }
            }
            None => {
                let key = Bytes::copy_from_slice(key);
                self.dirty.push(key.clone());
                let slot = Slot { value, dirty: true };
                match &mut self.index {
                    Index::Hash(map) => map.insert(key, slot),
                    Index::Tree(map) => map.insert(key, slot),
                };
            }
        }
        self.dirty_bytes += added;
    }

    /// Drops every key below `end`.
    pub(crate) fn expire(&mut self, end: Bytes) {
        let risen = self.floor.as_ref().is_none_or(|floor| *floor < end);
        if !risen && !self.below {
            return;
        }
        self.copy_out();
        let (mut dirty, mut clean) = (0, 0);
        let mut count = |key: &Bytes, slot: &Slot| match slot.dirty {
            true => dirty += size(key, slot.value.as_ref()),
            false => clean += size(key, slot.value.as_ref()),
        };
        match &mut self.index {
            Index::Tree(map) => {
                let kept = map.split_off(&end);
                for (key, slot) in map.iter() {
                    count(key, slot);
                }
                *map = kept;
            }
            Index::Hash(map) => map.retain(|key, slot| {
                let keep = *key >= end;
                if !keep {
                    count(key, slot);
                }
                keep
            }),
        }
        self.dirty_bytes = self.dirty_bytes.saturating_sub(dirty);
        self.clean_bytes = self.clean_bytes.saturating_sub(clean);
        if risen {
            self.floor = Some(end.clone());
            self.below = false;
        }
        self.expired = self.expired.take().max(Some(end));
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.expired.is_some()
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty_bytes
    }

    /// The uncommitted entries, sorted by key.
    pub(crate) fn sorted_dirty(&mut self) -> Vec<(Bytes, Option<Bytes>)> {
        self.dirty.sort_unstable();
        self.dirty.dedup();
        let slot = |key: &Bytes| match &self.index {
            Index::Hash(map) => map.get(key),
            Index::Tree(map) => map.get(key),
        };
        self.dirty
            .iter()
            .filter_map(|key| {
                let slot = slot(key).filter(|slot| slot.dirty)?;
                Some((key.clone(), slot.value.clone()))
            })
            .collect()
    }

    /// What is in the cache has been committed. It stays for reads while it is small.
    pub(crate) fn settle(&mut self, clean_limit: usize) {
        self.copy_out();
        self.expired = None;
        if self.clean_bytes + self.dirty_bytes > clean_limit {
            let (floor, below) = (self.floor.take(), self.below);
            self.clear();
            (self.floor, self.below) = (floor, below);
            return;
        }
        self.clean_bytes += self.dirty_bytes;
        self.dirty_bytes = 0;
        for key in self.dirty.drain(..) {
            let slot = match &mut self.index {
                Index::Hash(map) => map.get_mut(&key),
                Index::Tree(map) => map.get_mut(&key),
            };
            if let Some(slot) = slot {
                slot.dirty = false;
            }
        }
    }

    /// Forgets everything, committed entries included.
    pub(crate) fn clear(&mut self) {
        self.copy_out();
        match &mut self.index {
            Index::Hash(map) => map.clear(),
            Index::Tree(map) => map.clear(),
        }
        self.dirty.clear();
        self.dirty_bytes = 0;
        self.clean_bytes = 0;
        self.expired = None;
        self.floor = None;
        self.below = false;
    }

    /// Opens the cache's part of a cursor.
    pub(crate) fn open(&mut self, range: &KeyRange) -> Arc<Mutex<Overlay>> {
        let overlay = match &self.index {
            Index::Tree(_) => Overlay::Live(None),
            Index::Hash(_) => Overlay::Copied(self.entries(range, None)),
        };
        let live = matches!(overlay, Overlay::Live(_));
        let overlay = Arc::new(Mutex::new(overlay));
        if live {
            self.cursors.retain(|open| open.overlay.strong_count() > 0);
            self.cursors.push(OpenCursor {
                range: range.clone(),
                overlay: Arc::downgrade(&overlay),
            });
        }
        overlay
    }

    /// The next entry of an open cursor.
    pub(crate) fn next(
        &self,
        range: &KeyRange,
        overlay: &mut Overlay,
    ) -> Option<(Bytes, Option<Bytes>)> {
        match overlay {
            Overlay::Copied(entries) => entries.pop_front(),
            Overlay::Live(last) => {
                let Index::Tree(map) = &self.index else {
                    return None;
                };
                let from = match last {
                    Some(last) => Bound::Excluded(last.clone()),
                    None => range.from.clone(),
                };
                let rest = KeyRange {
                    from,
                    to: range.to.clone(),
                };
                if rest.is_empty() {
                    return None;
                }
                let (key, slot) = map.range((rest.from, rest.to)).next()?;
                *last = Some(key.clone());
                Some((key.clone(), slot.value.clone()))
            }
        }
    }

    fn entries(
        &self,
        range: &KeyRange,
        behind: Option<&Bytes>,
    ) -> VecDeque<(Bytes, Option<Bytes>)> {
        let mut range = range.clone();
        if let Some(behind) = behind {
            range.from = Bound::Excluded(behind.clone());
        }
        if range.is_empty() {
            return VecDeque::new();
        }
        match &self.index {
            Index::Tree(map) => map
                .range((range.from, range.to))
                .map(|(key, slot)| (key.clone(), slot.value.clone()))
                .collect(),
            Index::Hash(map) => {
                let mut entries: Vec<_> = map
                    .iter()
                    .filter(|(key, _)| range.contains(key))
                    .map(|(key, slot)| (key.clone(), slot.value.clone()))
                    .collect();
                entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                entries.into()
            }
        }
    }

    /// Ahead of a change: cursors that still read the cache get their rest of it.
    fn copy_out(&mut self) {
        if self.cursors.is_empty() {
            return;
        }
        for open in std::mem::take(&mut self.cursors) {
            if let Some(overlay) = open.overlay.upgrade() {
                let mut overlay = overlay.lock();
                if let Overlay::Live(last) = &*overlay {
                    let entries = self.entries(&open.range, last.as_ref());
                    *overlay = Overlay::Copied(entries);
                }
            }
        }
    }
}
