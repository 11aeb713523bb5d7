//! Client quotas at work: how long a client must pause that uses more than it may.
//!
//! Bytes produced and fetched and the time of the broker's threads are rates, measured over the samples that
//! `quota.window.num` and `quota.window.size.seconds` say; the last sample is under way, so that who has been quiet
//! may burst. Who goes beyond is answered at once, with the pause that brings the rate back, and the connection's
//! next request is read after it (KIP-219). A fetch that goes beyond is answered without records, which then do not
//! count. Changes of partitions have their own rule ([`Mutations`]), connections theirs
//! ([`ConnectionQuotas`](crate::net::ConnectionQuotas)).
//!
//! Invariants: clients inside of the broker's own process are not limited. Where no quota is set, a request takes
//! one relaxed load and no lock.

mod limits;
mod mutations;
mod usage;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

pub(crate) use self::limits::connection_limits;
use self::limits::{Sharers, quota_of};
use self::mutations::Kept;
pub(crate) use self::mutations::Mutations;
pub(crate) use self::usage::Usage;
use super::core::Context;
use crate::config::Settings;
use crate::controller::Quotas;
use crate::net::{Rate, TokenBucket, Window, request_frame};
use crate::wire::{Request, RequestHeader, Response};

/// As long as nobody authenticates, everyone is this user.
const USER: &str = "ANONYMOUS";

/// A client that was quiet for longer is forgotten.
const FORGET_MS: i64 = 3_600_000;

/// How many clients are kept before those to be forgotten are looked for.
const MANY: usize = 1000;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Limited {
    /// Bytes produced a second.
    Produce,
    /// Bytes fetched a second.
    Fetch,
    /// Time of threads, as percentage of one.
    Requests,
    /// Partitions created and deleted a second.
    Mutations,
}

impl Limited {
    fn key(self) -> &'static str {
        match self {
            Limited::Produce => "producer_byte_rate",
            Limited::Fetch => "consumer_byte_rate",
            Limited::Requests => "request_percentage",
            Limited::Mutations => "controller_mutation_rate",
        }
    }
}

/// Milliseconds since some moment, never going back.
struct Clock(Box<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    fn system() -> Self {
        let started = Instant::now();
        Clock(Box::new(move || {
            i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX)
        }))
    }

    fn now(&self) -> i64 {
        (self.0)()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

type Key = (Limited, Sharers);

/// What is measured of those who share a quota.
#[derive(Debug, Default)]
struct Meter {
    rate: Rate,
    tokens: TokenBucket,
    used: i64,
}

#[derive(Debug, Default)]
struct Meters {
    by_key: HashMap<Key, Meter>,
    /// How many there may be before those to be forgotten are looked for.
    many: usize,
}

/// The quotas that are set, and what is measured of the clients that have any.
#[derive(Debug)]
pub(crate) struct ClientQuotas {
    clock: Clock,
    window: Window,
    mutation_window: Window,
    kept: AtomicBool,
    quotas: RwLock<Arc<Quotas>>,
    meters: Mutex<Meters>,
}

impl ClientQuotas {
    /// Without any quotas yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            clock: Clock::system(),
            window: Window::new(settings.quota_window_samples, settings.quota_window_seconds),
            mutation_window: Window::new(
                settings.controller_quota_window_samples,
                settings.controller_quota_window_seconds,
            ),
            kept: AtomicBool::new(false),
            quotas: RwLock::default(),
            meters: Mutex::default(),
        }
    }

    /// Takes over the quotas that hold from now on; whether they are others than before.
    pub(crate) fn update(&self, quotas: &Arc<Quotas>) -> bool {
        if Arc::ptr_eq(&self.quotas.read(), quotas) {
            return false;
        }
        let mut held = self.quotas.write();
        let changed = **held != **quotas;
        *held = Arc::clone(quotas);
        let of_clients = quotas.keys().any(|entity| !entity.contains_key("ip"));
        self.kept.store(of_clients, Ordering::Relaxed);
        changed
    }

    /// Begins a request that came over a connection; `None` where there are no quotas.
    pub(crate) fn begin(&self) -> Option<Arc<Usage>> {
        let kept = self.kept.load(Ordering::Relaxed);
        kept.then(|| Arc::new(Usage::new()))
    }

    /// The most bytes that a fetch may ask for without having to pause in any case.
    pub(crate) fn most_fetched(&self, cx: &Context) -> i32 {
        let quota = cx
            .usage
            .as_ref()
            .and_then(|_| self.quota(Limited::Fetch, cx));
        match quota {
            // Goes to the nearest there is.
            Some((limit, _)) => (limit * self.window.full_seconds()) as i32,
            None => i32::MAX,
        }
    }

    /// Counts a fetch and says how long the client must pause. What it must pause for it is not given, and so that
    /// is not counted.
    pub(crate) fn fetched(&self, cx: &Context, bytes: usize) -> i32 {
        let Some(usage) = &cx.usage else {
            return 0;
        };
        let requests = self.worked(cx, usage);
        let fetches = self.record(Limited::Fetch, cx, bytes as f64);
        let pause = requests.max(fetches);
        if pause > 0 {
            self.take_back(Limited::Fetch, cx, bytes as f64);
        }
        millis(pause)
    }

    /// What a request of this version may create and delete; those from `strict_since` on know the refusal.
    pub(crate) fn mutations(&self, cx: &Context, strict_since: i16) -> Mutations<'_> {
        let quota = cx
            .usage
            .as_ref()
            .and_then(|_| self.quota(Limited::Mutations, cx));
        Mutations::new(quota.map(|(limit, sharers)| Kept {
            quotas: self,
            limit,
            sharers,
            strict: cx.version >= strict_since,
        }))
    }

    /// Ends a request: counts it, tells in its answer how long the client must pause, and says so.
    pub(crate) fn end(&self, cx: &Context, request: &Counted, response: &mut Response) -> Duration {
        let Some(usage) = &cx.usage else {
            return Duration::ZERO;
        };
        let produces = match request {
            Counted::Produced { bytes, .. } => self.record(Limited::Produce, cx, *bytes as f64),
            _ => 0,
        };
        let requests = match request {
            Counted::Exempt | Counted::Produced { silent: true, .. } => 0,
            _ => self.worked(cx, usage),
        };
        let pause = millis(produces.max(requests));
        // The handler may have found a reason of its own.
        let pause = match response.throttle_time_ms_mut() {
            Some(told) => {
                *told = pause.max(*told);
                *told
            }
            None => pause,
        };
        Duration::from_millis(u64::try_from(pause).unwrap_or(0))
    }

    /// Counts the time that threads worked on a request, once.
    fn worked(&self, cx: &Context, usage: &Usage) -> i64 {
        if usage.take() {
            return 0;
        }
        let pause = self.record(Limited::Requests, cx, usage.percent());
        pause.min(self.window.sample_ms)
    }

    fn quota(&self, what: Limited, cx: &Context) -> Option<(f64, Sharers)> {
        quota_of(&self.quotas.read(), what.key(), USER, &cx.client_id)
    }

    /// Counts, and says how long the client must pause.
    fn record(&self, what: Limited, cx: &Context, amount: f64) -> i64 {
        let Some((limit, sharers)) = self.quota(what, cx) else {
            return 0;
        };
        let now = self.clock.now();
        self.meter((what, sharers), now, |meter| {
            meter.rate.record(amount, self.window, now);
            meter.rate.pause(limit, self.window, now)
        })
    }

    fn take_back(&self, what: Limited, cx: &Context, amount: f64) {
        if let Some((_, sharers)) = self.quota(what, cx) {
            let now = self.clock.now();
            self.meter((what, sharers), now, |meter| {
                meter.rate.record(-amount, self.window, now);
            });
        }
    }

    fn meter<T>(&self, key: Key, now: i64, work: impl FnOnce(&mut Meter) -> T) -> T {
        let mut meters = self.meters.lock();
        if meters.by_key.len() >= meters.many.max(MANY) {
            meters
                .by_key
                .retain(|_, meter| now - meter.used < FORGET_MS);
            meters.many = meters.by_key.len() * 2;
        }
        let meter = meters.by_key.entry(key).or_default();
        meter.used = now;
        work(meter)
    }
}

/// What a request counts as.
#[derive(Debug)]
pub(crate) enum Counted {
    /// Not at all: brokers send it to each other.
    Exempt,
    /// By the work it makes.
    Worked,
    /// By the work it makes, unless it has no answer, and by its size.
    Produced {
        /// Its size.
        bytes: usize,
        /// Whether it has no answer.
        silent: bool,
    },
}

impl Counted {
    /// Looks at a request before it is answered.
    pub(crate) fn new(header: &RequestHeader, request: &Request) -> Self {
        match request {
            Request::WriteTxnMarkers(_) => Counted::Exempt,
            Request::Fetch(fetch) if fetch.replica_id.max(fetch.replica_state.replica_id) >= 0 => {
                Counted::Exempt
            }
            Request::Produce(produce) => Counted::Produced {
                // What came in has a frame; and if not, it is not counted.
                bytes: request_frame(header, request)
                    .map_or(0, |frame| bytes::Buf::remaining(&frame).saturating_sub(4)),
                silent: produce.acks == 0,
            },
            _ => Counted::Worked,
        }
    }
}

fn millis(pause: i64) -> i32 {
    i32::try_from(pause.max(0)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::AtomicI64;

    use super::*;
    use crate::config::BrokerConfig;
    use crate::wire::messages::{MetadataResponse, ProduceResponse, WriteTxnMarkersResponse};
    use crate::wire::{ErrorCode, Str};

    struct World {
        quotas: ClientQuotas,
        time: Arc<AtomicI64>,
    }

    impl World {
        /// Quotas of the client id `c`, and of no other.
        fn new(limits: &[(&str, f64)]) -> Self {
            let settings = BrokerConfig::new("x").resolve().unwrap();
            let mut quotas = ClientQuotas::new(&settings);
            let time = Arc::new(AtomicI64::new(0));
            let clock = Arc::clone(&time);
            quotas.clock = Clock(Box::new(move || clock.load(Ordering::Relaxed)));
            let world = Self { quotas, time };
            world.set(limits);
            world
        }

        fn set(&self, limits: &[(&str, f64)]) {
            let values: BTreeMap<_, _> = limits
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).into()))
                .collect();
            let entity = [("client-id".to_owned(), Some("c".to_owned()))].into();
            self.quotas.update(&Arc::new([(entity, values)].into()));
        }

        fn at(&self, time: i64) -> &ClientQuotas {
            self.time.store(time, Ordering::Relaxed);
            &self.quotas
        }

        fn context(&self, client_id: &str) -> Context {
            Context {
                version: 7,
                client_id: Str::from(client_id),
                client_host: Str::default(),
                listener: Str::default(),
                usage: self.quotas.begin(),
            }
        }
    }

    const SENT: Counted = Counted::Produced {
        bytes: 1500,
        silent: false,
    };

    #[test]
    fn without_quotas_nothing_is_measured() {
        let settings = BrokerConfig::new("x").resolve().unwrap();
        let quotas = ClientQuotas::new(&settings);
        assert!(quotas.begin().is_none());
        let ip = [("ip".to_owned(), None)].into();
        assert!(quotas.update(&Arc::new([(ip, BTreeMap::new())].into())));
        assert!(quotas.begin().is_none());
        let user = [("user".to_owned(), None)].into();
        assert!(quotas.update(&Arc::new([(user, BTreeMap::new())].into())));
        assert!(quotas.begin().is_some());
    }

    #[test]
    fn a_producer_pauses_and_is_told() {
        let world = World::new(&[("producer_byte_rate", 100.0)]);
        for (client_id, pause) in [("c", 5000), ("other", 0)] {
            let mut response = ProduceResponse::default().into();
            let cx = world.context(client_id);
            let mute = world.at(0).end(&cx, &SENT, &mut response);
            assert_eq!(mute, Duration::from_millis(pause));
            let told = response.throttle_time_ms_mut().copied();
            assert_eq!(told, Some(pause as i32));
        }
    }

    #[test]
    fn a_fetch_that_is_too_much_does_not_count() {
        let world = World::new(&[("consumer_byte_rate", 100.0)]);
        let cx = || world.context("c");
        assert_eq!(world.quotas.most_fetched(&cx()), 1000);
        assert_eq!(world.quotas.most_fetched(&world.context("other")), i32::MAX);
        assert_eq!(world.at(0).fetched(&cx(), 900), 0);
        assert_eq!(world.at(0).fetched(&cx(), 200), 1000);
        assert_eq!(world.at(0).fetched(&cx(), 100), 0);
        assert_eq!(world.at(11_000).fetched(&cx(), 900), 0);
    }

    /// However little it is, a request takes some time.
    #[tokio::test]
    async fn the_time_of_threads_is_limited() {
        let world = World::new(&[("request_percentage", 1e-9)]);
        let told = async |counted: Counted| {
            let cx = world.context("c");
            cx.usage.clone().unwrap().measure(async {}).await;
            let mut response = MetadataResponse::default().into();
            world.at(0).end(&cx, &counted, &mut response).as_millis()
        };
        assert_eq!(told(Counted::Exempt).await, 0);
        let silent = Counted::Produced {
            bytes: 1,
            silent: true,
        };
        assert_eq!(told(silent).await, 0);
        // No longer than a sample.
        assert_eq!(told(Counted::Worked).await, 1000);
        let cx = world.context("c");
        assert_eq!(world.at(0).fetched(&cx, 0), 1000);
        // A fetch has been counted when its handler is done.
        let mut response = WriteTxnMarkersResponse::default().into();
        let mute = world.at(0).end(&cx, &Counted::Worked, &mut response);
        assert_eq!(mute, Duration::ZERO);
    }

    #[test]
    fn a_strict_quota_refuses_what_a_lenient_one_counts() {
        let world = World::new(&[("controller_mutation_rate", 2.0)]);
        let cx = world.context("c");
        let mut strict = world.at(0).mutations(&cx, 7);
        // Eleven seconds' worth, and one change beyond.
        assert_eq!(strict.take(20), Ok(()));
        assert_eq!(strict.take(10), Ok(()));
        assert_eq!(strict.throttle_time_ms(), 0);
        let refused = strict.take(1).unwrap_err();
        assert_eq!(refused.0, ErrorCode::ThrottlingQuotaExceeded);
        assert_eq!(strict.throttle_time_ms(), 4000);
        // What was refused was not counted.
        let mut lenient = world.at(0).mutations(&cx, 8);
        assert_eq!(lenient.take(1), Ok(()));
        assert_eq!(lenient.throttle_time_ms(), 4500);
        world.at(500);
        assert_eq!(lenient.throttle_time_ms(), 4000);
        assert_eq!(strict.throttle_time_ms(), 3500);
        let mut later = world.at(4500).mutations(&cx, 7);
        assert_eq!(later.take(1), Ok(()));
        let other = world.context("other");
        assert_eq!(world.quotas.mutations(&other, 7).take(1000), Ok(()));
    }

    /// The answer has the longer pause of the handler and the request.
    #[test]
    fn the_longest_pause_counts() {
        let world = World::new(&[("producer_byte_rate", 100.0)]);
        for (found, expected) in [(1, 5000), (9000, 9000)] {
            let mut response = MetadataResponse {
                throttle_time_ms: found,
                ..MetadataResponse::default()
            }
            .into();
            let world = World::new(&[("producer_byte_rate", 100.0)]);
            let mute = world.at(0).end(&world.context("c"), &SENT, &mut response);
            assert_eq!(mute, Duration::from_millis(expected));
        }
        assert!(world.quotas.begin().is_some());
    }

    #[test]
    fn who_is_quiet_is_forgotten() {
        let world = World::new(&[]);
        let key = |n: usize| (Limited::Fetch, (None, Some(n.to_string())));
        for n in 0..MANY {
            world.quotas.meter(key(n), 0, |_| ());
        }
        world.quotas.meter(key(1), FORGET_MS, |_| ());
        let meters = world.quotas.meters.lock();
        assert_eq!(meters.by_key.len(), 1);
    }
}
