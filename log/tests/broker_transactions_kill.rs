//! kill -9 in the middle of transactions: what a commit was acknowledged for is there, whole; what
//! was not is there whole or not at all; and nothing hangs.
//!
//! The broker process is this test program itself, told to be one by an environment variable.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use thalweg_log::broker::{Broker, BrokerConfig};

const FOLDER: &str = "THALWEG_TEST_BROKER_FOLDER";
const ADDRESS: &str = "THALWEG_TEST_BROKER_ADDRESS";
const READY: &str = "broker is ready at ";
const LONG: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 3;

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
        let config = BrokerConfig::new(folder).set("num.partitions", PARTITIONS.to_string());
        let broker = Broker::start(config).await.unwrap();
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
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn producer(config: &ClientConfig) -> BaseProducer {
    let mut config = config.clone();
    config.set("transactional.id", "killed");
    config.set("linger.ms", "0");
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(LONG).unwrap();
    producer
}

/// One record for each partition.
fn write(producer: &BaseProducer, transaction: usize) {
    let payload = transaction.to_string();
    for partition in 0..PARTITIONS {
        let record = BaseRecord::<(), str>::to("t")
            .partition(partition)
            .payload(&payload);
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
}

/// Transaction to how many of its records a reader of committed records sees.
fn read(config: &ClientConfig) -> BTreeMap<usize, i32> {
    let mut config = config.clone();
    config.set("group.id", "readers");
    config.set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut from = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        from.add_partition_offset("t", partition, Offset::Beginning)
            .unwrap();
    }
    consumer.assign(&from).unwrap();
    let (mut seen, mut ended) = (BTreeMap::new(), 0);
    while ended < PARTITIONS {
        match consumer.poll(LONG).expect("the topic has an end") {
            Ok(message) => {
                let value = std::str::from_utf8(message.payload().unwrap()).unwrap();
                *seen.entry(value.parse().unwrap()).or_insert(0) += 1;
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(e) => panic!("{e}"),
        }
    }
    seen
}

#[test]
fn transactions_survive_kill_9_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), "127.0.0.1:0");
    let address = process.address.clone();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &address);
    config.set("reconnect.backoff.max.ms", "200");
    // What became of each transaction, as far as its producer knows.
    let mut committed = Vec::new();
    let mut transaction = 0;
    for round in 0..5u64 {
        let producer = producer(&config);
        for _ in 0..3 {
            producer.begin_transaction().unwrap();
            write(&producer, transaction);
            producer.commit_transaction(LONG).unwrap();
            committed.push(transaction);
            transaction += 1;
        }
        // The kill comes some time into this one: while it is written, or while it commits.
        producer.begin_transaction().unwrap();
        write(&producer, transaction);
        let flushed = round % 2 == 0 && producer.flush(LONG).is_ok();
        let id = process.child.id();
        let killer = std::thread::spawn(move || {
            // Some moments later each time.
            (0..round * 500).for_each(|_| std::thread::yield_now());
            Command::new("kill")
                .args(["-9", &id.to_string()])
                .status()
                .unwrap()
        });
        if !flushed
            && producer
                .commit_transaction(Duration::from_millis(500))
                .is_ok()
        {
            committed.push(transaction);
        }
        transaction += 1;
        assert!(killer.join().unwrap().success());
        drop(producer);
        drop(process);
        process = Process::start(folder.path(), &address);
    }
    // The next producer ends what was open, and then there is nothing that holds readers back.
    let last = producer(&config);
    last.begin_transaction().unwrap();
    write(&last, transaction);
    last.commit_transaction(LONG).unwrap();
    committed.push(transaction);
    let seen = read(&config);
    for (transaction, records) in &seen {
        assert_eq!(*records, PARTITIONS, "transaction {transaction} is torn");
    }
    for transaction in committed {
        assert!(
            seen.contains_key(&transaction),
            "transaction {transaction} is lost"
        );
    }
    assert!(!seen.contains_key(&3), "never committed");
}
