//! The life of a running connector: it works until it is told to stop, ends, or meets a
//! fault that someone has to mend; after a passing failure it starts again by itself, later
//! each time, and says why.

use std::future::Future;

use tokio::sync::watch;

use super::handle::told_to_stop;
use super::{ConnectorHandle, ConnectorState, ConnectorStatus, back_off};
use crate::ConnectorError;

/// The status that a connector shows while it works.
pub(super) type Status = watch::Sender<ConnectorStatus>;

/// What works between two restarts.
pub(super) trait Work: Send + 'static {
    /// From finding the position to an end, a stop or a failure; gives the state it ended in.
    fn work(
        &mut self,
        status: &Status,
        stop: &mut watch::Receiver<bool>,
    ) -> impl Future<Output = Result<ConnectorState, ConnectorError>> + Send;
}

/// Starts `work` as the connector `name` on the current tokio runtime.
pub(super) fn start(name: String, mut work: impl Work) -> ConnectorHandle {
    let (sender, status) = watch::channel(ConnectorStatus::default());
    let (stop_sender, mut stop) = watch::channel(false);
    let task = tokio::spawn({
        let name = name.clone();
        async move { live(&name, &mut work, &sender, &mut stop).await }
    });
    ConnectorHandle::new(name, status, stop_sender, task)
}

async fn live(
    name: &str,
    work: &mut impl Work,
    status: &Status,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), ConnectorError> {
    let mut failures = 0;
    loop {
        enter(status, ConnectorState::Starting);
        let before = status.borrow().records;
        let error = match work.work(status, stop).await {
            Ok(state) => {
                enter(status, state);
                return Ok(());
            }
            Err(error) => error,
        };
        status.send_modify(|status| status.last_error = Some(error.to_string()));
        if !error.is_retriable() {
            tracing::error!(connector = name, "connector failed: {error}");
            enter(status, ConnectorState::Failed);
            return Err(error);
        }
        if status.borrow().records > before {
            failures = 0;
        }
        let wait = back_off(failures);
        failures += 1;
        tracing::warn!(connector = name, ?wait, "connector restarts: {error}");
        status.send_modify(|status| {
            status.state = ConnectorState::Restarting;
            status.restarts += 1;
        });
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = told_to_stop(stop) => {
                enter(status, ConnectorState::Stopped);
                return Ok(());
            }
        }
    }
}

/// Shows a state, and wakes those who follow it only when it is another one.
pub(super) fn enter(status: &Status, state: ConnectorState) {
    status.send_if_modified(|status| {
        let changed = status.state != state;
        status.state = state;
        changed
    });
}
