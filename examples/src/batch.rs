//! The same computations in batch, by DataFusion over the file: the oracle that streaming
//! results are held against.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::{AsArray, RecordBatch};
use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use datafusion::prelude::SessionContext;

use crate::ad_clicks::{Counts, Report};
use crate::impressions;

/// The columns of the file.
pub fn schema() -> Schema {
    let utf8 = |name: &str| Field::new(name, DataType::Utf8, false);
    let int = |name: &str| Field::new(name, DataType::Int64, false);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Schema::new(vec![
        Field::new("timestamp", time, false),
        utf8("campaign"),
        utf8("policy"),
        int("item_id"),
        int("position"),
        int("clicked"),
        Field::new("propensity_score", DataType::Float64, false),
        utf8("user_f0"),
        utf8("user_f1"),
        utf8("user_f2"),
        utf8("user_f3"),
    ])
}

/// The file as a table `impressions`.
pub fn session(path: &Path) -> anyhow::Result<SessionContext> {
    let text = impressions::text(path)?;
    let reader = ReaderBuilder::new(Arc::new(schema()))
        .with_header(true)
        .build(Cursor::new(text))?;
    let batches = reader.collect::<Result<Vec<RecordBatch>, _>>()?;
    let batch = arrow::compute::concat_batches(&Arc::new(schema()), &batches)?;
    let context = SessionContext::new();
    context.register_batch("impressions", batch)?;
    Ok(context)
}

/// Impressions and clicks per campaign, policy and hour.
pub async fn hourly(path: &Path) -> anyhow::Result<Report> {
    let batches = session(path)?
        .sql(
            "SELECT campaign, policy,
                    CAST(date_trunc('hour', timestamp) AS BIGINT) AS hour,
                    count(*) AS impressions,
                    sum(clicked) AS clicks
             FROM impressions GROUP BY 1, 2, 3",
        )
        .await?
        .collect()
        .await?;
    report(&batches, 1000)
}

/// A report of rows of campaign, policy, hour, impressions and clicks; `units` of the hour
/// are a millisecond.
pub fn report(batches: &[RecordBatch], units: i64) -> anyhow::Result<Report> {
    let mut report = Report::new();
    for batch in batches {
        let texts = |column: usize| {
            let texts = arrow::compute::cast(batch.column(column), &DataType::Utf8)?;
            anyhow::Ok(texts.as_string::<i32>().clone())
        };
        let numbers = |column: usize| batch.column(column).as_primitive_opt::<Int64Type>();
        let (campaigns, policies) = (texts(0)?, texts(1)?);
        let columns = (numbers(2), numbers(3), numbers(4));
        let (Some(hours), Some(shown), Some(clicked)) = columns else {
            anyhow::bail!("the batch query has other types than expected");
        };
        for row in 0..batch.num_rows() {
            let group = (
                campaigns.value(row).to_owned(),
                policies.value(row).to_owned(),
            );
            let counts = Counts {
                impressions: u64::try_from(shown.value(row)).context("a count below zero")?,
                clicks: u64::try_from(clicked.value(row)).context("a count below zero")?,
            };
            report.insert((group, hours.value(row) / units), counts);
        }
    }
    Ok(report)
}
