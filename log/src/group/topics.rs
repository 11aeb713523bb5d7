//! The topics there are, as far as groups care: names, ids, numbers of partitions.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::wire::Str;

/// The topics there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    by_name: BTreeMap<Str, (Uuid, i32)>,
    names: BTreeMap<Uuid, Str>,
}

impl Topics {
    /// Topics by name, each with its id and its number of partitions.
    pub fn new(topics: impl IntoIterator<Item = (Str, Uuid, i32)>) -> Self {
        let mut all = Self::default();
        for (name, id, partitions) in topics {
            all.names.insert(id, name.clone());
            all.by_name.insert(name, (id, partitions));
        }
        all
    }

    /// Id and number of partitions of a topic.
    pub fn get(&self, name: &str) -> Option<(Uuid, i32)> {
        self.by_name.get(name).copied()
    }

    /// The name of a topic.
    pub fn name(&self, id: &Uuid) -> Option<&Str> {
        self.names.get(id)
    }

    /// Every topic's name.
    pub fn names(&self) -> impl Iterator<Item = &Str> {
        self.by_name.keys()
    }

    /// Whether there are topics that `older` did not have.
    pub(super) fn has_more_than(&self, older: &Self) -> bool {
        self.names.keys().any(|id| !older.names.contains_key(id))
    }

    /// A number that changes with every change of these topics.
    pub(super) fn hash<'a>(&self, names: impl Iterator<Item = &'a Str>) -> i64 {
        let mut hash = Fnv::default();
        for name in names {
            if let Some((id, partitions)) = self.get(name) {
                hash.add(name.as_bytes());
                hash.add(id.as_bytes());
                hash.add(&partitions.to_be_bytes());
            }
        }
        hash.finish()
    }
}

/// FNV-1a, so that the number is the same in every run.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> i64 {
        i64::from_be_bytes(self.0.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_follows_what_is_asked_for() {
        let topic = |name: &str, id, n| (Str::from(name), Uuid::from_u128(id), n);
        let names = [Str::from("a"), Str::from("b")];
        let hash = |topics: &[(Str, Uuid, i32)]| Topics::new(topics.to_vec()).hash(names.iter());
        let base = hash(&[topic("a", 1, 3), topic("c", 2, 1)]);
        assert_eq!(base, hash(&[topic("a", 1, 3)]), "other topics do not count");
        for other in [
            vec![topic("a", 1, 4)],
            vec![topic("a", 7, 3)],
            vec![],
            vec![topic("a", 1, 3), topic("b", 2, 1)],
        ] {
            assert_ne!(base, hash(&other));
        }
        let (few, more) = (
            Topics::new([topic("a", 1, 1)]),
            Topics::new([topic("a", 2, 1)]),
        );
        assert!(more.has_more_than(&few) && !few.has_more_than(&few));
    }
}
