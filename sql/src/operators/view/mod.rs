//! The rows of views, as their topic and store keep them.
//!
//! The key is the stream key in memcomparable bytes, so that the store scans in key
//! order. The value is one JSON object of all columns, so that any Kafka client can read a
//! view: integers, floats and decimals as numbers with all their digits, floats that JSON
//! has no number for as `"NaN"`, `"inf"` and `"-inf"`, dates and times in ISO 8601 to
//! their last digit, bytes in hexadecimal. Invariant: what is written is read back as it
//! was, in every type a view may have (of the many bit patterns of NaN one).

mod decode;
mod encode;
mod time;

#[cfg(test)]
mod tests;

pub use decode::ViewRowDecoder;
pub use encode::{ViewRowEncoder, ViewRows};
