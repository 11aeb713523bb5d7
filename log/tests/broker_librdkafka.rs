//! librdkafka against the broker over TCP, as a user's program would be: idempotent producers with every
//! compression, lookups, and a consumer group whose second member goes on where the first one left.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_log::broker::{Broker, BrokerConfig};

const LONG: Duration = Duration::from_secs(30);

async fn start(dir: &std::path::Path) -> (Broker, ClientConfig) {
    let config = BrokerConfig::new(dir).set("group.initial.rebalance.delay.ms", "0");
    let broker = Broker::start(config).await.unwrap();
    let address = broker.listen("127.0.0.1:0").await.unwrap();
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", address.to_string());
    (broker, client)
}

async fn create(client: &ClientConfig, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> = client.create().unwrap();
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let results = admin
        .create_topics(&[topic], &AdminOptions::new())
        .await
        .unwrap();
    for result in results {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_compression_and_headers_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path()).await;
    create(&client, "t", 1).await;
    let mut expected = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let mut config = client.clone();
        config.set("compression.codec", codec);
        config.set("enable.idempotence", "true");
        let producer: FutureProducer = match config.create() {
            Ok(producer) => producer,
            Err(error) => {
                println!("librdkafka is built without {codec}: {error}");
                continue;
            }
        };
        let headers =
            ["first", "second"]
                .into_iter()
                .fold(OwnedHeaders::new(), |headers, value| {
                    headers.insert(Header {
                        key: "twice",
                        value: Some(value),
                    })
                });
        let payload = format!("{codec} ").repeat(500);
        let record = FutureRecord::to("t")
            .key(codec)
            .payload(&payload)
            .timestamp(1_000 + expected.len() as i64)
            .headers(headers);
        let delivery = producer.send(record, LONG).await.unwrap();
        assert_eq!(delivery.offset, expected.len() as i64, "{codec}");
        expected.push((codec.to_owned(), payload));
    }
    let mut config = client.clone();
    config.set("group.id", "lookups");
    config.set("enable.auto.commit", "false");
    let read = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let count = expected.len() as i64;
        assert_eq!(consumer.fetch_watermarks("t", 0, LONG).unwrap(), (0, count));
        let mut times = TopicPartitionList::new();
        times
            .add_partition_offset("t", 0, Offset::Offset(1_001))
            .unwrap();
        let found = consumer.offsets_for_times(times, LONG).unwrap();
        assert_eq!(found.elements()[0].offset(), Offset::Offset(1));
        let mut from = TopicPartitionList::new();
        from.add_partition_offset("t", 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&from).unwrap();
        for (key, payload) in expected {
            let message = consumer.poll(LONG).unwrap().unwrap();
            assert_eq!(message.key(), Some(key.as_bytes()));
            assert_eq!(message.payload(), Some(payload.as_bytes()));
            let headers = message.headers().unwrap();
            let values: Vec<_> = headers.iter().map(|header| header.value).collect();
            assert_eq!(values, [Some(&b"first"[..]), Some(&b"second"[..])]);
        }
    });
    read.await.unwrap();
    broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_where_it_left_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path()).await;
    create(&client, "orders", 3).await;
    produce(&client, 0..60).await;
    let first = consume(&client, 60).await;
    assert_eq!(first, (0..60).collect());

    produce(&client, 60..90).await;
    broker.shutdown().await;
    let (broker, client) = start(dir.path()).await;
    produce(&client, 90..120).await;
    let second = consume(&client, 60).await;
    assert_eq!(second, (60..120).collect());
    broker.shutdown().await;
}

async fn produce(client: &ClientConfig, numbers: std::ops::Range<u32>) {
    let producer: FutureProducer = client.create().unwrap();
    let sends = numbers.map(|number| {
        let producer = producer.clone();
        async move {
            let text = number.to_string();
            let record = FutureRecord::to("orders").key(&text).payload(&text);
            producer.send(record, LONG).await.unwrap();
        }
    });
    futures::future::join_all(sends).await;
}

/// What a member of the group reads until it has so many records; it commits and leaves.
async fn consume(client: &ClientConfig, count: usize) -> BTreeSet<u32> {
    let mut config = client.clone();
    config.set("group.id", "g");
    config.set("auto.offset.reset", "earliest");
    config.set("enable.auto.commit", "false");
    let reading = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&["orders"]).unwrap();
        let mut numbers = BTreeSet::new();
        let mut records = 0;
        let begin = Instant::now();
        while records < count {
            // Nothing may also mean that the group has been rebalanced.
            let Some(message) = consumer.poll(LONG) else {
                assert!(begin.elapsed() < 2 * LONG, "only {records} records");
                continue;
            };
            let message = message.unwrap();
            let text = std::str::from_utf8(message.payload().unwrap()).unwrap();
            numbers.insert(text.parse().unwrap());
            records += 1;
        }
        consumer.commit_consumer_state(CommitMode::Sync).unwrap();
        numbers
    });
    reading.await.unwrap()
}

/// Polls all members until each has the number of partitions it should.
fn poll_until(members: &[&BaseConsumer], partitions: &[usize]) {
    let deadline = Instant::now() + LONG;
    loop {
        for member in members {
            if let Some(message) = member.poll(Duration::from_millis(20)) {
                message.unwrap();
            }
        }
        let now: Vec<usize> = members
            .iter()
            .map(|m| m.assignment().unwrap().count())
            .collect();
        if now == partitions {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{now:?} instead of {partitions:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_share_the_partitions_and_one_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, client) = start(dir.path()).await;
    create(&client, "shared", 4).await;
    let done = tokio::task::spawn_blocking(move || {
        for strategy in ["range", "cooperative-sticky"] {
            let member = || -> BaseConsumer {
                let consumer: BaseConsumer = client
                    .clone()
                    .set("group.id", strategy)
                    .set("partition.assignment.strategy", strategy)
                    .set("session.timeout.ms", "6000")
                    .set("heartbeat.interval.ms", "100")
                    .create()
                    .unwrap();
                consumer.subscribe(&["shared"]).unwrap();
                consumer
            };
            let first = member();
            poll_until(&[&first], &[4]);
            let second = member();
            poll_until(&[&first, &second], &[2, 2]);
            // It leaves the group, and the other need not wait for its session to run out.
            drop(second);
            poll_until(&[&first], &[4]);
        }
    });
    done.await.unwrap();
    broker.shutdown().await;
}
