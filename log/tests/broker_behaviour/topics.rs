//! Creating, deleting, growing and paging topics.

use std::time::Duration;

use thalweg_log::client::{Call, Destination, Transport};
use thalweg_log::wire::messages::*;
use thalweg_log::wire::{ApiRequest, ErrorCode, Str};

use crate::bench::*;

#[tokio::test]
async fn a_topic_created_again_is_another_topic() {
    let mut bench = Bench::start(&[]).await;
    let first = bench.create("t", 1, &[]).await.topic_id;
    bench.produce("t", 1, batch(&["old"])).await;
    let delete = DeleteTopicsRequest {
        topics: vec![DeleteTopicState {
            topic_id: first,
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(bench.ask(delete).await.responses[0].error_code, 0);
    let second = bench.create("t", 1, &[]).await.topic_id;
    assert_ne!(first, second);
    for _ in 0..2 {
        assert_eq!(bench.fetch("t", 0, 0, 0).await.high_watermark, 0);
        let mut old = fetch("", 0, 0, 0);
        old.topics[0].topic_id = first;
        let data = bench.ask(old).await.responses[0].partitions[0].clone();
        assert_eq!(code(data.error_code), ErrorCode::UnknownTopicId);
        bench.restart(&[]).await;
    }
}

#[tokio::test]
async fn topics_are_refused_for_good_reasons() {
    let bench = Bench::start(&[("num.partitions", "4")]).await;
    assert_eq!(
        bench
            .create("t", -1, &[("retention.ms", "5")])
            .await
            .num_partitions,
        4
    );
    for (name, partitions, configs, expected) in [
        ("t", 1, vec![], ErrorCode::TopicAlreadyExists),
        ("a b", 1, vec![], ErrorCode::InvalidTopicException),
        (
            "__consumer_offsets",
            1,
            vec![],
            ErrorCode::InvalidTopicException,
        ),
        ("u", 0, vec![], ErrorCode::InvalidPartitions),
        ("u", 1, vec![("retention.m", "1")], ErrorCode::InvalidConfig),
        (
            "u",
            1,
            vec![("retention.ms", "soon")],
            ErrorCode::InvalidConfig,
        ),
    ] {
        let result = bench.create(name, partitions, &configs).await;
        assert_eq!(
            code(result.error_code),
            expected,
            "{name} {partitions} {configs:?}"
        );
        assert!(result.error_message.is_some());
    }
    let twice = CreateTopicsRequest {
        topics: vec![topic("w", 1, &[]), topic("w", 1, &[])],
        ..Default::default()
    };
    let codes: Vec<_> = bench
        .ask(twice)
        .await
        .topics
        .iter()
        .map(|t| code(t.error_code))
        .collect();
    assert_eq!(codes, [ErrorCode::InvalidRequest]);
    let dry = CreateTopicsRequest {
        topics: vec![topic("dry", 1, &[])],
        validate_only: true,
        ..Default::default()
    };
    assert_eq!(bench.ask(dry).await.topics[0].error_code, 0);
    let mut wide = topic("wide", 1, &[]);
    wide.replication_factor = 3;
    let wide = CreateTopicsRequest {
        topics: vec![wide],
        ..Default::default()
    };
    let result = bench.ask(wide).await.topics.remove(0);
    assert_eq!(code(result.error_code), ErrorCode::InvalidReplicationFactor);
    assert_eq!(bench.names().await, ["t"]);
}

#[tokio::test]
async fn partitions_are_added_and_topics_are_paged() {
    let bench = Bench::start(&[]).await;
    bench.create("a", 2, &[]).await;
    bench.create("b", 2, &[]).await;
    let add = |count: i32| CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: Str::from("a"),
            count,
            assignments: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(bench.ask(add(5)).await.results[0].error_code, 0);
    assert_eq!(
        code(bench.ask(add(3)).await.results[0].error_code),
        ErrorCode::InvalidPartitions
    );
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 3,
            cursor,
            ..Default::default()
        };
        let page = bench.ask(request).await;
        for topic in &page.topics {
            let name = topic.name.clone().unwrap();
            seen.extend(
                topic
                    .partitions
                    .iter()
                    .map(|p| (name.to_string(), p.partition_index)),
            );
        }
        cursor = page.next_cursor.map(|c| RequestCursor {
            topic_name: c.topic_name,
            partition_index: c.partition_index,
            ..Default::default()
        });
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..5)
        .map(|p| ("a".to_owned(), p))
        .chain((0..2).map(|p| ("b".to_owned(), p)))
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn of_many_creations_at_once_one_wins() {
    let bench = Bench::start(&[]).await;
    let transport = bench.broker.transport();
    let creations: Vec<_> = (0..10)
        .map(|_| {
            let request = CreateTopicsRequest {
                topics: vec![topic("t", 1, &[])],
                ..Default::default()
            };
            let request = request.into_request();
            transport.call(Call::new(
                Destination::Any,
                request,
                Duration::from_secs(30),
            ))
        })
        .collect();
    let mut codes = Vec::new();
    for creation in creations {
        let answer = CreateTopicsRequest::response_of(creation.await.unwrap().response).unwrap();
        codes.push(code(answer.topics[0].error_code));
    }
    let (won, told): (Vec<_>, Vec<_>) = codes.into_iter().partition(|c| c.is_none());
    assert_eq!(won.len(), 1);
    assert!(
        told.iter().all(|c| *c == ErrorCode::TopicAlreadyExists),
        "{told:?}"
    );
}
