//! The tests of the client, and the list of them: what runs them says against which broker.

pub(crate) mod admin;
pub(crate) mod groups;
pub(crate) mod modern;
pub(crate) mod records;
pub(crate) mod support;
pub(crate) mod transactions;

/// Hands the list to the macro `$make`: the tests that any broker passes, and those that start
/// and stop a broker of our own.
macro_rules! client_tests {
    ($make:ident) => {
        $make! {
            any: [
                groups::a_member_of_an_old_generation_comes_back_as_itself,
                records::what_is_sent_is_read,
                records::every_codec_and_acknowledgement,
                records::threads_without_a_runtime_of_their_own,
                records::consumers_of_one_client_do_not_wait_for_each_other,
                records::offsets_of_times_and_ends,
                records::deleted_records_are_skipped_or_told,
                records::batches_too_large_for_the_topic_are_split,
                records::a_consumer_ends_its_fetch_sessions,
                records::epochs_end_where_the_log_says,
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
                groups::sticky_members_keep_what_they_had,
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
                transactions::a_batch_of_a_transaction_is_split,
            ]
            own: [
                records::a_producer_survives_a_restart_of_the_broker,
                records::a_broker_that_is_gone_for_good_is_told_at_once,
                groups::a_group_survives_a_restart_of_the_broker,
                groups::a_static_member_is_back_at_once_after_a_restart_of_everything,
            ]
        }
    };
}
