//! The coordinators of groups and of transactions, and their topics.

use super::{BrokerKey, keys};
use crate::storage::Valid::{Any, AtLeast, Between, OneOf, SomeOf};

pub(super) static KEYS: &[BrokerKey] = keys! { false:
    "group.consumer.assignment.interval.ms" Int Some("1000"), AtLeast(0), ClusterWide,
        "The least time between two assignments of a group of the consumer protocol. A group may set its own: consumer.assignment.interval.ms.";
    "group.consumer.assignors" List Some("uniform,range"), SomeOf(&["uniform", "range"]), ReadOnly,
        "What a group of the consumer protocol may have its partitions assigned by; the first is taken where members name none.";
    "group.consumer.heartbeat.interval.ms" Int Some("5000"), AtLeast(1), ReadOnly,
        "How often members of the consumer protocol are told to send heartbeats. A group may set its own: consumer.heartbeat.interval.ms.";
    "group.consumer.max.assignment.interval.ms" Int Some("15000"), AtLeast(0), ReadOnly,
        "The largest consumer.assignment.interval.ms that a group may set.";
    "group.consumer.max.heartbeat.interval.ms" Int Some("15000"), AtLeast(1), ReadOnly,
        "The largest consumer.heartbeat.interval.ms that a group may set.";
    "group.consumer.max.session.timeout.ms" Int Some("60000"), AtLeast(1), ReadOnly,
        "The largest consumer.session.timeout.ms that a group may set.";
    "group.consumer.max.size" Int Some("2147483647"), AtLeast(1), ReadOnly,
        "The most members that a group of the consumer protocol may have.";
    "group.consumer.migration.policy" String Some("bidirectional"), OneOf(&["disabled", "downgrade", "upgrade", "bidirectional", "DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), ReadOnly,
        "Whether a group with members may go over from the classic to the consumer protocol (upgrade), back (downgrade), both (bidirectional) or neither (disabled). One without members always may.";
    "group.consumer.min.assignment.interval.ms" Int Some("0"), AtLeast(0), ReadOnly,
        "The smallest consumer.assignment.interval.ms that a group may set.";
    "group.consumer.min.heartbeat.interval.ms" Int Some("5000"), AtLeast(1), ReadOnly,
        "The smallest consumer.heartbeat.interval.ms that a group may set.";
    "group.consumer.min.session.timeout.ms" Int Some("45000"), AtLeast(1), ReadOnly,
        "The smallest consumer.session.timeout.ms that a group may set.";
    "group.consumer.regex.refresh.interval.ms" Int Some("600000"), AtLeast(10_000), ReadOnly,
        "How often subscriptions by pattern are looked through for topics that were made since.";
    "group.consumer.session.timeout.ms" Int Some("45000"), AtLeast(1), ReadOnly,
        "A member of the consumer protocol that sends no heartbeat for longer is out of its group. A group may set its own: consumer.session.timeout.ms.";
    "group.coordinator.rebalance.protocols" List Some("classic,consumer"), SomeOf(&["classic", "consumer", "share", "streams"]), ReadOnly,
        "Which protocols members of groups may speak. Kafka's default has streams too, which is not there yet.";
    "group.initial.rebalance.delay.ms" Int Some("0"), AtLeast(0), ReadOnly,
        "How long the first rebalance of an empty group waits for more members to join. Kafka's default is 3000; here a job starts at once.";
    "group.max.session.timeout.ms" Int Some("1800000"), AtLeast(1), ReadOnly,
        "The longest session timeout that a member of the classic protocol may ask for.";
    "group.max.size" Int Some("2147483647"), AtLeast(1), ReadOnly,
        "The most members that a group of the classic protocol may have.";
    "group.min.session.timeout.ms" Int Some("6000"), AtLeast(1), ReadOnly,
        "The shortest session timeout that a member of the classic protocol may ask for.";
    "offset.metadata.max.bytes" Int Some("4096"), AtLeast(0), ReadOnly,
        "The longest text that may be committed beside an offset.";
    "offsets.retention.check.interval.ms" Long Some("600000"), AtLeast(1), ReadOnly,
        "How often committed offsets are looked at for expiry.";
    "offsets.retention.minutes" Int Some("10080"), AtLeast(1), ReadOnly,
        "Committed offsets are forgotten so long after their group lost its last member, or, for a consumer without a group's assignment, after the last commit.";
    "offsets.topic.num.partitions" Int Some("8"), Between(1, 1000), ReadOnly,
        "Partitions of __consumer_offsets, when it is made. Kafka's default is 50; a single node needs few.";
    "offsets.topic.replication.factor" Short Some("1"), AtLeast(1), ReadOnly,
        "Replicas of __consumer_offsets, when it is made. Kafka's default is 3.";
    "offsets.topic.segment.bytes" Int Some("104857600"), AtLeast(1024), ReadOnly,
        "Segment size of __consumer_offsets, when it is made.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms" Int Some("10000"), AtLeast(1), ReadOnly,
        "How often it is looked for transactions that have been open for longer than their timeout, which are aborted.";
    "transaction.max.timeout.ms" Int Some("900000"), AtLeast(1), ReadOnly,
        "The longest transaction timeout that a producer may ask for.";
    "transaction.partition.verification.enable" Boolean Some("true"), Any, ClusterWide,
        "Whether the partition asks the coordinator, before the first record of a transaction is written, if the partition is part of that transaction.";
    "transaction.remove.expired.transaction.cleanup.interval.ms" Int Some("3600000"), AtLeast(1), ReadOnly,
        "How often it is looked for transactional ids that nobody used for transactional.id.expiration.ms.";
    "transaction.state.log.min.isr" Int Some("1"), AtLeast(1), ReadOnly,
        "min.insync.replicas of __transaction_state, when it is made. Kafka's default is 2.";
    "transaction.state.log.num.partitions" Int Some("8"), Between(1, 1000), ReadOnly,
        "Partitions of __transaction_state, when it is made. Kafka's default is 50; a single node needs few.";
    "transaction.state.log.replication.factor" Short Some("1"), AtLeast(1), ReadOnly,
        "Replicas of __transaction_state, when it is made. Kafka's default is 3.";
    "transaction.state.log.segment.bytes" Int Some("104857600"), AtLeast(1024), ReadOnly,
        "Segment size of __transaction_state, when it is made.";
    "transactional.id.expiration.ms" Int Some("604800000"), AtLeast(1), ReadOnly,
        "A transactional id that nobody used for longer is forgotten.";
};
