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
#[path = "differential/transactions.rs"]
mod transactions;

use differences::Differences;
use kafka_support::Kafka;
use pair::{Pair, Side};
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
    let mut pair = Pair {
        kafka: Side::connect(kafka.address()).await,
        ours: Side::connect(&address.to_string()).await,
        differences: Differences::read(),
        failures: Vec::new(),
        compared: Default::default(),
    };
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
