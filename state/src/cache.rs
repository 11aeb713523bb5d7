//! The write-back cache of one store: every uncommitted write, and the committed ones
//! that were written last.
//!
//! The cache decides alone for every key it holds, and for every key in a range that was
//! expired in this transaction; only for the others is the committed store asked.
//! Cursors that are open while the cache changes get what they have not read yet copied
//! out first, so that each sees the store as it was when it was opened.

use crate::index::{Index, Slot};
use crate::{KeyRange, StoreKind};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Weak};

/// What an entry costs besides its bytes, roughly.
const OVERHEAD: usize = 96;

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
    pub(crate) fn new(kind: &StoreKind) -> Self {
        Self {
            index: match kind {
                StoreKind::KeyValue { scanned: true } => Index::Tree(BTreeMap::new()),
                StoreKind::KeyValue { scanned: false } => Index::Hash(HashMap::new()),
                StoreKind::Window { .. } => Index::Windows(BTreeMap::new()),
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
        match self.index.get(key) {
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
        match self.index.get_mut(key) {
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
                self.index.insert(key, Slot { value, dirty: true });
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
        self.index.expire(&end, |key, slot| match slot.dirty {
            true => dirty += size(key, slot.value.as_ref()),
            false => clean += size(key, slot.value.as_ref()),
        });
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
        self.dirty
            .iter()
            .filter_map(|key| {
                let slot = self.index.get(key).filter(|slot| slot.dirty)?;
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
            if let Some(slot) = self.index.get_mut(&key) {
                slot.dirty = false;
            }
        }
    }

    /// Forgets everything, committed entries included.
    pub(crate) fn clear(&mut self) {
        self.copy_out();
        self.index.clear();
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
            _ => Overlay::Copied(self.index.entries(range)),
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
                let rest = KeyRange {
                    from: match last {
                        Some(last) => Bound::Excluded(last.clone()),
                        None => range.from.clone(),
                    },
                    to: range.to.clone(),
                };
                let (key, slot) = self.index.first(&rest)?;
                *last = Some(key.clone());
                Some((key.clone(), slot.value.clone()))
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
                    let mut rest = open.range.clone();
                    if let Some(last) = last {
                        rest.from = Bound::Excluded(last.clone());
                    }
                    *overlay = Overlay::Copied(self.index.entries(&rest));
                }
            }
        }
    }
}
