//! The one field that nearly every response has: how long its client must pause.

use super::Response;

/// The responses that have it.
macro_rules! throttled {
    ($($api:ident)*) => {
        impl Response {
            /// For how many milliseconds the client must pause (`throttle_time_ms`), where the API says so. Versions
            /// without the field leave it out.
            pub fn throttle_time_ms_mut(&mut self) -> Option<&mut i32> {
                match self {
                    $(Response::$api(response) => Some(&mut response.throttle_time_ms),)*
                    Response::SaslHandshake(_)
                    | Response::SaslAuthenticate(_)
                    | Response::WriteTxnMarkers(_)
                    | Response::DescribeQuorum(_) => None,
                }
            }
        }
    };
}

throttled! {
    AddOffsetsToTxn AddPartitionsToTxn AddRaftVoter AlterClientQuotas AlterConfigs AlterPartitionReassignments
    AlterReplicaLogDirs ApiVersions ConsumerGroupDescribe ConsumerGroupHeartbeat CreatePartitions CreateTopics
    DeleteGroups DeleteRecords DeleteTopics DescribeClientQuotas DescribeCluster DescribeConfigs DescribeGroups
    DescribeLogDirs DescribeProducers DescribeTopicPartitions DescribeTransactions DescribeUserScramCredentials
    ElectLeaders EndTxn Fetch FindCoordinator Heartbeat IncrementalAlterConfigs InitProducerId JoinGroup LeaveGroup
    ListConfigResources ListGroups ListOffsets ListPartitionReassignments ListTransactions Metadata OffsetCommit
    OffsetDelete OffsetFetch OffsetForLeaderEpoch Produce RemoveRaftVoter SyncGroup TxnOffsetCommit UnregisterBroker
    UpdateFeatures
}
