//! Client quotas at work: how long a client must pause that produces or fetches faster than it may.
//!
//! A quota limits a rate, measured over eleven windows of a second, the last of which is under way: who has been
//! quiet may burst ten times his rate. Who has gone beyond gets his answer at once, with the pause that brings the
//! rate back in it; the broker takes the connection's next request after the pause (KIP-219). Clients inside of
//! the broker's own process have no connection and are not limited.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::controller::{QuotaEntity, Quotas};
use crate::net::Answer;
use crate::wire::{Request, Response};

/// As long as nobody authenticates, everyone is this user.
const USER: &str = "ANONYMOUS";

const WINDOW_MS: i64 = 1000;
const WINDOWS: i64 = 11;

/// How many pauses may be remembered before those that are over are looked for.
const MANY_PAUSES: usize = 1000;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limited {
    /// Bytes produced a second.
    Produce,
    /// Bytes fetched a second.
    Fetch,
}

impl Limited {
    fn key(self) -> &'static str {
        match self {
            Limited::Produce => "producer_byte_rate",
            Limited::Fetch => "consumer_byte_rate",
        }
    }
}

/// Who shares one quota: user and client id, where the quota tells them apart.
type Sharers = (Option<String>, Option<String>);

/// The rates of the clients that have quotas, and the pauses of connections.
#[derive(Debug, Default)]
pub(crate) struct ClientQuotas {
    rates: Mutex<HashMap<(Limited, Sharers), Rate>>,
    pauses: Mutex<HashMap<SocketAddr, Instant>>,
}

impl ClientQuotas {
    /// Counts bytes of a client and says how long it must pause, in milliseconds.
    pub(crate) fn record(
        &self,
        quotas: &Quotas,
        what: Limited,
        client_id: &str,
        bytes: usize,
        now: i64,
    ) -> i64 {
        let Some((limit, sharers)) = quota_of(quotas, what.key(), USER, client_id) else {
            return 0;
        };
        let mut rates = self.rates.lock();
        let rate = rates.entry((what, sharers)).or_default();
        rate.record(bytes as f64, now);
        rate.pause(limit, now)
    }

    /// Counts the answer, tells the client how long it must pause, and makes the connection wait so long.
    pub(crate) fn apply(
        &self,
        quotas: &Quotas,
        client_id: &str,
        produced: usize,
        answer: &mut Answer,
        peer: SocketAddr,
        now: i64,
    ) {
        let fetched: usize = answer.files.iter().map(crate::net::FileRange::len).sum();
        let (pause, told) = match &mut answer.response {
            Response::Produce(response) => {
                let pause = self.record(quotas, Limited::Produce, client_id, produced, now);
                (pause, &mut response.throttle_time_ms)
            }
            Response::Fetch(response) => {
                let records = response
                    .responses
                    .iter()
                    .flat_map(|topic| &topic.partitions);
                let in_memory: usize = records
                    .filter_map(|partition| partition.records.as_ref())
                    .map(bytes::Bytes::len)
                    .sum();
                let bytes = fetched + in_memory;
                let pause = self.record(quotas, Limited::Fetch, client_id, bytes, now);
                (pause, &mut response.throttle_time_ms)
            }
            _ => return,
        };
        let Ok(millis @ 1..) = u32::try_from(pause) else {
            return;
        };
        *told = i32::try_from(millis).unwrap_or(i32::MAX);
        let mut pauses = self.pauses.lock();
        if pauses.len() >= MANY_PAUSES {
            let now = Instant::now();
            pauses.retain(|_, until| *until > now);
        }
        pauses.insert(
            peer,
            Instant::now() + Duration::from_millis(u64::from(millis)),
        );
    }

    /// Until when a connection pauses; asking ends it.
    pub(crate) fn paused_until(&self, peer: SocketAddr) -> Option<Instant> {
        self.pauses.lock().remove(&peer)
    }
}

/// The bytes of records in a produce request.
pub(crate) fn produced(request: &Request) -> usize {
    match request {
        Request::Produce(request) => request
            .topic_data
            .iter()
            .flat_map(|topic| &topic.partition_data)
            .filter_map(|partition| partition.records.as_ref())
            .map(bytes::Bytes::len)
            .sum(),
        _ => 0,
    }
}

/// The quota that counts for a client: the most particular one.
fn quota_of(quotas: &Quotas, key: &str, user: &str, client_id: &str) -> Option<(f64, Sharers)> {
    let (of_user, of_client) = (Some(user.to_owned()), Some(client_id.to_owned()));
    let part = |kind: &str, name: Option<&Option<String>>| {
        name.map(|name| (kind.to_owned(), name.clone()))
    };
    let (user, client, default) = (Some(&of_user), Some(&of_client), Some(&None));
    let ranked = [
        (user, client),
        (user, default),
        (user, None),
        (default, client),
        (default, default),
        (default, None),
        (None, client),
        (None, default),
    ];
    ranked.into_iter().find_map(|(user, client)| {
        let parts = [part("user", user), part("client-id", client)];
        let entity: QuotaEntity = parts.into_iter().flatten().collect();
        let limit = quotas.get(&entity)?.get(key).copied()?;
        // Two that a default applies to do not share it.
        let sharers = (user.and(of_user.clone()), client.and(of_client.clone()));
        Some((limit.into(), sharers))
    })
}

/// How much there was of something in the last windows.
#[derive(Debug, Default)]
struct Rate {
    /// Where a window starts, and how much there was in it.
    windows: VecDeque<(i64, f64)>,
}

impl Rate {
    fn record(&mut self, amount: f64, now: i64) {
        match self.windows.back_mut() {
            Some((start, total)) if now - *start < WINDOW_MS => *total += amount,
            _ => self.windows.push_back((now, amount)),
        }
        while self
            .windows
            .front()
            .is_some_and(|(start, _)| now - start >= WINDOWS * WINDOW_MS)
        {
            self.windows.pop_front();
        }
    }

    /// How long it takes, in milliseconds and without more, until the rate is back at the limit.
    fn pause(&self, limit: f64, now: i64) -> i64 {
        let total: f64 = self.windows.iter().map(|(_, total)| total).sum();
        let since = self.windows.front().map_or(now, |(start, _)| *start);
        // At least all windows but the one under way count, however new the rate is.
        let elapsed = (now - since).max(0);
        let missing = (WINDOWS - 1 - elapsed / WINDOW_MS).max(0);
        let span = (elapsed + missing * WINDOW_MS) as f64;
        let beyond = total * 1000.0 / limit - span;
        if beyond > 0.0 {
            beyond.round() as i64
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(user: Option<Option<&str>>, client: Option<Option<&str>>) -> QuotaEntity {
        [("user", user), ("client-id", client)]
            .into_iter()
            .filter_map(|(kind, name)| Some((kind.to_owned(), name?.map(str::to_owned))))
            .collect()
    }

    #[test]
    fn the_most_particular_quota_counts() {
        let mut quotas = Quotas::new();
        let find = |quotas: &Quotas| quota_of(quotas, "k", "u", "c");
        assert_eq!(find(&quotas), None);
        let (user, client) = (Some("u".to_owned()), Some("c".to_owned()));
        let pair = (user.clone(), client.clone());
        // From the least particular on.
        for (limit, entity, sharers) in [
            (1.0, entity(None, Some(None)), (None, client.clone())),
            (2.0, entity(None, Some(Some("c"))), (None, client)),
            (3.0, entity(Some(None), None), (user.clone(), None)),
            (4.0, entity(Some(None), Some(None)), pair.clone()),
            (5.0, entity(Some(None), Some(Some("c"))), pair.clone()),
            (6.0, entity(Some(Some("u")), None), (user, None)),
            (7.0, entity(Some(Some("u")), Some(None)), pair.clone()),
            (8.0, entity(Some(Some("u")), Some(Some("c"))), pair),
        ] {
            let value = [("k".to_owned(), limit.into())];
            quotas.insert(entity, value.into());
            assert_eq!(find(&quotas), Some((limit, sharers)));
        }
        assert_eq!(quota_of(&quotas, "other", "u", "c"), None);
    }

    #[test]
    fn a_burst_is_free_and_what_goes_beyond_is_paused_for() {
        let mut rate = Rate::default();
        rate.record(1000.0, 0);
        assert_eq!(rate.pause(100.0, 0), 0);
        rate.record(500.0, 10);
        // 1500 at 100 a second take 15 seconds, of which 10 are free and 10 ms are over.
        assert_eq!(rate.pause(100.0, 10), 4990);
        assert_eq!(rate.pause(100.0, 5_000), 5_000);
    }

    /// Whoever pauses as he is told keeps to the rate in the long run.
    #[test]
    fn pauses_keep_the_rate() {
        let (mut rate, mut now, mut total) = (Rate::default(), 0, 0.0);
        while now < 600_000 {
            rate.record(10.0, now);
            total += 10.0;
            now += 1 + rate.pause(100.0, now);
        }
        let mean = total * 1000.0 / now as f64;
        assert!((90.0..=110.0).contains(&mean), "{mean}");
    }

    #[test]
    fn what_is_long_ago_does_not_count() {
        let mut rate = Rate::default();
        rate.record(1e9, 0);
        assert!(rate.pause(100.0, 0) > 1_000_000);
        rate.record(1.0, WINDOWS * WINDOW_MS);
        assert_eq!(rate.pause(100.0, WINDOWS * WINDOW_MS), 0);
    }
}
