//! Whom administration asks: a group's coordinator, the controller, every broker.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;

use super::Admin;
use crate::client::ClientError;
use crate::client::consumer::GroupCoordinator;
use crate::client::core::response_of;
use crate::client::transport::{Call, Destination, Reply};
use crate::wire::ApiRequest;
use crate::wire::messages::{MetadataRequest, MetadataResponse};

impl Admin {
    /// Asks the group's coordinator, and its next one if it has moved.
    pub(super) async fn with_coordinator<T, F, Fut>(
        &self,
        group: &str,
        ask: F,
    ) -> Result<T, ClientError>
    where
        F: Fn(i32) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        let coordinator = GroupCoordinator::new(self.core.clone(), group.to_owned());
        let (coordinator, ask) = (&coordinator, &ask);
        self.core
            .retry(self.core.deadline(), || async move {
                let broker = coordinator.find().await?;
                let result = ask(broker).await;
                if let Err(error) = &result {
                    coordinator.forget_if(error);
                }
                result
            })
            .await
    }

    /// Sends to the controller, which it looks up, and again where that has moved.
    pub(super) async fn controller_call(
        &self,
        call: impl Fn(Destination) -> Call,
    ) -> Result<Reply, ClientError> {
        let (core, call) = (&self.core, &call);
        let again = &AtomicBool::new(false);
        core.retry(core.deadline(), || async move {
            let mut controller = core.metadata.snapshot().controller;
            // One that could not be reached may be the controller no longer.
            if controller.is_none() || again.swap(true, Ordering::Relaxed) {
                self.all_brokers().await?;
                controller = core.metadata.snapshot().controller;
            }
            let destination = controller.map_or(Destination::Any, Destination::Broker);
            core.transport.call(call(destination)).await
        })
        .await
    }

    pub(super) async fn ask_controller<R: ApiRequest + Clone>(
        &self,
        request: R,
    ) -> Result<R::Response, ClientError> {
        let timeout = self.core.config.request_timeout_ms;
        let reply = self
            .controller_call(|destination| {
                Call::new(destination, request.clone().into_request(), timeout)
            })
            .await?;
        response_of::<R>(reply)
    }

    /// Asks every broker the same, and again where that may help; `take` has what is wanted
    /// out of each answer, or its error. What all of them say, together.
    pub(super) async fn ask_all_brokers<R: ApiRequest + Clone, T>(
        &self,
        request: &R,
        least_version: i16,
        take: impl Fn(i32, R::Response) -> Result<Vec<T>, ClientError>,
    ) -> Result<Vec<T>, ClientError> {
        let (core, take) = (&self.core, &take);
        let asked = self.all_brokers().await?.into_iter().map(|broker| {
            core.retry(core.deadline(), move || async move {
                let timeout = core.config.request_timeout_ms;
                let destination = Destination::Broker(broker);
                let call = Call::new(destination, request.clone().into_request(), timeout);
                take(
                    broker,
                    core.exchange::<R>(call.at_least(least_version)).await?,
                )
            })
        });
        let mut all = Vec::new();
        for answer in join_all(asked).await {
            all.extend(answer?);
        }
        Ok(all)
    }

    /// The ids of all brokers, asked for anew.
    pub(super) async fn all_brokers(&self) -> Result<Vec<i32>, ClientError> {
        self.metadata(Some(&[])).await?;
        Ok(self
            .core
            .metadata
            .snapshot()
            .nodes
            .keys()
            .copied()
            .collect())
    }

    /// The metadata of all topics.
    pub(super) async fn all_metadata(&self) -> Result<MetadataResponse, ClientError> {
        self.metadata(None).await
    }

    async fn metadata(
        &self,
        topics: Option<&[std::sync::Arc<str>]>,
    ) -> Result<<MetadataRequest as ApiRequest>::Response, ClientError> {
        let core = &self.core;
        core.retry(core.deadline(), || {
            core.metadata.fetch(
                &*core.transport,
                topics,
                false,
                core.config.request_timeout_ms,
            )
        })
        .await
    }
}
