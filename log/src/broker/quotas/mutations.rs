//! Quotas of partitions that are created and deleted (KIP-599).
//!
//! Invariant: a strict quota refuses whatever comes while it is overdrawn and counts nothing of it; a lenient one,
//! for versions that do not know the refusal, counts everything. Both may be overdrawn by a single change.

use super::limits::Sharers;
use super::{ClientQuotas, Limited, Meter, millis};
use crate::broker::topics::Refused;
use crate::wire::ErrorCode;

/// What one request may create and delete.
#[derive(Debug)]
pub(crate) struct Mutations<'a> {
    kept: Option<Kept<'a>>,
    /// The pause that was found last, and when.
    pause: (i64, i64),
}

#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub(super) quotas: &'a ClientQuotas,
    pub(super) limit: f64,
    pub(super) sharers: Sharers,
    pub(super) strict: bool,
}

impl<'a> Mutations<'a> {
    pub(super) fn new(kept: Option<Kept<'a>>) -> Self {
        let pause = (0, 0);
        Self { kept, pause }
    }

    /// Counts partitions that are to be created or deleted, or refuses them.
    pub(crate) fn take(&mut self, partitions: usize) -> Result<(), Refused> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        let (quotas, now) = (kept.quotas, kept.quotas.clock.now());
        let (limit, window) = (kept.limit, quotas.mutation_window);
        let key = (Limited::Mutations, kept.sharers.clone());
        let (pause, refuse) = quotas.meter(key, now, |meter| {
            let Meter { tokens, .. } = meter;
            let before = tokens.pause(limit, window, now);
            if kept.strict && before > 0 {
                return (before, true);
            }
            tokens.take(partitions as f64, limit, window, now);
            match kept.strict {
                true => (0, false),
                false => (tokens.pause(limit, window, now), false),
            }
        });
        if pause > 0 {
            self.pause = (pause, now);
        }
        if refuse {
            let error = ErrorCode::ThrottlingQuotaExceeded;
            return Err((error, error.message().to_owned()));
        }
        Ok(())
    }

    /// How long the client must pause, in milliseconds.
    pub(crate) fn throttle_time_ms(&self) -> i32 {
        let Some(kept) = &self.kept else {
            return 0;
        };
        let (pause, found) = self.pause;
        millis(pause - (kept.quotas.clock.now() - found))
    }
}
