//! Topics, configurations, quotas, elections and what describes them.

use thalweg_log::wire::messages::*;

use super::world::World;
use crate::pair::Pair;

const TOPIC: i8 = 2;
const GROUP: i8 = 32;

const TOPIC_CONFIGS: &[(&str, &str)] = &[
    ("retention.ms", "86400000"),
    ("retention.ms", "-1"),
    ("retention.ms", "-2"),
    ("retention.ms", "soon"),
    ("cleanup.policy", "compact"),
    ("cleanup.policy", "compact,delete"),
    ("cleanup.policy", "shred"),
    ("cleanup.policy", ""),
    ("compression.type", "gzip"),
    ("compression.type", "zstd"),
    ("compression.type", "uncompressed"),
    ("compression.type", "bzip2"),
    ("message.timestamp.type", "LogAppendTime"),
    ("message.timestamp.before.max.ms", "1000"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
    ("max.message.bytes", "200"),
    ("max.message.bytes", "-1"),
    ("min.insync.replicas", "1"),
    ("min.insync.replicas", "0"),
    ("segment.bytes", "2000000"),
    ("segment.ms", "0"),
    ("unclean.leader.election.enable", "true"),
    ("unclean.leader.election.enable", "yes"),
    ("min.cleanable.dirty.ratio", "0.3"),
    ("min.cleanable.dirty.ratio", "1.3"),
    ("flush.messages", "1"),
    ("preallocate", "false"),
    ("no.such.key", "1"),
];

pub(super) async fn step(pair: &mut Pair, world: &mut World) {
    match world.draw.below(18) {
        0..=3 => create(pair, world).await,
        4 => delete(pair, world).await,
        5 => grow(pair, world).await,
        6..=8 => alter_configs(pair, world).await,
        9..=10 => describe_configs(pair, world).await,
        11..=12 => metadata(pair, world).await,
        13 => quotas(pair, world).await,
        14 => elect(pair, world).await,
        15 => log_dirs(pair, world).await,
        16 => reassign(pair, world).await,
        _ => coordinator(pair, world).await,
    }
}

async fn create(pair: &mut Pair, world: &mut World) {
    let letter = world.draw.pick(&["a", "b", "c", "d", "c", "d"]);
    let usual = world.name(letter);
    let name = world.draw.mostly(
        usual,
        &[
            String::new(),
            ".".to_owned(),
            "a b".to_owned(),
            "x".repeat(250),
        ],
    );
    let partitions = world.draw.mostly(2, &[1, 3, -1, 0, -2]);
    let replicas = world.draw.mostly(1, &[-1, 0, 2, -2]);
    let configs: Vec<(&str, &str)> = (0..world.draw.below(3))
        .map(|_| world.draw.pick(TOPIC_CONFIGS))
        .collect();
    let dry = world.draw.chance(8);
    world
        .create(pair, &name, partitions, replicas, &configs, dry)
        .await;
}

async fn delete(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<DeleteTopicsRequest>();
    let name = world.topic();
    let by_id = version >= 6 && world.draw.chance(50);
    let answers = pair
        .ask("seeded", version, |side| {
            let mut request = DeleteTopicsRequest {
                timeout_ms: 10_000,
                ..Default::default()
            };
            if version < 6 {
                request.topic_names = vec![name.as_str().into()];
            } else {
                request.topics = vec![DeleteTopicState {
                    name: (!by_id).then(|| name.as_str().into()),
                    topic_id: if by_id {
                        side.topic(&name)
                    } else {
                        Default::default()
                    },
                    ..Default::default()
                }];
            }
            request
        })
        .await;
    if answers.is_some_and(|(kafka, _)| kafka.responses.iter().all(|r| r.error_code == 0)) {
        world.topics.remove(&name);
        // What a session that has such a topic is told is each broker's own.
        world.sessions.clear();
        world.sequences.retain(|(_, _, topic, _), _| *topic != name);
        pair.gone(&name).await;
    }
}

async fn grow(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<CreatePartitionsRequest>();
    let name = world.topic();
    let count = world.known(&name).partitions;
    let to = world
        .draw
        .pick(&[count + 1, count + 1, count, count - 1, 0, -1]);
    let dry = world.draw.chance(20);
    let assignments = world
        .draw
        .mostly(None, &[Some(vec![1]), Some(vec![7]), Some(vec![])]);
    let answers = pair
        .ask("seeded", version, |_| CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: name.as_str().into(),
                count: to,
                assignments: assignments.clone().map(|broker_ids| {
                    vec![CreatePartitionsAssignment {
                        broker_ids,
                        ..Default::default()
                    }]
                }),
                ..Default::default()
            }],
            timeout_ms: 10_000,
            validate_only: dry,
            ..Default::default()
        })
        .await;
    let grown = answers.is_some_and(|(kafka, ours)| {
        [kafka, ours]
            .iter()
            .all(|r| r.results.iter().all(|t| t.error_code == 0))
    });
    if grown && !dry {
        pair.grown(&name, to as usize).await;
        if let Some(known) = world.topics.get_mut(&name) {
            known.partitions = to;
        }
    }
}

async fn alter_configs(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<IncrementalAlterConfigsRequest>();
    let group = world.draw.chance(15);
    let name = if group {
        world.name("g0")
    } else {
        world.topic()
    };
    let (key, value) = if group {
        world.draw.pick(&[
            ("consumer.session.timeout.ms", "50000"),
            ("consumer.session.timeout.ms", "1"),
            ("consumer.heartbeat.interval.ms", "6000"),
            ("no.such.key", "1"),
        ])
    } else {
        world.draw.pick(TOPIC_CONFIGS)
    };
    // What changes how records look is only set when a topic is made.
    if ["message.timestamp.type", "compression.type"].contains(&key) && !["bzip2"].contains(&value)
    {
        return;
    }
    let operation = if value.is_empty() {
        0
    } else {
        world.draw.mostly(0, &[1, 2, 3])
    };
    let null = world.draw.chance(5);
    let dry = world.draw.chance(12);
    pair.ask("seeded", version, |_| IncrementalAlterConfigsRequest {
        resources: vec![AlterConfigsResource {
            resource_type: if group { GROUP } else { TOPIC },
            resource_name: name.as_str().into(),
            configs: vec![AlterableConfig {
                name: key.into(),
                config_operation: operation,
                value: (!null).then(|| value.into()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        validate_only: dry,
        ..Default::default()
    })
    .await;
}

async fn describe_configs(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<DescribeConfigsRequest>();
    let group = world.draw.chance(15);
    let name = if group {
        world.name("g0")
    } else {
        world.topic()
    };
    let some: &[&str] = if group {
        &[
            "consumer.session.timeout.ms",
            "consumer.heartbeat.interval.ms",
        ]
    } else {
        &[
            "cleanup.policy",
            "max.message.bytes",
            "compression.type",
            "min.cleanable.dirty.ratio",
            "flush.messages",
        ]
    };
    pair.read("seeded", version, |_| DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: if group { GROUP } else { TOPIC },
            resource_name: name.as_str().into(),
            configuration_keys: Some(some.iter().map(|key| (*key).into()).collect()),
            ..Default::default()
        }],
        include_synonyms: true,
        ..Default::default()
    })
    .await;
}

async fn metadata(pair: &mut Pair, world: &mut World) {
    let name = world.topic();
    if world.draw.chance(30) {
        let (limit, other) = (world.draw.pick(&[1, 2, 2_000, 0]), world.topic());
        let cursor = world.draw.mostly(None, &[Some(0), Some(1), Some(-1)]);
        pair.read("seeded", 0, |_| DescribeTopicPartitionsRequest {
            topics: [&name, &other]
                .map(|name| TopicRequest {
                    name: name.as_str().into(),
                    ..Default::default()
                })
                .to_vec(),
            response_partition_limit: limit,
            cursor: cursor.map(|partition_index| RequestCursor {
                topic_name: name.as_str().into(),
                partition_index,
                ..Default::default()
            }),
            ..Default::default()
        })
        .await;
        return;
    }
    let version = world.draw.version::<MetadataRequest>();
    let by_id = version >= 10 && world.draw.chance(50);
    let operations = world.draw.chance(30);
    pair.read("seeded", version, |side| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: (!by_id).then(|| name.as_str().into()),
            topic_id: if by_id {
                side.topic(&name)
            } else {
                Default::default()
            },
            ..Default::default()
        }]),
        allow_auto_topic_creation: version < 4,
        include_topic_authorized_operations: version >= 8 && operations,
        include_cluster_authorized_operations: (8..=10).contains(&version) && operations,
        ..Default::default()
    })
    .await;
}

async fn quotas(pair: &mut Pair, world: &mut World) {
    let user = world.name("user");
    let client = world.name("client");
    let entity = world.draw.pick(&[
        vec![("user", Some(user.as_str()))],
        vec![("client-id", Some(client.as_str()))],
        vec![
            ("user", Some(user.as_str())),
            ("client-id", Some(client.as_str())),
        ],
        vec![("user", Some(user.as_str())), ("client-id", None)],
        vec![("ip", Some("10.1.2.3"))],
        vec![("ip", Some("no such host!"))],
        vec![("user", Some(user.as_str())), ("ip", Some("10.1.2.3"))],
        vec![("planet", Some("mars"))],
        vec![],
    ]);
    let key = world.draw.pick(&[
        "producer_byte_rate",
        "consumer_byte_rate",
        "request_percentage",
        "controller_mutation_rate",
        "connection_creation_rate",
        "nonsense",
    ]);
    let value = world.draw.mostly(1_000_000.0, &[0.0, -1.0, 0.5, 1e12]);
    let (remove, dry) = (world.draw.chance(25), world.draw.chance(10));
    let version = world.draw.version::<AlterClientQuotasRequest>();
    pair.ask("seeded", version, |_| AlterClientQuotasRequest {
        entries: vec![AlterClientQuotasEntry {
            entity: entity
                .iter()
                .map(|(kind, name)| AlterClientQuotasEntity {
                    entity_type: (*kind).into(),
                    entity_name: name.map(Into::into),
                    ..Default::default()
                })
                .collect(),
            ops: vec![AlterClientQuotasOp {
                key: key.into(),
                value,
                remove,
                ..Default::default()
            }],
            ..Default::default()
        }],
        validate_only: dry,
        ..Default::default()
    })
    .await;
    let version = world.draw.version::<DescribeClientQuotasRequest>();
    let strict = world.draw.chance(50);
    let (kind, how) = (
        world.draw.mostly("user", &["client-id", "planet", "ip"]),
        world.draw.mostly(0, &[1, 2, 9]),
    );
    pair.read("seeded", version, |_| DescribeClientQuotasRequest {
        components: vec![DescribeClientQuotasComponent {
            entity_type: kind.into(),
            match_type: how,
            match_name: (how == 0).then(|| {
                if kind == "client-id" {
                    client.as_str().into()
                } else {
                    user.as_str().into()
                }
            }),
            ..Default::default()
        }],
        strict,
        ..Default::default()
    })
    .await;
}

async fn elect(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<ElectLeadersRequest>();
    let topic = world.topic();
    let partition = world.partition(&topic);
    let kind = if version >= 1 {
        world.draw.mostly(0, &[1, 7])
    } else {
        0
    };
    pair.ask("seeded", version, |_| ElectLeadersRequest {
        election_type: kind,
        topic_partitions: Some(vec![ElectLeadersTopicPartitions {
            topic: topic.as_str().into(),
            partitions: vec![partition],
            ..Default::default()
        }]),
        timeout_ms: 10_000,
        ..Default::default()
    })
    .await;
}

async fn log_dirs(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<DescribeLogDirsRequest>();
    let topic = world.topic();
    let known = world.known(&topic);
    if known.recompressed || known.cut {
        return;
    }
    let partition = world.partition(&topic);
    pair.read("seeded", version, |_| DescribeLogDirsRequest {
        topics: Some(vec![DescribableLogDirTopic {
            topic: topic.as_str().into(),
            partitions: vec![partition],
            ..Default::default()
        }]),
        ..Default::default()
    })
    .await;
}

async fn reassign(pair: &mut Pair, world: &mut World) {
    let topic = world.topic();
    let partition = world.partition(&topic);
    if world.draw.chance(30) {
        pair.read("seeded", 0, |_| ListPartitionReassignmentsRequest {
            topics: Some(vec![ListPartitionReassignmentsTopics {
                name: topic.as_str().into(),
                partition_indexes: vec![partition],
                ..Default::default()
            }]),
            timeout_ms: 10_000,
            ..Default::default()
        })
        .await;
        return;
    }
    let version = world.draw.version::<AlterPartitionReassignmentsRequest>();
    let replicas = world.draw.pick(&[
        Some(vec![1]),
        None,
        Some(vec![]),
        Some(vec![1, 1]),
        Some(vec![7]),
        Some(vec![-1]),
        Some(vec![1, 2]),
    ]);
    pair.ask("seeded", version, |_| AlterPartitionReassignmentsRequest {
        timeout_ms: 10_000,
        topics: vec![ReassignableTopic {
            name: topic.as_str().into(),
            partitions: vec![ReassignablePartition {
                partition_index: partition,
                replicas: replicas.clone(),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
    .await;
}

async fn coordinator(pair: &mut Pair, world: &mut World) {
    let version = world.draw.version::<FindCoordinatorRequest>();
    let kind = if version >= 1 {
        world.draw.mostly(0, &[1, 1, 2, 5])
    } else {
        0
    };
    let usual = world.name("g0");
    let key = world.draw.mostly(usual, &[String::new()]);
    pair.patient("seeded", version, |_| FindCoordinatorRequest {
        key: if version <= 3 {
            key.as_str().into()
        } else {
            Default::default()
        },
        key_type: kind,
        coordinator_keys: if version >= 4 {
            vec![key.as_str().into()]
        } else {
            vec![]
        },
        ..Default::default()
    })
    .await;
}
