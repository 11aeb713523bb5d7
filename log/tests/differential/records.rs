//! Topics, produce, fetch, offsets by time, deletion of records: every version, and what is wrong on purpose.

use bytes::{BufMut, Bytes, BytesMut};
use thalweg_log::record::Compression;
use thalweg_log::wire::messages::*;

use crate::pair::{Pair, Producer, Side, batch, topic};

pub(crate) fn produce(
    side: &Side,
    version: i16,
    name: &str,
    index: i32,
    acks: i16,
    records: Option<Bytes>,
) -> ProduceRequest {
    ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: if version <= 12 {
                name.into()
            } else {
                Default::default()
            },
            topic_id: if version > 12 {
                side.topic(name)
            } else {
                Default::default()
            },
            partition_data: vec![PartitionProduceData {
                index,
                records,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) fn fetch(
    side: &Side,
    version: i16,
    name: &str,
    partition: i32,
    offset: i64,
    max: i32,
) -> FetchRequest {
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 0,
        max_bytes: max,
        topics: vec![FetchTopic {
            topic: if version <= 12 {
                name.into()
            } else {
                Default::default()
            },
            topic_id: if version > 12 {
                side.topic(name)
            } else {
                Default::default()
            },
            partitions: vec![FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: max,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn list(name: &str, timestamp: i64, epoch: i32) -> ListOffsetsRequest {
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic {
            name: name.into(),
            partitions: vec![
                ListOffsetsPartition {
                    partition_index: 0,
                    current_leader_epoch: epoch,
                    timestamp,
                    ..Default::default()
                },
                ListOffsetsPartition {
                    partition_index: 7,
                    timestamp,
                    ..Default::default()
                },
            ],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub(crate) async fn produce_and_fetch(pair: &mut Pair) {
    pair.create("plain", 2, &[]).await;
    pair.create("stamped", 1, &[("message.timestamp.type", "LogAppendTime")])
        .await;
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for version in 3..=13 {
        for codec in codecs {
            pair.ask("append", version, |side| {
                let records = batch(3, codec, None);
                produce(side, version, "plain", 0, 1, Some(records))
            })
            .await;
        }
        pair.ask("stamped", version, |side| {
            produce(
                side,
                version,
                "stamped",
                0,
                -1,
                Some(batch(2, Compression::None, None)),
            )
        })
        .await;
        pair.ask("no such topic", version, |side| {
            produce(
                side,
                version,
                "nowhere",
                0,
                1,
                Some(batch(1, Compression::None, None)),
            )
        })
        .await;
        pair.ask("no such partition", version, |side| {
            produce(
                side,
                version,
                "plain",
                9,
                1,
                Some(batch(1, Compression::None, None)),
            )
        })
        .await;
        pair.ask("a wrong acks", version, |side| {
            produce(
                side,
                version,
                "plain",
                0,
                2,
                Some(batch(1, Compression::None, None)),
            )
        })
        .await;
    }
    for (what, offset, max) in [
        ("from the start", 0, 1 << 20),
        ("in a batch", 4, 1 << 20),
        ("one batch at least", 7, 1),
        ("at the end", 165, 1 << 20),
        ("beyond the end", 166, 1 << 20),
        ("before the start", -1, 1 << 20),
    ] {
        pair.all(what, |side, version| {
            fetch(side, version, "plain", 0, offset, max)
        })
        .await;
    }
    pair.all("no such topic", |side, version| {
        fetch(side, version, "nowhere", 0, 0, 1000)
    })
    .await;
    pair.all("no such partition", |side, version| {
        fetch(side, version, "plain", 9, 0, 1000)
    })
    .await;
    pair.all("a leader epoch to come", |side, version| {
        let mut request = fetch(side, version, "plain", 0, 0, 1000);
        if version >= 9 {
            request.topics[0].partitions[0].current_leader_epoch = 7;
        }
        request
    })
    .await;
    for (what, timestamp) in [
        ("latest", -1),
        ("earliest", -2),
        ("the largest timestamp", -3),
        ("the local start", -4),
        ("a time", 1_700_000_001_500),
        ("the first time", 1_700_000_000_000),
        ("a time to come", 1_900_000_000_000),
        ("a time of no kind", -9),
    ] {
        pair.all(what, |_, _| list("plain", timestamp, -1)).await;
    }
    pair.all("no such topic", |_, _| list("nowhere", -1, -1))
        .await;
    pair.all("a leader epoch to come", |_, version| {
        list("plain", -1, if version >= 4 { 3 } else { -1 })
    })
    .await;
    pair.all("epochs", |_, _| OffsetForLeaderEpochRequest {
        replica_id: -1,
        topics: vec![OffsetForLeaderTopic {
            topic: "plain".into(),
            partitions: [(0, 0), (0, 5), (9, 0)]
                .map(|(partition, leader_epoch)| OffsetForLeaderPartition {
                    partition,
                    leader_epoch,
                    ..Default::default()
                })
                .to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
}

pub(crate) async fn refused_batches(pair: &mut Pair) {
    pair.create("refuse", 1, &[("max.message.bytes", "400")])
        .await;
    pair.create("compacted", 1, &[("cleanup.policy", "compact")])
        .await;
    let whole = batch(2, Compression::None, None);
    let change = |at: usize, byte: u8| {
        let mut bytes = BytesMut::from(&whole[..]);
        if let Some(place) = bytes.get_mut(at) {
            *place ^= byte;
        }
        bytes.freeze()
    };
    let twice = {
        let mut bytes = BytesMut::from(&whole[..]);
        bytes.put_slice(&whole);
        bytes.freeze()
    };
    let cases = [
        ("a wrong CRC", change(20, 1)),
        ("a wrong value", change(whole.len() - 3, 1)),
        ("magic 1", change(16, 3)),
        ("cut short", whole.slice(..whole.len() - 4)),
        ("a header only", whole.slice(..61)),
        ("empty", Bytes::new()),
        ("two batches", twice),
        ("too large", batch(30, Compression::None, None)),
    ];
    for (what, records) in cases {
        for version in [3, 7, 8, 9, 13] {
            pair.ask(what, version, |side| {
                produce(side, version, "refuse", 0, 1, Some(records.clone()))
            })
            .await;
        }
    }
    for version in [8, 13] {
        pair.ask("no records", version, |side| {
            produce(side, version, "refuse", 0, 1, None)
        })
        .await;
        pair.ask("a control batch", version, |side| {
            let mut builder = thalweg_log::record::BatchBuilder::new(Compression::None);
            builder.control(true);
            builder
                .append(1, Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), &[])
                .unwrap();
            let records = builder.build().unwrap();
            produce(side, version, "refuse", 0, 1, Some(records))
        })
        .await;
        pair.ask("no key", version, |side| {
            let mut builder = thalweg_log::record::BatchBuilder::new(Compression::None);
            builder.append(1, None, Some(b"x"), &[]).unwrap();
            let records = builder.build().unwrap();
            produce(side, version, "compacted", 0, 1, Some(records))
        })
        .await;
    }
    pair.ask("what was taken", 12, |side| {
        fetch(side, 12, "refuse", 0, 0, 1 << 20)
    })
    .await;
}

pub(crate) async fn idempotence(pair: &mut Pair) {
    pair.create("idempotent", 1, &[]).await;
    for version in 0..=5 {
        let answers = pair
            .patient("an id", version, |_| InitProducerIdRequest {
                transactional_id: None,
                transaction_timeout_ms: 60_000,
                ..Default::default()
            })
            .await;
        if let Some((kafka, ours)) = answers {
            pair.kafka
                .keep_producer("p", kafka.producer_id, kafka.producer_epoch);
            pair.ours
                .keep_producer("p", ours.producer_id, ours.producer_epoch);
        }
    }
    let mut send = async |what: &str, sequence: i32, count: usize, epoch: i16| {
        pair.ask(what, 9, |side| {
            let (id, _) = side.producer("p");
            let producer: Producer = (id, epoch, sequence, false);
            let records = batch(count, Compression::None, Some(producer));
            produce(side, 9, "idempotent", 0, -1, Some(records))
        })
        .await;
    };
    send("the first", 0, 3, 0).await;
    send("the second", 3, 2, 0).await;
    send("the first again", 0, 3, 0).await;
    send("the second again", 3, 2, 0).await;
    send("a gap", 9, 1, 0).await;
    send("a part of an old one", 4, 1, 0).await;
    for n in 0..6 {
        send("one more", 5 + n, 1, 0).await;
    }
    send("one that is forgotten", 3, 2, 0).await;
    send("a new epoch in the middle", 5, 1, 1).await;
    send("a new epoch from the start", 0, 1, 1).await;
    send("an old epoch", 11, 1, 0).await;
    pair.ask("what is there", 12, |side| {
        fetch(side, 12, "idempotent", 0, 0, 1 << 20)
    })
    .await;
    pair.all("producers", |_, _| DescribeProducersRequest {
        topics: vec![DescribeProducersRequestTopic {
            name: "idempotent".into(),
            partition_indexes: vec![0, 4],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
}

pub(crate) async fn sessions(pair: &mut Pair) {
    pair.create("session", 3, &[]).await;
    let ask = |side: &Side, epoch: i32, partitions: &[i32], forget: &[i32]| {
        let mut request = fetch(side, 12, "session", 0, 0, 1 << 20);
        request.session_epoch = epoch;
        if epoch > 0 {
            request.session_id = side.producer("session").0 as i32;
        }
        let one = request.topics[0].partitions[0].clone();
        request.topics[0].partitions = partitions
            .iter()
            .map(|partition| FetchPartition {
                partition: *partition,
                ..one.clone()
            })
            .collect();
        if partitions.is_empty() {
            request.topics.clear();
        }
        if !forget.is_empty() {
            request.forgotten_topics_data = vec![ForgottenTopic {
                topic: "session".into(),
                partitions: forget.to_vec(),
                ..Default::default()
            }];
        }
        request
    };
    let opened = pair
        .ask("a session", 12, |side| ask(side, 0, &[0, 1, 2], &[]))
        .await;
    if let Some((kafka, ours)) = opened {
        pair.kafka
            .keep_producer("session", kafka.session_id.into(), 0);
        pair.ours
            .keep_producer("session", ours.session_id.into(), 0);
    }
    pair.ask("nothing new", 12, |side| ask(side, 1, &[], &[]))
        .await;
    pair.ask("records", 9, |side| {
        produce(
            side,
            9,
            "session",
            1,
            1,
            Some(batch(2, Compression::None, None)),
        )
    })
    .await;
    pair.ask("one has records", 12, |side| ask(side, 2, &[], &[]))
        .await;
    pair.ask("one is forgotten", 12, |side| ask(side, 3, &[], &[1]))
        .await;
    pair.ask("and comes back", 12, |side| ask(side, 4, &[1], &[]))
        .await;
    pair.ask("an epoch that was", 12, |side| ask(side, 4, &[], &[]))
        .await;
    pair.ask("another version", 13, |side| {
        let mut request = ask(side, 5, &[], &[]);
        request.topics.clear();
        request
    })
    .await;
    pair.ask("one that is not there", 12, |side| ask(side, 5, &[8], &[]))
        .await;
    pair.ask("all are forgotten", 12, |side| {
        ask(side, 6, &[], &[0, 1, 2, 8])
    })
    .await;
    pair.ask("the session has ended", 12, |side| ask(side, 7, &[], &[]))
        .await;
}

pub(crate) async fn deletion(pair: &mut Pair) {
    pair.create("delete", 1, &[]).await;
    for _ in 0..4 {
        pair.ask("append", 9, |side| {
            produce(
                side,
                9,
                "delete",
                0,
                1,
                Some(batch(5, Compression::None, None)),
            )
        })
        .await;
    }
    for version in 0..=2 {
        for (what, index, offset) in [
            ("some", 0, 3 + i64::from(version)),
            ("what is gone", 0, 1),
            ("too much", 0, 99),
            ("no such partition", 5, 1),
            ("below -1", 0, -2),
        ] {
            pair.ask(what, version, |_| DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic {
                    name: "delete".into(),
                    partitions: vec![DeleteRecordsPartition {
                        partition_index: index,
                        offset,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                timeout_ms: 10_000,
                ..Default::default()
            })
            .await;
        }
    }
    pair.all("below the start", |side, version| {
        fetch(side, version, "delete", 0, 2, 1000)
    })
    .await;
    pair.all("at the start", |side, version| {
        fetch(side, version, "delete", 0, 5, 1 << 20)
    })
    .await;
}

pub(crate) async fn topics(pair: &mut Pair) {
    for version in 2..=7 {
        let fresh = format!("topic-{version}");
        let create = |name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]| {
            CreateTopicsRequest {
                topics: vec![CreatableTopic {
                    replication_factor: replicas,
                    ..topic(name, partitions, configs)
                }],
                timeout_ms: 10_000,
                ..Default::default()
            }
        };
        pair.ask("create", version, |_| {
            create(&fresh, 2, 1, &[("retention.ms", "5000")])
        })
        .await;
        pair.settle(&fresh).await;
        pair.ask("it exists", version, |_| create(&fresh, 2, 1, &[]))
            .await;
        for (what, name, partitions, replicas, configs) in [
            ("a bad name", "a/b", 1, 1, &[][..]),
            ("an empty name", "", 1, 1, &[]),
            ("dots", "..", 1, 1, &[]),
            ("no partitions", "zero", 0, 1, &[]),
            ("fewer than none", "minus", -2, 1, &[]),
            ("too many replicas", "many", 1, 3, &[]),
            ("no replicas", "none", 1, 0, &[]),
            ("no such key", "key", 1, 1, &[("no.such.key", "1")]),
            ("a bad value", "value", 1, 1, &[("retention.ms", "soon")]),
            (
                "a value out of range",
                "range",
                1,
                1,
                &[("segment.bytes", "3")],
            ),
            (
                "a bad choice",
                "choice",
                1,
                1,
                &[("cleanup.policy", "shred")],
            ),
        ] {
            pair.ask(what, version, |_| {
                create(name, partitions, replicas, configs)
            })
            .await;
        }
        pair.ask("the same twice", version, |_| {
            let mut request = create("twice", 1, 1, &[]);
            request.topics.push(topic("twice", 1, &[]));
            request
        })
        .await;
        pair.ask("validate only", version, |_| {
            let mut request = create(&format!("dry-{version}"), 3, 1, &[]);
            request.validate_only = true;
            request
        })
        .await;
        if version >= 4 {
            pair.ask("defaults", version, |_| {
                create(&format!("default-{version}"), -1, -1, &[])
            })
            .await;
        }
    }
    for version in 0..=3 {
        let name = format!("topic-{}", version + 2);
        for (what, name, count) in [
            ("more", name.as_str(), 3 + i32::from(version)),
            ("as many", name.as_str(), 3 + i32::from(version)),
            ("fewer", name.as_str(), 1),
            ("none", name.as_str(), 0),
            ("no such topic", "nowhere", 3),
        ] {
            pair.ask(what, version, |_| CreatePartitionsRequest {
                topics: vec![CreatePartitionsTopic {
                    name: name.into(),
                    count,
                    assignments: None,
                    ..Default::default()
                }],
                timeout_ms: 10_000,
                ..Default::default()
            })
            .await;
        }
    }
    pair.settle("topic-2").await;
    pair.all("some", |_, version| MetadataRequest {
        topics: Some(
            ["topic-7", "nowhere", "a/b"]
                .map(|name| MetadataRequestTopic {
                    name: Some(name.into()),
                    ..Default::default()
                })
                .to_vec(),
        ),
        allow_auto_topic_creation: version < 4,
        ..Default::default()
    })
    .await;
    pair.all("by id", |side, version| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: None,
            topic_id: if version >= 10 {
                side.topic("topic-7")
            } else {
                Default::default()
            },
            ..Default::default()
        }]),
        allow_auto_topic_creation: version < 4,
        ..Default::default()
    })
    .await;
    pair.all("none", |_, version| MetadataRequest {
        topics: Some(vec![]),
        allow_auto_topic_creation: version < 4,
        ..Default::default()
    })
    .await;
    pair.all("described", |_, _| DescribeTopicPartitionsRequest {
        topics: ["topic-3", "topic-2", "nowhere"]
            .map(|name| TopicRequest {
                name: name.into(),
                ..Default::default()
            })
            .to_vec(),
        response_partition_limit: 4,
        ..Default::default()
    })
    .await;
    for version in 1..=6 {
        pair.ask("delete", version, |_| {
            let names = [format!("topic-{}", version + 1), "nowhere".to_owned()];
            let mut request = DeleteTopicsRequest {
                timeout_ms: 10_000,
                ..Default::default()
            };
            if version < 6 {
                request.topic_names = names.iter().map(|n| n.as_str().into()).collect();
            } else {
                request.topics = names
                    .iter()
                    .map(|name| DeleteTopicState {
                        name: Some(name.as_str().into()),
                        ..Default::default()
                    })
                    .collect();
            }
            request
        })
        .await;
    }
}
