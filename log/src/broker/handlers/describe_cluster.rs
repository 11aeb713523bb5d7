//! DescribeCluster: the brokers and who controls them.

use crate::broker::core::{Context, Core};
use crate::controller::Quorum;
use crate::wire::messages::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::wire::{ErrorCode, Str};

const BROKERS: i8 = 1;

pub(crate) fn handle(
    core: &Core,
    cx: &Context,
    request: &DescribeClusterRequest,
) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::UnsupportedEndpointType.code(),
            error_message: Some(Str::from_static(
                "The request was sent to a broker endpoint.",
            )),
            endpoint_type: request.endpoint_type,
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
        ..DescribeClusterResponse::default()
    }
}
