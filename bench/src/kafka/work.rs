//! What the clients of others do with a broker: Kafka's performance tools and librdkafka.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::log::payload;

const PATIENCE: Duration = Duration::from_secs(60);

/// What is produced and consumed.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub records: u64,
    pub size: usize,
    pub partitions: i32,
    pub acks: &'static str,
    pub codec: &'static str,
}

impl Load {
    /// What a producer does.
    pub fn name(&self) -> String {
        format!("acks={}, {}", self.acks, self.data())
    }

    /// What a consumer reads.
    pub fn data(&self) -> String {
        let several = if self.partitions == 1 { "" } else { "s" };
        format!(
            "{} B, {} partition{several}, {}",
            self.size, self.partitions, self.codec
        )
    }

    pub fn bytes(&self) -> f64 {
        self.records as f64 * self.size as f64
    }
}

/// Payloads of a load: letters, a different piece of a long text for each record, so that a codec finds no
/// record twice.
pub struct Payloads {
    text: Bytes,
    size: usize,
}

impl Payloads {
    const TEXT: usize = 1 << 20;

    /// Payloads of so many bytes.
    pub fn new(size: usize) -> Self {
        let text = payload(Self::TEXT + size);
        Self { text, size }
    }

    /// The payload of a record.
    pub fn get(&self, n: u64) -> &[u8] {
        let at = (n * 7919 % Self::TEXT as u64) as usize;
        &self.text[at..at + self.size]
    }
}

/// Creates a topic.
pub async fn create(address: &str, topic: &str, partitions: i32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .create()?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for result in admin.create_topics([&new], &options).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

/// Deletes topics, so that memory holds one load's records at a time.
pub async fn delete(address: &str, topics: &[&str]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", address)
        .create()?;
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    for result in admin.delete_topics(topics, &options).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    // Both brokers remove the files a little later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(())
}

fn tool(class_path: &str, class: &str, arguments: &[String]) -> Result<String> {
    let output = Command::new("java")
        .args(["-Xmx512m", "-XX:+UseSerialGC", "-cp", class_path])
        .arg(format!("org.apache.kafka.tools.{class}"))
        .args(arguments)
        .output()
        .context("no Java is at hand")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{class}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// Kafka's `ProducerPerformance`: records a second.
pub fn java_produce(class_path: &str, address: &str, topic: &str, load: &Load) -> Result<f64> {
    let mut arguments: Vec<String> = [
        ("--bootstrap-server", address.to_owned()),
        ("--topic", topic.to_owned()),
        ("--num-records", load.records.to_string()),
        ("--record-size", load.size.to_string()),
        ("--throughput", "-1".to_owned()),
    ]
    .into_iter()
    .flat_map(|(key, value)| [key.to_owned(), value])
    .collect();
    arguments.push("--command-property".to_owned());
    arguments.push(format!("acks={}", load.acks));
    arguments.push(format!("compression.type={}", load.codec));
    arguments.push("linger.ms=5".to_owned());
    arguments.push("batch.size=65536".to_owned());
    let text = tool(class_path, "ProducerPerformance", &arguments)?;
    let last = text.lines().rev().find(|line| line.contains("99.9th"));
    let rate = last
        .and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.parse().ok())
        .with_context(|| format!("no rate in {text}"))?;
    Ok(rate)
}

/// Kafka's `ConsumerPerformance`: records a second of fetching.
pub fn java_consume(class_path: &str, address: &str, topic: &str, load: &Load) -> Result<f64> {
    let arguments: Vec<String> = [
        ("--bootstrap-server", address.to_owned()),
        ("--topic", topic.to_owned()),
        ("--num-records", load.records.to_string()),
        ("--timeout", "20000".to_owned()),
    ]
    .into_iter()
    .flat_map(|(key, value)| [key.to_owned(), value])
    .chain(["--hide-header".to_owned()])
    .collect();
    let text = tool(class_path, "ConsumerPerformance", &arguments)?;
    let last = text
        .lines()
        .rev()
        .find(|line| line.matches(", ").count() == 9);
    let rate = last
        .and_then(|line| line.split(", ").nth(9)?.trim().parse().ok())
        .with_context(|| format!("no rate in {text}"))?;
    Ok(rate)
}

fn producer(address: &str, load: &Load, more: &[(&str, &str)]) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address)
        .set("acks", load.acks)
        .set("compression.codec", load.codec)
        .set("linger.ms", "5")
        .set("batch.num.messages", "10000")
        .set("queue.buffering.max.messages", "200000");
    for (key, value) in more {
        config.set(*key, *value);
    }
    Ok(config.create()?)
}

/// librdkafka: records a second, sent and acknowledged.
pub fn produce(address: &str, topic: &str, load: &Load) -> Result<f64> {
    let producer = producer(address, load, &[])?;
    let payloads = Payloads::new(load.size);
    let watch = Instant::now();
    for n in 0..load.records {
        let partition = (n / 100 % load.partitions as u64) as i32;
        loop {
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic)
                .partition(partition)
                .payload(payloads.get(n));
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        if n % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE)?;
    Ok(load.records as f64 / watch.elapsed().as_secs_f64())
}

fn consumer(address: &str, topic: &str, load: &Load, from: Offset) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "100")
        .set("queued.min.messages", "1000000")
        .create()?;
    let mut places = TopicPartitionList::new();
    for partition in 0..load.partitions {
        places.add_partition_offset(topic, partition, from)?;
    }
    consumer.assign(&places)?;
    Ok(consumer)
}

/// librdkafka: records a second, from the first to the last. How long the client takes until it has found its
/// broker and asks for records (about half a second, whoever answers) is not the broker's.
pub fn consume(address: &str, topic: &str, load: &Load) -> Result<f64> {
    let consumer = consumer(address, topic, load, Offset::Beginning)?;
    let next = |left: u64| match consumer.poll(PATIENCE) {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error.into()),
        None => bail!("{left} records did not come"),
    };
    next(load.records)?;
    let watch = Instant::now();
    for left in (1..load.records).rev() {
        next(left)?;
    }
    Ok((load.records - 1) as f64 / watch.elapsed().as_secs_f64())
}

/// Transactions a second, of ten records each.
pub fn transactions(address: &str, topic: &str, load: &Load, count: u64) -> Result<f64> {
    let id = format!("bench-{topic}");
    let producer = producer(
        address,
        load,
        &[("transactional.id", &id), ("linger.ms", "0")],
    )?;
    let value = payload(load.size);
    producer.init_transactions(PATIENCE)?;
    let watch = Instant::now();
    for _ in 0..count {
        producer.begin_transaction()?;
        for n in 0..10 {
            let record: BaseRecord<'_, (), [u8]> = BaseRecord::to(topic)
                .partition(n % load.partitions)
                .payload(&value);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        // The binding's commit flushes in steps of 100 ms; so nothing is left to flush by then.
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_micros(100));
        }
        producer.commit_transaction(PATIENCE)?;
    }
    Ok(count as f64 / watch.elapsed().as_secs_f64())
}

/// Milliseconds from a record's sending to its arrival, at a fixed rate: sorted.
pub fn latencies(address: &str, topic: &str, load: &Load, rate: u64) -> Result<Vec<f64>> {
    let producer = producer(address, load, &[("linger.ms", "0")])?;
    let consumer = consumer(address, topic, load, Offset::Beginning)?;
    let stop = AtomicBool::new(false);
    let value = payload(load.size.max(16));
    // The first second warms up.
    let warm = rate;
    let mut found = Vec::with_capacity(load.records as usize);
    std::thread::scope(|scope| -> Result<()> {
        let sending = scope.spawn(|| -> Result<()> {
            let began = Instant::now();
            let mut value = value.to_vec();
            for n in 0..load.records + warm {
                let due = Duration::from_nanos(n * 1_000_000_000 / rate);
                while began.elapsed() < due {
                    producer.poll(Duration::ZERO);
                    std::thread::sleep(Duration::from_micros(50));
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                value[..8].copy_from_slice(&now().to_le_bytes());
                let partition = (n % load.partitions as u64) as i32;
                let record: BaseRecord<'_, (), [u8]> =
                    BaseRecord::to(topic).partition(partition).payload(&value);
                producer.send(record).map_err(|(error, _)| error)?;
            }
            producer.flush(PATIENCE)?;
            Ok(())
        });
        let mut receive = || -> Result<()> {
            for n in 0..load.records + warm {
                let message = consumer.poll(PATIENCE).context("records did not come")??;
                let bytes = message.payload().and_then(|p| p.first_chunk::<8>());
                let sent = u64::from_le_bytes(*bytes.context("a short record")?);
                if n >= warm {
                    found.push(now().saturating_sub(sent) as f64 / 1e6);
                }
            }
            Ok(())
        };
        let received = receive();
        stop.store(true, Ordering::Relaxed);
        match sending.join() {
            Ok(sent) => sent.and(received),
            Err(_) => bail!("the sender failed"),
        }
    })?;
    found.sort_by(f64::total_cmp);
    Ok(found)
}

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.unwrap_or_default().as_nanos() as u64
}
