//! Impressions, clicks and click-through rate per campaign, policy and hour, as a DSL
//! topology over a topic of impressions that is keyed by item.
//!
//! Grouping by campaign and policy moves records between partitions, so the topology has
//! two sub-topologies with a repartition topic between them. Event time travels with the
//! records: an hour closes when *every* upstream partition has passed it, so that it does
//! not matter which partition runs ahead.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_streams::topology::Topology;
use thalweg_streams::{
    Consumed, Grouped, Materialized, Produced, StreamsBuilder, StreamsError, TimeWindows,
};

use crate::embedded::Embedded;
use crate::impressions::Impression;

/// The topic of impressions: an item's key, an [`Impression`] as JSON.
pub const IMPRESSIONS: &str = "ad_impressions";
/// The topic of hourly results: an [`Hourly`] as JSON under its [`Group`] and hour.
pub const HOURLY: &str = "ad-clicks-hourly";
/// The store of the hourly counts.
pub const STORE: &str = "ad-clicks-per-hour";

/// One hour in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

/// What is grouped by: campaign and policy.
pub type Group = (String, String);

/// What is kept of a group and hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// How often an item was shown.
    pub impressions: u64,
    /// How often one was clicked.
    pub clicks: u64,
}

impl Counts {
    /// Clicks per impression.
    pub fn click_through_rate(&self) -> f64 {
        if self.impressions == 0 {
            return 0.0;
        }
        self.clicks as f64 / self.impressions as f64
    }
}

/// Counts by group and start of the hour (milliseconds since 1970): what the DSL, SQL and
/// a batch computation must agree on.
pub type Report = BTreeMap<(Group, i64), Counts>;

/// A result as it is written to [`HOURLY`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hourly {
    /// The campaign.
    pub campaign: String,
    /// The policy.
    pub policy: String,
    /// The start of the hour, milliseconds since 1970.
    pub hour: i64,
    /// How often an item was shown.
    pub impressions: u64,
    /// How often one was clicked.
    pub clicks: u64,
    /// Clicks per impression.
    pub click_through_rate: f64,
}

impl Hourly {
    /// The result as an entry of a [`Report`].
    pub fn entry(&self) -> ((Group, i64), Counts) {
        let group = (self.campaign.clone(), self.policy.clone());
        let counts = Counts {
            impressions: self.impressions,
            clicks: self.clicks,
        };
        ((group, self.hour), counts)
    }
}

/// The pipeline. Hours stay open for `grace` after their end.
pub fn topology(grace: Duration) -> Result<Topology, StreamsError> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, Impression>(IMPRESSIONS, Consumed::json())
        .group_by(
            |_item, shown| (shown.campaign.clone(), shown.policy.clone()),
            Grouped::json(),
        )
        .windowed_by(TimeWindows::of_size(Duration::from_secs(3600)).grace(grace))
        .aggregate(
            Counts::default,
            |_group, shown, counts| Counts {
                impressions: counts.impressions + 1,
                clicks: counts.clicks + u64::from(shown.clicked),
            },
            Materialized::json().named(STORE).emit_on_commit(),
        )
        .updates()
        .map_values_with_key(|group, counts| Hourly {
            campaign: group.key.0.clone(),
            policy: group.key.1.clone(),
            hour: group.window.start,
            impressions: counts.impressions,
            clicks: counts.clicks,
            click_through_rate: counts.click_through_rate(),
        })
        .to(HOURLY, Produced::json());
    builder.build()
}

/// Writes the impressions into their topic of six partitions, keyed by item.
pub async fn write(embedded: &Embedded, impressions: &[Impression]) -> anyhow::Result<()> {
    embedded.create_topic(IMPRESSIONS, 6).await?;
    let mut records = Vec::with_capacity(impressions.len());
    for shown in impressions {
        let value = serde_json::to_vec(shown)?;
        records.push((shown.item().into(), value.into(), shown.millis()));
    }
    embedded.write(IMPRESSIONS, records).await
}

/// Runs the pipeline over what the topic of impressions holds now, and reads its results.
pub async fn run(embedded: &Embedded) -> anyhow::Result<Outcome> {
    embedded.create_topic(HOURLY, 1).await?;
    let topology = topology(Duration::from_secs(300))?;
    let streams = embedded.run("ad-clicks", topology).await?;
    let ends = streams.input_end_offsets().await?;
    streams.wait_caught_up(&ends).await?;
    let late_records = streams.late_records();
    streams.close().await?;
    let mut report = Report::new();
    for (_, value) in embedded.read(HOURLY).await? {
        let hourly: Hourly = serde_json::from_slice(&value.unwrap_or_default())?;
        let (key, counts) = hourly.entry();
        report.insert(key, counts);
    }
    Ok(Outcome {
        report,
        late_records,
    })
}

/// What a [`run`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The last result of each group and hour.
    pub report: Report,
    /// How many impressions came too late for their hour.
    pub late_records: u64,
}
