//! A broker in a folder of its own, and readers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{
    AutoOffsetReset, Client, ClientConfig, Consumer, ConsumerConfig, ConsumerRecord, NewTopic,
    Polled, ProducerConfig, ProducerRecord, TcpTransport, TopicPartition, Transport,
};
use tokio::sync::Mutex;

/// Longer than anything takes; a test that waits so long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    InProcess,
    Tcp,
    /// A server that was started elsewhere.
    Foreign,
}

pub(crate) struct Cluster {
    pub(crate) how: How,
    folder: TempDir,
    broker: Mutex<Option<Broker>>,
    address: std::sync::Mutex<String>,
}

impl Cluster {
    pub(crate) async fn start(how: How) -> Self {
        let cluster = Self {
            how,
            folder: tempfile::tempdir().unwrap(),
            broker: Mutex::new(None),
            address: std::sync::Mutex::new("127.0.0.1:0".to_owned()),
        };
        cluster.open().await;
        cluster
    }

    /// A cluster that is there already, at this address.
    #[allow(dead_code)]
    pub(crate) fn foreign(address: &str) -> Self {
        Self {
            how: How::Foreign,
            folder: tempfile::tempdir().unwrap(),
            broker: Mutex::new(None),
            address: std::sync::Mutex::new(address.to_owned()),
        }
    }

    async fn open(&self) {
        let config = BrokerConfig::new(self.folder.path())
            .set("group.initial.rebalance.delay.ms", "0")
            .set("group.min.session.timeout.ms", "100")
            .set("offsets.topic.num.partitions", "2");
        let broker = Broker::start(config).await.unwrap();
        if self.how == How::Tcp {
            let address = self.address.lock().unwrap().clone();
            let bound = broker.listen(&address).await.unwrap();
            *self.address.lock().unwrap() = bound.to_string();
        }
        *self.broker.lock().await = Some(broker);
    }

    /// Stops the broker and starts it again, at the same address.
    pub(crate) async fn restart(&self) {
        if let Some(broker) = self.broker.lock().await.take() {
            broker.shutdown().await;
        }
        self.open().await;
    }

    pub(crate) async fn stop(self) {
        if let Some(broker) = self.broker.lock().await.take() {
            broker.shutdown().await;
        }
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_with(ClientConfig {
            retry_backoff_ms: Duration::from_millis(10),
            ..ClientConfig::default()
        })
        .await
    }

    /// The way to the cluster.
    pub(crate) async fn transport(&self, config: &ClientConfig) -> Arc<dyn Transport> {
        match self.how {
            How::InProcess => self.broker.lock().await.as_ref().unwrap().transport(),
            How::Tcp | How::Foreign => {
                let address = self.address.lock().unwrap().clone();
                Arc::new(TcpTransport::new(&address, config).unwrap())
            }
        }
    }

    pub(crate) async fn client_with(&self, config: ClientConfig) -> Client {
        match self.how {
            How::InProcess => Client::with_transport(self.transport(&config).await, config),
            How::Tcp | How::Foreign => {
                let address = self.address.lock().unwrap().clone();
                Client::connect(&address, config).await.unwrap()
            }
        }
    }

    /// A client, and a topic of so many partitions.
    pub(crate) async fn with_topic(&self, name: &str, partitions: i32) -> Client {
        let client = self.client().await;
        let topic = NewTopic::new(name).partitions(partitions);
        client.admin().create_topic(topic).await.unwrap();
        client
    }
}

pub(crate) fn quick_group(group: &str) -> ConsumerConfig {
    ConsumerConfig {
        group_id: Some(group.to_owned()),
        auto_offset_reset: AutoOffsetReset::Earliest,
        heartbeat_interval_ms: Duration::from_millis(30),
        fetch_max_wait_ms: Duration::from_millis(50),
        enable_auto_commit: false,
        ..ConsumerConfig::default()
    }
}

pub(crate) fn alone() -> ConsumerConfig {
    ConsumerConfig {
        auto_offset_reset: AutoOffsetReset::Earliest,
        fetch_max_wait_ms: Duration::from_millis(50),
        ..ConsumerConfig::default()
    }
}

/// Sends `values` to one partition and waits until they are there.
pub(crate) async fn fill(
    client: &Client,
    topic: &str,
    partition: i32,
    values: std::ops::Range<usize>,
) {
    let producer = client.producer(ProducerConfig::default()).unwrap();
    for n in values {
        let record = ProducerRecord::new(topic)
            .partition(partition)
            .value(n.to_string());
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await.unwrap();
}

/// Polls until `count` records came.
pub(crate) async fn read(
    consumer: &mut Consumer,
    count: usize,
) -> Vec<(TopicPartition, ConsumerRecord)> {
    let end = Instant::now() + LONG;
    let mut got = Vec::new();
    while got.len() < count {
        assert!(Instant::now() < end, "{} of {count} records", got.len());
        for records in consumer
            .poll_records(Duration::from_millis(100))
            .await
            .unwrap()
        {
            let partition = records.topic_partition.clone();
            got.extend(records.into_iter().map(|r| (partition.clone(), r.unwrap())));
        }
    }
    got
}

pub(crate) fn text(record: &ConsumerRecord) -> String {
    String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
}

pub(crate) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// Polls members in turn until `done`, collecting what they say.
pub(crate) async fn poll_all(
    members: &mut [&mut Consumer],
    mut said: impl FnMut(usize, &Polled),
    mut done: impl FnMut(&[&mut Consumer]) -> bool,
) {
    let end = Instant::now() + LONG;
    while !done(members) {
        assert!(
            Instant::now() < end,
            "assignments: {:?}",
            members.iter().map(|m| m.assignment()).collect::<Vec<_>>()
        );
        for (index, member) in members.iter_mut().enumerate() {
            let polled = member.poll(Duration::from_millis(10)).await.unwrap();
            said(index, &polled);
        }
    }
}

/// How many partitions each member has.
pub(crate) fn sizes(members: &[&mut Consumer]) -> Vec<usize> {
    members.iter().map(|m| m.assignment().len()).collect()
}

/// Records by partition, as their values.
pub(crate) fn by_partition(
    records: &[(TopicPartition, ConsumerRecord)],
) -> BTreeMap<i32, Vec<String>> {
    let mut map: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for (partition, record) in records {
        map.entry(partition.partition)
            .or_default()
            .push(text(record));
    }
    map
}
