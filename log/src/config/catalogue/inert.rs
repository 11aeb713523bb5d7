//! Keys of Kafka's configuration files that are taken so that the files work, and change nothing.

use super::{BrokerKey, keys};
use crate::storage::Valid::{Any, AtLeast, Between};

pub(super) static KEYS: &[BrokerKey] = keys! { true:
    "add.partitions.to.txn.retry.backoff.max.ms" Int Some("100"), AtLeast(0), ReadOnly,
        "The longest pause between the broker's tries to add a partition to a transaction.";
    "add.partitions.to.txn.retry.backoff.ms" Int Some("20"), AtLeast(1), ReadOnly,
        "The first pause between the broker's tries to add a partition to a transaction.";
    "alter.log.dirs.replication.quota.window.num" Int Some("11"), AtLeast(1), ReadOnly,
        "Samples of the quota on moving logs between folders.";
    "alter.log.dirs.replication.quota.window.size.seconds" Int Some("1"), AtLeast(1), ReadOnly,
        "Seconds of each of those samples.";
    "auto.leader.rebalance.enable" Boolean Some("true"), Any, ReadOnly,
        "Whether partitions go back to their preferred leader by themselves. A single broker leads them all.";
    "background.threads" Int Some("10"), AtLeast(1), ClusterWide,
        "Threads for the broker's background work.";
    "broker.heartbeat.interval.ms" Int Some("2000"), AtLeast(1), ReadOnly,
        "How often a broker tells the controller that it lives. Broker and controller are one process here.";
    "broker.session.timeout.ms" Int Some("9000"), AtLeast(1), ReadOnly,
        "How long a broker counts as living without telling so. Broker and controller are one process here.";
    "controlled.shutdown.enable" Boolean Some("true"), Any, ReadOnly,
        "Whether leadership is handed over before the broker stops. A single broker has nobody to hand it to.";
    "controller.quorum.append.linger.ms" Int Some("25"), AtLeast(0), ReadOnly,
        "How long the controller gathers changes before it writes them.";
    "controller.quorum.auto.join.enable" Boolean Some("false"), Any, ReadOnly,
        "Whether a controller joins the quorum by itself. The quorum of a single node is that node.";
    "controller.quorum.bootstrap.servers" List Some(""), Any, ReadOnly,
        "Where the controllers are found. The quorum of a single node is that node.";
    "controller.quorum.election.backoff.max.ms" Int Some("1000"), AtLeast(0), ReadOnly,
        "The longest pause between elections of the quorum.";
    "controller.quorum.election.timeout.ms" Int Some("1000"), AtLeast(0), ReadOnly,
        "How long a voter waits for a leader before it asks for an election.";
    "controller.quorum.fetch.max.bytes" Int Some("1048576"), AtLeast(1), ReadOnly,
        "The most bytes of the metadata log in one fetch among controllers.";
    "controller.quorum.fetch.snapshot.max.bytes" Int Some("1048576"), AtLeast(1), ReadOnly,
        "The most bytes of a metadata snapshot in one fetch among controllers.";
    "controller.quorum.fetch.timeout.ms" Int Some("2000"), AtLeast(0), ReadOnly,
        "How long the leader of the quorum may go without hearing of the others.";
    "controller.quorum.request.timeout.ms" Int Some("2000"), AtLeast(0), ReadOnly,
        "How long controllers wait for an answer of each other.";
    "controller.quorum.retry.backoff.ms" Int Some("20"), AtLeast(0), ReadOnly,
        "The first pause before controllers ask each other again.";
    "controller.quorum.voters" List Some(""), Any, ReadOnly,
        "The controllers, as ID@HOST:PORT. The quorum of a single node is that node.";
    "controller.socket.timeout.ms" Int Some("30000"), AtLeast(1), ReadOnly,
        "How long the controller waits for an answer of a broker.";
    "cordoned.log.dirs" List Some(""), Any, PerBroker,
        "Folders that get no new partitions.";
    "delete.records.purgatory.purge.interval.requests" Int Some("1"), AtLeast(0), ReadOnly,
        "After how many finished requests those that wait for a deletion of records are tidied.";
    "fetch.purgatory.purge.interval.requests" Int Some("1000"), AtLeast(0), ReadOnly,
        "After how many finished requests those that wait for records are tidied.";
    "follower.fetch.last.tiered.offset.enable" Boolean Some("false"), Any, ClusterWide,
        "Whether an empty follower begins where tiered storage ends.";
    "follower.replication.throttled.rate" Long Some("9223372036854775807"), AtLeast(0), ClusterWide,
        "Bytes a second that throttled followers copy. A single broker copies nothing.";
    "group.coordinator.append.linger.ms" Int Some("-1"), AtLeast(-1), ReadOnly,
        "How long a group coordinator gathers records before it writes them.";
    "group.coordinator.background.threads" Int Some("2"), AtLeast(1), ReadOnly,
        "Threads for the background work of group coordinators.";
    "group.coordinator.cached.buffer.max.bytes" Int Some("1048588"), AtLeast(524_288), ClusterWide,
        "The largest buffer that a group coordinator keeps for reuse.";
    "group.coordinator.threads" Int Some("4"), AtLeast(1), ReadOnly,
        "Threads of the group coordinators.";
    "initial.broker.registration.timeout.ms" Int Some("60000"), AtLeast(1), ReadOnly,
        "How long a broker tries to register with the controller.";
    "kafka.metrics.polling.interval.secs" Int Some("10"), AtLeast(1), ReadOnly,
        "How often Java classes that report metrics are asked.";
    "leader.imbalance.check.interval.seconds" Long Some("300"), AtLeast(1), ReadOnly,
        "How often it is looked whether leaders are the preferred ones. A single broker leads them all.";
    "leader.replication.throttled.rate" Long Some("9223372036854775807"), AtLeast(0), ClusterWide,
        "Bytes a second that throttled leaders send to followers. A single broker copies nothing.";
    "log.dir.failure.timeout.ms" Long Some("30000"), AtLeast(1), ReadOnly,
        "How long a broker may fail to tell the controller of a broken folder.";
    "metadata.log.dir" String None, Any, ReadOnly,
        "The folder of the metadata log. It is the first of log.dirs here.";
    "metadata.log.max.record.bytes.between.snapshots" Long Some("20971520"), AtLeast(1), ReadOnly,
        "Bytes of the metadata log after which a snapshot is written. See metadata.log.snapshot.records.";
    "metadata.log.max.snapshot.interval.ms" Long Some("3600000"), AtLeast(0), ReadOnly,
        "The longest time between two snapshots of the metadata. See metadata.log.snapshot.records.";
    "metadata.log.segment.bytes" Int Some("1073741824"), AtLeast(8_388_608), ReadOnly,
        "Segment size of the metadata log.";
    "metadata.log.segment.ms" Long Some("604800000"), AtLeast(1), ReadOnly,
        "The age at which a new segment of the metadata log begins.";
    "metadata.max.idle.interval.ms" Int Some("500"), AtLeast(0), ReadOnly,
        "How often an idle controller writes an empty record. Ours writes none.";
    "metadata.max.retention.bytes" Long Some("104857600"), Any, ReadOnly,
        "The size to which metadata log and snapshots may grow. What a snapshot covers is deleted at once here.";
    "metadata.max.retention.ms" Long Some("604800000"), Any, ReadOnly,
        "How long metadata log and snapshots are kept. What a snapshot covers is deleted at once here.";
    "metric.reporters" List Some(""), Any, ClusterWide,
        "Java classes that report metrics.";
    "metrics.num.samples" Int Some("2"), AtLeast(1), ReadOnly,
        "Samples of which metrics are made.";
    "metrics.recording.level" String Some("INFO"), Any, ReadOnly,
        "How much is measured.";
    "metrics.sample.window.ms" Long Some("30000"), AtLeast(1), ReadOnly,
        "Milliseconds of each of those samples.";
    "num.io.threads" Int Some("8"), AtLeast(1), ClusterWide,
        "Threads that answer requests. One runtime answers them all here, with a thread a core.";
    "num.network.threads" Int Some("3"), AtLeast(1), ClusterWide,
        "Threads that read requests and write answers. One runtime serves all connections here, with a thread a core.";
    "num.replica.alter.log.dirs.threads" Int None, AtLeast(1), ReadOnly,
        "Threads that move logs between folders.";
    "num.replica.fetchers" Int Some("1"), AtLeast(1), ClusterWide,
        "Threads that copy from each other broker. A single broker copies nothing.";
    "offsets.commit.timeout.ms" Int Some("5000"), AtLeast(1), ReadOnly,
        "How long a commit of offsets waits for all replicas. A single broker has no other replica.";
    "offsets.load.buffer.size" Int Some("5242880"), AtLeast(1), ReadOnly,
        "Bytes that are read at once when a group coordinator loads its partition.";
    "offsets.topic.compression.codec" Int Some("0"), Between(0, 4), ReadOnly,
        "The codec of what a group coordinator writes.";
    "producer.purgatory.purge.interval.requests" Int Some("1000"), AtLeast(0), ReadOnly,
        "After how many finished requests those that wait for replicas are tidied.";
    "queued.max.request.bytes" Long Some("-1"), Any, ReadOnly,
        "Bytes of requests that may wait. A connection's own requests are answered in order, and few of them are read ahead, here.";
    "queued.max.requests" Int Some("500"), AtLeast(1), ReadOnly,
        "Requests that may wait. A connection's own requests are answered in order, and few of them are read ahead, here.";
    "remote.fetch.max.wait.ms" Int Some("500"), AtLeast(1), ClusterWide,
        "How long a fetch waits for tiered storage. There is none yet.";
    "remote.log.manager.thread.pool.size" Int Some("2"), AtLeast(1), ReadOnly,
        "Threads that look after tiered storage. There is none yet.";
    "remote.log.storage.system.enable" Boolean Some("false"), Any, ReadOnly,
        "Whether there is tiered storage. There is none yet, so that only false is taken.";
    "replica.alter.log.dirs.io.max.bytes.per.second" Long Some("9223372036854775807"), AtLeast(0), ClusterWide,
        "Bytes a second at which logs are moved between folders.";
    "replica.fetch.backoff.ms" Int Some("1000"), AtLeast(0), ReadOnly,
        "How long a follower rests after an error. A single broker copies nothing.";
    "replica.fetch.max.bytes" Int Some("1048576"), AtLeast(0), ReadOnly,
        "Bytes of a partition that a follower asks for at once. A single broker copies nothing.";
    "replica.fetch.min.bytes" Int Some("1"), AtLeast(0), ReadOnly,
        "Bytes that a follower waits for. A single broker copies nothing.";
    "replica.fetch.response.max.bytes" Int Some("10485760"), AtLeast(0), ReadOnly,
        "Bytes of all partitions that a follower asks for at once. A single broker copies nothing.";
    "replica.fetch.wait.max.ms" Int Some("500"), AtLeast(0), ReadOnly,
        "How long a follower waits for those bytes. A single broker copies nothing.";
    "replica.high.watermark.checkpoint.interval.ms" Long Some("5000"), AtLeast(1), ReadOnly,
        "How often the high watermarks are written down. A single broker's are the ends of its logs.";
    "replica.lag.time.max.ms" Long Some("30000"), AtLeast(1), ReadOnly,
        "A follower that is behind for longer is out of sync. A single broker has no followers.";
    "replica.socket.receive.buffer.bytes" Int Some("65536"), AtLeast(-1), ReadOnly,
        "The receive buffer of a follower's socket. A single broker copies nothing.";
    "replica.socket.timeout.ms" Int Some("30000"), AtLeast(1), ReadOnly,
        "How long a follower waits for an answer. A single broker copies nothing.";
    "replication.quota.window.num" Int Some("11"), AtLeast(1), ReadOnly,
        "Samples of the quotas on replication.";
    "replication.quota.window.size.seconds" Int Some("1"), AtLeast(1), ReadOnly,
        "Seconds of each of those samples.";
    "request.timeout.ms" Int Some("30000"), AtLeast(1), ReadOnly,
        "How long a broker waits for an answer of another. A single broker asks nobody.";
    "share.coordinator.append.linger.ms" Int Some("-1"), AtLeast(-1), ReadOnly,
        "How long a share coordinator gathers records before it writes them. There are no share groups yet.";
    "share.coordinator.load.buffer.size" Int Some("5242880"), AtLeast(1), ReadOnly,
        "Bytes that are read at once when a share coordinator loads its partition. There are no share groups yet.";
    "share.coordinator.snapshot.update.records.per.snapshot" Int Some("500"), Between(0, 500), ReadOnly,
        "Updates of a share group's state between two snapshots of it. There are no share groups yet.";
    "share.coordinator.state.topic.compression.codec" Int Some("0"), Between(0, 4), ReadOnly,
        "The codec of __share_group_state. There are no share groups yet.";
    "share.coordinator.state.topic.min.isr" Short Some("2"), AtLeast(1), ReadOnly,
        "min.insync.replicas of __share_group_state. There are no share groups yet.";
    "share.coordinator.state.topic.num.partitions" Int Some("50"), AtLeast(1), ReadOnly,
        "Partitions of __share_group_state. There are no share groups yet.";
    "share.coordinator.state.topic.replication.factor" Short Some("3"), AtLeast(1), ReadOnly,
        "Replicas of __share_group_state. There are no share groups yet.";
    "share.coordinator.state.topic.segment.bytes" Int Some("104857600"), AtLeast(1), ReadOnly,
        "Segment size of __share_group_state. There are no share groups yet.";
    "share.coordinator.threads" Int Some("1"), AtLeast(1), ReadOnly,
        "Threads of the share coordinators. There are no share groups yet.";
    "share.coordinator.write.timeout.ms" Int Some("5000"), AtLeast(1), ReadOnly,
        "How long a share coordinator waits for its records to be written. There are no share groups yet.";
    "socket.connection.setup.timeout.max.ms" Long Some("30000"), AtLeast(1), ReadOnly,
        "The longest wait for a connection to another broker. A single broker connects to nobody.";
    "socket.connection.setup.timeout.ms" Long Some("10000"), AtLeast(1), ReadOnly,
        "The first wait for a connection to another broker. A single broker connects to nobody.";
    "socket.listen.backlog.size" Int Some("50"), AtLeast(1), ReadOnly,
        "Connections that may wait to be accepted. The operating system's limit holds here.";
    "socket.receive.buffer.bytes" Int Some("102400"), AtLeast(-1), ReadOnly,
        "The receive buffer of clients' sockets. The operating system sizes it as it goes here, as with -1.";
    "socket.send.buffer.bytes" Int Some("102400"), AtLeast(-1), ReadOnly,
        "The send buffer of clients' sockets. The operating system sizes it as it goes here, as with -1.";
    "telemetry.max.bytes" Int Some("1048576"), AtLeast(1), ReadOnly,
        "The largest report of metrics that a client may push. Clients are asked for none.";
    "transaction.state.log.load.buffer.size" Int Some("5242880"), AtLeast(1), ReadOnly,
        "Bytes that are read at once when a transaction coordinator loads its partition.";
    "transaction.two.phase.commit.enable" Boolean Some("false"), Any, ReadOnly,
        "Whether a producer may leave the outcome of its transactions to another coordinator.";
    "unclean.leader.election.interval.ms" Long Some("300000"), AtLeast(1), ReadOnly,
        "How often it is looked for partitions that only a replica out of sync could lead. A single broker has no other replica.";
};

/// Share groups and Streams groups, which are not there yet.
pub(super) static UNSUPPORTED_GROUPS: &[BrokerKey] = keys! { true:
    "group.share.assignment.interval.ms" Int Some("1000"), AtLeast(0), ClusterWide,
        "The least time between two assignments of a share group. There are no share groups yet.";
    "group.share.delivery.count.limit" Int Some("5"), Between(2, 10), ReadOnly,
        "How often a share group hands a record out. There are no share groups yet.";
    "group.share.heartbeat.interval.ms" Int Some("5000"), AtLeast(1), ReadOnly,
        "How often members of share groups send heartbeats. There are no share groups yet.";
    "group.share.max.size" Int Some("200"), Between(1, 1000), ReadOnly,
        "The most members of a share group. There are no share groups yet.";
    "group.share.partition.max.record.locks" Int Some("2000"), Between(100, 10_000), ReadOnly,
        "Records of a partition that a share group may have handed out. There are no share groups yet.";
    "group.share.record.lock.duration.ms" Int Some("30000"), Between(1000, 3_600_000), ReadOnly,
        "How long a record that was handed out is kept from others. There are no share groups yet.";
    "group.share.session.timeout.ms" Int Some("45000"), AtLeast(1), ReadOnly,
        "A member of a share group that sends no heartbeat for longer is out. There are no share groups yet.";
    "group.streams.assignment.interval.ms" Int Some("1000"), AtLeast(0), ClusterWide,
        "The least time between two assignments of a Streams group. There are no Streams groups yet.";
    "group.streams.heartbeat.interval.ms" Int Some("5000"), AtLeast(1), ReadOnly,
        "How often members of Streams groups send heartbeats. There are no Streams groups yet.";
    "group.streams.initial.rebalance.delay.ms" Int Some("3000"), AtLeast(0), ReadOnly,
        "How long the first rebalance of a Streams group waits. There are no Streams groups yet.";
    "group.streams.max.size" Int Some("2147483647"), AtLeast(1), ReadOnly,
        "The most members of a Streams group. There are no Streams groups yet.";
    "group.streams.num.standby.replicas" Int Some("0"), AtLeast(0), ReadOnly,
        "Standby copies of each task. There are no Streams groups yet.";
    "group.streams.session.timeout.ms" Int Some("45000"), AtLeast(1), ReadOnly,
        "A member of a Streams group that sends no heartbeat for longer is out. There are no Streams groups yet.";
    "remote.log.manager.task.interval.ms" Long Some("30000"), AtLeast(1), ReadOnly,
        "How often tiered storage is looked after. There is none yet.";
};
