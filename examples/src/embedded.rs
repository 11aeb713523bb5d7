//! A log embedded in the process: one data folder, no server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{
    Client, ClientConfig, ConsumerConfig, IsolationLevel, NewTopic, OffsetSpec, ProducerConfig,
    ProducerRecord, TopicPartition,
};
use thalweg_streams::topology::Topology;
use thalweg_streams::{Streams, StreamsConfig};

/// A broker in this process and a client of it. The same program runs against a cluster
/// with `Client::connect("host:9092", ..)` instead.
#[derive(Debug)]
pub struct Embedded {
    broker: Broker,
    /// The client that everything goes through.
    pub client: Client,
    folder: PathBuf,
}

impl Embedded {
    /// Starts the log in `folder`, which is made if it is not there.
    pub async fn start(folder: &Path) -> anyhow::Result<Self> {
        let broker = Broker::start(BrokerConfig::new(folder.join("log"))).await?;
        let client = Client::with_transport(broker.transport(), ClientConfig::default());
        Ok(Self {
            broker,
            client,
            folder: folder.to_owned(),
        })
    }

    /// Makes a topic.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> anyhow::Result<()> {
        let topic = NewTopic::new(name).partitions(partitions);
        self.client.admin().create_topic(topic).await?;
        Ok(())
    }

    /// Writes records: key, value and timestamp. Returns when all are in the log.
    pub async fn write(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = (Bytes, Bytes, i64)>,
    ) -> anyhow::Result<()> {
        let producer = self.client.producer(ProducerConfig::default())?;
        for (key, value, timestamp) in records {
            let record = ProducerRecord::new(topic).key(key).value(value);
            // Whether it arrived is told for all of them by `flush`.
            let _delivery = producer.send(record.timestamp(timestamp)).await?;
        }
        producer.flush().await?;
        producer.close().await?;
        Ok(())
    }

    /// Starts a job, with its state beside the log.
    pub async fn run(&self, application_id: &str, topology: Topology) -> anyhow::Result<Streams> {
        let mut config = StreamsConfig::new(application_id);
        config.state_dir = self.folder.join("state");
        let streams = Streams::start(config, topology, self.client.clone()).await?;
        Ok(streams)
    }

    /// The records that a topic holds now: key and value, partition by partition.
    pub async fn read(&self, topic: &str) -> anyhow::Result<Vec<(Option<Bytes>, Option<Bytes>)>> {
        let admin = self.client.admin();
        let described = admin.describe_topics(&[topic]).await?;
        let info = described
            .into_values()
            .next()
            .with_context(|| format!("there is no topic {topic}"))??;
        let partitions: Vec<TopicPartition> = (0..info.partition_count())
            .map(|partition| TopicPartition::new(topic, partition))
            .collect();
        let latest = partitions.iter().map(|p| (p.clone(), OffsetSpec::Latest));
        let ends = admin
            .list_offsets(latest.collect(), IsolationLevel::ReadCommitted)
            .await?;
        let mut consumer = self.client.consumer(ConsumerConfig::default())?;
        consumer.assign(partitions.clone())?;
        consumer.seek_to_beginning(&partitions)?;
        let mut records = Vec::new();
        loop {
            let mut left = false;
            for partition in &partitions {
                let end = ends.get(partition).and_then(Option::as_ref);
                let end = end.map_or(0, |end| end.offset);
                left |= consumer.position(partition).await? < end;
            }
            if !left {
                return Ok(records);
            }
            for batch in consumer.poll_records(Duration::from_millis(500)).await? {
                for record in batch {
                    let record = record?;
                    records.push((record.key, record.value));
                }
            }
        }
    }

    /// Stops the log.
    pub async fn stop(self) {
        self.broker.shutdown().await;
    }
}
