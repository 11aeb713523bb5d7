//! The hourly report of the real impressions: the DSL's equals the batch's, whatever the
//! progress of partitions, and no record is late.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use thalweg_examples::ad_clicks::{
    self, Counts, Group, HOURLY, Hourly, IMPRESSIONS, Report, STORE,
};
use thalweg_examples::batch;
use thalweg_examples::embedded::Embedded;
use thalweg_examples::impressions::{self, Impression};
use thalweg_sql::{Engine, EngineConfig};
use thalweg_streams::serdes::{BytesSerde, JsonSerde, StringSerde};
use thalweg_streams::{TestDriverOptions, TopologyTestDriver};

/// Runs the topology over six partitions; what it wrote, what it holds, and how many
/// records were late.
fn run(impressions: &[Impression], seed: u64) -> (Report, Report, u64) {
    let topology = ad_clicks::topology(Duration::ZERO).unwrap();
    let options = TestDriverOptions::new().default_partitions(6).seed(seed);
    let driver = TopologyTestDriver::with_options(topology, options).unwrap();
    driver.auto_commit(false);
    let input = driver.input_topic(IMPRESSIONS, StringSerde, JsonSerde);
    for shown in impressions {
        input.pipe(&shown.item(), shown, shown.millis()).unwrap();
    }
    driver.run().unwrap();
    driver.commit().unwrap();
    let output = driver.output_topic::<bytes::Bytes, Hourly>(HOURLY, BytesSerde, JsonSerde);
    let written = output.read().unwrap();
    // A group's results lie in one partition in order, so the last one stands.
    let written = written.iter().map(|record| record.value.entry()).collect();
    let rows = driver
        .window_rows::<Group, Counts>(STORE, JsonSerde, JsonSerde)
        .unwrap();
    let held = rows
        .into_iter()
        .map(|(group, hour, counts, _)| ((group, hour), counts))
        .collect();
    (written, held, driver.late_records())
}

/// The first few windows that two reports do not agree on.
fn differences(found: &Report, expected: &Report) -> Vec<String> {
    let keys: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    keys.into_iter()
        .filter(|key| found.get(key) != expected.get(key))
        .map(|key| format!("{key:?}: {:?}, not {:?}", found.get(key), expected.get(key)))
        .take(5)
        .collect()
}

#[tokio::test]
async fn the_dsl_equals_the_batch_and_loses_no_record_as_late_however_partitions_progress() {
    let path = impressions::path();
    let impressions = impressions::read(&path).unwrap();
    assert_eq!(impressions.len(), 60_000);
    let expected = batch::hourly(&path).await.unwrap();
    let total: u64 = expected.values().map(|counts| counts.impressions).sum();
    assert_eq!(total, 60_000);
    let (written, held, late) = run(&impressions, 1);
    assert_eq!(late, 0);
    assert_eq!(differences(&written, &expected), Vec::<String>::new());
    // Hours behind the retention have left the store.
    assert!(!held.is_empty());
    for (key, counts) in &held {
        assert_eq!(expected.get(key), Some(counts), "{key:?}");
    }
}

/// The report that `ad_clicks.sql` makes of the topic.
async fn by_sql(embedded: &Embedded, folder: &Path) -> Report {
    let config = EngineConfig::new(folder.join("sql"));
    let engine = Engine::start(config, embedded.client.clone())
        .await
        .unwrap();
    let session = engine.session();
    session
        .execute(include_str!("../ad_clicks.sql"))
        .await
        .unwrap();
    session.execute("FLUSH").await.unwrap();
    let query = "SELECT campaign, policy,
            CAST(window_start AS BIGINT) AS hour,
            CAST(impressions AS BIGINT) AS impressions, CAST(clicks AS BIGINT) AS clicks
        FROM hourly";
    let batches = session.query(query).await.unwrap();
    engine.close().await;
    batch::report(&batches, 1000).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_embedded_log_dsl_sql_and_batch_agree() {
    let folder = tempfile::tempdir().unwrap();
    let path = impressions::path();
    let impressions = impressions::read(&path).unwrap();
    let expected = batch::hourly(&path).await.unwrap();
    let embedded = Embedded::start(folder.path()).await.unwrap();
    ad_clicks::write(&embedded, &impressions).await.unwrap();
    let outcome = ad_clicks::run(&embedded).await.unwrap();
    assert_eq!(outcome.late_records, 0);
    assert_eq!(
        differences(&outcome.report, &expected),
        Vec::<String>::new()
    );
    let report = by_sql(&embedded, folder.path()).await;
    assert_eq!(differences(&report, &expected), Vec::<String>::new());
    embedded.stop().await;
}
