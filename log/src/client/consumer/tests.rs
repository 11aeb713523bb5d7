use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::client::fake::{FakeCluster, Faults, client};
use crate::client::{Client, OffsetSpec, ProducerConfig, ProducerRecord};
use crate::wire::ApiKey;

const LONG: Duration = Duration::from_secs(20);

async fn fill(client: &Client, topic: &str, partition: i32, values: std::ops::Range<usize>) {
    let producer = client
        .producer(ProducerConfig {
            batch_size: 150,
            ..ProducerConfig::default()
        })
        .unwrap();
    for n in values {
        let record = ProducerRecord::new(topic)
            .partition(partition)
            .value(n.to_string());
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await.unwrap();
}

fn config() -> ConsumerConfig {
    ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        max_partition_fetch_bytes: 400,
        ..ConsumerConfig::default()
    }
}

/// Polls until `count` values came.
async fn read(consumer: &mut Consumer, count: usize) -> Vec<(String, i64, String)> {
    let mut got = Vec::new();
    while got.len() < count {
        for records in consumer.poll_records(LONG).await.unwrap() {
            let partition = records.topic_partition.to_string();
            for record in records {
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                got.push((partition.clone(), record.offset, value));
            }
        }
    }
    got
}

#[tokio::test]
async fn reads_everything_once_and_in_order_whatever_is_lost() {
    for seed in 0..10 {
        let cluster = FakeCluster::new(seed, Faults::default(), &[("t", 2), ("uv", 1)]);
        let client = client(&cluster);
        fill(&client, "t", 0, 0..200).await;
        fill(&client, "t", 1, 0..100).await;
        fill(&client, "uv", 0, 0..50).await;
        cluster.set_faults(Faults {
            lose_request: 100,
            lose_answer: 100,
            ..Faults::default()
        });
        let mut consumer = client.consumer(config()).unwrap();
        let partitions = [
            TopicPartition::new("t", 0),
            TopicPartition::new("t", 1),
            TopicPartition::new("uv", 0),
        ];
        consumer.assign(partitions.to_vec()).unwrap();
        let got = read(&mut consumer, 350).await;
        for (partition, count) in partitions.iter().zip([200, 100, 50]) {
            let of_it: Vec<_> = got
                .iter()
                .filter(|(p, _, _)| *p == partition.to_string())
                .collect();
            assert_eq!(of_it.len(), count, "seed {seed}");
            for (n, (_, offset, value)) in of_it.iter().enumerate() {
                assert_eq!(
                    (*offset, value),
                    (i64::try_from(n).unwrap(), &n.to_string())
                );
            }
            let position = consumer.position(partition).await.unwrap();
            assert_eq!(position, i64::try_from(count).unwrap());
        }
    }
}

#[tokio::test]
async fn seeks_pauses_and_resumes() {
    let cluster = FakeCluster::new(1, Faults::default(), &[("t", 2)]);
    let client = client(&cluster);
    fill(&client, "t", 0, 0..100).await;
    fill(&client, "t", 1, 0..3).await;
    let mut consumer = client.consumer(config()).unwrap();
    let (p0, p1) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
    consumer.assign(vec![p0.clone(), p1.clone()]).unwrap();
    consumer.pause(std::slice::from_ref(&p1)).unwrap();
    consumer.seek(&p0, 97).unwrap();
    let got = read(&mut consumer, 3).await;
    assert_eq!(got.len(), 3);
    assert_eq!(got[0], ("t-0".into(), 97, "97".into()));
    // Back, although more may have been fetched.
    consumer.seek(&p0, 99).unwrap();
    assert_eq!(read(&mut consumer, 1).await[0].1, 99);
    assert_eq!(consumer.paused().len(), 1);
    consumer.resume(std::slice::from_ref(&p1)).unwrap();
    assert_eq!(read(&mut consumer, 3).await.len(), 3);
    consumer
        .seek_to_beginning(std::slice::from_ref(&p1))
        .unwrap();
    assert_eq!(consumer.position(&p1).await.unwrap(), 0);
    consumer.seek_to_end(std::slice::from_ref(&p0)).unwrap();
    assert_eq!(consumer.position(&p0).await.unwrap(), 100);
    let error = consumer.seek(&TopicPartition::new("x", 0), 1).unwrap_err();
    assert!(error.to_string().contains("x-0 is not assigned"), "{error}");
}

#[tokio::test]
async fn a_poll_that_is_dropped_loses_nothing() {
    let cluster = FakeCluster::new(1, Faults::default(), &[("t", 1)]);
    let client = client(&cluster);
    fill(&client, "t", 0, 0..100).await;
    let mut consumer = client.consumer(config()).unwrap();
    consumer.assign(vec![TopicPartition::new("t", 0)]).unwrap();
    let mut got = Vec::new();
    while got.len() < 100 {
        // One look only; then the future is dropped where it stands.
        if let Some(polled) = consumer.poll(LONG).now_or_never() {
            let Polled::Records(records) = polled.unwrap() else {
                panic!("no group");
            };
            got.extend(records.into_iter().flatten().map(|r| r.unwrap().offset));
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(got, (0..100).collect::<Vec<i64>>());
}

#[tokio::test]
async fn a_position_outside_of_the_log_is_reset_or_told() {
    let cluster = FakeCluster::new(1, Faults::default(), &[("t", 1)]);
    let client = client(&cluster);
    fill(&client, "t", 0, 0..10).await;
    let p = TopicPartition::new("t", 0);
    let mut consumer = client.consumer(config()).unwrap();
    consumer.assign(vec![p.clone()]).unwrap();
    consumer.seek(&p, 5000).unwrap();
    assert_eq!(read(&mut consumer, 10).await[0].1, 0);
    let strict = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::None,
        ..config()
    };
    let mut consumer = client.consumer(strict).unwrap();
    consumer.assign(vec![p.clone()]).unwrap();
    let error = consumer.poll(LONG).await.unwrap_err();
    assert!(matches!(error, ClientError::NoOffset { .. }), "{error}");
    consumer.seek(&p, 5000).unwrap();
    let error = consumer.poll(LONG).await.unwrap_err();
    assert!(
        matches!(error, ClientError::OffsetOutOfRange { offset: 5000, .. }),
        "{error}"
    );
    consumer.seek(&p, 9).unwrap();
    assert_eq!(read(&mut consumer, 1).await[0].1, 9);
}

#[tokio::test]
async fn brokers_without_topic_ids_are_asked_by_name() {
    let mut cluster = FakeCluster::new(1, Faults::default(), &[("t", 1)]);
    Arc::get_mut(&mut cluster)
        .unwrap()
        .max_versions
        .extend([(ApiKey::Metadata.key(), 9)]);
    let client = client(&cluster);
    fill(&client, "t", 0, 0..10).await;
    let mut consumer = client.consumer(config()).unwrap();
    consumer.assign(vec![TopicPartition::new("t", 0)]).unwrap();
    assert_eq!(read(&mut consumer, 10).await.len(), 10);
}

#[tokio::test]
async fn ends_of_logs_and_the_limits_of_a_consumer_without_group() {
    let cluster = FakeCluster::new(1, Faults::default(), &[("t", 1)]);
    let client = client(&cluster);
    fill(&client, "t", 0, 0..10).await;
    let mut consumer = client.consumer(config()).unwrap();
    let p = TopicPartition::new("t", 0);
    let partitions = std::slice::from_ref(&p);
    assert_eq!(consumer.beginning_offsets(partitions).await.unwrap()[&p], 0);
    assert_eq!(consumer.end_offsets(partitions).await.unwrap()[&p], 10);
    let error = consumer.subscribe(&["t"]).unwrap_err();
    assert!(error.to_string().contains("group.id"), "{error}");
    let error = consumer.commit(BTreeMap::new()).await.unwrap_err();
    assert!(error.to_string().contains("group.id"), "{error}");
    let wanted = BTreeMap::from([(TopicPartition::new("t", 5), OffsetSpec::Latest)]);
    let admin = client.admin();
    let error = admin
        .list_offsets(wanted, IsolationLevel::ReadUncommitted)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "topic t has no partition 5; it has 1");
}

#[test]
fn unknown_assignors_are_refused_with_the_choice() {
    let config = ConsumerConfig {
        partition_assignment_strategy: vec!["stikcy".into()],
        ..ConsumerConfig::default()
    };
    let error = assignors(&config).unwrap_err();
    assert!(error.to_string().contains("cooperative-sticky"), "{error}");
    let java = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    let config = ConsumerConfig::from_map([("partition.assignment.strategy", java)]).unwrap();
    assert_eq!(assignors(&config).unwrap()[0].name(), "cooperative-sticky");
}
