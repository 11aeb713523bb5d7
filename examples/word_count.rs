//! The classic: counts words, on an embedded log, in one process.
//!
//! ```text
//! cargo run -p thalweg-examples --example word_count
//! ```

use bytes::Bytes;
use thalweg_examples::embedded::Embedded;
use thalweg_streams::serdes::{I64Serde, StringSerde};
use thalweg_streams::{Consumed, Grouped, Materialized, Produced, ReadOnlyTable, StreamsBuilder};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = Embedded::start(folder.path()).await?;
    log.create_topic("lines", 3).await?;
    log.create_topic("word-counts", 1).await?;

    let builder = StreamsBuilder::new();
    builder
        .stream::<(), String>("lines", Consumed::of_types())
        .flat_map_values(|line| {
            let words = line.split(|c: char| !c.is_alphanumeric());
            let words = words.filter(|word| !word.is_empty());
            words.map(str::to_lowercase).collect::<Vec<_>>()
        })
        .group_by(|_, word| word.clone(), Grouped::of_types())
        .count(Materialized::as_("counts"))
        .updates()
        .to("word-counts", Produced::new());
    let streams = log.run("word-count", builder.build()?).await?;

    let lines = [
        "Slow rivers, deep rivers",
        "and the deepest line of a river",
        "is its thalweg: deep, not slow",
    ];
    let records = lines.map(|line| (Bytes::new(), Bytes::from(line), 0));
    log.write("lines", records).await?;
    let ends = streams.input_end_offsets().await?;
    streams.wait_caught_up(&ends).await?;

    // An interactive query: the job's own store, in the table's types.
    let counts = ReadOnlyTable::new(streams.store("counts")?, StringSerde, I64Serde);
    let mut rows = counts
        .all()
        .map(|row| row.map(|row| (row.value, row.key)))
        .collect::<Result<Vec<_>, _>>()?;
    rows.sort_by(|a, b| b.cmp(a));
    for (count, word) in rows {
        println!("{count} {word}");
    }
    streams.close().await?;
    log.stop().await;
    Ok(())
}
