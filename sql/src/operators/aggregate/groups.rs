//! The groups in the cache: their keys, row counts, and which have changed.
//!
//! Invariants: a group's slot stays until the table is cleared, and the table is cleared
//! only when no group is dirty; the results that a dirty group had when it was last put
//! out are kept, in the order in which groups became dirty.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// One group in the cache.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Group {
    start: usize,
    end: usize,
    hash: u64,
    /// Rows in the group; may be below zero on the way.
    pub(super) rows: i64,
    /// Whether a result of it is downstream.
    pub(super) visible: bool,
    /// Whether it has changed since the last flush.
    pub(super) dirty: bool,
}

/// Keys to slots.
#[derive(Default)]
pub(super) struct GroupTable {
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    keys: Vec<u8>,
    groups: Vec<Group>,
}

impl GroupTable {
    /// The group of `key`, and whether it is new here.
    pub(super) fn find_or_insert(&mut self, key: &[u8]) -> (u32, bool) {
        let hash = self.hasher.hash_one(key);
        let (keys, groups) = (&self.keys, &self.groups);
        let found = self.table.find(hash, |slot| {
            groups
                .get(*slot as usize)
                .is_some_and(|g| g.hash == hash && keys.get(g.start..g.end) == Some(key))
        });
        if let Some(slot) = found {
            return (*slot, false);
        }
        let slot = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.groups.push(Group {
            start,
            end: self.keys.len(),
            hash,
            ..Group::default()
        });
        let groups = &self.groups;
        self.table.insert_unique(hash, slot, |s| {
            groups.get(*s as usize).map_or(0, |g| g.hash)
        });
        (slot, true)
    }

    /// The key of a group; empty when there is no such group.
    pub(super) fn key(&self, group: usize) -> &[u8] {
        self.groups
            .get(group)
            .and_then(|g| self.keys.get(g.start..g.end))
            .unwrap_or_default()
    }

    pub(super) fn get(&self, group: u32) -> Group {
        self.groups.get(group as usize).copied().unwrap_or_default()
    }

    pub(super) fn get_mut(&mut self, group: u32) -> Option<&mut Group> {
        self.groups.get_mut(group as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.keys.clear();
        self.groups.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_slot_until_the_table_is_cleared() {
        let mut table = GroupTable::default();
        let keys: Vec<String> = (0..500)
            .map(|i| "k".repeat(i % 7) + &i.to_string())
            .collect();
        let slots: Vec<_> = keys
            .iter()
            .map(|k| table.find_or_insert(k.as_bytes()))
            .collect();
        assert!(
            slots
                .iter()
                .zip(0..)
                .all(|((slot, new), i)| *slot == i && *new)
        );
        for (key, (slot, _)) in keys.iter().zip(&slots) {
            assert_eq!(table.find_or_insert(key.as_bytes()), (*slot, false));
            assert_eq!(table.key(*slot as usize), key.as_bytes());
        }
        table.clear();
        assert_eq!((table.len(), table.find_or_insert(b"x")), (0, (0, true)));
    }
}
