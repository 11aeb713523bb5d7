//! The Postgres wire end to end: a Postgres driver, and psql itself, as clients of an
//! engine over a broker in this process.

mod common;

use common::Node;
use std::path::Path;
use thalweg_sql::PgServer;
use tokio_postgres::{NoTls, SimpleQueryMessage};

const ADS: &str = "CREATE SOURCE ads (item BIGINT, campaign VARCHAR, clicked INT, ts TIMESTAMP,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
    WITH (connector = 'kafka', topic = 'impressions', partitions = 3)";

struct Served {
    node: Node,
    server: PgServer,
}

impl Served {
    async fn start(dir: &Path) -> Self {
        let node = Node::start(dir).await;
        let server = PgServer::start(node.engine.clone(), "127.0.0.1:0")
            .await
            .expect("a server");
        Self { node, server }
    }

    async fn connect(&self) -> tokio_postgres::Client {
        let address = self.server.address();
        let (client, connection) = tokio_postgres::Config::new()
            .host(address.ip().to_string())
            .port(address.port())
            .user("test")
            .dbname("thalweg")
            .connect(NoTls)
            .await
            .expect("a connection");
        tokio::spawn(connection);
        client
    }

    async fn stop(self) {
        self.server.shutdown().await;
        self.node.stop().await;
    }
}

/// The rows and tags of a simple query, as text.
async fn simple(client: &tokio_postgres::Client, script: &str) -> Vec<String> {
    let messages = client.simple_query(script).await.expect("results");
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let values = (0..row.len()).map(|index| row.get(index).unwrap_or("NULL"));
                Some(values.collect::<Vec<_>>().join("|"))
            }
            SimpleQueryMessage::CommandComplete(rows) => Some(format!("done {rows}")),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_makes_a_view_and_reads_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = Served::start(dir.path()).await;
    let client = served.connect().await;
    simple(&client, ADS).await;
    assert_eq!(
        simple(
            &client,
            "INSERT INTO ads VALUES (1, 'men', 0, '2024-01-01 00:00:01'),
                (2, 'women', 1, '2024-01-01 00:00:02.5'), (3, 'men', NULL, NULL);
             CREATE MATERIALIZED VIEW clicks AS
                SELECT campaign, count(*) AS n, sum(clicked) AS clicks FROM ads GROUP BY campaign;
             FLUSH;
             SELECT * FROM clicks ORDER BY campaign;
             SELECT ts, clicked, item FROM ads ORDER BY item"
        )
        .await,
        [
            "done 3",
            "done 0",
            "done 0",
            "men|2|0",
            "women|1|1",
            "done 2",
            "2024-01-01 00:00:01|0|1",
            "2024-01-01 00:00:02.5|1|2",
            "NULL|NULL|3",
            "done 3"
        ]
    );
    served.stop().await;
}
