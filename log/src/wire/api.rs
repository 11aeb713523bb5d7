//! All requests in one enum and all responses in another.

use bytes::{Bytes, BytesMut};

use super::codec::{Encoder, Field};
use super::error::{Problem, WireError};
use super::messages::*;
use super::schema::Kind;
use super::{ApiKey, ApiRequest, Message, RequestHeader, ResponseHeader};

macro_rules! apis {
    ($($api:ident $request:ident $response:ident;)*) => {
        /// A request of any API.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "each variant is the API's request")]
        pub enum Request {
            $($api($request),)*
        }

        /// A response of any API.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "each variant is the API's response")]
        pub enum Response {
            $($api($response),)*
        }

        impl Request {
            /// The shape of an API's request.
            pub const fn schema(api: ApiKey) -> Kind {
                match api {
                    $(ApiKey::$api => <$request as Field>::KIND,)*
                }
            }

            /// The API.
            pub fn api(&self) -> ApiKey {
                match self {
                    $(Request::$api(_) => ApiKey::$api,)*
                }
            }

            /// Reads the body of a request. Bytes after it are ignored, as Kafka ignores them: librdkafka leaves
            /// some after a metadata request for all topics.
            pub fn decode(
                api: ApiKey,
                version: i16,
                mut body: Bytes,
            ) -> Result<Request, WireError> {
                match api {
                    $(ApiKey::$api => <$request as Message>::decode(&mut body, version).map(Request::$api),)*
                }
            }

            /// Appends the body.
            pub fn encode(&self, buffer: &mut BytesMut, version: i16) -> Result<(), WireError> {
                match self {
                    $(Request::$api(request) => Message::encode(request, buffer, version),)*
                }
            }

            /// Appends the body to an encoder.
            pub fn encode_to(&self, encoder: &mut Encoder, version: i16) -> Result<(), WireError> {
                match self {
                    $(Request::$api(request) => request.encode_to(encoder, version),)*
                }
            }
        }

        impl Response {
            /// The shape of an API's response.
            pub const fn schema(api: ApiKey) -> Kind {
                match api {
                    $(ApiKey::$api => <$response as Field>::KIND,)*
                }
            }

            /// The API.
            pub fn api(&self) -> ApiKey {
                match self {
                    $(Response::$api(_) => ApiKey::$api,)*
                }
            }

            /// Reads the body of a response. Bytes after it are ignored, as Kafka ignores them: librdkafka leaves
            /// some after a metadata request for all topics.
            pub fn decode(
                api: ApiKey,
                version: i16,
                mut body: Bytes,
            ) -> Result<Response, WireError> {
                match api {
                    $(ApiKey::$api => <$response as Message>::decode(&mut body, version).map(Response::$api),)*
                }
            }

            /// Appends the body.
            pub fn encode(&self, buffer: &mut BytesMut, version: i16) -> Result<(), WireError> {
                match self {
                    $(Response::$api(response) => Message::encode(response, buffer, version),)*
                }
            }

            /// Appends the body to an encoder.
            pub fn encode_to(&self, encoder: &mut Encoder, version: i16) -> Result<(), WireError> {
                match self {
                    $(Response::$api(response) => response.encode_to(encoder, version),)*
                }
            }
        }

        $(
            impl From<$request> for Request {
                fn from(request: $request) -> Request {
                    Request::$api(request)
                }
            }

            impl From<$response> for Response {
                fn from(response: $response) -> Response {
                    Response::$api(response)
                }
            }

            impl ApiRequest for $request {
                type Response = $response;

                fn into_request(self) -> Request {
                    Request::$api(self)
                }

                fn response_of(response: Response) -> Result<$response, WireError> {
                    match response {
                        Response::$api(response) => Ok(response),
                        other => Err(WireError::in_message(
                            stringify!($response),
                            Problem::OtherApi { expected: ApiKey::$api, found: other.api() },
                        )),
                    }
                }
            }
        )*
    };
}

apis! {
    Produce ProduceRequest ProduceResponse;
    Fetch FetchRequest FetchResponse;
    ListOffsets ListOffsetsRequest ListOffsetsResponse;
    Metadata MetadataRequest MetadataResponse;
    OffsetCommit OffsetCommitRequest OffsetCommitResponse;
    OffsetFetch OffsetFetchRequest OffsetFetchResponse;
    FindCoordinator FindCoordinatorRequest FindCoordinatorResponse;
    JoinGroup JoinGroupRequest JoinGroupResponse;
    Heartbeat HeartbeatRequest HeartbeatResponse;
    LeaveGroup LeaveGroupRequest LeaveGroupResponse;
    SyncGroup SyncGroupRequest SyncGroupResponse;
    DescribeGroups DescribeGroupsRequest DescribeGroupsResponse;
    ListGroups ListGroupsRequest ListGroupsResponse;
    SaslHandshake SaslHandshakeRequest SaslHandshakeResponse;
    ApiVersions ApiVersionsRequest ApiVersionsResponse;
    CreateTopics CreateTopicsRequest CreateTopicsResponse;
    DeleteTopics DeleteTopicsRequest DeleteTopicsResponse;
    DeleteRecords DeleteRecordsRequest DeleteRecordsResponse;
    InitProducerId InitProducerIdRequest InitProducerIdResponse;
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
    AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse;
    AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse;
    EndTxn EndTxnRequest EndTxnResponse;
    WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse;
    TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse;
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse;
    AlterConfigs AlterConfigsRequest AlterConfigsResponse;
    AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse;
    DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse;
    SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse;
    CreatePartitions CreatePartitionsRequest CreatePartitionsResponse;
    DeleteGroups DeleteGroupsRequest DeleteGroupsResponse;
    ElectLeaders ElectLeadersRequest ElectLeadersResponse;
    IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
    AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
    ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
    OffsetDelete OffsetDeleteRequest OffsetDeleteResponse;
    DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse;
    AlterClientQuotas AlterClientQuotasRequest AlterClientQuotasResponse;
    DescribeUserScramCredentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
    DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse;
    UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse;
    DescribeCluster DescribeClusterRequest DescribeClusterResponse;
    DescribeProducers DescribeProducersRequest DescribeProducersResponse;
    UnregisterBroker UnregisterBrokerRequest UnregisterBrokerResponse;
    DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse;
    ListTransactions ListTransactionsRequest ListTransactionsResponse;
    ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
    ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
    ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse;
    DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
    AddRaftVoter AddRaftVoterRequest AddRaftVoterResponse;
    RemoveRaftVoter RemoveRaftVoterRequest RemoveRaftVoterResponse;
}

impl Request {
    /// Reads a whole frame (without its length prefix): header and body.
    pub fn decode_frame(frame: Bytes) -> Result<(RequestHeader, Request), WireError> {
        let (header, body) = RequestHeader::decode(frame)?;
        let request = Request::decode(header.api, header.version, body)?;
        Ok((header, request))
    }
}

impl Response {
    /// Reads a whole frame (without its length prefix) that answers a request of an API in a version.
    pub fn decode_frame(
        frame: Bytes,
        api: ApiKey,
        version: i16,
    ) -> Result<(ResponseHeader, Response), WireError> {
        let (header, body) = ResponseHeader::decode(frame, api, version)?;
        let response = Response::decode(api, version, body)?;
        Ok((header, response))
    }
}
