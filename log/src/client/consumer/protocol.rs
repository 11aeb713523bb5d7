//! What members tell each other through the coordinator: the bytes of Kafka's "consumer"
//! protocol, so that members written in other languages can be in one group with ours.

use std::sync::Arc;

use bytes::Bytes;

use super::assignor::{Assignment, GroupMember};
use crate::client::{ClientError, TopicPartition};
use crate::wire::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartition,
};
use crate::wire::{Message, Str, WireError};

/// The versions that we write: subscriptions with owned partitions, their generation and
/// the rack, and assignments that every version can read.
const SUBSCRIPTION_VERSION: i16 = 3;
const ASSIGNMENT_VERSION: i16 = 0;

pub(super) fn encode_subscription(member: &GroupMember) -> Result<Bytes, ClientError> {
    let mut topics: Vec<Str> = member.topics.iter().map(Str::from).collect();
    topics.sort();
    ConsumerProtocolSubscription {
        topics,
        user_data: member.user_data.clone(),
        owned_partitions: by_topic(&member.owned_partitions),
        generation_id: member.generation_id,
        rack_id: member.rack_id.as_ref().map(Str::from),
        ..ConsumerProtocolSubscription::default()
    }
    .to_versioned(SUBSCRIPTION_VERSION)
    .map_err(unwritable)
}

pub(super) fn decode_subscription(input: Bytes) -> Result<GroupMember, WireError> {
    let subscription = ConsumerProtocolSubscription::from_versioned_or_newer(input)?;
    Ok(GroupMember {
        topics: subscription.topics.iter().map(|t| t.to_string()).collect(),
        owned_partitions: flat(subscription.owned_partitions),
        generation_id: subscription.generation_id,
        rack_id: subscription.rack_id.map(|r| r.to_string()),
        user_data: subscription.user_data,
        ..GroupMember::default()
    })
}

pub(super) fn encode_assignment(assignment: &Assignment) -> Result<Bytes, ClientError> {
    ConsumerProtocolAssignment {
        assigned_partitions: by_topic(&assignment.partitions),
        user_data: assignment.user_data.clone(),
        ..ConsumerProtocolAssignment::default()
    }
    .to_versioned(ASSIGNMENT_VERSION)
    .map_err(unwritable)
}

pub(super) fn decode_assignment(input: Bytes) -> Result<Assignment, WireError> {
    // The coordinator gives nothing to a member that the leader forgot.
    if input.is_empty() {
        return Ok(Assignment::default());
    }
    let assignment = ConsumerProtocolAssignment::from_versioned_or_newer(input)?;
    Ok(Assignment {
        partitions: flat(assignment.assigned_partitions),
        user_data: assignment.user_data,
    })
}

/// What a member reads, for describing its group.
pub(crate) fn assigned_partitions(bytes: Bytes) -> Result<Vec<TopicPartition>, WireError> {
    decode_assignment(bytes).map(|a| a.partitions)
}

/// What a member wants to read, for describing its group.
pub(crate) fn subscribed_topics(bytes: Bytes) -> Result<Vec<String>, WireError> {
    decode_subscription(bytes).map(|member| member.topics)
}

fn by_topic(partitions: &[TopicPartition]) -> Vec<ConsumerProtocolTopicPartition> {
    let mut sorted: Vec<&TopicPartition> = partitions.iter().collect();
    sorted.sort();
    sorted
        .chunk_by(|a, b| a.topic == b.topic)
        .filter_map(|chunk| {
            Some(ConsumerProtocolTopicPartition {
                topic: Str::from(&*chunk.first()?.topic),
                partitions: chunk.iter().map(|p| p.partition).collect(),
                ..ConsumerProtocolTopicPartition::default()
            })
        })
        .collect()
}

fn flat(topics: Vec<ConsumerProtocolTopicPartition>) -> Vec<TopicPartition> {
    let mut partitions = Vec::new();
    for topic in topics {
        let name: Arc<str> = Arc::from(&*topic.topic);
        for partition in topic.partitions {
            partitions.push(TopicPartition::new(name.clone(), partition));
        }
    }
    partitions
}

fn unwritable(source: WireError) -> ClientError {
    ClientError::Wire {
        what: "the consumer protocol".to_owned(),
        source: Arc::new(source),
    }
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
        let bytes = encode_subscription(&member()).unwrap();
        assert_eq!(decode_subscription(bytes).unwrap(), member());
        let assignment = Assignment {
            partitions: member().owned_partitions,
            user_data: None,
        };
        let bytes = encode_assignment(&assignment).unwrap();
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
        let whole = encode_subscription(&member()).unwrap();
        for end in 0..whole.len() {
            assert!(decode_subscription(whole.slice(..end)).is_err(), "{end}");
        }
        let huge = Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff]);
        assert!(decode_subscription(huge.clone()).is_err());
        assert!(decode_assignment(huge).is_err());
    }
}
