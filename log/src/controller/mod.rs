//! The metadata state machine on its quorum.
