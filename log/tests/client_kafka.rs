//! The client against Apache Kafka: the same tests as against our own broker, where Java
//! and the jars are at hand.
//!
//! One server serves all tests; they take turns, and each begins without topics and groups.

#[path = "client_suite/admin.rs"]
mod admin;
#[allow(dead_code, reason = "what restarts the broker is for our own")]
#[path = "client_suite/groups.rs"]
mod groups;
mod kafka_support;
#[path = "client_suite/modern.rs"]
mod modern;
#[allow(dead_code, reason = "what restarts the broker is for our own")]
#[path = "client_suite/records.rs"]
mod records;
#[allow(dead_code, reason = "what restarts the broker is for our own")]
#[path = "client_suite/support.rs"]
mod support;
#[path = "client_suite/transactions.rs"]
mod transactions;

/// Makes a test of each function.
macro_rules! suite {
    ($($module:ident :: $test:ident,)*) => {
        mod apache_kafka {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs Apache Kafka: `make interop` runs it"]
            async fn $test() {
                if let Some(turn) = super::turn().await {
                    super::$module::$test(&turn.cluster).await;
                    turn.end().await;
                }
            })*
        }
    };
}

suite! {
    records::what_is_sent_is_read,
    records::every_codec_and_acknowledgement,
    records::threads_without_a_runtime_of_their_own,
    records::consumers_of_one_client_do_not_wait_for_each_other,
    records::offsets_of_times_and_ends,
    records::deleted_records_are_skipped_or_told,
    groups::members_share_partitions_and_go_on_where_others_stopped,
    groups::cooperative_members_keep_what_they_keep,
    groups::a_static_member_takes_its_partitions_back,
    groups::a_second_owner_of_an_instance_id_fences_the_first,
    groups::an_assignor_of_ones_own_has_its_say,
    groups::a_subscribed_topic_may_come_later_and_grow,
    groups::members_that_come_and_go_read_each_record_once,
    groups::positions_are_committed_automatically_and_by_hand,
    groups::a_dropped_consumer_leaves_its_group,
    groups::who_stays_away_loses_its_partitions_and_may_come_back,
    modern::members_move_one_by_one,
    modern::a_pattern_takes_in_topics_that_come_later,
    modern::a_static_member_comes_back_to_what_it_had,
    modern::the_coordinator_assigns_as_the_member_asks,
    modern::who_stays_away_loses_everything_and_comes_back,
    modern::a_classic_member_may_subscribe_to_a_pattern,
    admin::topics_live_and_die,
    admin::configurations_are_told_and_changed,
    admin::groups_are_listed_described_and_deleted,
    admin::groups_of_both_protocols_have_one_view,
    admin::topics_are_described_page_by_page_and_deleted_by_id,
    admin::log_directories_are_described,
    admin::the_cluster_its_quorum_and_features_are_described,
    admin::quotas_are_told_and_changed,
    admin::leaders_and_reassignments_are_asked_for,
    admin::transactions_are_listed_described_and_fenced,
    admin::a_hanging_transaction_is_aborted,
    transactions::committed_is_seen_and_aborted_is_not,
    transactions::an_open_transaction_holds_committed_readers_back,
    transactions::a_second_producer_fences_the_first,
    transactions::calls_that_do_not_fit_are_refused,
    transactions::a_failed_record_makes_the_transaction_abort,
    transactions::many_batches_in_many_transactions,
    transactions::offsets_commit_with_the_transaction,
    transactions::a_copy_is_exact_whatever_crashes,
}

use std::sync::OnceLock;

use kafka_support::Kafka;
use support::Cluster;
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
