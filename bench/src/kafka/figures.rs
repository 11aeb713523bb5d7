//! What was measured of both brokers over the rounds, and the tables that show it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::process::Peer;

/// Whether more or less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// What one run of a load gave.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// MB of records a second.
    pub rate: f64,
    /// CPU seconds of the broker for a GB of records.
    pub broker: f64,
    /// Cores that the client kept busy.
    pub client: f64,
}

/// The figures of both brokers, in the order in which they first came.
#[derive(Debug, Default)]
pub struct Figures {
    loads: Rows<Run>,
    singles: Rows<f64>,
    units: BTreeMap<String, (&'static str, Better)>,
}

/// Values of both peers by name, one a round.
#[derive(Debug)]
struct Rows<T> {
    order: Vec<String>,
    values: BTreeMap<(String, &'static str), Vec<T>>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Rows {
            order: Vec::new(),
            values: BTreeMap::new(),
        }
    }
}

impl<T> Rows<T> {
    fn add(&mut self, peer: Peer, name: &str, value: T) {
        if !self.order.iter().any(|known| known == name) {
            self.order.push(name.to_owned());
        }
        let key = (name.to_owned(), peer.name());
        self.values.entry(key).or_default().push(value);
    }

    fn each(&self, name: &str, peer: Peer, of: impl Fn(&T) -> f64) -> Vec<f64> {
        let values = self.values.get(&(name.to_owned(), peer.name()));
        values.map_or_else(Vec::new, |values| values.iter().map(of).collect())
    }
}

/// A figure of both peers: the median of the rounds.
struct Pair {
    kafka: f64,
    ours: f64,
}

impl Pair {
    fn of<T>(rows: &Rows<T>, name: &str, of: impl Fn(&T) -> f64 + Copy) -> Self {
        Pair {
            kafka: median(rows.each(name, Peer::Kafka, of)),
            ours: median(rows.each(name, Peer::Thalweg, of)),
        }
    }

    fn ratio(&self) -> f64 {
        self.ours / self.kafka
    }

    /// Three cells of a table.
    fn cells(&self) -> String {
        let (kafka, ours) = (shown(self.kafka), shown(self.ours));
        format!("{kafka} | {ours} | {:.2}x", self.ratio())
    }
}

impl Figures {
    /// Adds what a run of a load gave.
    pub fn add_load(&mut self, peer: Peer, name: &str, run: Run) {
        self.loads.add(peer, name, run);
    }

    /// Adds one figure.
    pub fn add(&mut self, peer: Peer, name: &str, unit: &'static str, better: Better, value: f64) {
        self.singles.add(peer, name, value);
        self.units.insert(name.to_owned(), (unit, better));
    }

    /// The median rate of a load, MB a second.
    pub fn rate(&self, name: &str, peer: Peer) -> f64 {
        median(self.loads.each(name, peer, |run| run.rate))
    }

    /// Prints the tables, as Markdown.
    pub fn print_tables(&self) {
        println!("\n| | Apache Kafka | Thalweg | ratio |\n|---|---:|---:|---:|");
        for name in &self.singles.order {
            let pair = Pair::of(&self.singles, name, |value| *value);
            let (unit, better) = self.units.get(name).copied().unwrap_or(("", Better::More));
            let hint = match better {
                Better::More => "",
                Better::Less => ", less is better",
            };
            println!("| {name} ({unit}{hint}) | {} |", pair.cells());
        }
        println!(
            "\n| load | MB/s: Kafka | Thalweg | ratio | broker's CPU-s/GB: Kafka | Thalweg | ratio \
             | client's cores: Kafka | Thalweg |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|"
        );
        for name in &self.loads.order {
            let rate = Pair::of(&self.loads, name, |run| run.rate);
            let broker = Pair::of(&self.loads, name, |run| run.broker);
            let client = Pair::of(&self.loads, name, |run| run.client);
            println!(
                "| {name} | {} | {} | {:.2} | {:.2} |",
                rate.cells(),
                broker.cells(),
                client.kafka,
                client.ours
            );
        }
    }

    /// Prints all of it, each round's value too.
    pub fn print_json(&self) -> Result<()> {
        let singles = self.singles.order.iter().map(|name| {
            let unit = self.units.get(name).map_or("", |(unit, _)| unit);
            row(&self.singles, name, unit, |value| *value)
        });
        let loads = self.loads.order.iter().map(|name| {
            json!({
                "name": name,
                "rate": row(&self.loads, name, "MB/s", |run| run.rate),
                "broker_cpu": row(&self.loads, name, "s/GB", |run| run.broker),
                "client_cores": row(&self.loads, name, "cores", |run| run.client),
            })
        });
        let all = json!({
            "figures": singles.collect::<Vec<_>>(),
            "loads": loads.collect::<Vec<_>>(),
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
        Ok(())
    }
}

fn row<T>(rows: &Rows<T>, name: &str, unit: &str, of: impl Fn(&T) -> f64 + Copy) -> Value {
    let pair = Pair::of(rows, name, of);
    json!({
        "name": name, "unit": unit, "kafka": pair.kafka, "thalweg": pair.ours,
        "ratio": pair.ratio(),
        "kafka_rounds": rows.each(name, Peer::Kafka, of),
        "thalweg_rounds": rows.each(name, Peer::Thalweg, of),
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    // Of an even number, halfway between the two in the middle.
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(values.len().saturating_sub(1) / 2) + at(values.len() / 2)) / 2.0
}

fn shown(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
