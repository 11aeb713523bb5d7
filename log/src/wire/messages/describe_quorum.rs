//! DescribeQuorum: request and response.

use uuid::Uuid;

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for the state of the controllers' quorum.
    request DescribeQuorumRequest(DescribeQuorum) {
        topics: Vec<DescribeQuorumRequestTopic>;
    }

    /// The topic asked for: the metadata topic.
    struct DescribeQuorumRequestTopic {
        topic_name: Str;
        partitions: Vec<DescribeQuorumRequestPartition>;
    }

    /// The partition asked for: its only one.
    struct DescribeQuorumRequestPartition {
        partition_index: i32;
    }

    /// The answer to a [`DescribeQuorumRequest`].
    response DescribeQuorumResponse(DescribeQuorum) {
        error_code: i16;
        error_message: Option<Str> [2..], ignorable;
        topics: Vec<DescribeQuorumTopic>;
        nodes: Vec<DescribeQuorumNode> [2..];
    }

    /// The answer for the metadata topic.
    struct DescribeQuorumTopic {
        topic_name: Str;
        partitions: Vec<DescribeQuorumPartition>;
    }

    /// Where one controller listens.
    struct DescribeQuorumNode {
        node_id: i32;
        listeners: Vec<DescribeQuorumListener>;
    }

    /// Leader, voters and observers of its partition.
    struct DescribeQuorumPartition {
        partition_index: i32;
        error_code: i16;
        error_message: Option<Str> [2..], ignorable;
        leader_id: i32;
        leader_epoch: i32;
        high_watermark: i64;
        current_voters: Vec<DescribeQuorumReplicaState>;
        observers: Vec<DescribeQuorumReplicaState>;
    }

    /// One of its listeners.
    struct DescribeQuorumListener {
        name: Str;
        host: Str;
        port: u16;
    }

    /// How far one voter or observer has come.
    struct DescribeQuorumReplicaState {
        replica_id: i32;
        replica_directory_id: Uuid [2..];
        log_end_offset: i64;
        last_fetch_timestamp: i64 [1..] = -1, ignorable;
        last_caught_up_timestamp: i64 [1..] = -1, ignorable;
    }
}
