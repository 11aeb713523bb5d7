//! DescribeCluster: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for the cluster's brokers and controller.
    request DescribeClusterRequest(DescribeCluster) {
        include_cluster_authorized_operations: bool;
        endpoint_type: i8 [1..] = 1;
        include_fenced_brokers: bool [2..];
    }

    /// The answer to a [`DescribeClusterRequest`].
    response DescribeClusterResponse(DescribeCluster) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str> = None;
        endpoint_type: i8 [1..] = 1;
        cluster_id: Str;
        controller_id: i32 = -1;
        brokers: Vec<DescribeClusterBroker>;
        cluster_authorized_operations: i32 = i32::MIN;
    }

    /// One broker.
    struct DescribeClusterBroker {
        broker_id: i32;
        host: Str;
        port: i32;
        rack: Option<Str> = None;
        is_fenced: bool [2..], ignorable;
    }
}
