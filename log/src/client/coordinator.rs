//! The way to the coordinator of a group or of a transactional id.
//!
//! Invariant: what is cached is forgotten as soon as an answer, or its absence, says that
//! the coordinator may be elsewhere; so a caller that retries finds it anew.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::ClientError;
use super::core::Core;
use super::transport::{Call, Destination, Lane};
use crate::wire::messages::FindCoordinatorRequest;
use crate::wire::{ApiRequest, ErrorCode, Str};

/// What is coordinated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coordinated {
    /// A group, by its id.
    Group,
    /// Transactions, by their transactional id.
    Transactions,
}

/// Finds a coordinator and asks it.
#[derive(Debug)]
pub(crate) struct Coordinator {
    core: Arc<Core>,
    kind: Coordinated,
    key: String,
    broker: Mutex<Option<i32>>,
}

impl Coordinator {
    pub(crate) fn new(core: Arc<Core>, kind: Coordinated, key: String) -> Self {
        Self {
            core,
            kind,
            key,
            broker: Mutex::new(None),
        }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The coordinator's broker, if it is known.
    pub(crate) fn known(&self) -> Option<i32> {
        *self.broker.lock()
    }

    /// The coordinator's broker; asks if it is not known.
    pub(crate) async fn find(&self) -> Result<i32, ClientError> {
        if let Some(broker) = self.known() {
            return Ok(broker);
        }
        let request = FindCoordinatorRequest {
            key: Str::from(&self.key),
            key_type: match self.kind {
                Coordinated::Group => 0,
                Coordinated::Transactions => 1,
            },
            ..FindCoordinatorRequest::default()
        };
        let timeout = self.core.config.request_timeout_ms;
        // From version 4 on keys come in lists; one key needs none. Version 0 knows only groups.
        let mut call = Call::new(Destination::Any, request, timeout).at_most(3);
        if self.kind == Coordinated::Transactions {
            call = call.at_least(1);
        }
        let response = self.core.exchange::<FindCoordinatorRequest>(call).await?;
        let code = ErrorCode::from(response.error_code);
        if code.is_error() {
            let what = match self.kind {
                Coordinated::Group => format!("find the coordinator of group {}", self.key),
                Coordinated::Transactions => {
                    format!("find the coordinator of transactional id {}", self.key)
                }
            };
            return Err(ClientError::broker_said(code, what, response.error_message));
        }
        let nodes = &self.core.metadata.snapshot().nodes;
        if !nodes.contains_key(&response.node_id) {
            // Its address comes with the metadata.
            let metadata = &self.core.metadata;
            metadata
                .fetch(&*self.core.transport, Some(&[]), false, timeout)
                .await?;
        }
        *self.broker.lock() = Some(response.node_id);
        Ok(response.node_id)
    }

    /// Looks for the coordinator anew if the error says that it is elsewhere.
    pub(crate) fn forget_if(&self, error: &ClientError) {
        let elsewhere = match error {
            ClientError::Broker { code, .. } => matches!(
                code,
                ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable
            ),
            ClientError::Timeout { .. } | ClientError::Connection { .. } => true,
            _ => false,
        };
        if elsewhere {
            *self.broker.lock() = None;
        }
    }

    /// Asks the coordinator once. `prepare` sees the call before it goes; `check` tells the
    /// answer's error, if it has one.
    pub(crate) async fn ask<R: ApiRequest>(
        &self,
        lane: Lane,
        timeout: Duration,
        request: R,
        prepare: impl FnOnce(Call) -> Call,
        check: impl FnOnce(&R::Response) -> Result<(), ClientError>,
    ) -> Result<R::Response, ClientError> {
        let broker = self.find().await?;
        let call = Call::new(Destination::Broker(broker), request.into_request(), timeout);
        let result = self.core.exchange::<R>(prepare(call.lane(lane))).await;
        let result = result.and_then(|response| check(&response).map(|()| response));
        if let Err(error) = &result {
            self.forget_if(error);
        }
        result
    }
}
