//! The last offset of each key of a part of the log, in bounded memory.
//!
//! A key is known by 128 bits of two SipHashes with random keys, so that nobody can make up two
//! keys that are taken for one. An entry takes 24 bytes; memory is taken for what the part at hand
//! can need, never for more than the limit, and given back with the map.

use std::hash::{BuildHasher, RandomState};

/// An entry: two hashes, and the offset plus one (0 is a free slot).
type Slot = (u64, u64, u64);

const SLOT_SIZE: usize = size_of::<Slot>();

/// The map; it is full at a share of its slots.
#[derive(Debug)]
pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    keys: usize,
    most: usize,
    latest: i64,
    hashers: (RandomState, RandomState),
}

impl OffsetMap {
    /// A map of at most `bytes`, with room for `expected` records where that is less.
    pub(crate) fn new(bytes: usize, load_factor: f64, expected: u64) -> Self {
        let load_factor = load_factor.clamp(0.1, 0.95);
        let limit = (bytes / SLOT_SIZE).max(16);
        let wanted = ((expected as f64 / load_factor) as usize).saturating_add(16);
        let slots = wanted.min(limit);
        Self {
            slots: vec![(0, 0, 0); slots],
            keys: 0,
            most: ((slots as f64 * load_factor) as usize).max(1),
            latest: -1,
            hashers: (RandomState::new(), RandomState::new()),
        }
    }

    fn hash(&self, key: &[u8]) -> (u64, u64) {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }

    /// Where the key is, or the free slot where it would be.
    fn find(&self, hash: (u64, u64)) -> usize {
        let len = self.slots.len().max(1);
        let mut at = (hash.0 % len as u64) as usize;
        loop {
            match self.slots.get(at) {
                Some(slot) if slot.2 != 0 && (slot.0, slot.1) != hash => at = (at + 1) % len,
                _ => return at,
            }
        }
    }

    /// Remembers an offset of a key, which must be above all before. `false` when the map is full.
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        if self.keys >= self.most {
            return false;
        }
        let hash = self.hash(key);
        let at = self.find(hash);
        if let Some(slot) = self.slots.get_mut(at) {
            if slot.2 == 0 {
                self.keys += 1;
            }
            *slot = (hash.0, hash.1, offset as u64 + 1);
        }
        self.latest = offset;
        true
    }

    /// The last offset of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<i64> {
        let slot = self.slots.get(self.find(self.hash(key)))?;
        slot.2.checked_sub(1).map(|offset| offset as i64)
    }

    /// How far the map knows the log.
    pub(crate) fn latest(&self) -> i64 {
        self.latest
    }

    /// The map knows the log up to here.
    pub(crate) fn set_latest(&mut self, offset: i64) {
        self.latest = self.latest.max(offset);
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_last_offset_of_a_key_stays() {
        let mut map = OffsetMap::new(1 << 20, 0.9, 1000);
        let mut model = HashMap::new();
        for offset in 0..1000i64 {
            let key = (offset * 7919 % 337).to_be_bytes();
            assert!(map.put(&key, offset));
            model.insert(key, offset);
        }
        assert_eq!((map.len(), map.latest()), (337, 999));
        for (key, offset) in &model {
            assert_eq!(map.get(key), Some(*offset));
        }
        assert_eq!(map.get(b"another"), None);
    }

    #[test]
    fn a_full_map_takes_no_more() {
        let mut map = OffsetMap::new(16 * SLOT_SIZE, 0.5, u64::MAX >> 1);
        let taken = (0..100i64)
            .take_while(|n| map.put(&n.to_be_bytes(), *n))
            .count();
        assert_eq!((taken, map.latest()), (8, 7));
        assert_eq!(map.get(&7i64.to_be_bytes()), Some(7));
        assert_eq!(map.get(&8i64.to_be_bytes()), None);
    }
}
