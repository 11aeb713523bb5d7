//! The same requests to Apache Kafka and to Thalweg, over every version: the answers, the error codes and the
//! records must compare equal, apart from what `kafka_differences.md` explains.
//!
//! Skipped, with its reason, where there is no Java or no way to Kafka's jars.

#[path = "differential/admin.rs"]
mod admin;
#[path = "differential/differences.rs"]
mod differences;
#[path = "differential/groups.rs"]
mod groups;
mod kafka_support;
#[path = "differential/normal.rs"]
mod normal;
#[path = "differential/pair.rs"]
mod pair;
#[path = "differential/records.rs"]
mod records;
#[path = "differential/seeded/mod.rs"]
mod seeded;
#[path = "differential/transactions.rs"]
mod transactions;

use kafka_support::Kafka;
use pair::Pair;
use thalweg_log::broker::{Broker, BrokerConfig};

/// What both brokers are told, so that their defaults do not differ.
const SETTINGS: &[(&str, &str)] = &[
    ("offsets.topic.num.partitions", "2"),
    ("transaction.state.log.num.partitions", "2"),
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("auto.create.topics.enable", "false"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: `make interop` runs it"]
async fn both_brokers_answer_alike() {
    let kafka = match Kafka::start(SETTINGS).await {
        Ok(kafka) => kafka,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let config = SETTINGS
        .iter()
        .fold(BrokerConfig::new(dir.path()), |c, (k, v)| c.set(*k, *v));
    let broker = Broker::start(config).await.unwrap();
    let address = broker.listen("127.0.0.1:0").await.unwrap();
    let mut pair = Pair::new(kafka.address(), &address.to_string()).await;
    admin::least_isr(&mut pair).await;
    admin::cluster(&mut pair).await;
    records::topics(&mut pair).await;
    records::produce_and_fetch(&mut pair).await;
    records::refused_batches(&mut pair).await;
    records::idempotence(&mut pair).await;
    records::sessions(&mut pair).await;
    records::deletion(&mut pair).await;
    admin::configs(&mut pair).await;
    groups::coordinators(&mut pair).await;
    groups::classic(&mut pair).await;
    groups::consumer(&mut pair).await;
    transactions::version_1(&mut pair).await;
    transactions::version_2(&mut pair).await;
    broker.shutdown().await;

    for (api, count) in &pair.compared {
        println!("{api}: {count} requests");
    }
    let unused = pair.differences.unused();
    for failure in &pair.failures {
        println!("{failure}\n");
    }
    assert!(
        pair.failures.is_empty(),
        "{} answers differ and are not explained in kafka_differences.md",
        pair.failures.len()
    );
    assert!(
        unused.is_empty(),
        "explained in kafka_differences.md, but no difference any more: {unused:#?}"
    );
}

/// What only the drawn sequences need: nothing may happen by the clock while a round runs.
const TIMELESS: &[(&str, &str)] = &[
    ("log.retention.ms", "-1"),
    ("log.retention.check.interval.ms", "86400000"),
    ("log.cleaner.enable", "false"),
    ("group.consumer.assignment.interval.ms", "0"),
];

/// The seeds of an ordinary run.
const SEEDS: std::ops::Range<u64> = 1..13;

/// `THALWEG_SEED` runs the round of one seed; `THALWEG_ROUNDS` that many from there on, or from 1000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: `make interop` runs it"]
async fn both_brokers_answer_alike_to_what_is_drawn() {
    let settings: Vec<(&str, &str)> = SETTINGS.iter().chain(TIMELESS).copied().collect();
    let mut theirs = settings.clone();
    theirs.push(("log.initial.task.delay.ms", "86400000"));
    let kafka = match Kafka::start(&theirs).await {
        Ok(kafka) => kafka,
        Err(reason) => {
            println!("skipped: {reason}");
            return;
        }
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match (number("THALWEG_SEED"), number("THALWEG_ROUNDS")) {
        (None, None) => SEEDS,
        (seed, rounds) => {
            let from = seed.unwrap_or(1000);
            from..from + rounds.unwrap_or(1)
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let config = settings
        .iter()
        .fold(BrokerConfig::new(dir.path()), |c, (k, v)| c.set(*k, *v))
        .set("group.min.session.timeout.ms", "100");
    let broker = Broker::start(config).await.unwrap();
    let address = broker.listen("127.0.0.1:0").await.unwrap();
    let mut pair = Pair::new(kafka.address(), &address.to_string()).await;
    admin::least_isr(&mut pair).await;
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        if let Err(told) = seeded::round(&mut pair, seed).await {
            println!("{told}");
            failed.push(seed);
        }
    }
    broker.shutdown().await;
    println!("rounds of the seeds {seeds:?}: {:?}", pair.compared);
    assert!(
        failed.is_empty(),
        "the rounds of these seeds differ: {failed:?}"
    );
}
