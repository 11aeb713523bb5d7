//! The engine end to end, over a broker in this process.

mod common;

use common::Node;

const ADS: &str = "CREATE SOURCE ads (item BIGINT, campaign VARCHAR, clicked INT, ts TIMESTAMP,
    WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)
    WITH (connector = 'kafka', topic = 'impressions', partitions = 3)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_counts_what_is_inserted() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Node::start(dir.path()).await;
    node.rows(ADS).await;
    node.rows(
        "CREATE MATERIALIZED VIEW clicks AS
         SELECT campaign, count(*) AS n, sum(clicked) AS clicks FROM ads GROUP BY campaign",
    )
    .await;
    node.rows(
        "INSERT INTO ads VALUES (1, 'men', 0, '2024-01-01 00:00:01'),
            (2, 'women', 1, '2024-01-01 00:00:02'), (3, 'men', 1, '2024-01-01 00:00:03')",
    )
    .await;
    assert_eq!(
        node.rows("FLUSH; SELECT * FROM clicks").await,
        ["men|2|1", "women|1|1"]
    );
    assert_eq!(node.rows("SELECT count(*) FROM ads").await, ["3"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregate_over_a_view_takes_its_columns_without_nulls() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Node::start(dir.path()).await;
    node.rows(ADS).await;
    node.rows(
        "CREATE MATERIALIZED VIEW shown AS SELECT campaign, count(*) AS n FROM ads GROUP BY campaign;
         INSERT INTO ads VALUES (1, 'men', 0, '2024-01-01 00:00:01'), (2, 'men', 1, '2024-01-01 00:00:02')",
    )
    .await;
    assert_eq!(
        node.rows("FLUSH; SELECT count(*), sum(n), min(n) FROM shown")
            .await,
        ["1|2|2"]
    );
    node.stop().await;
}
