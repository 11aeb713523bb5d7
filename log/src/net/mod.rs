//! Frames and their limits, and one connection: the protocol over a byte stream.
//!
//! A frame is a 32-bit length and that many bytes. [`FrameReader`] and [`FrameWriter`] bound and carry them;
//! [`serve`] answers the requests of many connections through a [`Handler`]; [`ClientConnection`] is the other
//! end of one connection. A response may hold [ranges of files](FileRange), which go to a plain socket without
//! passing through this program. Nothing here knows a broker.

mod client;
mod connections;
mod error;
mod file;
mod frame;
mod rate;
mod server;

pub use client::{ClientConnection, ConnectionOptions};
pub use connections::{ConnectionLimits, ConnectionQuotas, ConnectionRefused, Slot};
pub use error::NetError;
pub use file::{FileRange, Output};
pub use frame::{
    Frame, FrameReader, FrameWriter, Parts, request_frame, response_frame, response_frame_with,
};
pub use rate::{Rate, TokenBucket, Window};
pub use server::{Answer, Answered, Handler, Limits, serve, serve_connection};
