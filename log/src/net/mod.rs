//! Frames and their limits, and one connection: the protocol over a byte stream.
//!
//! A frame is a 32-bit length and that many bytes. [`FrameReader`] and [`FrameWriter`] bound and carry them;
//! [`serve`] answers the requests of many connections through a [`Handler`]; [`ClientConnection`] is the other
//! end of one connection. Nothing here knows a broker.

mod client;
mod error;
mod frame;
mod server;

pub use client::{ClientConnection, ConnectionOptions};
pub use error::NetError;
pub use frame::{FrameReader, FrameWriter, Parts, request_frame, response_frame};
pub use server::{Handler, Limits, serve, serve_connection};
