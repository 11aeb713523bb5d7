//! What the runnable examples of Thalweg share: the real ad impressions they work on, and
//! the batch computation that their results are held against.
//!
//! Run one with `cargo run --release -p thalweg-examples --example ad_clicks`.

pub mod ad_clicks;
pub mod batch;
pub mod embedded;
pub mod impressions;
