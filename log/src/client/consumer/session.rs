//! An incremental fetch session with one broker (KIP-227).
//!
//! The broker remembers what is fetched, so that a request names only what has changed.
//! A plain state machine. Invariant: what [`Session`] takes for known is what the broker
//! knows at the epoch of the next request; after anything that leaves that in doubt, the
//! next request names everything and begins a new session.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::client::TopicPartition;
use crate::wire::ErrorCode;

/// What is fetched of a partition, as the request says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) topic_id: Uuid,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
}

/// The part of a request that depends on the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    /// What is named: everything, or what has changed.
    pub(super) named: Vec<(TopicPartition, Wanted)>,
    /// What is fetched no longer.
    pub(super) forgotten: Vec<(TopicPartition, Uuid)>,
}

/// The session with one broker.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0 without a session.
    id: i32,
    /// The epoch of the next request; 0 names everything.
    epoch: i32,
    known: BTreeMap<TopicPartition, Wanted>,
    /// Whether topics are named by id; both cannot be mixed in a session.
    by_id: bool,
}

impl Session {
    /// The next request, which is to fetch `wanted`.
    pub(super) fn request(
        &mut self,
        wanted: BTreeMap<TopicPartition, Wanted>,
        by_id: bool,
    ) -> Request {
        if by_id != self.by_id {
            self.by_id = by_id;
            self.begin_anew();
        }
        if self.epoch == 0 {
            let named = wanted.iter().map(|(p, w)| (p.clone(), *w)).collect();
            self.known = wanted;
            return Request {
                session_id: self.id,
                session_epoch: 0,
                named,
                forgotten: Vec::new(),
            };
        }
        let named = wanted
            .iter()
            .filter(|(partition, wanted)| self.known.get(*partition) != Some(*wanted))
            .map(|(partition, wanted)| (partition.clone(), *wanted))
            .collect();
        let forgotten = self
            .known
            .iter()
            .filter(|(partition, known)| {
                // A topic that was made anew under its old name is another.
                let same = |wanted: &Wanted| wanted.topic_id == known.topic_id;
                !wanted.get(*partition).is_some_and(same)
            })
            .map(|(partition, known)| (partition.clone(), known.topic_id))
            .collect();
        self.known = wanted;
        Request {
            session_id: self.id,
            session_epoch: self.epoch,
            named,
            forgotten,
        }
    }

    /// The broker has answered the last request, and has given this id (0: no session).
    pub(super) fn answered(&mut self, id: i32) {
        if id == 0 {
            *self = Self {
                by_id: self.by_id,
                ..Self::default()
            };
            return;
        }
        self.id = id;
        self.epoch = match self.epoch {
            i32::MAX => 1,
            epoch => epoch + 1,
        };
    }

    /// The id of the session, if the broker keeps one.
    pub(super) fn id(&self) -> Option<i32> {
        Some(self.id).filter(|id| *id != 0)
    }

    /// The last request was refused as a whole, or its answer never came.
    pub(super) fn failed(&mut self, code: Option<ErrorCode>) {
        if code == Some(ErrorCode::FetchSessionIdNotFound) {
            self.id = 0;
        }
        self.begin_anew();
    }

    /// The next request closes the session and begins another.
    fn begin_anew(&mut self) {
        self.epoch = 0;
        self.known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partitions: &[(i32, i64)]) -> BTreeMap<TopicPartition, Wanted> {
        let of = |(partition, offset): &(i32, i64)| {
            let wanted = Wanted {
                topic_id: Uuid::from_u128(1),
                offset: *offset,
                leader_epoch: 0,
            };
            (TopicPartition::new("t", *partition), wanted)
        };
        partitions.iter().map(of).collect()
    }

    fn named(request: &Request) -> Vec<i32> {
        request.named.iter().map(|(p, _)| p.partition).collect()
    }

    fn forgotten(request: &Request) -> Vec<i32> {
        request.forgotten.iter().map(|(p, _)| p.partition).collect()
    }

    #[test]
    fn only_what_changed_is_named() {
        let mut session = Session::default();
        let request = session.request(wanted(&[(0, 0), (1, 0)]), true);
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(named(&request), [0, 1]);
        session.answered(7);
        let request = session.request(wanted(&[(0, 5), (1, 0)]), true);
        assert_eq!((request.session_id, request.session_epoch), (7, 1));
        assert_eq!(named(&request), [0]);
        session.answered(7);
        let request = session.request(wanted(&[(1, 0), (2, 0)]), true);
        assert_eq!((named(&request), forgotten(&request)), (vec![2], vec![0]));
        assert_eq!(request.session_epoch, 2);
    }

    #[test]
    fn a_topic_made_anew_is_forgotten_and_named() {
        let mut session = Session::default();
        session.request(wanted(&[(0, 0)]), true);
        session.answered(7);
        let mut anew = wanted(&[(0, 0)]);
        anew.values_mut()
            .for_each(|w| w.topic_id = Uuid::from_u128(2));
        let request = session.request(anew, true);
        assert_eq!((named(&request), forgotten(&request)), (vec![0], vec![0]));
    }

    #[test]
    fn doubt_ends_a_session() {
        for (code, id) in [
            (Some(ErrorCode::FetchSessionIdNotFound), 0),
            (Some(ErrorCode::InvalidFetchSessionEpoch), 7),
            (None, 7),
        ] {
            let mut session = Session::default();
            session.request(wanted(&[(0, 0), (1, 0)]), true);
            session.answered(7);
            session.request(wanted(&[(0, 1), (1, 0)]), true);
            session.failed(code);
            let request = session.request(wanted(&[(0, 1), (1, 0)]), true);
            assert_eq!((request.session_id, request.session_epoch), (id, 0));
            assert_eq!(named(&request), [0, 1]);
            session.answered(8);
            assert_eq!(session.request(wanted(&[(0, 1)]), true).session_id, 8);
        }
    }

    #[test]
    fn a_broker_without_sessions_is_told_everything() {
        let mut session = Session::default();
        for _ in 0..3 {
            let request = session.request(wanted(&[(0, 0)]), false);
            assert_eq!((request.session_id, request.session_epoch), (0, 0));
            assert_eq!(named(&request), [0]);
            session.answered(0);
        }
    }

    #[test]
    fn names_and_ids_are_not_mixed() {
        let mut session = Session::default();
        session.request(wanted(&[(0, 0)]), false);
        session.answered(7);
        let request = session.request(wanted(&[(0, 0)]), true);
        assert_eq!((request.session_id, request.session_epoch), (7, 0));
    }

    #[test]
    fn epochs_begin_again_at_one() {
        let mut session = Session {
            id: 7,
            epoch: i32::MAX,
            ..Session::default()
        };
        session.answered(7);
        assert_eq!(session.epoch, 1);
    }
}
