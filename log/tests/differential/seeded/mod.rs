//! A sequence of requests drawn from a seed, for both brokers.
//!
//! Invariant: what is drawn depends on the seed and on Apache Kafka's answers alone, so that a seed replays the
//! same requests for as long as the two agree. Every name carries the seed: rounds do not see one another.

mod admin;
mod groups;
mod records;
mod transactions;
mod world;

use crate::pair::Pair;
use world::World;

/// How many requests a round asks, apart from those that only wait or clean up.
const STEPS: usize = 90;
/// How much of the trace is told with a failure.
const TOLD: usize = 30;

/// Runs one round; what differed is told, with the way to run it again.
pub(crate) async fn round(pair: &mut Pair, seed: u64) -> Result<usize, String> {
    let mut world = World::new(seed);
    pair.failures.clear();
    pair.trace = Some(Vec::new());
    pair.own = format!("s{seed}-");
    world.begin(pair).await;
    let mut step = 0;
    while step < STEPS && pair.failures.is_empty() {
        step += 1;
        match world.draw.below(100) {
            0..=21 => records::produce(pair, &mut world).await,
            22..=33 => records::read(pair, &mut world).await,
            34..=37 => records::sessions(pair, &mut world).await,
            38..=59 => transactions::step(pair, &mut world).await,
            60..=74 => groups::classic(pair, &mut world).await,
            75..=84 => groups::consumer(pair, &mut world).await,
            _ => admin::step(pair, &mut world).await,
        }
    }
    let failures = std::mem::take(&mut pair.failures);
    let trace = pair.trace.take().unwrap_or_default();
    if !failures.is_empty() {
        let from = trace.len().saturating_sub(TOLD);
        return Err(format!(
            "round of seed {seed}, step {step}; again with THALWEG_SEED={seed}\n{}\nwhat was asked, the newest \
             last:\n  {}\n",
            failures.join("\n"),
            trace.get(from..).unwrap_or_default().join("\n  "),
        ));
    }
    world.end(pair).await;
    pair.failures.clear();
    Ok(step)
}
