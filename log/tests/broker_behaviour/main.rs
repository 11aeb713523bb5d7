//! What the broker answers, request by request, in process.

mod bench;
mod cluster;
mod coordinators;
mod decided;
mod dynamic;
mod groups;
mod offsets;
mod producing;
mod quotas;
mod records;
mod settings;
mod topic_admin;
mod topics;
mod transactions;

use std::time::Duration;

use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{Call, Destination, Transport};
use thalweg_log::wire::ApiRequest;
use thalweg_log::wire::messages::MetadataRequest;

#[test]
fn a_broker_is_started_used_and_dropped_from_any_runtime_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let broker = runtime
        .block_on(Broker::start(BrokerConfig::new(dir.path())))
        .unwrap();
    let transport = broker.transport();
    drop(runtime);
    // Outside of any runtime the answer still comes.
    let request = MetadataRequest {
        topics: None,
        ..Default::default()
    }
    .into_request();
    let call = Call::new(Destination::Any, request, Duration::from_secs(10));
    futures::executor::block_on(transport.call(call.clone())).unwrap();
    broker.close();
    assert!(futures::executor::block_on(transport.call(call)).is_err());
    drop(broker);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        drop(Broker::start(BrokerConfig::new(dir.path())).await.unwrap());
    });
}
