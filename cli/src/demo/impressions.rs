//! The demo's data: real ad impressions, shipped inside the binary.
//!
//! From the Open Bandit Dataset of ZOZO, Inc., CC BY 4.0; see `examples/data/README.md`.

use std::io::Read as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use arrow::csv::ReaderBuilder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use thalweg_schema::Format;

const DATA: &[u8] = include_bytes!("../../../examples/data/ad_impressions.csv.gz");

/// How the file's columns are called in the topic.
const COLUMNS: [(&str, DataType); 7] = [
    ("shown_at", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("campaign", DataType::Utf8),
    ("policy", DataType::Utf8),
    ("item_id", DataType::Int32),
    ("slot", DataType::Int32),
    ("clicked", DataType::Int32),
    ("propensity", DataType::Float64),
];

/// The columns of an impression in the topic and in the batch.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(
        COLUMNS
            .iter()
            .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
            .collect::<Vec<_>>(),
    ))
}

/// All impressions, in event-time order.
pub fn read() -> Result<RecordBatch> {
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(DATA)
        .read_to_end(&mut text)
        .context("the shipped impressions cannot be unpacked")?;
    // The file has four more columns, of the user's features.
    let mut fields: Vec<Field> = schema()
        .fields()
        .iter()
        .map(|f| f.as_ref().clone())
        .collect();
    for feature in ["user_f0", "user_f1", "user_f2", "user_f3"] {
        fields.push(Field::new(feature, DataType::Utf8, true));
    }
    let reader = ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_header(true)
        .with_batch_size(100_000)
        .with_projection((0..COLUMNS.len()).collect())
        .build(text.as_slice())
        .context("the shipped impressions are not CSV")?;
    let batches = reader
        .collect::<Result<Vec<_>, _>>()
        .context("the shipped impressions are not what they should be")?;
    arrow::compute::concat_batches(&schema(), &batches).context("the impressions do not fit")
}

/// A message of an impression: its key is its item.
pub struct Message {
    pub key: Bytes,
    pub value: Bytes,
    pub timestamp_ms: i64,
}

/// The impressions as JSON messages keyed by `campaign/item`, in event-time order.
pub fn messages(impressions: &RecordBatch) -> Result<Vec<Message>> {
    use arrow::array::AsArray as _;
    use arrow::datatypes::{Int32Type, TimestampMicrosecondType};

    let values = Format::Json.encoder(&schema())?.encode(impressions)?;
    let column = |name: &str| {
        impressions
            .column_by_name(name)
            .with_context(|| format!("the impressions have no column {name}"))
    };
    let times = column("shown_at")?.as_primitive::<TimestampMicrosecondType>();
    let campaigns = column("campaign")?.as_string::<i32>();
    let items = column("item_id")?.as_primitive::<Int32Type>();
    Ok(values
        .into_iter()
        .enumerate()
        .map(|(row, value)| Message {
            key: Bytes::from(format!("{}/{}", campaigns.value(row), items.value(row))),
            value,
            timestamp_ms: times.value(row) / 1000,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_data_is_whole() {
        let impressions = read().unwrap();
        assert_eq!(impressions.num_rows(), 60_000);
        let messages = messages(&impressions).unwrap();
        assert!(
            messages
                .windows(2)
                .all(|w| w[0].timestamp_ms <= w[1].timestamp_ms)
        );
        assert_eq!(
            messages[0].value,
            r#"{"shown_at":"2019-11-24T00:00:17.004101","campaign":"all","policy":"bts","item_id":79,"slot":2,"clicked":0,"propensity":0.087125}"#
        );
    }
}
