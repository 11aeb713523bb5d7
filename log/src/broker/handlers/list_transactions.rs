//! ListTransactions: the transactional ids of this coordinator, filtered.

use std::collections::BTreeSet;

use regex::Regex;

use crate::broker::core::{Core, now};
use crate::transaction::{TransactionMetadata, TransactionState};
use crate::wire::messages::{ListTransactionsRequest, ListTransactionsResponse, ListedTransaction};
use crate::wire::{ErrorCode, Str};

/// What is asked for; an empty filter matches all.
struct Filter {
    states: Option<BTreeSet<TransactionState>>,
    producer_ids: BTreeSet<i64>,
    duration_ms: i64,
    pattern: Option<Regex>,
    now: i64,
}

pub(crate) fn handle(core: &Core, request: ListTransactionsRequest) -> ListTransactionsResponse {
    let pattern = match request.transactional_id_pattern.as_deref() {
        None | Some("") => None,
        // The whole id is to match, as with Java's `matches`.
        Some(pattern) => match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(pattern) => Some(pattern),
            Err(_) => {
                return ListTransactionsResponse {
                    error_code: ErrorCode::InvalidRegularExpression.code(),
                    ..ListTransactionsResponse::default()
                };
            }
        },
    };
    let (known, unknown): (Vec<_>, Vec<_>) = request
        .state_filters
        .iter()
        .cloned()
        .partition(|name| TransactionState::from_name(name).is_some());
    let states = known.iter().filter_map(|n| TransactionState::from_name(n));
    let filter = Filter {
        states: (!request.state_filters.is_empty()).then(|| states.collect()),
        producer_ids: request.producer_id_filters.into_iter().collect(),
        duration_ms: request.duration_filter,
        pattern,
        now: now(),
    };
    let mut found = Vec::new();
    let listed = core.transactions.for_each(|id, metadata| {
        if filter.matches(id, metadata) {
            found.push(ListedTransaction {
                transactional_id: id.clone(),
                producer_id: metadata.producer_id,
                transaction_state: Str::from_static(metadata.state.name()),
                ..ListedTransaction::default()
            });
        }
    });
    if let Err(code) = listed {
        return ListTransactionsResponse {
            error_code: code.code(),
            ..ListTransactionsResponse::default()
        };
    }
    ListTransactionsResponse {
        unknown_state_filters: unknown,
        transaction_states: found,
        ..ListTransactionsResponse::default()
    }
}

impl Filter {
    fn matches(&self, id: &Str, metadata: &TransactionMetadata) -> bool {
        self.states
            .as_ref()
            .is_none_or(|states| states.contains(&metadata.state))
            && (self.producer_ids.is_empty() || self.producer_ids.contains(&metadata.producer_id))
            && (self.duration_ms < 0
                || self.now.saturating_sub(metadata.start_ms) > self.duration_ms)
            && self.pattern.as_ref().is_none_or(|p| p.is_match(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(state: TransactionState, start_ms: i64) -> TransactionMetadata {
        TransactionMetadata {
            producer_id: 7,
            previous_producer_id: -1,
            next_producer_id: -1,
            producer_epoch: 0,
            last_producer_epoch: -1,
            timeout_ms: 1,
            state,
            partitions: BTreeSet::new(),
            start_ms,
            last_update_ms: 0,
            client_version: 2,
        }
    }

    #[test]
    fn every_filter_must_match() {
        let all = || Filter {
            states: None,
            producer_ids: BTreeSet::new(),
            duration_ms: -1,
            pattern: None,
            now: 100,
        };
        let ongoing = metadata(TransactionState::Ongoing, 40);
        let id = Str::from("orders-1");
        assert!(all().matches(&id, &ongoing));
        let by_state = |state| Filter {
            states: Some([state].into()),
            ..all()
        };
        assert!(by_state(TransactionState::Ongoing).matches(&id, &ongoing));
        assert!(!by_state(TransactionState::Empty).matches(&id, &ongoing));
        let by_producer = |producer| Filter {
            producer_ids: [producer].into(),
            ..all()
        };
        assert!(by_producer(7).matches(&id, &ongoing) && !by_producer(8).matches(&id, &ongoing));
        let by_duration = |duration_ms| Filter {
            duration_ms,
            ..all()
        };
        assert!(by_duration(59).matches(&id, &ongoing) && !by_duration(60).matches(&id, &ongoing));
        let by_pattern = |pattern: &str| Filter {
            pattern: Some(Regex::new(pattern).unwrap()),
            ..all()
        };
        assert!(by_pattern("^(?:orders-.*)$").matches(&id, &ongoing));
        assert!(!by_pattern("^(?:orders)$").matches(&id, &ongoing));
    }
}
