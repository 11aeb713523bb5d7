//! The seam between the client and its brokers.
//!
//! A [`Transport`] carries request structs to a broker and brings response structs back.
//! Over TCP they are encoded in between; in process they are handed over as they are.
//! Nothing above this trait can tell which one it has.
//!
//! Invariant: calls to one broker on one [`Lane`] take effect in the order in which
//! [`Transport::call`] was called, whenever their futures are polled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

use super::{ClientError, Node};
use crate::wire::{Request, Response};

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Any broker that is reachable.
    Any,
    /// The broker with this id.
    Broker(i32),
}

/// A queue of requests of its own to each broker.
///
/// Brokers answer the requests of one connection one after the other, so whatever may
/// wait there (a long poll, a join) would hold back what shares the connection. Each
/// producer and consumer has lanes of its own; over TCP, a lane is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(u64);

impl Lane {
    /// The lane of metadata, lookups and administration, shared by a whole client.
    pub const SHARED: Lane = Lane(0);

    /// A lane that no one else has in this process.
    pub fn fresh() -> Lane {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Lane(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A request and how to send it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Where to.
    pub destination: Destination,
    /// In which queue.
    pub lane: Lane,
    /// The request.
    pub request: Request,
    /// The highest version that the caller can fill in and understand. The transport
    /// takes the highest version that this, the broker and our own catalogue share.
    pub max_version: i16,
    /// The lowest version that makes sense to the caller.
    pub min_version: i16,
    /// How long to wait for the answer. What the broker may wait by itself (a long poll,
    /// a join) is part of it.
    pub timeout: Duration,
}

impl Call {
    /// A call in the shared lane at the highest common version.
    pub fn new(destination: Destination, request: impl Into<Request>, timeout: Duration) -> Self {
        Self {
            destination,
            lane: Lane::SHARED,
            request: request.into(),
            max_version: i16::MAX,
            min_version: 0,
            timeout,
        }
    }

    /// The same call in another lane.
    #[must_use]
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }

    /// The same call at no higher version.
    #[must_use]
    pub fn at_most(mut self, version: i16) -> Self {
        self.max_version = version;
        self
    }

    /// The same call at no lower version.
    #[must_use]
    pub fn at_least(mut self, version: i16) -> Self {
        self.min_version = version;
        self
    }
}

/// An answer, and the version in which request and answer were understood.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The answer.
    pub response: Response,
    /// The version of the request.
    pub version: i16,
}

/// Carries requests to brokers.
///
/// What an implementation must keep:
/// - The order of calls (see the module). The request is taken over inside
///   [`call`](Self::call); the future only waits for the answer, and dropping it does not
///   take the request back.
/// - The request is answered as at the version in [`Reply::version`], which is the
///   highest of our catalogue, the broker's range and the call's bounds. No common
///   version is [`ClientError::Unsupported`].
/// - A Produce request with `acks=0` has no answer of its own: the reply is an empty
///   `ProduceResponse` once the request has been handed over.
/// - A broker that cannot be reached is [`ClientError::Connection`], one that does not
///   answer in time [`ClientError::Timeout`]. The transport reconnects by itself with
///   backoff, but never repeats a request.
pub trait Transport: Send + Sync + 'static {
    /// Takes over a request; the future gives the answer.
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>>;

    /// The brokers' addresses as the newest metadata tell them.
    fn update_brokers(&self, brokers: &[Node]) {
        let _ = brokers;
    }

    /// Nobody will use this lane again: its connections may be closed once the requests
    /// taken over have been written.
    fn close_lane(&self, lane: Lane) {
        let _ = lane;
    }

    /// Who is on the other side, for error messages: `in process`, or the addresses.
    fn describe(&self) -> String;
}

impl Transport for Arc<dyn Transport> {
    fn call(&self, call: Call) -> BoxFuture<'static, Result<Reply, ClientError>> {
        (**self).call(call)
    }

    fn update_brokers(&self, brokers: &[Node]) {
        (**self).update_brokers(brokers);
    }

    fn close_lane(&self, lane: Lane) {
        (**self).close_lane(lane);
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}
