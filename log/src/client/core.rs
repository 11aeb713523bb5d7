//! What producer, consumer and admin of one client share: transport, metadata, retries.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::metadata::{Metadata, TopicInfo};
use super::transport::{Call, Destination, Reply, Transport};
use super::{ClientConfig, ClientError};
use crate::wire::{ApiRequest, ErrorCode};

/// How long a topic that brokers do not know may still appear: its creation may be on
/// its way to the broker that was asked.
pub(crate) const UNKNOWN_TOPIC_PATIENCE: Duration = Duration::from_secs(3);

/// Shared by all handles of a client.
pub(crate) struct Core {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) config: ClientConfig,
    pub(crate) metadata: Metadata,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("transport", &self.transport.describe())
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Where background work runs.
    pub(crate) fn runtime(&self) -> Result<Handle, ClientError> {
        match &self.config.runtime {
            Some(handle) => Ok(handle.clone()),
            None => Handle::try_current().map_err(|_| ClientError::NoRuntime),
        }
    }

    /// The end of a call that begins now and has the usual time.
    pub(crate) fn deadline(&self) -> Instant {
        after(self.config.default_api_timeout_ms)
    }

    /// One request in the shared lane, to be answered within the usual time.
    pub(crate) async fn ask<R: ApiRequest>(
        &self,
        destination: Destination,
        request: R,
    ) -> Result<R::Response, ClientError> {
        let call = Call::new(
            destination,
            request.into_request(),
            self.config.request_timeout_ms,
        );
        self.exchange::<R>(call).await
    }

    /// One call, and the answer that fits it.
    pub(crate) async fn exchange<R: ApiRequest>(
        &self,
        call: Call,
    ) -> Result<R::Response, ClientError> {
        response_of::<R>(self.transport.call(call).await?)
    }

    /// The wait before retry number `attempt` (from 0), with some jitter.
    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        backoff(
            self.config.retry_backoff_ms,
            self.config.retry_backoff_max_ms,
            attempt,
        )
    }

    /// Runs `operation` until it succeeds, fails for good, or `deadline` would pass.
    pub(crate) async fn retry<T, F, Fut>(
        &self,
        deadline: Instant,
        mut operation: F,
    ) -> Result<T, ClientError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        let mut attempt = 0;
        loop {
            match operation().await {
                Err(error) if error.is_retriable() => {
                    let wait = self.backoff(attempt);
                    if Instant::now() + wait >= deadline {
                        return Err(error);
                    }
                    tracing::debug!(%error, "retrying");
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// Asks for `topics` anew; the codes of those that could not be had.
    pub(crate) async fn refresh(
        &self,
        topics: &[Arc<str>],
        allow_auto_create: bool,
    ) -> Result<Vec<(Arc<str>, ErrorCode)>, ClientError> {
        self.metadata
            .refresh(
                &*self.transport,
                topics,
                allow_auto_create,
                self.config.request_timeout_ms,
            )
            .await
    }

    /// The topics whose name matches, in order, without internal ones; asked for anew.
    pub(crate) async fn topics_matching(
        &self,
        pattern: &regex::Regex,
    ) -> Result<Vec<Arc<str>>, ClientError> {
        let timeout = self.config.request_timeout_ms;
        self.metadata
            .fetch(&*self.transport, None, false, timeout)
            .await?;
        let cluster = self.metadata.snapshot();
        let mut topics: Vec<Arc<str>> = cluster
            .topics()
            .filter(|topic| !topic.internal && pattern.is_match(&topic.name))
            .map(|topic| topic.name.clone())
            .collect();
        topics.sort();
        Ok(topics)
    }

    /// A topic from the cache, or from the brokers. One that they do not know is waited
    /// for a little.
    pub(crate) async fn topic(
        &self,
        name: &Arc<str>,
        allow_auto_create: bool,
        deadline: Instant,
    ) -> Result<Arc<TopicInfo>, ClientError> {
        if let Some(topic) = self.metadata.topic(name) {
            return Ok(topic);
        }
        let patience = after(UNKNOWN_TOPIC_PATIENCE).min(deadline);
        let mut attempt = 0;
        loop {
            let (error, until) = match self
                .refresh(std::slice::from_ref(name), allow_auto_create)
                .await
            {
                Ok(missing) => {
                    if let Some(topic) = self.metadata.topic(name) {
                        return Ok(topic);
                    }
                    let code = missing
                        .first()
                        .map_or(ErrorCode::UnknownTopicOrPartition, |(_, code)| *code);
                    let until = match code {
                        ErrorCode::UnknownTopicOrPartition => patience,
                        _ => deadline,
                    };
                    (ClientError::broker(code, format!("topic {name}")), until)
                }
                Err(error) => (error, deadline),
            };
            let wait = self.backoff(attempt);
            if !error.is_retriable() || Instant::now() + wait >= until {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

/// The moment `duration` from now; very far away counts as a century.
pub(crate) fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration)
        .unwrap_or_else(|| now + Duration::from_secs(100 * 365 * 24 * 3600))
}

/// `first` doubled `attempt` times, at most `max`, less up to a fifth at random.
pub(crate) fn backoff(first: Duration, max: Duration, attempt: u32) -> Duration {
    let full = first.saturating_mul(1 << attempt.min(16)).min(max);
    full.mul_f64(1.0 - 0.2 * rand::random::<f64>())
}

/// A duration as the milliseconds of a request field.
pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// The answer to a request of kind `R`.
pub(crate) fn response_of<R: ApiRequest>(reply: Reply) -> Result<R::Response, ClientError> {
    R::response_of(reply.response).map_err(|source| ClientError::Wire {
        what: R::API.name().to_owned(),
        source: Arc::new(source),
    })
}
