//! How many connections there may be, and how fast new ones may come: of the broker, of a listener, of an address.
//!
//! Invariant: a connection that is served holds a [`Slot`], and the slots that are held are what the counts say.
//! Where the broker or the listener has as many as it may, or they come too fast, the next one waits, and those
//! behind it in the system's queue; where one address has, its connection is closed. A listener of the brokers
//! themselves, beside others, waits only for its own limits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::rate::{Rate, Window};

/// How many addresses' rates are kept before those that are idle are looked for.
const MANY_ADDRESSES: usize = 1000;

/// What is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionLimits {
    /// `max.connections`.
    pub max: usize,
    /// `max.connections.per.ip`.
    pub max_per_ip: usize,
    /// `max.connections.per.ip.overrides`.
    pub max_of_ip: HashMap<IpAddr, usize>,
    /// `max.connection.creation.rate`, a second; `None` is any.
    pub rate: Option<f64>,
    /// `connection_creation_rate` of addresses that have none of their own.
    pub rate_per_ip: Option<f64>,
    /// `connection_creation_rate` of addresses.
    pub rate_of_ip: HashMap<IpAddr, f64>,
    /// `inter.broker.listener.name`.
    pub inter_broker: Option<String>,
    /// Over what rates are measured.
    pub window: Window,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            max: usize::MAX,
            max_per_ip: usize::MAX,
            max_of_ip: HashMap::new(),
            rate: None,
            rate_per_ip: None,
            rate_of_ip: HashMap::new(),
            inter_broker: None,
            window: Window::default(),
        }
    }
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionRefused {
    /// Its address has as many as it may.
    #[error("{ip} has {max} connections already, as many as it may (max.connections.per.ip)")]
    TooMany {
        /// The address.
        ip: IpAddr,
        /// How many it may have.
        max: usize,
    },
    /// Its address connects too often; it is closed after a while, so that trying again at once gains nothing.
    #[error("{ip} connects more often than it may (connection_creation_rate)")]
    TooFast {
        /// The address.
        ip: IpAddr,
        /// When it is closed.
        after: Duration,
    },
}

/// The connections of a broker, on all its listeners.
#[derive(Debug)]
pub struct ConnectionQuotas {
    started: Instant,
    state: Mutex<State>,
    freed: Notify,
}

/// The right to be served, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    quotas: Arc<ConnectionQuotas>,
    listener: Arc<str>,
    ip: IpAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.quotas.state.lock().release(&self.listener, self.ip);
        self.quotas.freed.notify_waiters();
    }
}

impl Default for ConnectionQuotas {
    fn default() -> Self {
        ConnectionQuotas::new(ConnectionLimits::default())
    }
}

impl ConnectionQuotas {
    /// No connections yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        ConnectionQuotas {
            started: Instant::now(),
            state: Mutex::new(State::new(limits)),
            freed: Notify::new(),
        }
    }

    /// Sets other limits. Connections that there are stay, even if they are more than may be now.
    pub fn update(&self, limits: ConnectionLimits) {
        self.state.lock().limits = limits;
        self.freed.notify_waiters();
    }

    /// Tells of a listener; where there are several, that of the brokers has a right of its own.
    pub fn listens(&self, listener: &str) {
        self.state
            .lock()
            .listeners
            .entry(listener.into())
            .or_default();
    }

    /// Waits until a connection that was accepted may be served, or says why it may not.
    ///
    /// # Errors
    /// [`ConnectionRefused`] where its address has too many connections or makes them too fast.
    pub async fn admit(
        self: &Arc<Self>,
        listener: &Arc<str>,
        ip: IpAddr,
    ) -> Result<Slot, ConnectionRefused> {
        let ip = ip.to_canonical();
        let pause = self.state.lock().arrive(listener, self.now());
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            freed.as_mut().enable();
            let taken = self.state.lock().take(listener, ip, self.now())?;
            if taken {
                return Ok(Slot {
                    quotas: Arc::clone(self),
                    listener: Arc::clone(listener),
                    ip,
                });
            }
            freed.await;
        }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

/// The counts and rates; knows no clock.
#[derive(Debug)]
struct State {
    limits: ConnectionLimits,
    total: usize,
    listeners: HashMap<Arc<str>, usize>,
    addresses: HashMap<IpAddr, usize>,
    rate: Rate,
    address_rates: HashMap<IpAddr, Rate>,
}

impl State {
    fn new(limits: ConnectionLimits) -> Self {
        State {
            limits,
            total: 0,
            listeners: HashMap::new(),
            addresses: HashMap::new(),
            rate: Rate::default(),
            address_rates: HashMap::new(),
        }
    }

    fn is_protected(&self, listener: &str) -> bool {
        self.limits.inter_broker.as_deref() == Some(listener) && self.listeners.len() > 1
    }

    /// Counts a new connection; it waits so many milliseconds.
    fn arrive(&mut self, listener: &str, now: i64) -> u64 {
        let Some(limit) = self.limits.rate else {
            return 0;
        };
        if self.is_protected(listener) {
            return 0;
        }
        let window = self.limits.window;
        self.rate.record(1.0, window, now);
        bounded(self.rate.pause(limit, window, now), window)
    }

    /// Takes a slot, if there is one.
    fn take(
        &mut self,
        listener: &Arc<str>,
        ip: IpAddr,
        now: i64,
    ) -> Result<bool, ConnectionRefused> {
        if self.total >= self.limits.max && !self.is_protected(listener) {
            return Ok(false);
        }
        self.check_rate(listener, ip, now)?;
        let limits = &self.limits;
        let max = limits.max_of_ip.get(&ip).copied();
        let max = max.unwrap_or(limits.max_per_ip);
        let of_address = self.addresses.get(&ip).copied().unwrap_or(0);
        if of_address >= max {
            return Err(ConnectionRefused::TooMany { ip, max });
        }
        self.addresses.insert(ip, of_address + 1);
        *self.listeners.entry(Arc::clone(listener)).or_default() += 1;
        self.total += 1;
        Ok(true)
    }

    fn check_rate(
        &mut self,
        listener: &str,
        ip: IpAddr,
        now: i64,
    ) -> Result<(), ConnectionRefused> {
        let own = self.limits.rate_of_ip.get(&ip).copied();
        let Some(limit) = own.or(self.limits.rate_per_ip) else {
            return Ok(());
        };
        let window = self.limits.window;
        if self.address_rates.len() >= MANY_ADDRESSES {
            self.address_rates
                .retain(|_, rate| !rate.is_idle(window, now));
        }
        let rate = self.address_rates.entry(ip).or_default();
        rate.record(1.0, window, now);
        let pause = bounded(rate.pause(limit, window, now), window);
        if pause == 0 {
            return Ok(());
        }
        // It is not served, and so counts nowhere.
        rate.record(-1.0, window, now);
        if self.limits.rate.is_some() && !self.is_protected(listener) {
            self.rate.record(-1.0, window, now);
        }
        let after = Duration::from_millis(pause);
        Err(ConnectionRefused::TooFast { ip, after })
    }

    fn release(&mut self, listener: &str, ip: IpAddr) {
        self.total = self.total.saturating_sub(1);
        if let Some(count) = self.listeners.get_mut(listener) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = self.addresses.get_mut(&ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.addresses.remove(&ip);
            }
        }
    }
}

/// Nobody waits for longer than a sample.
fn bounded(pause: i64, window: Window) -> u64 {
    u64::try_from(pause.min(window.sample_ms)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn state(limits: ConnectionLimits, listeners: &[&str]) -> State {
        let mut state = State::new(limits);
        for listener in listeners {
            state.listeners.insert(Arc::from(*listener), 0);
        }
        state
    }

    #[test]
    fn the_broker_is_full_but_for_its_own() {
        let limits = ConnectionLimits {
            max: 2,
            inter_broker: Some("IN".to_owned()),
            ..ConnectionLimits::default()
        };
        let (out, own): (Arc<str>, Arc<str>) = ("OUT".into(), "IN".into());
        let mut state = state(limits, &["OUT", "IN"]);
        assert_eq!(state.take(&out, A, 0), Ok(true));
        assert_eq!(state.take(&out, B, 0), Ok(true));
        assert_eq!(state.take(&out, A, 0), Ok(false));
        assert_eq!(state.take(&own, A, 0), Ok(true));
        state.release(&own, A);
        assert_eq!(state.take(&out, A, 0), Ok(false));
        state.release(&out, A);
        assert_eq!(state.take(&out, A, 0), Ok(true));
        // Where it is the only listener, it has no right of its own.
        state.listeners.remove("OUT");
        assert_eq!(state.take(&own, A, 0), Ok(false));
    }

    #[test]
    fn an_address_has_its_own_limit() {
        let limits = ConnectionLimits {
            max_per_ip: 1,
            max_of_ip: HashMap::from([(B, 2)]),
            ..ConnectionLimits::default()
        };
        let listener: Arc<str> = "OUT".into();
        let mut state = state(limits, &["OUT"]);
        for (ip, max) in [(A, 1), (B, 2)] {
            for _ in 0..max {
                assert_eq!(state.take(&listener, ip, 0), Ok(true));
            }
            let refused = Err(ConnectionRefused::TooMany { ip, max });
            assert_eq!(state.take(&listener, ip, 0), refused);
            state.release(&listener, ip);
            assert_eq!(state.take(&listener, ip, 0), Ok(true));
        }
        state.release(&listener, A);
        assert_eq!((state.total, state.addresses.contains_key(&A)), (2, false));
    }

    #[test]
    fn connections_come_no_faster_than_they_may() {
        let limits = ConnectionLimits {
            rate: Some(2.0),
            inter_broker: Some("IN".to_owned()),
            ..ConnectionLimits::default()
        };
        let mut state = state(limits, &["OUT", "IN"]);
        // Ten seconds' worth are free.
        assert!((0..20).all(|_| state.arrive("OUT", 0) == 0));
        assert_eq!(state.arrive("OUT", 0), 500);
        assert_eq!(state.arrive("IN", 0), 0);
        assert!((0..9).all(|_| state.arrive("OUT", 0) > 500));
        // No longer than a sample.
        assert_eq!(state.arrive("OUT", 0), 1000);
        assert_eq!(state.arrive("OUT", 11_000), 0);
    }

    #[test]
    fn an_address_that_is_too_fast_counts_nowhere() {
        let limits = ConnectionLimits {
            rate: Some(1000.0),
            rate_per_ip: Some(1.0),
            rate_of_ip: HashMap::from([(B, 2.0)]),
            ..ConnectionLimits::default()
        };
        let listener: Arc<str> = "OUT".into();
        let mut state = state(limits, &["OUT"]);
        for (ip, free) in [(A, 10), (B, 20)] {
            for _ in 0..free {
                assert_eq!(state.arrive("OUT", 0), 0);
                assert_eq!(state.take(&listener, ip, 0), Ok(true));
            }
            for _ in 0..3 {
                state.arrive("OUT", 0);
                let refused = state.take(&listener, ip, 0).unwrap_err();
                let after = Duration::from_millis(10_000 / free);
                assert_eq!(refused, ConnectionRefused::TooFast { ip, after });
            }
        }
        assert_eq!(state.total, 30);
        assert_eq!(state.rate.pause(3.0, Window::default(), 0), 0);
        assert_eq!(state.take(&listener, A, 11_000), Ok(true));
    }
}
