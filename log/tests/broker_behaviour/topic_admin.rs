//! The edges of the APIs of topics: ids, duplicates, what is only validated, what a client may do.

use thalweg_log::wire::ErrorCode::{self, *};
use thalweg_log::wire::Str;
use thalweg_log::wire::messages::*;
use uuid::Uuid;

use crate::bench::*;

const TOPIC_OPERATIONS: i32 = 3576;
const CLUSTER_OPERATIONS: i32 = 8096;

fn by_name(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic {
        name: Some(name.into()),
        ..Default::default()
    }
}

fn by_id(topic_id: Uuid) -> MetadataRequestTopic {
    MetadataRequestTopic {
        topic_id,
        name: Option::None,
        ..Default::default()
    }
}

fn metadata(topics: Vec<MetadataRequestTopic>) -> MetadataRequest {
    MetadataRequest {
        topics: Some(topics),
        allow_auto_topic_creation: true,
        ..Default::default()
    }
}

#[tokio::test]
async fn authorized_operations_are_told_to_who_asks() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    for version in 8..=13 {
        let request = |include| MetadataRequest {
            include_topic_authorized_operations: include,
            include_cluster_authorized_operations: include && version <= 10,
            ..metadata(vec![by_name("t")])
        };
        let answer = bench.ask_at(request(true), version).await;
        assert_eq!(
            answer.topics[0].topic_authorized_operations,
            TOPIC_OPERATIONS
        );
        let cluster = if version <= 10 {
            CLUSTER_OPERATIONS
        } else {
            i32::MIN
        };
        assert_eq!(answer.cluster_authorized_operations, cluster);
        let answer = bench.ask_at(request(false), version).await;
        assert_eq!(answer.topics[0].topic_authorized_operations, i32::MIN);
        assert_eq!(answer.cluster_authorized_operations, i32::MIN);
    }
    for (include, expected) in [(true, CLUSTER_OPERATIONS), (false, i32::MIN)] {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: include,
            ..Default::default()
        };
        for answer in bench.ask_in_all(request).await {
            assert_eq!(answer.cluster_authorized_operations, expected);
        }
    }
    let answer = bench.ask(DescribeTopicPartitionsRequest::default()).await;
    let topic = &answer.topics[0];
    assert_eq!(topic.topic_authorized_operations, TOPIC_OPERATIONS);
}

#[tokio::test]
async fn a_broker_is_no_controller_endpoint() {
    let bench = Bench::start(&[]).await;
    for (endpoint_type, expected) in [
        (1, None),
        (2, MismatchedEndpointType),
        (3, UnsupportedEndpointType),
    ] {
        let request = DescribeClusterRequest {
            endpoint_type,
            ..Default::default()
        };
        let answer = bench.ask(request).await;
        assert_eq!(code(answer.error_code), expected);
        assert_eq!(answer.brokers.is_empty(), expected != None);
    }
}

#[tokio::test]
async fn metadata_by_id_and_by_name_do_not_mix() {
    let bench = Bench::start(&[]).await;
    let id = bench.create("t", 1, &[]).await.topic_id;
    for version in [10, 11] {
        let answer = bench.ask_at(metadata(vec![by_id(id)]), version).await;
        assert_eq!(code(answer.topics[0].error_code), InvalidRequest);
    }
    for version in [12, 13] {
        let unknown = Uuid::from_u128(77);
        let topics = vec![by_name("other"), by_id(id), by_id(unknown), by_id(id)];
        let answer = bench.ask_at(metadata(topics), version).await;
        let found: Vec<_> = answer
            .topics
            .iter()
            .map(|t| (t.name.as_deref(), t.topic_id, code(t.error_code)))
            .collect();
        assert_eq!(
            found,
            [
                (Some("t"), id, None),
                (Option::None, unknown, UnknownTopicId)
            ]
        );
    }
    assert_eq!(bench.names().await, ["t"], "no name was asked for");
    let twice = bench.ask(metadata(vec![by_name("t"), by_name("t")])).await;
    assert_eq!(twice.topics.len(), 1);
}

#[tokio::test]
async fn topics_are_created_on_demand_only_where_allowed() {
    let bench = Bench::start(&[]).await;
    let mut request = metadata(vec![
        by_name("new"),
        by_name("b d"),
        by_name("__cluster_metadata"),
    ]);
    request.allow_auto_topic_creation = false;
    let codes = |answer: MetadataResponse| -> Vec<_> {
        let topics = answer.topics.into_iter();
        topics.map(|t| code(t.error_code)).collect()
    };
    let unknown = UnknownTopicOrPartition;
    let answer = bench.ask(request.clone()).await;
    assert_eq!(codes(answer), [unknown, InvalidTopicException, unknown]);
    request.allow_auto_topic_creation = true;
    let answer = bench.ask(request).await;
    assert_eq!(codes(answer), [None, InvalidTopicException, unknown]);
    let internal = bench
        .ask(metadata(vec![by_name("__consumer_offsets")]))
        .await;
    assert!(internal.topics[0].is_internal);
    let barred = Bench::start(&[("auto.create.topics.enable", "false")]).await;
    let answer = barred.ask(metadata(vec![by_name("new")])).await;
    assert_eq!(codes(answer), [unknown]);
}

fn assigned(name: &str, replicas: &[&[i32]]) -> CreatableTopic {
    CreatableTopic {
        num_partitions: -1,
        replication_factor: -1,
        assignments: (0..)
            .zip(replicas)
            .map(|(partition_index, ids)| CreatableReplicaAssignment {
                partition_index,
                broker_ids: ids.to_vec(),
                ..Default::default()
            })
            .collect(),
        ..topic(name, -1, &[])
    }
}

#[tokio::test]
async fn creations_are_checked_also_when_only_validated() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    bench.create("a.b", 1, &[]).await;
    let id = bench.broker.node_id();
    let cases = [
        (topic("new", 2, &[]), None),
        (assigned("new", &[&[id], &[id]]), None),
        (topic("t", 1, &[]), TopicAlreadyExists),
        (topic("a_b", 1, &[]), InvalidTopicException),
        (topic("a b", 1, &[]), InvalidTopicException),
        (topic("__cluster_metadata", 1, &[]), InvalidRequest),
        (topic("new", 0, &[]), InvalidPartitions),
        (topic("new", -2, &[]), InvalidPartitions),
        (topic("new", 1, &[("no.such", "1")]), InvalidConfig),
        // The settings are looked at first, then the replication factor.
        (topic("new", 0, &[("no.such", "1")]), InvalidConfig),
        (
            CreatableTopic {
                replication_factor: 0,
                ..topic("new", 0, &[])
            },
            InvalidReplicationFactor,
        ),
        (
            CreatableTopic {
                replication_factor: 2,
                ..topic("new", 0, &[])
            },
            InvalidPartitions,
        ),
        (topic("new", 1, &[("retention.ms", "x")]), InvalidConfig),
        (assigned("new", &[&[id], &[]]), InvalidReplicaAssignment),
        (assigned("new", &[&[id + 1]]), InvalidReplicaAssignment),
        (assigned("new", &[&[id, id]]), InvalidReplicaAssignment),
        (
            CreatableTopic {
                num_partitions: 1,
                ..assigned("new", &[&[id]])
            },
            InvalidRequest,
        ),
        (
            CreatableTopic {
                replication_factor: 2,
                ..topic("new", 1, &[])
            },
            InvalidReplicationFactor,
        ),
        (
            CreatableTopic {
                replication_factor: 0,
                ..topic("new", 1, &[])
            },
            InvalidReplicationFactor,
        ),
    ];
    for (topic, expected) in cases {
        let print = format!("{topic:?}");
        let request = CreateTopicsRequest {
            topics: vec![topic],
            validate_only: true,
            ..Default::default()
        };
        for answer in bench.ask_in_all(request).await {
            let result = &answer.topics[0];
            assert_eq!(code(result.error_code), expected, "{print}");
            assert_eq!(result.error_message.is_some(), expected != None);
        }
    }
    assert_eq!(bench.names().await, ["a.b", "t"]);
    let request = CreateTopicsRequest {
        topics: vec![topic("x", 1, &[]), topic("y", 1, &[]), topic("x", 2, &[])],
        ..Default::default()
    };
    let answer = bench.ask(request).await;
    let found: Vec<_> = answer
        .topics
        .iter()
        .map(|t| (&*t.name, code(t.error_code)))
        .collect();
    assert_eq!(found, [("x", InvalidRequest), ("y", None)]);
}

#[tokio::test]
async fn partitions_are_added_with_and_without_an_assignment() {
    let bench = Bench::start(&[]).await;
    bench.create("t", 1, &[]).await;
    let id = bench.broker.node_id();
    let more = |count, assignment: Option<&[&[i32]]>| CreatePartitionsTopic {
        name: "t".into(),
        count,
        assignments: assignment.map(|given| {
            given
                .iter()
                .map(|ids| CreatePartitionsAssignment {
                    broker_ids: ids.to_vec(),
                    ..Default::default()
                })
                .collect()
        }),
        ..Default::default()
    };
    let cases = [
        (more(3, Option::None), None),
        (more(2, Some(&[&[id]])), None),
        (more(1, Option::None), InvalidPartitions),
        (more(0, Option::None), InvalidPartitions),
        (more(3, Some(&[&[id]])), InvalidReplicaAssignment),
        (more(2, Some(&[&[id + 1]])), InvalidReplicaAssignment),
        (more(2, Some(&[&[]])), InvalidReplicaAssignment),
    ];
    for validate_only in [true, false] {
        for (topic, expected) in &cases {
            if !validate_only && *expected == None {
                continue;
            }
            let request = CreatePartitionsRequest {
                topics: vec![topic.clone()],
                validate_only,
                ..Default::default()
            };
            for answer in bench.ask_in_all(request).await {
                let result = &answer.results[0];
                assert_eq!(code(result.error_code), *expected, "{topic:?}");
            }
        }
    }
    let request = CreatePartitionsRequest {
        topics: vec![more(2, Option::None), more(3, Option::None)],
        ..Default::default()
    };
    let answer = bench.ask(request).await;
    assert_eq!(answer.results.len(), 1);
    assert_eq!(code(answer.results[0].error_code), InvalidRequest);
}

fn deletion(name: Option<&str>, topic_id: Uuid) -> DeleteTopicState {
    DeleteTopicState {
        name: name.map(Str::from),
        topic_id,
        ..Default::default()
    }
}

#[tokio::test]
async fn topics_are_deleted_by_name_or_by_id_once() {
    let bench = Bench::start(&[]).await;
    let id = bench.create("t", 1, &[]).await.topic_id;
    bench.create("u", 1, &[]).await;
    let unknown = Uuid::from_u128(7);
    let request = DeleteTopicsRequest {
        topics: vec![
            deletion(Some("t"), id),
            deletion(Option::None, Uuid::nil()),
            deletion(Option::None, unknown),
            deletion(Some("missing"), Uuid::nil()),
            deletion(Some("u"), Uuid::nil()),
            deletion(Some("u"), Uuid::nil()),
            deletion(Option::None, id),
        ],
        ..Default::default()
    };
    let answer = bench.ask(request).await;
    let found: Vec<_> = answer
        .responses
        .iter()
        .map(|r| (r.name.as_deref(), r.topic_id, code(r.error_code)))
        .collect();
    assert_eq!(
        found,
        [
            (Some("t"), id, InvalidRequest),
            (Option::None, Uuid::nil(), InvalidRequest),
            (Option::None, unknown, UnknownTopicId),
            (Some("missing"), Uuid::nil(), UnknownTopicOrPartition),
            (Some("u"), Uuid::nil(), InvalidRequest),
            (Some("t"), id, None),
        ]
    );
    assert_eq!(bench.names().await, ["u"]);

    // By its name and by its id is twice as well.
    let id = bench.create("v", 1, &[]).await.topic_id;
    let request = DeleteTopicsRequest {
        topics: vec![
            deletion(Option::None, id),
            deletion(Some("v"), Uuid::nil()),
            deletion(Some("u"), Uuid::nil()),
        ],
        ..Default::default()
    };
    let answer = bench.ask(request).await;
    let found: Vec<_> = answer
        .responses
        .iter()
        .map(|r| (r.name.as_deref(), code(r.error_code)))
        .collect();
    assert_eq!(found, [(Some("v"), InvalidRequest), (Some("u"), None)]);
    assert_eq!(answer.responses[0].topic_id, id);
    assert_eq!(bench.names().await, ["v"]);

    let barred = Bench::start(&[("delete.topic.enable", "false")]).await;
    barred.create("t", 1, &[]).await;
    for version in 1..=5 {
        let request = DeleteTopicsRequest {
            topic_names: vec!["t".into()],
            ..Default::default()
        };
        let answer = barred.ask_at(request, version).await;
        let expected = if version < 3 {
            InvalidRequest
        } else {
            TopicDeletionDisabled
        };
        assert_eq!(code(answer.responses[0].error_code), expected);
    }
}

fn page(
    topics: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> DescribeTopicPartitionsRequest {
    DescribeTopicPartitionsRequest {
        topics: topics
            .iter()
            .map(|name| TopicRequest {
                name: Str::from(*name),
                ..Default::default()
            })
            .collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(topic, partition_index)| RequestCursor {
            topic_name: topic.into(),
            partition_index,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn topics_are_described_page_by_page() {
    let bench = Bench::start(&[]).await;
    bench.create("a", 2, &[]).await;
    bench.create("b", 3, &[]).await;
    let mut pages = Vec::new();
    let mut cursor: Option<(String, i32)> = Option::None;
    loop {
        let at = cursor
            .as_ref()
            .map(|(topic, partition)| (topic.as_str(), *partition));
        let answer = bench.ask(page(&["b", "a", "c", "b"], 2, at)).await;
        let found: Vec<_> = answer
            .topics
            .iter()
            .map(|t| {
                let first = t.partitions.first().map(|p| p.partition_index);
                format!(
                    "{}:{first:?}+{}",
                    t.name.as_deref().unwrap(),
                    t.partitions.len()
                )
            })
            .collect();
        pages.push(found.join(" "));
        let Some(next) = answer.next_cursor else {
            break;
        };
        cursor = Some((next.topic_name.to_string(), next.partition_index));
    }
    assert_eq!(
        pages,
        ["a:Some(0)+2", "b:Some(0)+2", "b:Some(2)+1 c:None+0"]
    );
    for bad in [
        page(&["a"], 9, Some(("b", 0))),
        page(&["a"], 9, Some(("a", -1))),
    ] {
        let answer = bench.ask(bad).await;
        assert_eq!(code(answer.topics[0].error_code), InvalidRequest);
    }
    // Without names, a cursor may point to a topic that is gone meanwhile.
    let answer = bench.ask(page(&[], 9, Some(("aa", 5)))).await;
    assert_eq!(answer.topics.len(), 1);
    assert_eq!(answer.topics[0].partitions.len(), 3);
    // The broker's own limit counts, too.
    let small = Bench::start(&[("max.request.partition.size.limit", "2")]).await;
    small.create("a", 3, &[]).await;
    let answer = small.ask(page(&["a"], 9, Option::None)).await;
    assert_eq!(answer.topics[0].partitions.len(), 2);
    assert_eq!(answer.next_cursor.unwrap().partition_index, 2);
    let bad: ErrorCode =
        code(bench.ask(page(&["b d"], 9, Option::None)).await.topics[0].error_code);
    assert_eq!(bad, InvalidTopicException);
}
