//! The messages of the Kafka protocol, sans-IO, and the one catalogue of API versions.
//!
//! Messages are plain structs, declared once in a compact form ([`messages`]); their codec follows from the
//! declaration. Decoding shares the frame's memory, trusts no length or count beyond the bytes that remain,
//! bounds the memory it takes by a small multiple of the frame, and answers bad input with a [`WireError`]
//! that names the message and the field. [`catalogue`] is the sole truth about versions.
//!
//! - [`Message`] encodes and decodes one message; [`Request`] and [`Response`] hold one of any API.
//! - [`RequestHeader`] and [`ResponseHeader`] stand before them in a frame.
//! - [`ErrorCode`] names Kafka's error codes.

mod api;
pub mod catalogue;
pub mod codec;
mod declare;
mod error;
mod error_code;
mod header;
mod message;
pub mod messages;
pub mod schema;
mod string;
mod throttle;

pub use api::{Request, Response};
pub use catalogue::{ApiKey, Versions};
pub use codec::TaggedFields;
pub use error::{Problem, WireError};
pub use error_code::ErrorCode;
pub use header::{RequestHeader, ResponseHeader};
pub use message::{ApiMessage, ApiRequest, Message, peek_version};
pub use string::Str;
