//! Kafka's error codes.

use std::fmt;

macro_rules! error_codes {
    ($($code:literal $name:ident $constant:literal $retriable:literal $message:literal;)*) => {
        /// An error code of the protocol.
        ///
        /// ```
        /// use thalweg_log::wire::ErrorCode;
        ///
        /// assert_eq!(ErrorCode::from(6), ErrorCode::NotLeaderOrFollower);
        /// assert!(ErrorCode::NotLeaderOrFollower.is_retriable());
        /// assert_eq!(ErrorCode::NotLeaderOrFollower.name(), "NOT_LEADER_OR_FOLLOWER");
        /// assert_eq!(i16::from(ErrorCode::None), 0);
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $(#[doc = $message] $name,)*
            /// A code that this program does not know.
            Unrecognized(i16),
        }

        impl ErrorCode {
            /// All known codes.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),*];

            /// Kafka's name of the code.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $constant,)*
                    ErrorCode::Unrecognized(_) => "UNRECOGNIZED",
                }
            }

            /// What the code means, in a few words.
            pub const fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $message,)*
                    ErrorCode::Unrecognized(_) => "the server answered with an error code that this program does not know",
                }
            }

            /// Whether the same request may succeed when it is sent again, possibly after a look at fresh metadata.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$name => $retriable,)*
                    ErrorCode::Unrecognized(_) => false,
                }
            }

            /// The code on the wire.
            pub const fn code(self) -> i16 {
                match self {
                    $(ErrorCode::$name => $code,)*
                    ErrorCode::Unrecognized(code) => code,
                }
            }

            /// The error of a code.
            pub const fn from_code(code: i16) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$name,)*
                    code => ErrorCode::Unrecognized(code),
                }
            }
        }
    };
}

error_codes! {
    -1 UnknownServerError "UNKNOWN_SERVER_ERROR" false "the server failed in a way it did not expect; its log says more";
    0 None "NONE" false "no error";
    1 OffsetOutOfRange "OFFSET_OUT_OF_RANGE" false "the offset is outside what the partition holds";
    2 CorruptMessage "CORRUPT_MESSAGE" true "the batch is corrupt: its checksum, size or content is wrong, or a compacted topic got a record without a key";
    3 UnknownTopicOrPartition "UNKNOWN_TOPIC_OR_PARTITION" true "the broker does not have this topic or partition";
    4 InvalidFetchSize "INVALID_FETCH_SIZE" false "the fetch size is invalid";
    5 LeaderNotAvailable "LEADER_NOT_AVAILABLE" true "the partition has no leader at the moment";
    6 NotLeaderOrFollower "NOT_LEADER_OR_FOLLOWER" true "the broker is not the leader (or, where any replica would do, not a replica) of the partition";
    7 RequestTimedOut "REQUEST_TIMED_OUT" true "the request timed out";
    8 BrokerNotAvailable "BROKER_NOT_AVAILABLE" false "the broker is not available";
    9 ReplicaNotAvailable "REPLICA_NOT_AVAILABLE" true "the replica is not available";
    10 MessageTooLarge "MESSAGE_TOO_LARGE" false "the batch is larger than max.message.bytes allows";
    11 StaleControllerEpoch "STALE_CONTROLLER_EPOCH" false "the controller has moved to another broker";
    12 OffsetMetadataTooLarge "OFFSET_METADATA_TOO_LARGE" false "the metadata of the committed offset is longer than offset.metadata.max.bytes";
    13 NetworkException "NETWORK_EXCEPTION" true "the connection broke before the response came";
    14 CoordinatorLoadInProgress "COORDINATOR_LOAD_IN_PROGRESS" true "the coordinator is still loading";
    15 CoordinatorNotAvailable "COORDINATOR_NOT_AVAILABLE" true "the coordinator is not available";
    16 NotCoordinator "NOT_COORDINATOR" true "the broker is not the coordinator asked for";
    17 InvalidTopicException "INVALID_TOPIC_EXCEPTION" false "the topic's name is invalid, or the topic does not allow this";
    18 RecordListTooLarge "RECORD_LIST_TOO_LARGE" false "the batch is larger than a segment";
    19 NotEnoughReplicas "NOT_ENOUGH_REPLICAS" true "fewer replicas are in sync than min.insync.replicas asks for; nothing was written";
    20 NotEnoughReplicasAfterAppend "NOT_ENOUGH_REPLICAS_AFTER_APPEND" true "the batch was written, but to fewer replicas than min.insync.replicas asks for";
    21 InvalidRequiredAcks "INVALID_REQUIRED_ACKS" false "acks must be 0, 1 or -1 (all)";
    22 IllegalGeneration "ILLEGAL_GENERATION" false "the group has another generation by now";
    23 InconsistentGroupProtocol "INCONSISTENT_GROUP_PROTOCOL" false "the member shares no protocol with the group's other members";
    24 InvalidGroupId "INVALID_GROUP_ID" false "the group id is invalid";
    25 UnknownMemberId "UNKNOWN_MEMBER_ID" false "the coordinator does not know this member";
    26 InvalidSessionTimeout "INVALID_SESSION_TIMEOUT" false "the session timeout is outside group.min.session.timeout.ms and group.max.session.timeout.ms";
    27 RebalanceInProgress "REBALANCE_IN_PROGRESS" false "the group is rebalancing; rejoin it";
    28 InvalidCommitOffsetSize "INVALID_COMMIT_OFFSET_SIZE" false "the offset commit is larger than allowed";
    29 TopicAuthorizationFailed "TOPIC_AUTHORIZATION_FAILED" false "not authorized for the topic";
    30 GroupAuthorizationFailed "GROUP_AUTHORIZATION_FAILED" false "not authorized for the group";
    31 ClusterAuthorizationFailed "CLUSTER_AUTHORIZATION_FAILED" false "not authorized for the cluster";
    32 InvalidTimestamp "INVALID_TIMESTAMP" false "a record's timestamp is outside the accepted range";
    33 UnsupportedSaslMechanism "UNSUPPORTED_SASL_MECHANISM" false "the broker does not support this SASL mechanism";
    34 IllegalSaslState "ILLEGAL_SASL_STATE" false "the request does not fit the state of the SASL handshake";
    35 UnsupportedVersion "UNSUPPORTED_VERSION" false "the broker does not support this version of the API";
    36 TopicAlreadyExists "TOPIC_ALREADY_EXISTS" false "a topic with this name exists already";
    37 InvalidPartitions "INVALID_PARTITIONS" false "the number of partitions is invalid";
    38 InvalidReplicationFactor "INVALID_REPLICATION_FACTOR" false "the replication factor is below 1 or above the number of brokers";
    39 InvalidReplicaAssignment "INVALID_REPLICA_ASSIGNMENT" false "the replica assignment is invalid";
    40 InvalidConfig "INVALID_CONFIG" false "the configuration is invalid";
    41 NotController "NOT_CONTROLLER" true "the broker is not the controller";
    42 InvalidRequest "INVALID_REQUEST" false "the request is malformed or contradicts itself";
    43 UnsupportedForMessageFormat "UNSUPPORTED_FOR_MESSAGE_FORMAT" false "the broker's record format does not support the request";
    44 PolicyViolation "POLICY_VIOLATION" false "a policy of the broker forbids this";
    45 OutOfOrderSequenceNumber "OUT_OF_ORDER_SEQUENCE_NUMBER" false "the producer's sequence number does not follow the last one";
    46 DuplicateSequenceNumber "DUPLICATE_SEQUENCE_NUMBER" false "the batch was written before";
    47 InvalidProducerEpoch "INVALID_PRODUCER_EPOCH" false "the producer's epoch is older than one already seen";
    48 InvalidTxnState "INVALID_TXN_STATE" false "the transaction is not in a state that allows this";
    49 InvalidProducerIdMapping "INVALID_PRODUCER_ID_MAPPING" false "the producer id is not the one assigned to the transactional id";
    50 InvalidTransactionTimeout "INVALID_TRANSACTION_TIMEOUT" false "the transaction timeout is above transaction.max.timeout.ms";
    51 ConcurrentTransactions "CONCURRENT_TRANSACTIONS" true "another operation on the same transaction is under way";
    52 TransactionCoordinatorFenced "TRANSACTION_COORDINATOR_FENCED" false "another broker coordinates this transaction by now";
    53 TransactionalIdAuthorizationFailed "TRANSACTIONAL_ID_AUTHORIZATION_FAILED" false "not authorized for the transactional id";
    54 SecurityDisabled "SECURITY_DISABLED" false "security is disabled";
    55 OperationNotAttempted "OPERATION_NOT_ATTEMPTED" false "not attempted, because another part of the request failed";
    56 KafkaStorageError "KAFKA_STORAGE_ERROR" true "the broker cannot read or write its log directory";
    57 LogDirNotFound "LOG_DIR_NOT_FOUND" false "the broker has no such log directory";
    58 SaslAuthenticationFailed "SASL_AUTHENTICATION_FAILED" false "authentication failed";
    59 UnknownProducerId "UNKNOWN_PRODUCER_ID" false "the broker remembers nothing of this producer id";
    60 ReassignmentInProgress "REASSIGNMENT_IN_PROGRESS" false "the partition is being reassigned";
    61 DelegationTokenAuthDisabled "DELEGATION_TOKEN_AUTH_DISABLED" false "delegation tokens are disabled";
    62 DelegationTokenNotFound "DELEGATION_TOKEN_NOT_FOUND" false "the delegation token does not exist";
    63 DelegationTokenOwnerMismatch "DELEGATION_TOKEN_OWNER_MISMATCH" false "the principal neither owns nor may renew the delegation token";
    64 DelegationTokenRequestNotAllowed "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED" false "delegation tokens cannot be requested over this connection";
    65 DelegationTokenAuthorizationFailed "DELEGATION_TOKEN_AUTHORIZATION_FAILED" false "not authorized for the delegation token";
    66 DelegationTokenExpired "DELEGATION_TOKEN_EXPIRED" false "the delegation token has expired";
    67 InvalidPrincipalType "INVALID_PRINCIPAL_TYPE" false "the principal's type is not supported";
    68 NonEmptyGroup "NON_EMPTY_GROUP" false "the group still has members";
    69 GroupIdNotFound "GROUP_ID_NOT_FOUND" false "the group does not exist";
    70 FetchSessionIdNotFound "FETCH_SESSION_ID_NOT_FOUND" true "the fetch session does not exist";
    71 InvalidFetchSessionEpoch "INVALID_FETCH_SESSION_EPOCH" true "the epoch of the fetch session is invalid";
    72 ListenerNotFound "LISTENER_NOT_FOUND" true "the leader has no listener of this name";
    73 TopicDeletionDisabled "TOPIC_DELETION_DISABLED" false "deleting topics is disabled";
    74 FencedLeaderEpoch "FENCED_LEADER_EPOCH" true "the request's leader epoch is older than the broker's";
    75 UnknownLeaderEpoch "UNKNOWN_LEADER_EPOCH" true "the request's leader epoch is newer than the broker's";
    76 UnsupportedCompressionType "UNSUPPORTED_COMPRESSION_TYPE" false "the client's version does not support the compression of this partition";
    77 StaleBrokerEpoch "STALE_BROKER_EPOCH" false "the broker has registered anew";
    78 OffsetNotAvailable "OFFSET_NOT_AVAILABLE" true "the new leader does not know yet up to where the log is settled";
    79 MemberIdRequired "MEMBER_ID_REQUIRED" false "join again with the member id in this response";
    80 PreferredLeaderNotAvailable "PREFERRED_LEADER_NOT_AVAILABLE" true "the preferred leader is not available";
    81 GroupMaxSizeReached "GROUP_MAX_SIZE_REACHED" false "the group has group.max.size members";
    82 FencedInstanceId "FENCED_INSTANCE_ID" false "another member has taken over this group.instance.id";
    83 EligibleLeadersNotAvailable "ELIGIBLE_LEADERS_NOT_AVAILABLE" true "no replica that may lead is available";
    84 ElectionNotNeeded "ELECTION_NOT_NEEDED" true "the partition needs no election";
    85 NoReassignmentInProgress "NO_REASSIGNMENT_IN_PROGRESS" false "the partition is not being reassigned";
    86 GroupSubscribedToTopic "GROUP_SUBSCRIBED_TO_TOPIC" false "the group is subscribed to the topic, so its offsets cannot be deleted";
    87 InvalidRecord "INVALID_RECORD" false "the broker's checks refused a record";
    88 UnstableOffsetCommit "UNSTABLE_OFFSET_COMMIT" true "offsets of an open transaction are pending";
    89 ThrottlingQuotaExceeded "THROTTLING_QUOTA_EXCEEDED" true "a quota is used up";
    90 ProducerFenced "PRODUCER_FENCED" false "a newer producer uses the same transactional id";
    91 ResourceNotFound "RESOURCE_NOT_FOUND" false "the resource does not exist";
    92 DuplicateResource "DUPLICATE_RESOURCE" false "the request names a resource twice";
    93 UnacceptableCredential "UNACCEPTABLE_CREDENTIAL" false "the credential is not acceptable";
    94 InconsistentVoterSet "INCONSISTENT_VOTER_SET" false "sender or recipient is not one of the expected voters";
    95 InvalidUpdateVersion "INVALID_UPDATE_VERSION" false "the update's version is invalid";
    96 FeatureUpdateFailed "FEATURE_UPDATE_FAILED" false "the features could not be updated";
    97 PrincipalDeserializationFailure "PRINCIPAL_DESERIALIZATION_FAILURE" false "the forwarded principal cannot be read";
    98 SnapshotNotFound "SNAPSHOT_NOT_FOUND" false "the snapshot does not exist";
    99 PositionOutOfRange "POSITION_OUT_OF_RANGE" false "the position is outside the snapshot";
    100 UnknownTopicId "UNKNOWN_TOPIC_ID" true "the broker does not know this topic id";
    101 DuplicateBrokerRegistration "DUPLICATE_BROKER_REGISTRATION" false "the broker id is in use";
    102 BrokerIdNotRegistered "BROKER_ID_NOT_REGISTERED" false "the broker id is not registered";
    103 InconsistentTopicId "INCONSISTENT_TOPIC_ID" true "the log's topic id is not the one in the request";
    104 InconsistentClusterId "INCONSISTENT_CLUSTER_ID" false "the cluster id is not the server's";
    105 TransactionalIdNotFound "TRANSACTIONAL_ID_NOT_FOUND" false "the transactional id is not known";
    106 FetchSessionTopicIdError "FETCH_SESSION_TOPIC_ID_ERROR" true "the fetch session mixes topic ids and names";
    107 IneligibleReplica "INELIGIBLE_REPLICA" false "the new in-sync replicas include one that may not be";
    108 NewLeaderElected "NEW_LEADER_ELECTED" false "the change was made, and a new leader elected";
    109 OffsetMovedToTieredStorage "OFFSET_MOVED_TO_TIERED_STORAGE" false "the offset has moved to tiered storage";
    110 FencedMemberEpoch "FENCED_MEMBER_EPOCH" false "the member's epoch is fenced; it must drop its partitions and rejoin";
    111 UnreleasedInstanceId "UNRELEASED_INSTANCE_ID" false "another member still uses this instance id and must leave first";
    112 UnsupportedAssignor "UNSUPPORTED_ASSIGNOR" false "the group does not support the assignor";
    113 StaleMemberEpoch "STALE_MEMBER_EPOCH" false "the member's epoch is stale; heartbeat first";
    114 MismatchedEndpointType "MISMATCHED_ENDPOINT_TYPE" false "the endpoint is of another type";
    115 UnsupportedEndpointType "UNSUPPORTED_ENDPOINT_TYPE" false "the endpoint type is not supported";
    116 UnknownControllerId "UNKNOWN_CONTROLLER_ID" false "the controller id is not known";
    117 UnknownSubscriptionId "UNKNOWN_SUBSCRIPTION_ID" false "the telemetry subscription is outdated";
    118 TelemetryTooLarge "TELEMETRY_TOO_LARGE" false "the telemetry is larger than the broker accepts";
    119 InvalidRegistration "INVALID_REGISTRATION" false "the controller finds the registration invalid";
    120 TransactionAbortable "TRANSACTION_ABORTABLE" false "the transaction failed; abort it to go on";
    121 InvalidRecordState "INVALID_RECORD_STATE" false "the record is not in a state that can be acknowledged";
    122 ShareSessionNotFound "SHARE_SESSION_NOT_FOUND" true "the share session does not exist";
    123 InvalidShareSessionEpoch "INVALID_SHARE_SESSION_EPOCH" true "the epoch of the share session is invalid";
    124 FencedStateEpoch "FENCED_STATE_EPOCH" false "the epoch of the share group's state does not match";
    125 InvalidVoterKey "INVALID_VOTER_KEY" false "the voter's key is not the replica's";
    126 DuplicateVoter "DUPLICATE_VOTER" false "the voter is a voter already";
    127 VoterNotFound "VOTER_NOT_FOUND" false "the voter is not a voter";
    128 InvalidRegularExpression "INVALID_REGULAR_EXPRESSION" false "the regular expression is invalid";
    129 RebootstrapRequired "REBOOTSTRAP_REQUIRED" false "the client's metadata is outdated; it must bootstrap again";
    130 StreamsInvalidTopology "STREAMS_INVALID_TOPOLOGY" false "the topology is invalid";
    131 StreamsInvalidTopologyEpoch "STREAMS_INVALID_TOPOLOGY_EPOCH" false "the topology's epoch is invalid";
    132 StreamsTopologyFenced "STREAMS_TOPOLOGY_FENCED" false "the topology's epoch is outdated";
    133 ShareSessionLimitReached "SHARE_SESSION_LIMIT_REACHED" true "no more share sessions are allowed";
}

impl ErrorCode {
    /// Whether there is no error.
    pub const fn is_none(self) -> bool {
        matches!(self, ErrorCode::None)
    }

    /// Whether there is an error.
    pub const fn is_error(self) -> bool {
        !self.is_none()
    }

    /// `Ok` if there is no error, else the error.
    pub fn ok(self) -> Result<(), ErrorCode> {
        if self.is_none() { Ok(()) } else { Err(self) }
    }

    /// Whether the client's metadata is stale, so that it should refresh it before trying again.
    pub const fn is_stale_metadata(self) -> bool {
        matches!(
            self,
            ErrorCode::UnknownTopicOrPartition
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::NotLeaderOrFollower
                | ErrorCode::NetworkException
                | ErrorCode::ReplicaNotAvailable
                | ErrorCode::KafkaStorageError
                | ErrorCode::ListenerNotFound
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::PreferredLeaderNotAvailable
                | ErrorCode::EligibleLeadersNotAvailable
                | ErrorCode::UnknownTopicId
                | ErrorCode::InconsistentTopicId
        )
    }
}

impl From<i16> for ErrorCode {
    fn from(code: i16) -> ErrorCode {
        ErrorCode::from_code(code)
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.code()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ErrorCode::Unrecognized(code) => write!(f, "{} (code {code})", self.message()),
            _ => write!(f, "{} ({})", self.message(), self.name()),
        }
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The other implementation knows the same codes, but has an older view of which are retriable.
    #[test]
    fn agrees_with_kafka_protocol() {
        use kafka_protocol::ResponseError;
        let mut otherwise = Vec::new();
        for error in ErrorCode::ALL.iter().filter(|error| error.is_error()) {
            let theirs = ResponseError::try_from_code(error.code()).unwrap();
            assert_eq!(format!("{theirs:?}"), format!("{error:?}"));
            if theirs.is_retriable() != error.is_retriable() {
                otherwise.push(*error);
            }
        }
        assert_eq!(otherwise, [ErrorCode::ConcurrentTransactions]);
    }

    #[test]
    fn codes_survive_the_round_trip() {
        for code in i16::MIN..=i16::MAX {
            assert_eq!(i16::from(ErrorCode::from(code)), code);
        }
    }
}
