//! kill -9: a broker process is killed at any moment while producers write to it. What it
//! acknowledged is there when it starts again, once and in order; a static member goes on without
//! a rebalance.
//!
//! The broker process is this test program itself, told to be one by an environment variable.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{
    AutoOffsetReset, Client, ClientConfig, ConsumerConfig, NewTopic, ProducerConfig,
    ProducerRecord, TopicPartition,
};

const FOLDER: &str = "THALWEG_TEST_BROKER_FOLDER";
const ADDRESS: &str = "THALWEG_TEST_BROKER_ADDRESS";
const READY: &str = "broker is ready at ";

/// Not a test of its own: the process that is killed.
#[test]
#[ignore = "started by the test that kills it"]
fn broker_process() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let address = std::env::var(ADDRESS).unwrap_or_else(|_| "127.0.0.1:0".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let broker = Broker::start(BrokerConfig::new(folder)).await.unwrap();
        let bound = broker.listen(&address).await.unwrap();
        println!("\n{READY}{bound}");
        std::future::pending::<()>().await;
    });
}

struct Process {
    child: Child,
    address: String,
}

impl Process {
    fn start(folder: &Path, address: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "broker_process", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .env(ADDRESS, address)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the broker process ended").unwrap();
            if let Some(address) = line.strip_prefix(READY) {
                break address.to_owned();
            }
        };
        // What it prints later is of no interest, but must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(9);
    let mut process = Process::start(folder.path(), "127.0.0.1:0");
    let address = process.address.clone();
    let client = Client::connect(&address, ClientConfig::default())
        .await
        .unwrap();
    client
        .admin()
        .create_topics(vec![NewTopic::new("t").partitions(2)])
        .await
        .unwrap();
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let mut next = 0u32;
    for _ in 0..4 {
        // Some records are acknowledged before the kill, some are under way.
        let mut under_way = Vec::new();
        for _ in 0..rng.random_range(50..300) {
            let record = ProducerRecord::new("t")
                .partition(0)
                .value(next.to_string());
            under_way.push(producer.send(record).await.unwrap());
            next += 1;
        }
        let acknowledged = under_way.len() / 3;
        let later = under_way.split_off(acknowledged);
        for delivery in under_way {
            delivery.await.unwrap();
        }
        process.kill();
        process = Process::start(folder.path(), &address);
        // The producer tries again by itself, and the broker knows what it has already.
        for delivery in later {
            delivery.await.unwrap();
        }
    }
    producer.close().await.unwrap();

    let mut consumer = client
        .consumer(ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..ConsumerConfig::default()
        })
        .unwrap();
    consumer.assign(vec![TopicPartition::new("t", 0)]).unwrap();
    let mut found = Vec::new();
    while found.len() < next as usize {
        for records in consumer
            .poll_records(Duration::from_secs(10))
            .await
            .unwrap()
        {
            for record in records {
                let value = record.unwrap().value.unwrap();
                found.push(std::str::from_utf8(&value).unwrap().parse::<u32>().unwrap());
            }
        }
    }
    assert_eq!(found, (0..next).collect::<Vec<_>>(), "once and in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_member_goes_on_at_once_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), "127.0.0.1:0");
    let address = process.address.clone();
    let config = || ConsumerConfig {
        group_id: Some("g".to_owned()),
        group_instance_id: Some("instance-1".to_owned()),
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let first = async |address: &str| {
        let client = Client::connect(address, ClientConfig::default())
            .await
            .unwrap();
        let producer = client.producer(ProducerConfig::default()).unwrap();
        producer
            .send(ProducerRecord::new("t").value("v"))
            .await
            .unwrap()
            .await
            .unwrap();
        producer.close().await.unwrap();
        let mut consumer = client.consumer(config()).unwrap();
        consumer.subscribe(&["t"]).unwrap();
        let started = Instant::now();
        loop {
            let records = consumer
                .poll_records(Duration::from_secs(10))
                .await
                .unwrap();
            if records.into_iter().any(|r| r.into_iter().next().is_some()) {
                let generation = consumer.group_metadata().unwrap().generation_id;
                // As a crash of the client would: nothing is left or committed.
                std::mem::forget(consumer);
                return (started.elapsed(), generation);
            }
        }
    };
    let (_, generation) = first(&address).await;
    process.kill();
    process = Process::start(folder.path(), &address);
    let (took, again) = first(&process.address).await;
    assert_eq!(again, generation, "no rebalance");
    assert!(
        took < Duration::from_secs(5),
        "no session was waited out: {took:?}"
    );
}
