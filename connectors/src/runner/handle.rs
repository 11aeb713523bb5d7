//! A hold on a running connector.

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ConnectorStatus;
use crate::ConnectorError;

/// A connector that runs in the background. Dropping it tells the connector to stop.
#[derive(Debug)]
pub struct ConnectorHandle {
    name: String,
    status: watch::Receiver<ConnectorStatus>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ConnectorError>>,
}

impl ConnectorHandle {
    pub(super) fn new(
        name: String,
        status: watch::Receiver<ConnectorStatus>,
        stop: watch::Sender<bool>,
        task: JoinHandle<Result<(), ConnectorError>>,
    ) -> Self {
        Self {
            name,
            status,
            stop,
            task,
        }
    }

    /// The connector's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is doing now.
    pub fn status(&self) -> ConnectorStatus {
        self.status.borrow().clone()
    }

    /// Follows how it is doing.
    pub fn watch(&self) -> watch::Receiver<ConnectorStatus> {
        self.status.clone()
    }

    /// Waits until a bounded source has been read to its end and all of it is in the log,
    /// or the connector failed or was stopped; returns the last status.
    pub async fn settled(&self) -> ConnectorStatus {
        let mut status = self.status.clone();
        // The sender goes away with the task, whose last status stays.
        let _ = status.wait_for(|status| status.state.is_final()).await;
        status.borrow().clone()
    }

    /// Tells the connector to stop and waits until it has committed where it stands.
    ///
    /// # Errors
    /// What made the connector fail, if it had failed.
    pub async fn stop(self) -> Result<(), ConnectorError> {
        // Without a receiver the task has ended already.
        let _ = self.stop.send(true);
        match self.task.await {
            Ok(result) => result,
            Err(error) => Err(ConnectorError::Task {
                name: self.name,
                what: error.to_string(),
            }),
        }
    }
}

/// Resolves when the connector is told to stop, or nobody holds it any more.
pub(super) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
