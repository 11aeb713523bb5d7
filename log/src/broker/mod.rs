//! Requests to answers: the broker.
