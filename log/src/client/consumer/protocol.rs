//! What members tell each other through the coordinator: the bytes of Kafka's "consumer"
//! protocol, so that members written in other languages can be in one group with ours.
//!
//! Invariant: nothing in the bytes of another member is trusted; what is short or
//! negative is an error, and counts never size an allocation.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::assignor::{Assignment, GroupMember};
use crate::client::TopicPartition;

/// The version of the subscription that we write; it has owned partitions, their
/// generation and the rack. Readers of older versions ignore what follows theirs.
const SUBSCRIPTION_VERSION: i16 = 3;

pub(super) fn encode_subscription(member: &GroupMember) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(SUBSCRIPTION_VERSION);
    let mut topics = member.topics.clone();
    topics.sort();
    put_count(&mut out, topics.len());
    for topic in &topics {
        put_string(&mut out, topic);
    }
    put_bytes(&mut out, member.user_data.as_deref());
    put_partitions(&mut out, &member.owned_partitions);
    out.put_i32(member.generation_id);
    match &member.rack_id {
        Some(rack) => put_string(&mut out, rack),
        None => out.put_i16(-1),
    }
    out.freeze()
}

pub(super) fn decode_subscription(mut input: Bytes) -> Result<GroupMember, String> {
    let input = &mut input;
    let version = get_i16(input)?;
    let mut member = GroupMember {
        generation_id: -1,
        ..GroupMember::default()
    };
    for _ in 0..get_count(input)? {
        member
            .topics
            .push(get_string(input)?.ok_or("a topic is null")?);
    }
    member.user_data = get_bytes(input)?;
    if version >= 1 {
        member.owned_partitions = get_partitions(input)?;
    }
    if version >= 2 {
        member.generation_id = get_i32(input)?;
    }
    if version >= 3 {
        member.rack_id = get_string(input)?;
    }
    Ok(member)
}

pub(super) fn encode_assignment(assignment: &Assignment) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    put_partitions(&mut out, &assignment.partitions);
    put_bytes(&mut out, assignment.user_data.as_deref());
    out.freeze()
}

pub(super) fn decode_assignment(mut input: Bytes) -> Result<Assignment, String> {
    // The coordinator gives nothing to a member that the leader forgot.
    if input.is_empty() {
        return Ok(Assignment::default());
    }
    let input = &mut input;
    get_i16(input)?;
    Ok(Assignment {
        partitions: get_partitions(input)?,
        user_data: get_bytes(input)?,
    })
}

/// What is known of a member from its bytes, for describing a group.
pub(crate) fn assigned_partitions(bytes: Bytes) -> Result<Vec<TopicPartition>, String> {
    decode_assignment(bytes).map(|a| a.partitions)
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    out.put_slice(text.as_bytes());
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => out.put_i32(-1),
        Some(bytes) => {
            put_count(out, bytes.len());
            out.put_slice(bytes);
        }
    }
}

fn put_partitions(out: &mut BytesMut, partitions: &[TopicPartition]) {
    let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
    sorted.sort();
    let by_topic: Vec<&[&TopicPartition]> = sorted.chunk_by(|a, b| a.topic == b.topic).collect();
    put_count(out, by_topic.len());
    for partitions in by_topic {
        if let Some(first) = partitions.first() {
            put_string(out, &first.topic);
        }
        put_count(out, partitions.len());
        for partition in partitions {
            out.put_i32(partition.partition);
        }
    }
}

fn get_i16(input: &mut Bytes) -> Result<i16, String> {
    input.try_get_i16().map_err(|_| short())
}

fn get_i32(input: &mut Bytes) -> Result<i32, String> {
    input.try_get_i32().map_err(|_| short())
}

fn get_count(input: &mut Bytes) -> Result<i32, String> {
    match get_i32(input)? {
        count @ 0.. => Ok(count),
        count => Err(format!("a count is {count}")),
    }
}

fn take(input: &mut Bytes, length: usize) -> Result<Bytes, String> {
    if input.len() < length {
        return Err(short());
    }
    Ok(input.split_to(length))
}

fn get_string(input: &mut Bytes) -> Result<Option<String>, String> {
    let Ok(length) = usize::try_from(get_i16(input)?) else {
        return Ok(None);
    };
    let bytes = take(input, length)?;
    String::from_utf8(bytes.to_vec())
        .map(Some)
        .map_err(|_| "a name is not UTF-8".to_owned())
}

fn get_bytes(input: &mut Bytes) -> Result<Option<Bytes>, String> {
    let Ok(length) = usize::try_from(get_i32(input)?) else {
        return Ok(None);
    };
    take(input, length).map(Some)
}

fn get_partitions(input: &mut Bytes) -> Result<Vec<TopicPartition>, String> {
    let mut partitions = Vec::new();
    for _ in 0..get_count(input)? {
        let topic: std::sync::Arc<str> = get_string(input)?.ok_or("a topic is null")?.into();
        for _ in 0..get_count(input)? {
            partitions.push(TopicPartition::new(topic.clone(), get_i32(input)?));
        }
    }
    Ok(partitions)
}

fn short() -> String {
    "the bytes end early".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> GroupMember {
        GroupMember {
            topics: vec!["a".into(), "b".into()],
            owned_partitions: vec![TopicPartition::new("a", 1), TopicPartition::new("b", 0)],
            generation_id: 7,
            rack_id: Some("r".into()),
            user_data: Some(Bytes::from_static(b"x")),
            ..GroupMember::default()
        }
    }

    #[test]
    fn survives_the_round_trip() {
        let bytes = encode_subscription(&member());
        assert_eq!(decode_subscription(bytes).unwrap(), member());
        let assignment = Assignment {
            partitions: member().owned_partitions,
            user_data: None,
        };
        let bytes = encode_assignment(&assignment);
        assert_eq!(decode_assignment(bytes).unwrap(), assignment);
        assert_eq!(
            decode_assignment(Bytes::new()).unwrap(),
            Assignment::default()
        );
    }

    #[test]
    fn is_what_other_clients_write() {
        // Version 1, topics ["t"], no user data, nothing owned.
        let bytes = [0, 1, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255, 0, 0, 0, 0];
        let member = decode_subscription(Bytes::copy_from_slice(&bytes)).unwrap();
        assert_eq!(member.topics, ["t"]);
        assert_eq!(member.user_data, None);
        assert_eq!(member.generation_id, -1);
    }

    #[test]
    fn refuses_what_is_cut_short_or_lies_about_counts() {
        let whole = encode_subscription(&member());
        for end in 0..whole.len() {
            assert!(decode_subscription(whole.slice(..end)).is_err(), "{end}");
        }
        let huge = Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff]);
        assert!(decode_subscription(huge.clone()).is_err());
        assert!(decode_assignment(huge).is_err());
    }
}
