//! Metadata: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for brokers and topics. Null topics mean all of them; so does an empty list in version 0.
    request MetadataRequest(Metadata) {
        topics: Option<Vec<MetadataRequestTopic>> [.., nullable 1..];
        allow_auto_topic_creation: bool [4..] = true;
        include_cluster_authorized_operations: bool [8..=10];
        include_topic_authorized_operations: bool [8..];
    }

    /// A topic asked for, by name or by id.
    struct MetadataRequestTopic {
        topic_id: Uuid [10..], ignorable;
        name: Option<Str> [.., nullable 10..];
    }

    /// The answer to a [`MetadataRequest`].
    response MetadataResponse(Metadata) {
        throttle_time_ms: i32 [3..], ignorable;
        brokers: Vec<MetadataResponseBroker>;
        cluster_id: Option<Str> [2..] = None, ignorable;
        controller_id: i32 [1..] = -1, ignorable;
        topics: Vec<MetadataResponseTopic>;
        cluster_authorized_operations: i32 [8..=10] = i32::MIN;
        error_code: i16 [13..], ignorable;
    }

    /// A broker and where it listens.
    struct MetadataResponseBroker {
        node_id: i32;
        host: Str;
        port: i32;
        rack: Option<Str> [1..] = None, ignorable;
    }

    /// A topic and its partitions.
    struct MetadataResponseTopic {
        error_code: i16;
        name: Option<Str> [.., nullable 12..];
        topic_id: Uuid [10..], ignorable;
        is_internal: bool [1..], ignorable;
        partitions: Vec<MetadataResponsePartition>;
        topic_authorized_operations: i32 [8..] = i32::MIN;
    }

    /// A partition, its leader and its replicas.
    struct MetadataResponsePartition {
        error_code: i16;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32 [7..] = -1, ignorable;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        offline_replicas: Vec<i32> [5..], ignorable;
    }
}
