//! Our client beside librdkafka: in one group, and with keys that must meet.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::Message;
use rdkafka::config::ClientConfig as ForeignConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{
    AutoOffsetReset, Client, ClientConfig, Consumer, ConsumerConfig, NewTopic, Polled,
    ProducerConfig, ProducerRecord, partition_for_key,
};

const LONG: Duration = Duration::from_secs(40);

struct Cluster {
    broker: Broker,
    address: String,
    client: Client,
    _folder: tempfile::TempDir,
}

async fn cluster(partitions: i32) -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new(folder.path()).set("group.initial.rebalance.delay.ms", "0");
    let broker = Broker::start(config).await.unwrap();
    let address = broker.listen("127.0.0.1:0").await.unwrap().to_string();
    let client = Client::connect(&address, ClientConfig::default())
        .await
        .unwrap();
    let topic = NewTopic::new("t").partitions(partitions);
    client.admin().create_topic(topic).await.unwrap();
    Cluster {
        broker,
        address,
        client,
        _folder: folder,
    }
}

fn foreign_consumer(address: &str, strategy: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ForeignConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "mixed")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("heartbeat.interval.ms", "50")
        .set("partition.assignment.strategy", strategy)
        .create()
        .unwrap();
    consumer.subscribe(&["t"]).unwrap();
    consumer
}

fn our_consumer(client: &Client, strategy: &str) -> Consumer {
    let mut consumer = client
        .consumer(ConsumerConfig {
            group_id: Some("mixed".into()),
            auto_offset_reset: AutoOffsetReset::Earliest,
            heartbeat_interval_ms: Duration::from_millis(50),
            fetch_max_wait_ms: Duration::from_millis(50),
            partition_assignment_strategy: vec![strategy.into()],
            enable_auto_commit: false,
            ..ConsumerConfig::default()
        })
        .unwrap();
    consumer.subscribe(&["t"]).unwrap();
    consumer
}

/// One member reads everything, then the other joins; both poll in turn until each has
/// two of the four partitions.
async fn shares(strategy: &'static str, ours_first: bool) {
    let cluster = cluster(4).await;
    let producer = cluster.client.producer(ProducerConfig::default()).unwrap();
    for n in 0..200 {
        let record = ProducerRecord::new("t").partition(n % 4).value("x");
        drop(producer.send(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    let mut ours = None;
    let mut theirs = None;
    let mut seen: BTreeSet<(i32, i64)> = BTreeSet::new();
    let end = Instant::now() + LONG;
    loop {
        assert!(Instant::now() < end, "{} records, {strategy}", seen.len());
        // The second one joins when the first has everything.
        let first_done = seen.len() == 200;
        if ours.is_none() && (ours_first || first_done) {
            ours = Some(our_consumer(&cluster.client, strategy));
        }
        if theirs.is_none() && (!ours_first || first_done) {
            theirs = Some(foreign_consumer(&cluster.address, strategy));
        }
        if let Some(ours) = &mut ours {
            match ours.poll(Duration::from_millis(20)).await.unwrap() {
                Polled::Records(records) => {
                    for records in records {
                        let p = records.topic_partition.partition;
                        seen.extend(records.into_iter().map(|r| (p, r.unwrap().offset)));
                    }
                }
                Polled::Revoking(_) => ours.commit_positions().await.unwrap(),
                Polled::Assigned(_) => {}
                Polled::Lost(lost) => panic!("{lost:?}"),
            }
        }
        let mut their_count = 0;
        if let Some(consumer) = theirs.take() {
            let (consumer, got) = tokio::task::spawn_blocking(move || {
                let mut got = Vec::new();
                while let Some(message) = consumer.poll(Duration::from_millis(20)) {
                    let message = message.unwrap();
                    got.push((message.partition(), message.offset()));
                    consumer
                        .commit_message(&message, CommitMode::Async)
                        .unwrap();
                }
                (consumer, got)
            })
            .await
            .unwrap();
            seen.extend(got);
            their_count = consumer.assignment().map_or(0, |a| a.count());
            theirs = Some(consumer);
        }
        let our_count = ours.as_ref().map_or(0, |o| o.assignment().len());
        if (our_count, their_count) == (2, 2) && seen.len() == 200 {
            break;
        }
    }
    drop(ours);
    drop(theirs);
    producer.close().await.unwrap();
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_group_with_librdkafka_eager() {
    shares("range", true).await;
    shares("roundrobin", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_group_with_librdkafka_cooperative() {
    shares("cooperative-sticky", true).await;
    shares("cooperative-sticky", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_meet_in_the_partitions_of_other_clients() {
    let cluster = cluster(7).await;
    let address = cluster.address.clone();
    tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = ForeignConfig::new()
            .set("bootstrap.servers", &address)
            .set("partitioner", "murmur2_random")
            .set("compression.type", "lz4")
            .create()
            .unwrap();
        for n in 0..200 {
            let key = format!("key {n}");
            let record = BaseRecord::to("t").key(&key).payload("x");
            producer.send(record).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(LONG).unwrap();
    })
    .await
    .unwrap();
    let config = ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = cluster.client.consumer(config).unwrap();
    let partitions = (0..7).map(|p| thalweg_log::client::TopicPartition::new("t", p));
    consumer.assign(partitions.collect()).unwrap();
    let end = Instant::now() + LONG;
    let mut count = 0;
    while count < 200 {
        assert!(Instant::now() < end);
        for records in consumer
            .poll_records(Duration::from_millis(100))
            .await
            .unwrap()
        {
            let partition = records.topic_partition.partition;
            for record in records {
                let key = record.unwrap().key.unwrap();
                assert_eq!(partition_for_key(&key, 7), partition);
                count += 1;
            }
        }
    }
    cluster.broker.shutdown().await;
}
