//! The broker itself: who it is, where it listens, what it lets in, and the topics it makes.

use super::{BrokerKey, keys};
use crate::storage::Valid::{Any, AtLeast, Between, OneOf, SomeOf};

pub(super) static KEYS: &[BrokerKey] = keys! { false:
    "advertised.listeners" List None, Any, ReadOnly,
        "Name, host and port of each listener as clients are told, where they differ from those that are bound.";
    "auto.create.topics.enable" Boolean Some("true"), Any, ReadOnly,
        "Whether asking for a topic that does not exist creates it, where the client allows it too.";
    "broker.id" Int Some("-1"), Any, ReadOnly,
        "The older name of node.id; where both are set they must be the same. -1 stands for node.id.";
    "broker.rack" String None, Any, ReadOnly,
        "The rack of this broker, which clients are told.";
    "connections.max.idle.ms" Long Some("600000"), Any, ReadOnly,
        "A connection on which nothing was asked for longer is closed; -1 keeps it.";
    "controller.listener.names" List None, Any, ReadOnly,
        "Which of the listeners Kafka keeps for its controllers. They are not opened here: the controller of a single node needs no network.";
    "controller.quota.window.num" Int Some("11"), AtLeast(1), ReadOnly,
        "Samples over which quotas on changes of partitions are measured.";
    "controller.quota.window.size.seconds" Int Some("1"), AtLeast(1), ReadOnly,
        "Seconds of each of those samples.";
    "default.replication.factor" Int Some("1"), Between(1, 32767), ReadOnly,
        "How many replicas a topic gets that is created without saying so.";
    "delete.topic.enable" Boolean Some("true"), Any, ReadOnly,
        "Whether topics can be deleted.";
    "fetch.max.bytes" Int Some("57671680"), AtLeast(1024), ReadOnly,
        "The most bytes that one fetch is answered with. A first batch that is larger is sent nevertheless, so that readers always get on.";
    "inter.broker.listener.name" String None, Any, ReadOnly,
        "The listener that brokers use among themselves; it must be one of listeners. A single broker has nobody to speak to.";
    "listener.security.protocol.map" String Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"), Any, ReadOnly,
        "Which protocol the listener of each name speaks. Only PLAINTEXT is there yet.";
    "listeners" List None, Any, ReadOnly,
        "Where the broker accepts connections, as NAME://HOST:PORT, separated by commas; an empty host is every interface, of IPv4 and of IPv6. Without any the broker is only used in its own process. Kafka's default is PLAINTEXT://:9092.";
    "log.dir" List None, Any, ReadOnly,
        "The older name of log.dirs, which wins where both are set.";
    "log.dirs" List None, Any, ReadOnly,
        "The folders of the data, separated by commas. Kafka's default is /tmp/kafka-logs.";
    "max.connection.creation.rate" Int Some("2147483647"), AtLeast(0), ClusterWide,
        "The most connections that are accepted a second; those beyond wait.";
    "max.connections" Int Some("2147483647"), AtLeast(0), ClusterWide,
        "The most connections at a time; those beyond wait until others end.";
    "max.connections.per.ip" Int Some("2147483647"), AtLeast(0), ClusterWide,
        "The most connections from one address; one beyond is closed. 0 lets only those in that max.connections.per.ip.overrides names.";
    "max.connections.per.ip.overrides" String Some(""), Any, ClusterWide,
        "Addresses or hosts with a limit of their own, as HOST:CONNECTIONS, separated by commas.";
    "max.incremental.fetch.session.cache.slots" Int Some("1000"), AtLeast(0), ReadOnly,
        "The most fetch sessions that are remembered; a reader without one sends all its partitions each time.";
    "max.request.partition.size.limit" Int Some("2000"), AtLeast(1), ReadOnly,
        "The most partitions that one request is answered for, where the answer can be asked for in pages.";
    "metadata.log.snapshot.records" Int Some("10000"), AtLeast(1), ReadOnly,
        "A snapshot of the metadata is written after so many records of the metadata log. The key is ours; Kafka counts bytes.";
    "node.id" Int Some("1"), AtLeast(0), ReadOnly,
        "The id of this node in the cluster. Kafka has no default.";
    "num.partitions" Int Some("1"), Between(1, 100_000), ReadOnly,
        "How many partitions a topic gets that is created without saying so.";
    "num.recovery.threads.per.data.dir" Int Some("2"), Between(1, 1024), ClusterWide,
        "Threads that open and recover the logs of a folder at the start. A change holds from the next start on.";
    "process.roles" List Some("broker,controller"), SomeOf(&["broker", "controller"]), ReadOnly,
        "What this process is. A node is always both here, so that broker,controller is the only value that is taken.";
    "quota.window.num" Int Some("11"), AtLeast(1), ReadOnly,
        "Samples over which the rates of clients and connections are measured that have a quota.";
    "quota.window.size.seconds" Int Some("1"), AtLeast(1), ReadOnly,
        "Seconds of each of those samples.";
    "security.inter.broker.protocol" String Some("PLAINTEXT"), OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), ReadOnly,
        "The protocol that brokers speak among themselves. Only PLAINTEXT is there yet.";
    "socket.request.max.bytes" Int Some("104857600"), AtLeast(1), ReadOnly,
        "The largest request that is accepted; a connection that sends a larger one is closed.";
};
