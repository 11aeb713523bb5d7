//! DescribeCluster: the brokers and who controls them.

use crate::broker::authorized;
use crate::broker::core::{Context, Core};
use crate::controller::Quorum;
use crate::wire::messages::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::wire::{ErrorCode, Str};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) fn handle(
    core: &Core,
    cx: &Context,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        let (error, message) = match request.endpoint_type {
            CONTROLLERS => (
                ErrorCode::MismatchedEndpointType,
                "This endpoint is a broker's, and a controller's was asked for.".to_owned(),
            ),
            other => (
                ErrorCode::UnsupportedEndpointType,
                format!("There is no endpoint type {other}."),
            ),
        };
        return DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(message.into()),
            ..DescribeClusterResponse::default()
        };
    }
    let image = core.image();
    let brokers = image
        .brokers()
        .map(|b| {
            let (host, port) = Core::endpoint_on(&image, b.id, &cx.listener);
            DescribeClusterBroker {
                broker_id: b.id,
                host,
                port,
                rack: b.rack.as_deref().map(Str::from),
                ..DescribeClusterBroker::default()
            }
        })
        .collect();
    DescribeClusterResponse {
        cluster_id: Str::from(&core.cluster_id),
        controller_id: core.quorum.leader().unwrap_or(-1),
        brokers,
        cluster_authorized_operations: if request.include_cluster_authorized_operations {
            authorized::CLUSTER
        } else {
            authorized::NOT_ASKED
        },
        ..DescribeClusterResponse::default()
    }
}
