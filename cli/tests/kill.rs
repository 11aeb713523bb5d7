//! `kill -9`: a real server process, a foreign producer with `acks=all`, a view that runs,
//! and a process that dies several times at moments a seed chooses.
//!
//! What was acknowledged is in the log once and in order. Every view equals the batch result,
//! counts and all: one that groups, and one on top of it that must take rows back.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use support::{Server, postgres, rows};

const RECORDS: usize = 20_000;
const PARTITIONS: i32 = 3;
const KEYS: usize = 17;
const KILLS: usize = 4;

/// Where one acknowledged record is said to be.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    sequence: usize,
    partition: i32,
    offset: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_survive_kill_9_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    {
        let client = postgres(&server.pg()).await;
        client
            .batch_execute(
                "CREATE SOURCE events (sequence BIGINT, k TEXT)
                   WITH (connector = 'kafka', topic = 'events', partitions = '3')
                   FORMAT PLAIN ENCODE JSON;
                 CREATE MATERIALIZED VIEW totals AS
                   SELECT k, MIN(sequence) AS lowest, MAX(sequence) AS highest,
                          COUNT(DISTINCT sequence) AS different, COUNT(*) AS n,
                          SUM(sequence) AS total
                   FROM events GROUP BY k;
                 CREATE MATERIALIZED VIEW sizes AS
                   SELECT n, COUNT(*) AS keys, SUM(total) AS total FROM totals GROUP BY n;",
            )
            .await
            .unwrap();
    }

    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", server.bootstrap())
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("batch.num.messages", "50")
        .set("message.timeout.ms", "300000")
        .set("reconnect.backoff.max.ms", "200")
        .create()
        .unwrap();
    let delivered = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn(send_all(producer, delivered.clone()));

    // The seed chooses how many deliveries each life sees.
    let mut seed: u64 = 20_191_124;
    for kill in 1..=KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let share = RECORDS / (KILLS + 1);
        let until = kill * share - (seed >> 33) as usize % (share / 2);
        while delivered.load(Ordering::Relaxed) < until {
            tokio::task::yield_now().await;
        }
        server.kill();
        server.restart();
    }
    let acknowledged = sending.await.unwrap();
    assert_eq!(acknowledged.len(), RECORDS);

    let log = tokio::task::spawn_blocking({
        let bootstrap = server.bootstrap();
        move || read_all(&bootstrap)
    })
    .await
    .unwrap();
    for record in &acknowledged {
        let found = log.get(&(record.partition, record.offset)).copied();
        assert_eq!(found, Some(record.sequence), "{record:?}");
    }
    let sequences: Vec<usize> = log.values().copied().collect();
    let once: BTreeSet<usize> = sequences.iter().copied().collect();
    assert_eq!(sequences.len(), once.len(), "a record is there twice");
    assert_eq!(once, (0..RECORDS).collect(), "and every record is there");
    for partition in 0..PARTITIONS {
        let in_order: Vec<usize> = log
            .range((partition, 0)..(partition + 1, 0))
            .map(|(_, sequence)| *sequence)
            .collect();
        assert!(
            in_order.is_sorted(),
            "partition {partition} is out of order"
        );
    }

    let client = postgres(&server.pg()).await;
    client.batch_execute("FLUSH").await.unwrap();
    let mut expected: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut sizes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for key in 0..KEYS {
        let members: Vec<usize> = (key..RECORDS).step_by(KEYS).collect();
        let (count, sum) = (members.len(), members.iter().sum::<usize>());
        let row = vec![members[0], members[count - 1], count, count, sum];
        expected.insert(format!("k{key}"), row);
        let size = sizes.entry(count.to_string()).or_insert_with(|| vec![0, 0]);
        size[0] += 1;
        size[1] += sum;
    }
    let columns = "k, lowest, highest, different, n, total";
    assert_eq!(
        numbers(&client, &format!("SELECT {columns} FROM totals")).await,
        expected
    );
    assert_eq!(
        numbers(&client, "SELECT n, keys, total FROM sizes").await,
        sizes
    );
    drop(client);
    assert!(server.terminate().success());
}

/// The rows of a query: the first column to the numbers in the others.
async fn numbers(client: &tokio_postgres::Client, sql: &str) -> BTreeMap<String, Vec<usize>> {
    let rows = rows(client, sql).await.into_iter();
    rows.map(|row| {
        let mut row = row.into_iter().map(Option::unwrap);
        let key = row.next().unwrap();
        (key, row.map(|number| number.parse().unwrap()).collect())
    })
    .collect()
}

/// Sends every record once and waits for each delivery.
async fn send_all(producer: FutureProducer, delivered: Arc<AtomicUsize>) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::with_capacity(RECORDS);
    let mut waiting = std::collections::VecDeque::new();
    for sequence in 0..RECORDS {
        if waiting.len() >= 500 {
            take(&mut waiting, &mut acknowledged, &delivered).await;
        }
        let key = format!("k{}", sequence % KEYS);
        let value = format!(r#"{{"sequence":{sequence},"k":"{key}"}}"#);
        let record = FutureRecord::to("events").key(&key).payload(&value);
        let delivery = producer
            .send_result(record)
            .unwrap_or_else(|(error, _)| panic!("record {sequence}: {error}"));
        waiting.push_back((sequence, delivery));
    }
    while !waiting.is_empty() {
        take(&mut waiting, &mut acknowledged, &delivered).await;
    }
    acknowledged
}

async fn take(
    waiting: &mut std::collections::VecDeque<(usize, rdkafka::producer::DeliveryFuture)>,
    acknowledged: &mut Vec<Acknowledged>,
    delivered: &AtomicUsize,
) {
    let Some((sequence, delivery)) = waiting.pop_front() else {
        return;
    };
    let delivery = delivery
        .await
        .expect("the producer lives")
        .unwrap_or_else(|(error, _)| panic!("record {sequence} was not delivered: {error}"));
    acknowledged.push(Acknowledged {
        sequence,
        partition: delivery.partition,
        offset: delivery.offset,
    });
    delivered.fetch_add(1, Ordering::Relaxed);
}

/// Every record of the topic: partition and offset to sequence.
fn read_all(bootstrap: &str) -> BTreeMap<(i32, i64), usize> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in 0..PARTITIONS {
        let (low, high) = consumer
            .fetch_watermarks("events", partition, Duration::from_secs(30))
            .unwrap();
        left += high - low;
        assignment
            .add_partition_offset("events", partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut log = BTreeMap::new();
    while left > 0 {
        let message = consumer
            .poll(Duration::from_secs(60))
            .expect("the log has more records")
            .unwrap();
        let value: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        let sequence = value["sequence"].as_u64().unwrap() as usize;
        log.insert((message.partition(), message.offset()), sequence);
        left -= 1;
    }
    log
}
