//! A broker in this process, used through the client: no bytes in between.

use std::time::Duration;

use thalweg_log::broker::{Broker, BrokerConfig, BrokerError};
use thalweg_log::client::{
    AutoOffsetReset, Client, ClientConfig, ConsumerConfig, NewTopic, ProducerConfig, ProducerRecord,
};

fn client(broker: &Broker) -> Client {
    Client::with_transport(broker.transport(), ClientConfig::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_produced_is_consumed_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let client = client(&broker);
    client
        .admin()
        .create_topics(vec![NewTopic::new("t").partitions(3)])
        .await
        .unwrap();
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let mut deliveries = Vec::new();
    for i in 0..100 {
        let record = ProducerRecord::new("t")
            .key(format!("k{i}"))
            .value(format!("v{i}"));
        deliveries.push(producer.send(record).await.unwrap());
    }
    producer.flush().await.unwrap();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert_eq!(read_all(&client, "t", 100).await.len(), 100);
    producer.close().await.unwrap();
    broker.shutdown().await;

    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let client = self::client(&broker);
    let values = read_all(&client, "t", 100).await;
    assert_eq!(values.len(), 100);
    broker.shutdown().await;
}

async fn read_all(client: &Client, topic: &str, expected: usize) -> Vec<String> {
    let config = ConsumerConfig {
        group_id: Some(format!("g-{}", uuid::Uuid::new_v4())),
        auto_offset_reset: AutoOffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = client.consumer(config).unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let mut values = Vec::new();
    while values.len() < expected {
        for records in consumer.poll_records(Duration::from_secs(5)).await.unwrap() {
            for record in records {
                let value = record.unwrap().value.unwrap();
                values.push(String::from_utf8(value.to_vec()).unwrap());
            }
        }
    }
    consumer.close().await.unwrap();
    values
}

#[tokio::test]
async fn a_data_folder_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    let error = Broker::start(BrokerConfig::new(dir.path()))
        .await
        .unwrap_err();
    assert!(matches!(error, BrokerError::Storage(_)), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
    // Dropped inside of a runtime, it gives the folder back.
    drop(broker);
    Broker::start(BrokerConfig::new(dir.path()))
        .await
        .unwrap()
        .shutdown()
        .await;
}

#[tokio::test]
async fn an_unknown_key_and_a_taken_port_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = Broker::start(BrokerConfig::new(dir.path()).set("num.partition", "2"))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("did you mean `num.partitions`?"),
        "{error}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Broker::start(BrokerConfig::new(dir.path()).listen(&address))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("taken by another program"),
        "{error}"
    );
    // The failed start gave the folder back.
    Broker::start(BrokerConfig::new(dir.path()))
        .await
        .unwrap()
        .shutdown()
        .await;
}
