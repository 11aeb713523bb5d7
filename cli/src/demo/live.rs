//! The demo's live display: a bar of what is produced and, below it, the views as they
//! stand, asked again and again with pull queries. Where nobody looks there is none.

use std::time::Duration;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Cell, CellAlignment};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use thalweg_connectors::{Unit, progress_bar};
use thalweg_sql::Session;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::output::plain_table;
use crate::sql::embedded::Embedded;

/// What is shown, live and at the end.
pub const TABLES: [(&str, &str); 3] = [
    (
        "Campaigns",
        "SELECT campaign, hours, impressions, clicks, ROUND(100.0 * clicks / impressions, 3) AS ctr_percent FROM campaigns ORDER BY campaign",
    ),
    (
        "Top items by clicks",
        "SELECT campaign, item_id, impressions, clicks FROM items ORDER BY clicks DESC, impressions DESC, campaign, item_id LIMIT 8",
    ),
    (
        "Latest hours",
        "SELECT campaign, policy, window_start, impressions, clicks, ROUND(100.0 * click_through_rate, 3) AS ctr_percent FROM hourly ORDER BY window_start DESC, campaign, policy LIMIT 6",
    ),
];

const REFRESH: Duration = Duration::from_millis(250);

/// A display that runs until it is finished.
pub struct Live {
    bar: ProgressBar,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Live {
    pub fn start(embedded: &Embedded, total: u64) -> Self {
        let screen = MultiProgress::new();
        let bar = screen.add(progress_bar("produced", Some(total), Unit::Records));
        let views = screen.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            views.set_style(style);
        }
        let (stop, stopped) = watch::channel(false);
        let queries = embedded.queries();
        let hidden = screen.is_hidden();
        let task = tokio::spawn(async move {
            if !hidden {
                refresh(queries, &views, stopped).await;
            }
            views.finish_and_clear();
        });
        Self { bar, stop, task }
    }

    pub fn produced(&self, count: u64) {
        self.bar.set_position(count);
    }

    /// Takes the display away.
    pub async fn finish(self) {
        // Without a receiver the task has ended already.
        let _ = self.stop.send(true);
        if let Err(error) = self.task.await {
            tracing::warn!("the live display ended: {error}");
        }
        self.bar.finish_and_clear();
    }
}

async fn refresh(queries: Session, views: &ProgressBar, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(REFRESH) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let mut text = String::new();
        for (title, query) in TABLES.iter().take(2) {
            // A view may not have a row yet; the next refresh tells.
            if let Ok(rows) = queries.query(query).await
                && let Ok(table) = table(&rows)
            {
                text.push_str(&format!("{title}\n{table}\n"));
            }
        }
        views.set_message(text);
    }
}

/// Rows as a table for people.
pub fn table(rows: &[RecordBatch]) -> Result<comfy_table::Table> {
    let mut table = plain_table();
    let options = FormatOptions::default().with_null("-");
    for batch in rows {
        let schema = batch.schema();
        table.set_header(schema.fields().iter().map(|field| field.name().clone()));
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            table.add_row(columns.iter().zip(schema.fields()).map(|(column, field)| {
                let cell = Cell::new(column.value(row));
                if field.data_type().is_numeric() {
                    cell.set_alignment(CellAlignment::Right)
                } else {
                    cell
                }
            }));
        }
    }
    Ok(table)
}
