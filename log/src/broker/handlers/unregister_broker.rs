//! UnregisterBroker: forgets a broker. One that still runs registers again at once, in new epochs.

use crate::broker::core::{Core, ProposeError};
use crate::controller::Command;
use crate::wire::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

pub(crate) async fn handle(
    core: &Core,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    match unregister(core, request.broker_id).await {
        Ok(()) => UnregisterBrokerResponse::default(),
        Err(error) => UnregisterBrokerResponse {
            error_code: error.code().code(),
            error_message: Some(error.to_string().into()),
            ..UnregisterBrokerResponse::default()
        },
    }
}

async fn unregister(core: &Core, id: i32) -> Result<(), ProposeError> {
    let before = core.image().broker(id).cloned();
    core.propose(Command::UnregisterBroker { id }).await?;
    if let Some(registration) = before.filter(|_| id == core.node_id()) {
        core.propose(Command::RegisterBroker {
            id,
            incarnation: registration.incarnation,
            endpoints: registration.endpoints.clone(),
            rack: registration.rack.clone(),
        })
        .await?;
    }
    Ok(())
}
