//! Enriches a stream with a table: clicks, keyed by themselves, with the name of the user
//! who clicked. The join repartitions the clicks by user without being told to.
//!
//! ```text
//! cargo run -p thalweg-examples --example enrich
//! ```

use serde::{Deserialize, Serialize};
use thalweg_examples::embedded::Embedded;
use thalweg_streams::{Consumed, Joined, Materialized, Produced, StreamsBuilder};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct User {
    name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Click {
    user: String,
    page: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Enriched {
    page: String,
    user: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = Embedded::start(folder.path()).await?;
    log.create_topic("users", 3).await?;
    log.create_topic("clicks", 3).await?;
    log.create_topic("enriched", 1).await?;

    let builder = StreamsBuilder::new();
    let users =
        builder.table::<String, User>("users", Consumed::json(), Materialized::as_("users"));
    builder
        .stream::<String, Click>("clicks", Consumed::json())
        .select_key(|_, click| click.user.clone())
        .left_join(
            &users,
            |click, user| Enriched {
                page: click.page.clone(),
                user: user.map(|user| user.name.clone()),
            },
            Joined::json(),
        )
        .to("enriched", Produced::json());
    let topology = builder.build()?;
    println!("{topology}");
    let streams = log.run("enrich", topology).await?;

    let record = |key: &str, value: String, at: i64| (key.to_owned().into(), value.into(), at);
    let user = |name: &str| {
        serde_json::to_string(&User {
            name: name.to_owned(),
        })
    };
    let click = |user: &str, page: &str| {
        serde_json::to_string(&Click {
            user: user.to_owned(),
            page: page.to_owned(),
        })
    };
    let users = [
        record("u1", user("Ada")?, 1),
        record("u2", user("Grace")?, 2),
    ];
    log.write("users", users).await?;
    let ends = streams.input_end_offsets().await?;
    streams.wait_caught_up(&ends).await?;
    let clicks = [
        record("c1", click("u1", "/rivers")?, 3),
        record("c2", click("u2", "/maps")?, 4),
        record("c3", click("u3", "/rivers")?, 5),
    ];
    log.write("clicks", clicks).await?;
    let ends = streams.input_end_offsets().await?;
    streams.wait_caught_up(&ends).await?;

    for (key, value) in log.read("enriched").await? {
        println!(
            "{} {}",
            String::from_utf8_lossy(&key.unwrap_or_default()),
            String::from_utf8_lossy(&value.unwrap_or_default()),
        );
    }
    streams.close().await?;
    log.stop().await;
    Ok(())
}
