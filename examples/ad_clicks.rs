//! Counts impressions and clicks of real ads per campaign, policy and hour with the DSL
//! over an embedded log, and reconciles the result with a batch computation of the file.
//!
//! ```text
//! cargo run --release -p thalweg-examples --example ad_clicks [DATA_DIR]
//! ```
//!
//! The pipeline itself is `thalweg_examples::ad_clicks::topology`.

use std::time::Instant;

use anyhow::ensure;
use chrono::DateTime;
use thalweg_examples::ad_clicks::{self, Counts};
use thalweg_examples::embedded::Embedded;
use thalweg_examples::{batch, impressions};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => folder.into(),
        None => temporary.path().to_owned(),
    };
    let path = impressions::path();
    let impressions = impressions::read(&path)?;
    println!("{}", ad_clicks::topology(std::time::Duration::ZERO)?);

    let embedded = Embedded::start(&folder).await?;
    let started = Instant::now();
    ad_clicks::write(&embedded, &impressions).await?;
    let outcome = ad_clicks::run(&embedded).await?;
    println!(
        "{} impressions counted in {:.2} s, {} of them late",
        impressions.len(),
        started.elapsed().as_secs_f64(),
        outcome.late_records,
    );
    embedded.stop().await;

    let mut totals = std::collections::BTreeMap::<_, Counts>::new();
    for ((group, _), counts) in &outcome.report {
        let total = totals.entry(group.clone()).or_default();
        total.impressions += counts.impressions;
        total.clicks += counts.clicks;
    }
    println!("\ncampaign policy impressions clicks    rate");
    for ((campaign, policy), total) in &totals {
        println!(
            "{campaign:<8} {policy:<6} {:>11} {:>6} {:>6.3}%",
            total.impressions,
            total.clicks,
            100.0 * total.click_through_rate(),
        );
    }
    let best = outcome
        .report
        .iter()
        .max_by_key(|(_, counts)| counts.clicks);
    if let Some(((group, hour), counts)) = best {
        println!(
            "\nmost clicks in one hour: {} by {}/{} from {}",
            counts.clicks,
            group.0,
            group.1,
            DateTime::from_timestamp_millis(*hour).unwrap_or_default(),
        );
    }

    let expected = batch::hourly(&path).await?;
    let drift = expected
        .keys()
        .chain(outcome.report.keys())
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .filter(|key| expected.get(key) != outcome.report.get(key))
        .count();
    println!(
        "\nreconciled with the batch: {} windows compared, drift {drift}",
        expected.len()
    );
    ensure!(drift == 0, "{drift} windows differ from the batch");
    Ok(())
}
