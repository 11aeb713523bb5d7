//! The rules of the metadata, command by command.

use super::super::command::tests::any_command;
use super::*;
use proptest::prelude::*;

fn register(image: &mut MetadataImage, index: u64, id: i32) {
    let outcome = image.apply(
        index,
        &Command::RegisterBroker {
            id,
            incarnation: Uuid::from_u128(u128::from(index) + 1),
            endpoints: vec![],
            rack: None,
        },
    );
    assert_eq!(
        outcome,
        Outcome::Registered {
            epoch: index as i64
        }
    );
}

fn create(name: &str, id: u128) -> Command {
    Command::CreateTopic {
        name: name.to_owned(),
        id: Uuid::from_u128(id),
        assignment: vec![vec![1], vec![1]],
        configs: vec![("retention.ms".to_owned(), "1".to_owned())],
    }
}

#[test]
fn the_first_of_two_creations_wins() {
    let mut image = MetadataImage::default();
    register(&mut image, 0, 1);
    assert_eq!(image.apply(1, &create("t", 1)), Outcome::Done);
    assert_eq!(
        image.apply(2, &create("t", 2)),
        Outcome::Refused(Refusal::TopicExists("t".to_owned()))
    );
    assert_eq!(image.topic("t").unwrap().id, Uuid::from_u128(1));
}

#[test]
fn a_registration_raises_the_epochs_of_what_the_broker_leads() {
    let mut image = MetadataImage::default();
    register(&mut image, 0, 1);
    image.apply(1, &create("t", 1));
    register(&mut image, 2, 1);
    let topic = image.topic("t").unwrap();
    assert!(
        topic
            .partitions
            .iter()
            .all(|p| p.leader_epoch == 1 && p.partition_epoch == 1)
    );
    register(&mut image, 3, 2);
    let topic = image.topic("t").unwrap();
    assert!(topic.partitions.iter().all(|p| p.leader_epoch == 1));
}

#[test]
fn a_deleted_topic_takes_its_configs_along() {
    let mut image = MetadataImage::default();
    register(&mut image, 0, 1);
    image.apply(1, &create("t", 1));
    assert_eq!(
        image.apply(
            2,
            &Command::DeleteTopic {
                id: Uuid::from_u128(1)
            }
        ),
        Outcome::Done
    );
    image.apply(
        3,
        &Command::CreateTopic {
            name: "t".to_owned(),
            id: Uuid::from_u128(2),
            assignment: vec![vec![1]],
            configs: vec![],
        },
    );
    assert!(image.configs(ConfigScope::Topic, "t").is_none());
}

#[test]
fn an_unregistered_broker_leads_nothing_until_it_is_back() {
    let mut image = MetadataImage::default();
    register(&mut image, 0, 1);
    image.apply(1, &create("t", 1));
    let gone = Command::UnregisterBroker { id: 1 };
    assert_eq!(image.apply(2, &gone), Outcome::Done);
    assert!(image.broker(1).is_none());
    let partitions = |image: &MetadataImage| image.topic("t").unwrap().partitions.clone();
    assert!(partitions(&image).iter().all(|p| p.leader == -1));
    assert_eq!(
        image.apply(3, &gone),
        Outcome::Refused(Refusal::BrokerNotRegistered(1))
    );
    register(&mut image, 4, 1);
    assert!(
        partitions(&image)
            .iter()
            .all(|p| p.leader == 1 && p.leader_epoch == 2)
    );
}

#[test]
fn features_are_updated_all_or_none() {
    let mut image = MetadataImage::default();
    let mut update = |updates: &[(&str, i16)]| {
        let updates = updates
            .iter()
            .map(|(name, level)| ((*name).to_owned(), *level))
            .collect();
        image.apply(0, &Command::UpdateFeatures { updates });
        image
            .features()
            .map(|(name, level)| format!("{name}={level}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        update(&[("transaction.version", 2), ("group.version", 1)]),
        "group.version=1 transaction.version=2"
    );
    assert_eq!(
        update(&[("transaction.version", 1), ("group.version", 9)]),
        "group.version=1 transaction.version=2"
    );
    assert_eq!(
        update(&[("transaction.version", 1), ("group.version", 0)]),
        "transaction.version=1"
    );
}

/// A snapshot of version 1 ends before the features.
#[test]
fn a_snapshot_of_version_1_is_read() {
    let mut image = MetadataImage::default();
    register(&mut image, 0, 1);
    let mut bytes = image.encode().to_vec();
    bytes[0] = 1;
    bytes.truncate(bytes.len() - 8);
    assert_eq!(MetadataImage::decode(bytes.into()).unwrap(), image);
}

#[test]
fn producer_id_blocks_never_overlap() {
    let mut image = MetadataImage::default();
    register(&mut image, 0, 1);
    let ask = Command::AllocateProducerIds {
        broker: 1,
        count: 1000,
    };
    assert_eq!(
        image.apply(1, &ask),
        Outcome::ProducerIds {
            first: 0,
            count: 1000
        }
    );
    assert_eq!(
        image.apply(2, &ask),
        Outcome::ProducerIds {
            first: 1000,
            count: 1000
        }
    );
}

proptest! {
    /// A refused command changes nothing; a snapshot taken anywhere restores the same image;
    /// epochs and producer ids never go back.
    #[test]
    fn any_sequence_keeps_the_invariants(commands in prop::collection::vec(any_command(), 0..40)) {
        let mut image = MetadataImage::default();
        register(&mut image, 0, 0);
        register(&mut image, 1, 1);
        for (i, command) in commands.iter().enumerate() {
            let before = image.clone();
            let outcome = image.apply(i as u64 + 2, command);
            if matches!(outcome, Outcome::Refused(_)) {
                prop_assert_eq!(&before, &image);
            }
            prop_assert!(image.next_producer_id >= before.next_producer_id);
            for topic in image.topics() {
                prop_assert_eq!(image.topic_by_id(topic.id), Some(topic));
                if let Some(old) = before.topic_by_id(topic.id) {
                    prop_assert_eq!(&old.name, &topic.name);
                    prop_assert!(topic.partitions.len() >= old.partitions.len());
                    for (new, old) in topic.partitions.iter().zip(&old.partitions) {
                        prop_assert!(new.leader_epoch >= old.leader_epoch);
                    }
                }
            }
            prop_assert_eq!(&MetadataImage::decode(image.encode()).unwrap(), &image);
        }
    }

    #[test]
    fn random_snapshots_never_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = MetadataImage::decode(Bytes::from(raw));
    }
}
