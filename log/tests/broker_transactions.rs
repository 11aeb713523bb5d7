//! Transactions of librdkafka, as a user's program would use them: commit, abort, fencing, consume
//! and transform and produce, and what readers see of it.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Client, ClientConfig as ClientOptions, NewTopic};

const LONG: Duration = Duration::from_secs(30);

struct Cluster {
    _folder: tempfile::TempDir,
    broker: Broker,
    config: ClientConfig,
}

async fn cluster(topics: &[(&str, i32)]) -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new(folder.path()).set(
        "transaction.abort.timed.out.transaction.cleanup.interval.ms",
        "100",
    );
    let broker = Broker::start(config).await.unwrap();
    let address = broker.listen("127.0.0.1:0").await.unwrap();
    let admin = Client::with_transport(broker.transport(), ClientOptions::default()).admin();
    for (topic, partitions) in topics {
        let new = NewTopic::new(*topic).partitions(*partitions);
        admin.create_topics(vec![new]).await.unwrap();
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address.to_string());
    Cluster {
        _folder: folder,
        broker,
        config,
    }
}

/// Runs what blocks beside the broker.
async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn producer(config: &ClientConfig, id: &str) -> BaseProducer {
    let mut config = config.clone();
    config.set("transactional.id", id);
    config.set("transaction.timeout.ms", "60000");
    config.set("linger.ms", "0");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(LONG).unwrap();
    producer
}

fn send(producer: &BaseProducer, topic: &str, values: impl IntoIterator<Item = i32>) {
    for value in values {
        let (key, payload) = (value.to_string(), format!("v{value}"));
        let record = BaseRecord::to(topic).key(&key).payload(&payload);
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
}

/// Everything that is in a topic up to its end, for this isolation level: the values, sorted.
fn read(config: &ClientConfig, topic: &str, partitions: i32, isolation: &str) -> Vec<String> {
    let mut config = config.clone();
    config.set("group.id", "readers");
    config.set("enable.auto.commit", "false");
    config.set("isolation.level", isolation);
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut from = TopicPartitionList::new();
    for partition in 0..partitions {
        from.add_partition_offset(topic, partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&from).unwrap();
    let (mut values, mut ended) = (Vec::new(), 0);
    while ended < partitions {
        match consumer.poll(LONG).expect("the topic has an end") {
            Ok(message) => {
                let value = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
                values.push(value);
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(e) => panic!("{e}"),
        }
    }
    values.sort();
    values
}

/// The next message; a poll also ends without one when the group is rebalanced.
fn next(consumer: &BaseConsumer) -> BorrowedMessage<'_> {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            return message.unwrap();
        }
        assert!(Instant::now() < deadline, "nothing came");
    }
}

fn values(range: std::ops::Range<i32>) -> Vec<String> {
    let mut values: Vec<_> = range.map(|n| format!("v{n}")).collect();
    values.sort();
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn committed_records_are_read_and_aborted_ones_are_not() {
    let cluster = cluster(&[("t", 3)]).await;
    let config = cluster.config.clone();
    run(move || {
        let producer = producer(&config, "tx");
        producer.begin_transaction().unwrap();
        send(&producer, "t", 0..20);
        producer.commit_transaction(LONG).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, "t", 20..40);
        producer.flush(LONG).unwrap();
        producer.abort_transaction(LONG).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, "t", 40..60);
        producer.commit_transaction(LONG).unwrap();
        let mut committed = values(0..20);
        committed.extend(values(40..60));
        committed.sort();
        assert_eq!(read(&config, "t", 3, "read_committed"), committed);
        assert_eq!(read(&config, "t", 3, "read_uncommitted"), values(0..60));
        // An open transaction holds committed readers back, and nobody else.
        producer.begin_transaction().unwrap();
        send(&producer, "t", 60..80);
        producer.flush(LONG).unwrap();
        assert_eq!(read(&config, "t", 3, "read_committed"), committed);
        assert_eq!(read(&config, "t", 3, "read_uncommitted"), values(0..80));
        producer.commit_transaction(LONG).unwrap();
    })
    .await;
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_producer_fences_the_old_one_and_aborts_its_transaction() {
    let cluster = cluster(&[("t", 1)]).await;
    let config = cluster.config.clone();
    run(move || {
        let zombie = producer(&config, "tx");
        zombie.begin_transaction().unwrap();
        send(&zombie, "t", 0..10);
        zombie.flush(LONG).unwrap();
        let producer = producer(&config, "tx");
        // It is aborted: readers are not held back.
        assert_eq!(read(&config, "t", 1, "read_uncommitted"), values(0..10));
        producer.begin_transaction().unwrap();
        send(&producer, "t", 10..20);
        producer.commit_transaction(LONG).unwrap();
        let error = zombie.commit_transaction(LONG).unwrap_err();
        let KafkaError::Transaction(error) = error else {
            panic!("{error}")
        };
        assert!(error.is_fatal(), "{error}");
        assert_eq!(error.code(), RDKafkaErrorCode::Fenced);
        assert_eq!(read(&config, "t", 1, "read_committed"), values(10..20));
    })
    .await;
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let cluster = cluster(&[("t", 1)]).await;
    let config = cluster.config.clone();
    run(move || {
        let mut slow = config.clone();
        slow.set("transactional.id", "slow");
        slow.set("transaction.timeout.ms", "1000");
        // The only batch is sent at once.
        slow.set("linger.ms", "0");
        slow.set("message.timeout.ms", "1000");
        let slow: BaseProducer = slow.create().unwrap();
        slow.init_transactions(LONG).unwrap();
        slow.begin_transaction().unwrap();
        send(&slow, "t", 0..5);
        slow.flush(LONG).unwrap();
        let other = producer(&config, "other");
        other.begin_transaction().unwrap();
        send(&other, "t", 5..10);
        other.commit_transaction(LONG).unwrap();
        // Behind the slow one's records, so readable only when that is over.
        let mut reader = config.clone();
        reader.set("group.id", "waits");
        reader.set("isolation.level", "read_committed");
        let reader: BaseConsumer = reader.create().unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset("t", 0, Offset::Beginning)
            .unwrap();
        reader.assign(&from).unwrap();
        let first = next(&reader);
        assert_eq!(first.payload(), Some(&b"v5"[..]));
        assert!(slow.commit_transaction(LONG).is_err());
    })
    .await;
    cluster.broker.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_and_what_is_written_commit_together() {
    let cluster = cluster(&[("in", 2), ("out", 2)]).await;
    let config = cluster.config.clone();
    run(move || {
        let source = producer(&config, "source");
        source.begin_transaction().unwrap();
        send(&source, "in", 0..40);
        source.commit_transaction(LONG).unwrap();
        // Every second attempt is aborted, and read again.
        let producer = producer(&config, "transform");
        let (mut done, mut attempt) = (0, 0);
        while done < 40 {
            let mut group = config.clone();
            group.set("group.id", "transform");
            group.set("enable.auto.commit", "false");
            group.set("auto.offset.reset", "earliest");
            group.set("isolation.level", "read_committed");
            let consumer: BaseConsumer = group.create().unwrap();
            consumer.subscribe(&["in"]).unwrap();
            loop {
                let abort = attempt % 2 == 0;
                attempt += 1;
                producer.begin_transaction().unwrap();
                let mut offsets = TopicPartitionList::new();
                let mut count = 0;
                while count < 7 && done + count < 40 {
                    let message = next(&consumer);
                    let record = BaseRecord::<(), [u8]>::to("out")
                        .partition(message.partition())
                        .payload(message.payload().unwrap());
                    producer.send(record).map_err(|(e, _)| e).unwrap();
                    let at = Offset::Offset(message.offset() + 1);
                    match offsets.find_partition("in", message.partition()) {
                        Some(mut known) => known.set_offset(at).unwrap(),
                        None => offsets
                            .add_partition_offset("in", message.partition(), at)
                            .unwrap(),
                    }
                    count += 1;
                }
                let metadata = consumer.group_metadata().unwrap();
                producer
                    .send_offsets_to_transaction(&offsets, &metadata, LONG)
                    .unwrap();
                if abort {
                    producer.flush(LONG).unwrap();
                    producer.abort_transaction(LONG).unwrap();
                    break;
                }
                producer.commit_transaction(LONG).unwrap();
                done += count;
                if done == 40 {
                    break;
                }
            }
        }
        assert!(attempt > 6);
        assert_eq!(read(&config, "out", 2, "read_committed"), values(0..40));
    })
    .await;
    cluster.broker.shutdown().await;
}
