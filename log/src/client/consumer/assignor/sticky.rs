//! Balanced, with as few moves as can be, for groups in which all give up everything first.
//!
//! A member has nothing left when it joins, so it tells the leader what it had in its user
//! data: the bytes of Kafka's assignor of that name, so that both can be in one group.
//! Invariant: what does not decode counts as nothing, never as an error of the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use parking_lot::Mutex;

use super::balance::{owners, sticky};
use super::{Assignment, GroupMember, PartitionAssignor, PartitionCounts, nothing_yet};
use crate::client::{ClientError, GroupMetadata, TopicPartition};

/// Keeps what members had before the rebalance as long as the load stays balanced.
#[derive(Debug, Default)]
pub struct StickyAssignor {
    /// What this member was given last, and in which generation.
    had: Mutex<Option<(Vec<TopicPartition>, i32)>>,
}

impl PartitionAssignor for StickyAssignor {
    fn name(&self) -> &str {
        "sticky"
    }

    fn user_data(&self, _topics: &[String]) -> Option<Bytes> {
        let had = self.had.lock();
        let (partitions, generation) = had.as_ref()?;
        Some(encode(partitions, *generation))
    }

    fn assign(
        &self,
        partitions: &PartitionCounts,
        members: &[GroupMember],
    ) -> Result<BTreeMap<String, Assignment>, ClientError> {
        let members: Vec<GroupMember> = members.iter().map(with_what_it_had).collect();
        let mut order: Vec<&GroupMember> = members.iter().collect();
        order.sort_by(|a, b| a.sort_key().cmp(&b.sort_key()));
        let owners = owners(&order, partitions);
        let mut result = nothing_yet(&members);
        for (partition, member) in sticky(partitions, &order, &owners) {
            let id = order.get(member).map(|m| m.member_id.as_str());
            if let Some(assignment) = id.and_then(|id| result.get_mut(id)) {
                assignment.partitions.push(partition);
            }
        }
        Ok(result)
    }

    fn on_assignment(&self, assignment: &Assignment, group: &GroupMetadata) {
        *self.had.lock() = Some((assignment.partitions.clone(), group.generation_id));
    }
}

/// The member as if it still had what it had.
fn with_what_it_had(member: &GroupMember) -> GroupMember {
    let had = member.user_data.clone().and_then(decode);
    let (owned_partitions, generation_id) = had.unwrap_or_default();
    GroupMember {
        owned_partitions,
        generation_id,
        ..member.clone()
    }
}

fn encode(partitions: &[TopicPartition], generation: i32) -> Bytes {
    let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
    sorted.sort();
    let topics: Vec<_> = sorted.chunk_by(|a, b| a.topic == b.topic).collect();
    let mut out = BytesMut::new();
    // None of these is longer than an assignment, whose lengths fit.
    out.put_i32(topics.len() as i32);
    for topic in topics {
        if let Some(first) = topic.first() {
            out.put_i16(first.topic.len() as i16);
            out.put_slice(first.topic.as_bytes());
        }
        out.put_i32(topic.len() as i32);
        for partition in topic {
            out.put_i32(partition.partition);
        }
    }
    out.put_i32(generation);
    out.freeze()
}

fn decode(mut bytes: Bytes) -> Option<(Vec<TopicPartition>, i32)> {
    let mut partitions = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        if bytes.len() < length {
            return None;
        }
        let name = bytes.split_to(length);
        let topic: Arc<str> = Arc::from(std::str::from_utf8(&name).ok()?);
        for _ in 0..bytes.try_get_i32().ok()? {
            let partition = bytes.try_get_i32().ok()?;
            partitions.push(TopicPartition::new(topic.clone(), partition));
        }
    }
    // The first version says nothing of a generation.
    let generation = if bytes.is_empty() {
        -1
    } else {
        bytes.try_get_i32().ok()?
    };
    Some((partitions, generation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tp(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition::new(topic, partition)
    }

    fn member(id: &str, user_data: Option<Bytes>) -> GroupMember {
        GroupMember {
            member_id: id.to_owned(),
            topics: vec!["t".to_owned()],
            generation_id: -1,
            user_data,
            ..GroupMember::default()
        }
    }

    fn generation(generation_id: i32) -> GroupMetadata {
        GroupMetadata {
            group_id: "g".to_owned(),
            generation_id,
            member_id: String::new(),
            group_instance_id: None,
        }
    }

    #[test]
    fn members_keep_what_they_had_and_a_newcomer_gets_its_share() {
        let counts: PartitionCounts = [(Arc::from("t"), 6)].into();
        let assignors = [StickyAssignor::default(), StickyAssignor::default()];
        assert_eq!(assignors[0].user_data(&[]), None);
        let first = assignors[0]
            .assign(&counts, &[member("a", None), member("b", None)])
            .unwrap();
        for (assignor, id) in assignors.iter().zip(["a", "b"]) {
            assert_eq!(first[id].partitions.len(), 3);
            assignor.on_assignment(&first[id], &generation(1));
        }
        let [a, b] = [0, 1].map(|n: usize| assignors[n].user_data(&[]));
        let members = [member("a", a), member("b", b), member("0", None)];
        let second = assignors[0].assign(&counts, &members).unwrap();
        for id in ["a", "b"] {
            assert_eq!(second[id].partitions.len(), 2);
            let kept = |p| first[id].partitions.contains(p);
            assert!(second[id].partitions.iter().all(kept), "{second:?}");
        }
        assert_eq!(second["0"].partitions.len(), 2);
    }

    #[test]
    fn of_two_claims_the_younger_counts() {
        let counts: PartitionCounts = [(Arc::from("t"), 2)].into();
        let old = encode(&[tp("t", 0), tp("t", 1)], 3);
        let new = encode(&[tp("t", 0)], 4);
        let members = [member("a", Some(old)), member("b", Some(new))];
        let assigned = StickyAssignor::default().assign(&counts, &members).unwrap();
        assert_eq!(assigned["b"].partitions, [tp("t", 0)]);
        assert_eq!(assigned["a"].partitions, [tp("t", 1)]);
    }

    #[test]
    fn user_data_are_those_of_kafka_and_damage_counts_as_nothing() {
        let had = [tp("b", 2), tp("a", 1), tp("a", 0)];
        let bytes = encode(&had, 7);
        let expected = [
            0, 0, 0, 2, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b'b', 0, 0, 0, 1, 0,
            0, 0, 2, 0, 0, 0, 7,
        ];
        assert_eq!(bytes, expected.as_slice());
        let (partitions, generation) = decode(bytes.clone()).unwrap();
        assert_eq!(partitions, [tp("a", 0), tp("a", 1), tp("b", 2)]);
        assert_eq!(generation, 7);
        // As the first version was, without the generation.
        let first = bytes.slice(..bytes.len() - 4);
        assert_eq!(decode(first.clone()).unwrap().1, -1);
        for end in 0..first.len() {
            assert!(decode(bytes.slice(..end)).is_none(), "{end}");
        }
        let lies = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
        assert!(decode(lies).is_none());
    }
}
