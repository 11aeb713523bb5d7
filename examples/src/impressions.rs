//! The 60,000 ad impressions that ship with the project (see `data/README.md` for where
//! they come from), read from the compressed CSV file.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, Utc};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

/// One time that an item was shown to somebody. Its JSON is what the topic of impressions
/// holds, for the DSL and for `ad_clicks.sql` alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Impression {
    /// When it was shown.
    #[serde(alias = "timestamp")]
    pub shown_at: DateTime<Utc>,
    /// `all`, `men` or `women`.
    pub campaign: String,
    /// Which policy chose the item: `random` or `bts`.
    pub policy: String,
    /// The item, counted from 0 in each campaign.
    pub item_id: u32,
    /// The slot on the page, 1 to 3.
    #[serde(alias = "position")]
    pub slot: u8,
    /// 1 if it was clicked.
    pub clicked: u8,
    /// The probability that the policy showed this item here.
    #[serde(alias = "propensity_score")]
    pub propensity: f64,
}

impl Impression {
    /// Event time in milliseconds since 1970, as records carry it.
    pub fn millis(&self) -> i64 {
        self.shown_at.timestamp_millis()
    }

    /// The key that impressions are partitioned by in their topic: the item.
    pub fn item(&self) -> String {
        format!("{}/{}", self.campaign, self.item_id)
    }
}

/// Where the file lies in the source tree.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ad_impressions.csv.gz")
}

/// The file's text, decompressed.
pub fn text(path: &Path) -> anyhow::Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut text = String::new();
    GzDecoder::new(file)
        .read_to_string(&mut text)
        .with_context(|| format!("{} is not gzip of UTF-8 text", path.display()))?;
    Ok(text)
}

/// All impressions of a file, in its order, which is that of event time.
pub fn read(path: &Path) -> anyhow::Result<Vec<Impression>> {
    let text = text(path)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut impressions = Vec::new();
    for row in reader.deserialize() {
        // The error of a row names its line.
        impressions.push(row.with_context(|| format!("in {}", path.display()))?);
    }
    Ok(impressions)
}
