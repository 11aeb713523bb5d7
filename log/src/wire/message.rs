//! What all messages have in common: a name, versions, an encoding.

use bytes::{Bytes, BytesMut};

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
