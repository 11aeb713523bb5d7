//! What all messages have in common: a name, versions, an encoding.

use bytes::{Buf, Bytes, BytesMut};

use super::ApiKey;
use super::catalogue::Versions;
use super::codec::{Decoder, Encoder, Field, Version};
use super::error::{Problem, WireError};

/// A message of the protocol.
///
/// ```
/// use bytes::BytesMut;
/// use thalweg_log::wire::Message;
/// use thalweg_log::wire::messages::{MetadataRequest, MetadataRequestTopic};
///
/// let request = MetadataRequest {
///     topics: Some(vec![MetadataRequestTopic { name: Some("orders".into()), ..Default::default() }]),
///     ..Default::default()
/// };
/// let mut bytes = BytesMut::new();
/// request.encode(&mut bytes, 9)?;
/// assert_eq!(MetadataRequest::decode(&mut bytes.freeze(), 9)?, request);
/// # Ok::<(), thalweg_log::wire::WireError>(())
/// ```
pub trait Message: Field + Default {
    /// Its name in the protocol.
    const NAME: &'static str;
    /// Its versions.
    const VERSIONS: Versions;

    /// The version, if the message has it, as the codec wants it.
    fn version(version: i16) -> Result<Version, WireError> {
        let Versions { min, max, .. } = Self::VERSIONS;
        if !Self::VERSIONS.contains(version) {
            let problem = Problem::UnsupportedVersion { version, min, max };
            return Err(WireError::in_message(Self::NAME, problem));
        }
        Ok(Version {
            number: version,
            flexible: Self::VERSIONS.is_flexible(version),
        })
    }

    /// Appends the message to a buffer. A field that the version lacks must hold its default, unless it is
    /// ignorable. On an error the buffer holds a partial message.
    fn encode(&self, buffer: &mut BytesMut, version: i16) -> Result<(), WireError> {
        let version = Self::version(version)?;
        let mut encoder = Encoder::contiguous(std::mem::take(buffer), version);
        let result = Field::encode(self, &mut encoder);
        *buffer = encoder.into_buffer();
        result
    }

    /// Appends the message to an encoder, which may keep long byte strings apart.
    fn encode_to(&self, encoder: &mut Encoder, version: i16) -> Result<(), WireError> {
        encoder.set_version(Self::version(version)?);
        Field::encode(self, encoder)
    }

    /// Reads the message from the front of the input and leaves what follows.
    fn decode(input: &mut Bytes, version: i16) -> Result<Self, WireError> {
        let version = Self::version(version)?;
        let mut decoder = Decoder::new(std::mem::take(input), version);
        let message = <Self as Field>::decode(&mut decoder);
        *input = decoder.into_rest();
        message
    }

    /// Reads a message that is the whole input.
    fn decode_all(mut input: Bytes, version: i16) -> Result<Self, WireError> {
        let message = <Self as Message>::decode(&mut input, version)?;
        if !input.is_empty() {
            let problem = Problem::Trailing(input.len());
            return Err(WireError::in_message(Self::NAME, problem));
        }
        Ok(message)
    }

    /// The message with its version in front, as it stands inside records and group metadata.
    fn to_versioned(&self, version: i16) -> Result<Bytes, WireError> {
        let mut buffer = BytesMut::new();
        buffer.extend_from_slice(&version.to_be_bytes());
        Message::encode(self, &mut buffer, version)?;
        Ok(buffer.freeze())
    }

    /// Reads a message with its version in front, which must be the whole input.
    fn from_versioned(mut input: Bytes) -> Result<Self, WireError> {
        let version = peek_version(&input).map_err(|error| error.at(Self::NAME, "version"))?;
        input.advance(2);
        Self::decode_all(input, version)
    }

    /// Reads a message with its version in front; a newer version is read as our newest, and what follows the
    /// fields we know is ignored.
    fn from_versioned_or_newer(mut input: Bytes) -> Result<Self, WireError> {
        let version = peek_version(&input).map_err(|error| error.at(Self::NAME, "version"))?;
        input.advance(2);
        <Self as Message>::decode(&mut input, version.min(Self::VERSIONS.max))
    }
}

/// Reads the version that stands in front of a message.
pub fn peek_version(input: &Bytes) -> Result<i16, WireError> {
    match input.first_chunk::<2>() {
        Some(bytes) => Ok(i16::from_be_bytes(*bytes)),
        None => Err(Problem::Short {
            needed: 2,
            available: input.len(),
        }
        .into()),
    }
}

/// A message that belongs to an API.
pub trait ApiMessage: Message {
    /// The API.
    const API: ApiKey;
}

/// A request, which knows its response.
pub trait ApiRequest: ApiMessage {
    /// The response's type.
    type Response: ApiMessage;
    /// The request as one of all requests.
    fn into_request(self) -> super::Request;
    /// The response out of all responses; an error if it is of another API.
    fn response_of(response: super::Response) -> Result<Self::Response, WireError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::{
        ConsumerProtocolSubscription, GroupMetadataKey, MetadataRequest, OffsetCommitKey,
        OffsetCommitValue,
    };

    #[test]
    fn versions_out_of_range_are_refused() {
        let mut bytes = BytesMut::new();
        let error = Message::encode(&MetadataRequest::default(), &mut bytes, 14).unwrap_err();
        assert_eq!(
            error.to_string(),
            "MetadataRequest: version 14 is outside 0 to 13"
        );
        assert!(<MetadataRequest as Message>::decode(&mut Bytes::new(), -1).is_err());
    }

    /// The bytes that Kafka 4.x writes to `__consumer_offsets` for group `g`, topic `t`, partition 3.
    #[test]
    fn records_of_committed_offsets_are_kafkas() {
        let key = OffsetCommitKey {
            group: "g".into(),
            topic: "t".into(),
            partition: 3,
            ..Default::default()
        };
        let bytes = key.to_versioned(1).unwrap();
        assert_eq!(&bytes[..], b"\0\x01\0\x01g\0\x01t\0\0\0\x03");
        assert_eq!(OffsetCommitKey::from_versioned(bytes.clone()), Ok(key));
        assert!(GroupMetadataKey::from_versioned(bytes).is_err());

        let value = OffsetCommitValue {
            offset: 42,
            leader_epoch: 1,
            commit_timestamp: 7,
            ..Default::default()
        };
        let bytes = value.to_versioned(3).unwrap();
        let expected = b"\0\x03\0\0\0\0\0\0\0\x2a\0\0\0\x01\0\0\0\0\0\0\0\0\0\x07";
        assert_eq!(&bytes[..], expected);
        assert_eq!(OffsetCommitValue::from_versioned(bytes), Ok(value));
    }

    #[test]
    fn a_newer_subscription_is_read_as_ours() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["t".into()],
            generation_id: 5,
            ..Default::default()
        };
        let mut bytes = BytesMut::from(&subscription.to_versioned(3).unwrap()[..]);
        bytes[1] = 9;
        bytes.extend_from_slice(b"more");
        let bytes = bytes.freeze();
        assert!(ConsumerProtocolSubscription::from_versioned(bytes.clone()).is_err());
        let read = ConsumerProtocolSubscription::from_versioned_or_newer(bytes);
        assert_eq!(read, Ok(subscription));
    }

    #[test]
    fn a_field_that_the_version_lacks_is_refused_unless_ignorable() {
        use crate::wire::messages::{ListGroupsRequest, ProduceRequest, TopicProduceData};
        let request = ListGroupsRequest {
            states_filter: vec!["Stable".into()],
            ..Default::default()
        };
        let error = Message::encode(&request, &mut BytesMut::new(), 3).unwrap_err();
        assert_eq!(
            (error.message, error.field, error.problem),
            (
                "ListGroupsRequest",
                "states_filter",
                Problem::NotInVersion(3)
            )
        );

        let request = ProduceRequest {
            topic_data: vec![TopicProduceData {
                name: "dropped from version 13 on".into(),
                topic_id: uuid::Uuid::from_u128(1),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut bytes = BytesMut::new();
        Message::encode(&request, &mut bytes, 13).unwrap();
        let again = ProduceRequest::decode_all(bytes.freeze(), 13).unwrap();
        assert_eq!(again.topic_data[0].name, "");
    }

    #[test]
    fn decoding_copies_nothing() {
        use crate::wire::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};
        let request = ProduceRequest {
            topic_data: vec![TopicProduceData {
                name: "orders".into(),
                partition_data: vec![PartitionProduceData {
                    records: Some(Bytes::from(vec![7; 100])),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut bytes = BytesMut::new();
        Message::encode(&request, &mut bytes, 9).unwrap();
        let frame = bytes.freeze();
        let range = frame.as_ptr_range();
        let request = ProduceRequest::decode_all(frame.clone(), 9).unwrap();
        let topic = &request.topic_data[0];
        let records = topic.partition_data[0].records.as_ref().unwrap();
        assert!(range.contains(&records.as_ptr()));
        assert!(range.contains(&topic.name.as_bytes().as_ptr()));
    }
}
