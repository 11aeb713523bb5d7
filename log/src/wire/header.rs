//! What stands before each request and response.

use bytes::Bytes;

use super::codec::{Decoder, Encoder, Field, KnownTags, TaggedFields, Version};
use super::error::{Problem, WireError};
use super::{ApiKey, Str};

/// The header of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API asked for.
    pub api: ApiKey,
    /// The version of the API in which the request is written and the response is wanted.
    pub version: i16,
    /// Chosen by the client; the response carries it back.
    pub correlation_id: i32,
    /// The name the client gives itself.
    pub client_id: Option<Str>,
    /// Tagged fields that this program does not know.
    pub unknown_tagged_fields: TaggedFields,
}

impl RequestHeader {
    /// A header without tagged fields.
    pub fn new(api: ApiKey, version: i16, correlation_id: i32, client_id: Option<Str>) -> Self {
        RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
            unknown_tagged_fields: TaggedFields::default(),
        }
    }

    /// Writes the header.
    pub fn encode(&self, encoder: &mut Encoder) -> Result<(), WireError> {
        let name = "RequestHeader";
        let flexible = self.api.request_header_version(self.version) >= 2;
        encoder.set_version(Version {
            number: 1,
            flexible: false,
        });
        self.api.key().encode(encoder)?;
        self.version.encode(encoder)?;
        self.correlation_id.encode(encoder)?;
        // Never compact, not even in a flexible header.
        self.client_id
            .encode(encoder)
            .map_err(|error| error.at(name, "client_id"))?;
        if flexible {
            encoder.set_version(Version {
                number: 2,
                flexible,
            });
            encoder
                .tagged_fields(KnownTags::default(), &self.unknown_tagged_fields)
                .map_err(|error| error.at(name, "unknown_tagged_fields"))?;
        }
        Ok(())
    }

    /// Reads the header from the front of a frame and leaves the body.
    ///
    /// Any version number passes here; whether the API has it is for the caller to say, who may have to answer
    /// a client that is newer than this program.
    pub fn decode(frame: Bytes) -> Result<(RequestHeader, Bytes), WireError> {
        let name = "RequestHeader";
        let mut decoder = Decoder::new(
            frame,
            Version {
                number: 1,
                flexible: false,
            },
        );
        let key = i16::decode(&mut decoder).map_err(|error| error.at(name, "api_key"))?;
        let version = i16::decode(&mut decoder).map_err(|error| error.at(name, "api_version"))?;
        let correlation_id =
            i32::decode(&mut decoder).map_err(|error| error.at(name, "correlation_id"))?;
        let Some(api) = ApiKey::from_key(key) else {
            return Err(WireError::from(Problem::UnknownApiKey(key)).at(name, "api_key"));
        };
        let client_id =
            Option::<Str>::decode(&mut decoder).map_err(|error| error.at(name, "client_id"))?;
        let mut unknown_tagged_fields = TaggedFields::default();
        if api.request_header_version(version) >= 2 {
            decoder.set_version(Version {
                number: 2,
                flexible: true,
            });
            unknown_tagged_fields = decoder
                .tagged_fields(|_, _| Ok(false))
                .map_err(|error| error.at(name, "unknown_tagged_fields"))?;
        }
        let header = RequestHeader {
            api,
            version,
            correlation_id,
            client_id,
            unknown_tagged_fields,
        };
        Ok((header, decoder.into_rest()))
    }
}

/// The header of a response. Whether it has tagged fields follows from the request it answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseHeader {
    /// The request's.
    pub correlation_id: i32,
    /// Tagged fields that this program does not know.
    pub unknown_tagged_fields: TaggedFields,
}

impl ResponseHeader {
    /// Writes the header of a response to a request of an API in a version.
    pub fn encode(
        &self,
        encoder: &mut Encoder,
        api: ApiKey,
        version: i16,
    ) -> Result<(), WireError> {
        self.correlation_id.encode(encoder)?;
        let number = api.response_header_version(version);
        if number >= 1 {
            encoder.set_version(Version {
                number,
                flexible: true,
            });
            encoder
                .tagged_fields(KnownTags::default(), &self.unknown_tagged_fields)
                .map_err(|error| error.at("ResponseHeader", "unknown_tagged_fields"))?;
        }
        Ok(())
    }

    /// The correlation id at the front of a response frame, from which a client learns what the frame answers.
    pub fn peek_correlation_id(frame: &Bytes) -> Result<i32, WireError> {
        let flexible = false;
        let mut decoder = Decoder::new(
            frame.clone(),
            Version {
                number: 0,
                flexible,
            },
        );
        i32::decode(&mut decoder).map_err(|error| error.at("ResponseHeader", "correlation_id"))
    }

    /// Reads the header from the front of a frame and leaves the body.
    pub fn decode(
        frame: Bytes,
        api: ApiKey,
        version: i16,
    ) -> Result<(ResponseHeader, Bytes), WireError> {
        let number = api.response_header_version(version);
        let flexible = number >= 1;
        let mut decoder = Decoder::new(frame, Version { number, flexible });
        let correlation_id = i32::decode(&mut decoder)
            .map_err(|error| error.at("ResponseHeader", "correlation_id"))?;
        let unknown_tagged_fields = decoder
            .tagged_fields(|_, _| Ok(false))
            .map_err(|error| error.at("ResponseHeader", "unknown_tagged_fields"))?;
        let header = ResponseHeader {
            correlation_id,
            unknown_tagged_fields,
        };
        Ok((header, decoder.into_rest()))
    }
}
