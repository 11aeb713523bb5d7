//! What consumers read: the same batches in either broker.
//!
//! A producer makes larger batches the longer its broker lets it wait, and larger batches are read faster. So
//! consumers would be measured by the broker's slowness as a sink, were they to read what producers wrote.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use thalweg_log::net::{ClientConnection, ConnectionOptions};
use thalweg_log::record::{BatchBuilder, Compression};
use thalweg_log::wire::Str;
use thalweg_log::wire::messages::{PartitionProduceData, ProduceRequest, TopicProduceData};

use super::work::{Load, Payloads};

/// The bytes of records in a batch, before it is compressed.
const BATCH: usize = 64 * 1024;

/// The version of the request, which both brokers know.
const VERSION: i16 = 9;

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a load's records, and answers how many they are: as many as fill whole batches.
pub async fn fill(address: &str, topic: &str, load: &Load) -> Result<u64> {
    let connection = ClientConnection::connect(address, ConnectionOptions::default()).await?;
    let codec = match load.codec {
        "lz4" => Compression::Lz4,
        _ => Compression::None,
    };
    let payloads = Payloads::new(load.size);
    let per_batch = (BATCH / load.size) as u64;
    let mut batch = BatchBuilder::new(codec);
    for n in 0..per_batch {
        batch.append(1_700_000_000_000, None, Some(payloads.get(n)), &[])?;
    }
    let batch = batch.build()?;
    let batches = load.records.div_ceil(per_batch);
    for n in 0..batches {
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![TopicProduceData {
                name: Str::from(topic),
                partition_data: vec![PartitionProduceData {
                    index: (n % load.partitions as u64) as i32,
                    records: Some(batch.clone()),
                    ..PartitionProduceData::default()
                }],
                ..TopicProduceData::default()
            }],
            ..ProduceRequest::default()
        };
        let response = connection.call(request, VERSION, PATIENCE).await?;
        let answer = response.responses.first();
        let answer = answer.and_then(|topic| topic.partition_responses.first());
        let code = answer
            .context("an answer without the partition")?
            .error_code;
        ensure!(code == 0, "the broker refused a batch with error {code}");
    }
    connection.close();
    Ok(batches * per_batch)
}
