//! Producing to and consuming from the embedded log, in process and over TCP, beside the
//! physical limit: writing and reading the same bytes as a plain file in the same folder.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use thalweg_log::broker::{Broker, BrokerConfig};
use thalweg_log::client::{
    Client, ClientConfig, ConsumerConfig, NewTopic, ProducerConfig, ProducerRecord, RecordRef,
    TopicPartition,
};

use crate::Options;
use crate::cpu::{Stopwatch, Took};
use crate::report::Runs;

/// Runs all of it and prints the lines.
pub async fn run(options: &Options) -> Result<()> {
    let bytes = options.records * options.size as u64;
    let runs = |name: &str| Runs::new(name, options.records, bytes);
    let mut file_write = runs("limit: write(2) of a file");
    let mut file_read = runs("limit: read(2) of a file");
    let mut produce = runs("produce, in process");
    let mut consume = runs("consume, in process");
    let mut produce_tcp = runs("produce, TCP");
    let mut consume_tcp = runs("consume, TCP");
    for run in 0..options.runs {
        let folder = tempfile::tempdir_in(&options.dir)?;
        let (write, read) = plain_file(folder.path(), options)?;
        file_write.push(write);
        file_read.push(read);

        let broker = Broker::start(BrokerConfig::new(folder.path().join("log"))).await?;
        let address = broker.listen("127.0.0.1:0").await?;
        let clients = [
            Client::with_transport(broker.transport(), ClientConfig::default()),
            Client::connect(&address.to_string(), ClientConfig::default()).await?,
        ];
        let sides = [
            (&mut produce, &mut consume),
            (&mut produce_tcp, &mut consume_tcp),
        ];
        for (at, (client, (produce, consume))) in clients.iter().zip(sides).enumerate() {
            let topic = format!("bench-{run}-{at}");
            client
                .admin()
                .create_topic(NewTopic::new(&topic).partitions(options.partitions))
                .await?;
            produce.push(produce_all(client, &topic, options).await?);
            consume.push(consume_all(client, &topic, options).await?);
        }
        broker.shutdown().await;
    }
    println!(
        "\n{} records of {} bytes, {} partitions, acks=all, median of {} runs",
        options.records, options.size, options.partitions, options.runs
    );
    println!("{}", file_write.line(None));
    println!("{}", produce.line(Some(&file_write)));
    println!("{}", produce_tcp.line(Some(&file_write)));
    println!("{}", file_read.line(None));
    println!("{}", consume.line(Some(&file_read)));
    println!("{}", consume_tcp.line(Some(&file_read)));
    Ok(())
}

/// Writes and reads as many bytes as the records have, 256 KiB a call.
fn plain_file(folder: &Path, options: &Options) -> Result<(Took, Took)> {
    let chunk = vec![7u8; 256 * 1024];
    let path = folder.join("plain");
    let bytes = options.records * options.size as u64;
    let watch = Stopwatch::start();
    let mut file = File::create(&path)?;
    let mut left = bytes;
    while left > 0 {
        let now = left.min(chunk.len() as u64);
        file.write_all(&chunk[..now as usize])?;
        left -= now;
    }
    let write = watch.took();
    let watch = Stopwatch::start();
    let mut file = File::open(&path)?;
    let mut buffer = chunk;
    while file.read(&mut buffer)? > 0 {}
    Ok((write, watch.took()))
}

/// A payload that does not compress to nothing.
pub fn payload(size: usize) -> Bytes {
    let mut state: u32 = 1;
    let bytes: Vec<u8> = (0..size)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 24) as u8 % 26
        })
        .collect();
    Bytes::from(bytes)
}

pub async fn produce_all(client: &Client, topic: &str, options: &Options) -> Result<Took> {
    let producer = client.producer(ProducerConfig {
        batch_size: 256 * 1024,
        linger_ms: Duration::from_millis(5),
        ..ProducerConfig::default()
    })?;
    let value = payload(options.size);
    let queue = producer.topic(topic).await?;
    let record = ProducerRecord::new(Arc::clone(queue.name())).value(value);
    let watch = Stopwatch::start();
    for at in 0..options.records {
        let mut record: RecordRef<'_> = record.as_ref();
        record.partition = Some((at / 64 % options.partitions as u64) as i32);
        while producer.enqueue(&queue, record).is_err() {
            producer.room(options.size * 1000).await?;
        }
    }
    producer.flush().await?;
    let took = watch.took();
    producer.close().await?;
    Ok(took)
}

pub async fn consume_all(client: &Client, topic: &str, options: &Options) -> Result<Took> {
    let mut consumer = client.consumer(ConsumerConfig {
        max_partition_fetch_bytes: 4 * 1024 * 1024,
        ..ConsumerConfig::default()
    })?;
    let places: Vec<TopicPartition> = (0..options.partitions)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    consumer.assign(places.clone())?;
    consumer.seek_to_beginning(&places)?;
    let watch = Stopwatch::start();
    let mut seen = BTreeMap::new();
    let mut count = 0;
    while count < options.records {
        for fetched in consumer.poll_records(Duration::from_secs(10)).await? {
            let place = fetched.topic_partition.partition;
            for record in fetched {
                let record = record?;
                let next: &mut i64 = seen.entry(place).or_insert(0);
                anyhow::ensure!(
                    record.offset == *next,
                    "offset {} of {place}",
                    record.offset
                );
                *next += 1;
                count += 1;
            }
        }
    }
    let took = watch.took();
    consumer.close().await?;
    Ok(took)
}
