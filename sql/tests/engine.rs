//! The engine end to end, over a broker in this process.

mod common;

use common::Node;
use futures::StreamExt;
use thalweg_sql::StatementResult;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_on_where_they_were_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Node::start(dir.path()).await;
    node.rows(ADS).await;
    node.rows(
        "CREATE MATERIALIZED VIEW clicks AS
         SELECT campaign, count(*) AS n, count(DISTINCT item) AS items FROM ads GROUP BY campaign;
         CREATE MATERIALIZED VIEW by_count AS SELECT n, count(*) AS campaigns FROM clicks GROUP BY n;
         INSERT INTO ads (item, campaign) VALUES (1, 'men'), (1, 'men'), (2, 'women')",
    )
    .await;
    assert_eq!(
        node.rows("FLUSH; SELECT * FROM clicks").await,
        ["men|2|1", "women|1|1"]
    );
    let ids: Vec<String> = node
        .engine
        .catalog()
        .relations()
        .map(|r| r.id.clone())
        .collect();
    node.stop().await;

    let node = Node::start(dir.path()).await;
    let again: Vec<String> = node
        .engine
        .catalog()
        .relations()
        .map(|r| r.id.clone())
        .collect();
    assert_eq!(again, ids);
    // What was there is there before anything new comes, and is not counted twice.
    assert_eq!(
        node.rows("FLUSH; SELECT * FROM clicks").await,
        ["men|2|1", "women|1|1"]
    );
    node.rows("INSERT INTO ads (item, campaign) VALUES (3, 'women'), (4, 'kids')")
        .await;
    assert_eq!(
        node.rows("FLUSH; SELECT * FROM clicks").await,
        ["kids|1|1", "men|2|1", "women|2|2"]
    );
    assert_eq!(node.rows("SELECT * FROM by_count").await, ["1|1", "2|2"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_view_leaves_nothing_and_its_name_can_be_used_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Node::start(dir.path()).await;
    node.rows(ADS).await;
    let before = node.rows("SHOW TOPICS").await;
    for round in 0..2 {
        node.rows(
            "CREATE MATERIALIZED VIEW clicks AS SELECT campaign, count(*) AS n FROM ads GROUP BY campaign;
             CREATE MATERIALIZED VIEW rich AS SELECT campaign FROM clicks WHERE n > 1;
             INSERT INTO ads (item, campaign) VALUES (1, 'men'); FLUSH",
        )
        .await;
        assert_eq!(
            node.rows("SELECT * FROM clicks").await,
            [format!("men|{}", round + 1)]
        );
        let error = node.error("DROP MATERIALIZED VIEW clicks").await;
        assert!(
            error.contains("read by the materialized view `rich`"),
            "{error}"
        );
        node.rows("DROP MATERIALIZED VIEW clicks CASCADE").await;
        assert_eq!(node.rows("SHOW TOPICS").await, before);
        assert_eq!(node.rows("SHOW JOBS").await, [""; 0]);
        let state: Vec<_> = std::fs::read_dir(dir.path().join("sql"))
            .expect("the folder of states")
            .collect();
        assert!(state.is_empty(), "{state:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_create_one_name_at_once_one_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Node::start(dir.path()).await;
    node.rows(ADS).await;
    let create = "CREATE MATERIALIZED VIEW v AS SELECT item FROM ads";
    let (a, b) = tokio::join!(node.try_rows(create), node.try_rows(create));
    let errors: Vec<_> = [a, b].into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].message().contains("already"), "{:?}", errors[0]);
    assert_eq!(node.rows("FLUSH; SELECT * FROM v").await, [""; 0]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_query_sends_changes_until_its_client_goes() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Node::start(dir.path()).await;
    node.rows(ADS).await;
    node.rows("INSERT INTO ads (item, campaign) VALUES (1, 'men'), (2, 'men')")
        .await;
    let topics = node.rows("SHOW TOPICS").await;
    let query = "SELECT campaign, count(*) AS n FROM ads GROUP BY campaign EMIT CHANGES";
    let mut results = node
        .engine
        .session()
        .execute(query)
        .await
        .expect("a push query");
    let Some(StatementResult::Rows(mut rows)) = results.pop() else {
        panic!("no rows")
    };
    assert!(rows.endless);
    // The changes, folded, are the counts.
    let mut folded = std::collections::BTreeMap::new();
    let mut fold = |batch: &arrow::array::RecordBatch| {
        for row in common::values(batch) {
            let sign = if row[0] == "insert" || row[0] == "update-after" {
                1
            } else {
                -1
            };
            *folded.entry((row[1].clone(), row[2].clone())).or_insert(0) += sign;
        }
        folded.retain(|_, count| *count != 0);
        folded.keys().cloned().collect::<Vec<_>>()
    };
    let men = |n: &str| vec![("men".to_owned(), n.to_owned())];
    while fold(&rows.batches.next().await.expect("more").expect("rows")) != men("2") {}
    node.rows("INSERT INTO ads (item, campaign) VALUES (3, 'men')")
        .await;
    while fold(&rows.batches.next().await.expect("more").expect("rows")) != men("3") {}
    assert_eq!(node.rows("SHOW TOPICS").await, topics, "no internal topics");
    drop(rows);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_in_and_files_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let input = dir.path().join("ads.csv");
    std::fs::write(&input, "item,campaign\n1,men\n2,women\n3,men\n").expect("written");
    let output = dir.path().join("out.jsonl");
    let node = Node::start(dir.path()).await;
    node.rows(&format!(
        "CREATE SOURCE ads (item BIGINT, campaign VARCHAR)
         WITH (connector = 'file', path = '{}', header = 'true') FORMAT PLAIN ENCODE CSV;
         FLUSH;
         CREATE MATERIALIZED VIEW n AS SELECT campaign, count(*) AS n FROM ads GROUP BY campaign;
         CREATE SINK s FROM n WITH (connector = 'file', path = '{}')",
        input.display(),
        output.display()
    ))
    .await;
    assert_eq!(node.rows("SELECT * FROM n").await, ["men|2", "women|1"]);
    assert_eq!(node.rows("SELECT count(*) FROM ads").await, ["3"]);
    let error = node.error("INSERT INTO ads VALUES (1, 'x')").await;
    assert!(error.contains("filled by its connector"), "{error}");
    node.stop().await;
    let written = std::fs::read_to_string(&output).expect("the sink's file");
    assert!(written.contains("\"campaign\":\"men\""), "{written}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_read_stops_the_job_or_is_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let node = Node::start(dir.path()).await;
    node.rows(
        "CREATE SOURCE raw (n VARCHAR) WITH (connector = 'kafka', topic = 't', partitions = 1);
         INSERT INTO raw VALUES ('1'), ('oops'), ('3');
         CREATE SOURCE strict (n BIGINT) WITH (connector = 'kafka', topic = 't');
         CREATE SOURCE lenient (n BIGINT) WITH (connector = 'kafka', topic = 't', on_error = 'skip')",
    )
    .await;
    let error = node
        .error("CREATE MATERIALIZED VIEW bad AS SELECT sum(n) AS n FROM strict")
        .await;
    assert!(error.contains("t-0") && error.contains('1'), "{error}");
    // It was taken back, so that it can be corrected under the same name.
    node.rows("CREATE MATERIALIZED VIEW bad AS SELECT sum(n) AS n FROM lenient")
        .await;
    assert_eq!(node.rows("SELECT * FROM bad").await, ["4"]);
    let error = node.error("SELECT sum(n) FROM strict").await;
    assert!(error.contains("offset 1"), "{error}");
    assert_eq!(node.rows("SELECT sum(n) FROM lenient").await, ["4"]);
    node.stop().await;
}
