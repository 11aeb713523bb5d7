//! The client against Apache Kafka: the same tests as against our own broker, where Java
//! and the jars are at hand.
//!
//! One server serves all tests; they take turns, and each begins without topics and groups.

mod kafka_support;
#[allow(dead_code, reason = "what restarts the broker is for our own")]
#[macro_use]
#[path = "client_suite/mod.rs"]
mod suite;

/// Makes a test of each function that needs no broker of our own.
macro_rules! tests {
    (any: [$($module:ident :: $test:ident,)*] own: [$($_module:ident :: $_test:ident,)*]) => {
        mod apache_kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs Apache Kafka: `make interop` runs it"]
            async fn $test() {
                if let Some(turn) = super::turn().await {
                    super::suite::$module::$test(&turn.cluster).await;
                    turn.end().await;
                }
            })*
        }
    };
}

client_tests!(tests);

use std::sync::OnceLock;

use kafka_support::Kafka;
use suite::support::Cluster;
use thalweg_log::client::MembersToRemove;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// The one server, or why there is none.
async fn server() -> Option<&'static Kafka> {
    static SERVER: OnceCell<Result<Kafka, String>> = OnceCell::const_new();
    let settings = [
        ("group.consumer.min.heartbeat.interval.ms", "50"),
        ("group.consumer.heartbeat.interval.ms", "100"),
        ("group.consumer.min.session.timeout.ms", "500"),
    ];
    match SERVER.get_or_init(|| Kafka::start(&settings)).await {
        Ok(kafka) => Some(kafka),
        Err(reason) => {
            static TOLD: OnceLock<()> = OnceLock::new();
            TOLD.get_or_init(|| eprintln!("tests against Apache Kafka are skipped: {reason}"));
            None
        }
    }
}

/// A test's time with the server.
struct Turn {
    cluster: Cluster,
    _turn: MutexGuard<'static, ()>,
}

async fn turn() -> Option<Turn> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let kafka = server().await?;
    let turn = TURN.lock().await;
    let cluster = Cluster::foreign(kafka.address());
    clean(&cluster).await;
    Some(Turn {
        cluster,
        _turn: turn,
    })
}

impl Turn {
    async fn end(self) {
        self.cluster.stop().await;
    }
}

/// Deletes what an earlier test has left, which may have failed in the middle.
async fn clean(cluster: &Cluster) {
    let client = cluster.client().await;
    let admin = client.admin();
    let topics = admin.list_topics().await.unwrap();
    let names: Vec<&str> = topics
        .iter()
        .filter(|t| !t.internal)
        .map(|t| &*t.name)
        .collect();
    admin.delete_topics(&names).await.unwrap();
    for group in admin.list_groups().await.unwrap() {
        let name = &group.group_id;
        // Static members, and those of a test that failed, are still there.
        let all = MembersToRemove::All;
        let _ = admin.remove_members_from_consumer_group(name, &all).await;
        let _ = admin.delete_consumer_groups(&[name]).await;
    }
}
