//! Frames and their limits, and one connection.
