//! One scenario a rule of the group protocol. What happens when rules meet is for the simulation
//! in `tests/broker_group_simulation.rs`.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::*;
use crate::storage::Verification;
use crate::wire::{ErrorCode, Str};

mod transactions;

const SESSION: i64 = 10_000;
const REBALANCE: i64 = 30_000;

struct Bench {
    coordinator: Coordinator,
    now: i64,
    token: Token,
    replies: Vec<(Token, Reply)>,
    log: Vec<GroupRecord>,
}

impl Bench {
    fn new(config: GroupConfig) -> Self {
        let coordinator = Coordinator::new(config);
        Self {
            coordinator,
            now: 0,
            token: 0,
            replies: vec![],
            log: vec![],
        }
    }

    /// Steps an event; writes succeed at once.
    fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.coordinator.step(event, self.now) {
                match action {
                    Action::Reply(token, reply) => self.replies.push((token, reply)),
                    Action::Persist(id, records) | Action::PersistTransactional(id, _, records) => {
                        self.log.extend(records);
                        events.push(Event::Persisted(id, Ok(())));
                    }
                }
            }
        }
    }

    fn ask(&mut self, event: impl FnOnce(Token) -> Event) -> Token {
        self.token += 1;
        let token = self.token;
        self.step(event(token));
        token
    }

    fn reply(&mut self, token: Token) -> Option<Reply> {
        let at = self.replies.iter().position(|(t, _)| *t == token)?;
        Some(self.replies.remove(at).1)
    }

    fn joined(&mut self, token: Token) -> Option<Joined> {
        self.reply(token).map(|r| match r {
            Reply::Joined(joined) => joined,
            other => panic!("{other:?}"),
        })
    }

    fn join(&mut self, join: Join) -> Token {
        self.ask(|t| Event::Join(t, join))
    }

    fn sync(&mut self, member: &str, generation: i32, given: &[(&str, &'static [u8])]) -> Token {
        let sync = Sync {
            group: Str::from("g"),
            generation,
            member: Str::from(member),
            assignments: given
                .iter()
                .map(|(m, a)| (Str::from(*m), Bytes::from_static(a)))
                .collect(),
            ..Sync::default()
        };
        self.ask(|t| Event::Sync(t, sync))
    }

    fn synced(&mut self, token: Token) -> Option<Synced> {
        self.reply(token).map(|r| match r {
            Reply::Synced(synced) => synced,
            other => panic!("{other:?}"),
        })
    }

    fn heartbeat(&mut self, member: &str, instance: Option<&str>, generation: i32) -> ErrorCode {
        let beat = Heartbeat {
            group: Str::from("g"),
            generation,
            member: Str::from(member),
            instance: instance.map(Str::from),
        };
        let token = self.ask(|t| Event::Heartbeat(t, beat));
        match self.reply(token) {
            Some(Reply::Code(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, member: &str, generation: i32, offset: i64) -> ErrorCode {
        let at = (Str::from("t"), 0);
        let commit = Commit {
            group: Str::from("g"),
            generation,
            member: Str::from(member),
            instance: None,
            version: 9,
            offsets: vec![(
                at.clone(),
                CommittedOffset {
                    offset,
                    leader_epoch: 4,
                    metadata: Str::from("note"),
                    ..CommittedOffset::default()
                },
            )],
        };
        let token = self.ask(|t| Event::Commit(t, commit));
        match self.reply(token) {
            Some(Reply::Offsets(Ok(codes))) => codes[&at],
            other => panic!("{other:?}"),
        }
    }

    fn advance(&mut self, millis: i64) {
        let until = self.now + millis;
        while let Some(due) = self.coordinator.next_deadline().filter(|d| *d <= until) {
            self.now = self.now.max(due);
            self.step(Event::Tick);
        }
        self.now = until;
    }

    fn state(&self) -> GroupState {
        self.coordinator.describe("g").unwrap().state
    }

    /// Two dynamic members, stable in generation 2, led by `a`.
    fn two() -> Self {
        let mut bench = Self::new(GroupConfig::default());
        let a = bench.join(dynamic("", "a"));
        assert_eq!(bench.joined(a).unwrap().generation, 1);
        let b = bench.join(dynamic("", "b"));
        assert_eq!(
            bench.heartbeat("a", None, 1),
            ErrorCode::RebalanceInProgress
        );
        let a = bench.join(dynamic("a", ""));
        let leader = bench.joined(a).unwrap();
        assert_eq!(
            (
                leader.generation,
                leader.leader.as_str(),
                leader.members.len()
            ),
            (2, "a", 2)
        );
        assert!(bench.joined(b).unwrap().members.is_empty());
        let b = bench.sync("b", 2, &[]);
        assert!(bench.synced(b).is_none(), "a follower waits for the leader");
        let a = bench.sync("a", 2, &[("a", b"1"), ("b", b"2")]);
        assert_eq!(bench.synced(a).unwrap().assignment, &b"1"[..]);
        assert_eq!(bench.synced(b).unwrap().assignment, &b"2"[..]);
        assert_eq!(bench.state(), GroupState::Stable);
        bench
    }
}

fn topics(names: &[&str]) -> Bytes {
    let mut raw = vec![0, 0];
    raw.extend(i32::try_from(names.len()).unwrap().to_be_bytes());
    for name in names {
        raw.extend(i16::try_from(name.len()).unwrap().to_be_bytes());
        raw.extend(name.as_bytes());
    }
    Bytes::from(raw)
}

fn dynamic(member: &str, new_member: &str) -> Join {
    Join {
        group: Str::from("g"),
        member: Str::from(member),
        new_member: Str::from(new_member),
        session_timeout_ms: SESSION as i32,
        rebalance_timeout_ms: REBALANCE as i32,
        protocol_type: Str::from("consumer"),
        protocols: vec![(Str::from("range"), topics(&["t"]))],
        ..Join::default()
    }
}

fn fixed(instance: &str, new_member: &str) -> Join {
    Join {
        instance: Some(Str::from(instance)),
        ..dynamic("", new_member)
    }
}

#[test]
fn a_new_member_is_told_its_id_first() {
    let mut bench = Bench::new(GroupConfig::default());
    let token = bench.join(Join {
        member_id_required: true,
        ..dynamic("", "m")
    });
    let told = bench.joined(token).unwrap();
    assert_eq!(
        (told.error, told.member.as_str()),
        (Some(ErrorCode::MemberIdRequired), "m")
    );
    let token = bench.join(Join {
        member_id_required: true,
        ..dynamic("m", "x")
    });
    assert_eq!(bench.joined(token).unwrap().generation, 1);
    let token = bench.join(dynamic("never seen", "x"));
    assert_eq!(
        bench.joined(token).unwrap().error,
        Some(ErrorCode::UnknownMemberId)
    );
}

#[test]
fn the_first_member_waits_for_no_id_that_was_given_out() {
    let mut bench = Bench::new(GroupConfig::default());
    let told = bench.join(Join {
        member_id_required: true,
        ..dynamic("", "never back")
    });
    assert!(bench.joined(told).is_some());
    let first = bench.join(fixed("i", "i-1"));
    assert_eq!(bench.joined(first).unwrap().generation, 1);
}

#[test]
fn a_lone_member_keeps_to_a_protocol_it_has() {
    let mut bench = Bench::new(GroupConfig::default());
    let token = bench.join(dynamic("", "m"));
    assert_eq!(bench.joined(token).unwrap().generation, 1);
    let other = |member: &str| Join {
        protocols: vec![(Str::from("other"), Bytes::new())],
        ..dynamic(member, "x")
    };
    // Also one that is not known is told so first.
    for member in ["m", "stranger"] {
        let token = bench.join(other(member));
        assert_eq!(
            bench.joined(token).unwrap().error,
            Some(ErrorCode::InconsistentGroupProtocol)
        );
    }
}

#[test]
fn two_members_share_a_generation() {
    let mut bench = Bench::two();
    assert_eq!(bench.heartbeat("a", None, 2), ErrorCode::None);
    assert_eq!(bench.heartbeat("a", None, 1), ErrorCode::IllegalGeneration);
    assert_eq!(bench.heartbeat("z", None, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn a_silent_member_is_dropped_after_its_session() {
    let mut bench = Bench::two();
    bench.advance(SESSION - 1);
    assert_eq!(bench.heartbeat("a", None, 2), ErrorCode::None);
    bench.advance(1);
    assert_eq!(
        bench.heartbeat("a", None, 2),
        ErrorCode::RebalanceInProgress
    );
    assert_eq!(bench.heartbeat("b", None, 2), ErrorCode::UnknownMemberId);
    let token = bench.join(dynamic("a", ""));
    assert_eq!(bench.joined(token).unwrap().members.len(), 1);
}

#[test]
fn a_rebalance_does_not_wait_for_ever() {
    let mut bench = Bench::two();
    let c = bench.join(dynamic("", "c"));
    // `a` rejoins, `b` only sends heartbeats.
    let a = bench.join(dynamic("a", ""));
    for _ in 0..3 {
        bench.advance(REBALANCE / 3 - 1);
        bench.heartbeat("b", None, 2);
    }
    assert!(bench.joined(a).is_none());
    bench.advance(10);
    assert_eq!(bench.joined(a).unwrap().members.len(), 2);
    assert_eq!(bench.joined(c).unwrap().generation, 3);
    assert_eq!(bench.heartbeat("b", None, 2), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_never_syncs_is_dropped() {
    let mut bench = Bench::new(GroupConfig::default());
    let a = bench.join(dynamic("", "a"));
    bench.joined(a).unwrap();
    for _ in 0..4 {
        bench.advance(SESSION - 1);
        bench.heartbeat("a", None, 1);
    }
    assert_eq!(bench.state(), GroupState::Empty);
}

#[test]
fn a_restarted_static_member_takes_its_assignment_over_at_once() {
    let mut bench = Bench::new(GroupConfig::default());
    let a = bench.join(fixed("i", "a1"));
    bench.joined(a).unwrap();
    let a = bench.sync("a1", 1, &[("a1", b"all")]);
    bench.synced(a).unwrap();
    let again = bench.join(Join {
        can_skip_assignment: true,
        ..fixed("i", "a2")
    });
    let joined = bench.joined(again).unwrap();
    assert_eq!(joined.error, None);
    assert_eq!(
        (
            joined.generation,
            joined.member.as_str(),
            joined.skip_assignment
        ),
        (1, "a2", true)
    );
    assert_eq!(bench.state(), GroupState::Stable);
    let token = bench.sync("a2", 1, &[]);
    assert_eq!(bench.synced(token).unwrap().assignment, &b"all"[..]);
    assert_eq!(
        bench.heartbeat("a1", Some("i"), 1),
        ErrorCode::FencedInstanceId
    );
    assert_eq!(bench.heartbeat("a2", Some("i"), 1), ErrorCode::None);
}

#[test]
fn an_old_client_that_comes_back_as_the_leader_does_not_assign() {
    let mut bench = Bench::new(GroupConfig::default());
    let a = bench.join(fixed("i", "a1"));
    bench.joined(a).unwrap();
    let a = bench.sync("a1", 1, &[("a1", b"all")]);
    bench.synced(a).unwrap();
    let again = bench.join(fixed("i", "a2"));
    let joined = bench.joined(again).unwrap();
    assert_ne!(joined.leader, joined.member);
    assert!(joined.members.is_empty());
}

#[test]
fn a_static_member_with_another_subscription_rebalances() {
    let mut bench = Bench::new(GroupConfig::default());
    let a = bench.join(fixed("i", "a1"));
    bench.joined(a).unwrap();
    let a = bench.sync("a1", 1, &[("a1", b"all")]);
    bench.synced(a).unwrap();
    let other = Join {
        protocols: vec![(Str::from("range"), topics(&["t", "u"]))],
        ..fixed("i", "a2")
    };
    let again = bench.join(other);
    assert_eq!(bench.joined(again).unwrap().generation, 2);
}

#[test]
fn a_static_member_survives_a_restart_of_the_coordinator() {
    let mut bench = Bench::new(GroupConfig::default());
    let a = bench.join(fixed("i", "a1"));
    bench.joined(a).unwrap();
    let a = bench.sync("a1", 1, &[("a1", b"all")]);
    bench.synced(a).unwrap();
    assert_eq!(bench.commit("a1", 1, 42), ErrorCode::None);

    let mut after = Bench::new(GroupConfig::default());
    for record in bench.log {
        let (key, value) = record.encode();
        after
            .coordinator
            .load(GroupRecord::decode(key, value).unwrap().unwrap(), 0);
    }
    assert_eq!(after.state(), GroupState::Stable);
    let offset = after.coordinator.offset("g", &(Str::from("t"), 0)).unwrap();
    assert_eq!(
        (offset.offset, offset.leader_epoch, offset.metadata.as_str()),
        (42, 4, "note")
    );
    let again = after.join(fixed("i", "a2"));
    assert_eq!(after.joined(again).unwrap().generation, 1);
    let token = after.sync("a2", 1, &[]);
    assert_eq!(after.synced(token).unwrap().assignment, &b"all"[..]);
}

#[test]
fn commits_are_fenced() {
    let mut bench = Bench::two();
    assert_eq!(bench.commit("a", 1, 1), ErrorCode::IllegalGeneration);
    assert_eq!(bench.commit("z", 2, 1), ErrorCode::UnknownMemberId);
    assert_eq!(bench.commit("", -1, 1), ErrorCode::UnknownMemberId);
    assert_eq!(bench.commit("a", 2, 1), ErrorCode::None);
    // While the others join, a member may still commit what it did.
    bench.join(dynamic("", "c"));
    assert_eq!(bench.commit("a", 2, 2), ErrorCode::None);
    // Once they have joined, it must first learn its assignment.
    bench.join(dynamic("a", ""));
    bench.join(dynamic("b", ""));
    assert_eq!(bench.commit("a", 3, 3), ErrorCode::RebalanceInProgress);
    assert_eq!(
        bench
            .coordinator
            .offset("g", &(Str::from("t"), 0))
            .unwrap()
            .offset,
        2
    );
}

#[test]
fn commits_without_membership_go_to_groups_without_members() {
    let mut bench = Bench::new(GroupConfig::default());
    assert_eq!(bench.commit("", -1, 5), ErrorCode::None);
    assert_eq!(bench.commit("m", 3, 5), ErrorCode::UnknownMemberId);
    assert_eq!(bench.state(), GroupState::Empty);
}

#[test]
fn the_initial_delay_waits_for_more_members() {
    let config = GroupConfig {
        initial_rebalance_delay_ms: 3_000,
        ..GroupConfig::default()
    };
    let mut bench = Bench::new(config);
    let a = bench.join(dynamic("", "a"));
    bench.advance(2_999);
    let b = bench.join(dynamic("", "b"));
    bench.advance(2_999);
    assert!(bench.joined(a).is_none(), "a newcomer puts the end off");
    bench.advance(2);
    assert_eq!(bench.joined(a).unwrap().members.len(), 2);
    assert_eq!(bench.joined(b).unwrap().generation, 1);
}

#[test]
fn the_protocol_that_most_vote_for_is_chosen() {
    let mut bench = Bench::new(GroupConfig::default());
    let with = |member: &str, new: &str, names: &[&str]| Join {
        protocols: names
            .iter()
            .map(|n| (Str::from(*n), topics(&["t"])))
            .collect(),
        ..dynamic(member, new)
    };
    let a = bench.join(with("", "a", &["range", "sticky"]));
    bench.joined(a).unwrap();
    let b = bench.join(with("", "b", &["sticky", "range", "other"]));
    bench.join(with("", "c", &["sticky", "range"]));
    let a = bench.join(with("a", "", &["range", "sticky"]));
    assert_eq!(bench.joined(a).unwrap().protocol.as_deref(), Some("sticky"));
    assert!(bench.joined(b).is_some());
    let odd = bench.join(with("", "d", &["other"]));
    assert_eq!(
        bench.joined(odd).unwrap().error,
        Some(ErrorCode::InconsistentGroupProtocol)
    );
}

#[test]
fn requests_out_of_bounds_are_refused() {
    let mut bench = Bench::new(GroupConfig {
        max_size: 1,
        ..GroupConfig::default()
    });
    let token = bench.join(Join {
        session_timeout_ms: 5,
        ..dynamic("", "a")
    });
    assert_eq!(
        bench.joined(token).unwrap().error,
        Some(ErrorCode::InvalidSessionTimeout)
    );
    let token = bench.join(Join {
        group: Str::new(),
        ..dynamic("", "a")
    });
    assert_eq!(
        bench.joined(token).unwrap().error,
        Some(ErrorCode::InvalidGroupId)
    );
    let token = bench.join(dynamic("", "a"));
    assert_eq!(bench.joined(token).unwrap().error, None);
    let token = bench.join(dynamic("", "b"));
    assert_eq!(
        bench.joined(token).unwrap().error,
        Some(ErrorCode::GroupMaxSizeReached)
    );
}

#[test]
fn a_group_takes_no_more_than_fit() {
    let mut bench = Bench::new(GroupConfig {
        max_size: 2,
        initial_rebalance_delay_ms: 3_000,
        ..GroupConfig::default()
    });
    // Ids given out do not take room: those who join first are in.
    for id in ["a", "b", "c"] {
        let told = bench.join(Join {
            member_id_required: true,
            ..dynamic("", id)
        });
        let told = bench.joined(told).unwrap();
        assert_eq!(told.error, Some(ErrorCode::MemberIdRequired));
    }
    let [a, c] = ["a", "c"].map(|id| bench.join(dynamic(id, "")));
    let b = bench.join(dynamic("b", ""));
    let full = bench.joined(b).unwrap();
    assert_eq!(full.error, Some(ErrorCode::GroupMaxSizeReached));
    bench.advance(7_000);
    assert_eq!(bench.joined(a).unwrap().generation, 1);
    assert_eq!(bench.joined(c).unwrap().generation, 1);
    let fixed = bench.join(fixed("i", "d"));
    let full = bench.joined(fixed).unwrap();
    assert_eq!(full.error, Some(ErrorCode::GroupMaxSizeReached));
}

#[test]
fn groups_are_deleted_when_empty() {
    let mut bench = Bench::two();
    let delete = |bench: &mut Bench| {
        let token = bench.ask(|t| Event::Delete(t, Str::from("g")));
        bench.reply(token).unwrap()
    };
    assert_eq!(delete(&mut bench), Reply::Code(ErrorCode::NonEmptyGroup));
    let leavers = ["a", "b"].map(|m| Leaver {
        member: Str::from(m),
        instance: None,
    });
    let token = bench.ask(|t| Event::Leave(t, Str::from("g"), leavers.to_vec()));
    let Some(Reply::Left(Ok(left))) = bench.reply(token) else {
        panic!()
    };
    assert!(left.iter().all(|(_, code)| code.is_none()));
    assert_eq!(bench.state(), GroupState::Empty);
    assert_eq!(delete(&mut bench), Reply::Code(ErrorCode::None));
    assert!(bench.coordinator.describe("g").is_none());
    assert_eq!(delete(&mut bench), Reply::Code(ErrorCode::GroupIdNotFound));
    // Old clients may have committed under no name: that can be deleted, though not in part.
    let token = bench.ask(|t| Event::Delete(t, Str::new()));
    let missing = Reply::Code(ErrorCode::GroupIdNotFound);
    assert_eq!(bench.reply(token), Some(missing));
    let commit = Commit {
        generation: -1,
        offsets: vec![((Str::from("t"), 0), CommittedOffset::default())],
        ..Commit::default()
    };
    bench.ask(|t| Event::Commit(t, commit));
    let at = vec![(Str::from("t"), 0)];
    let token = bench.ask(|t| Event::DeleteOffsets(t, Str::new(), at));
    let refused = Reply::Offsets(Err(ErrorCode::InvalidGroupId));
    assert_eq!(bench.reply(token), Some(refused));
    let token = bench.ask(|t| Event::Delete(t, Str::new()));
    assert_eq!(bench.reply(token), Some(Reply::Code(ErrorCode::None)));
}

#[test]
fn a_group_that_is_loaded_with_more_members_than_may_be_rebalances() {
    let log = Bench::two().log;
    let config = GroupConfig {
        max_size: 1,
        ..GroupConfig::default()
    };
    let mut bench = Bench::new(config.clone());
    for record in log {
        bench.coordinator.load(record, 0);
    }
    assert_eq!(bench.state(), GroupState::Stable);
    bench.step(Event::Configure(Arc::new(config), Arc::default()));
    assert_eq!(bench.state(), GroupState::PreparingRebalance);
    // Both are told, and may commit before they join again.
    assert_eq!(
        bench.heartbeat("b", None, 2),
        ErrorCode::RebalanceInProgress
    );
    assert_eq!(bench.commit("b", 2, 7), ErrorCode::None);
    let a = bench.join(dynamic("a", ""));
    let b = bench.join(dynamic("b", ""));
    let full = Some(ErrorCode::GroupMaxSizeReached);
    assert_eq!(bench.joined(b).unwrap().error, full);
    let a = bench.joined(a).unwrap();
    assert_eq!((a.error, a.members.len()), (None, 1));
}

#[test]
fn offsets_of_subscribed_topics_are_not_deleted() {
    let mut bench = Bench::two();
    bench.commit("a", 2, 1);
    let delete = |bench: &mut Bench, topic: &str| {
        let at = (Str::from(topic), 0);
        let token = bench.ask(|t| Event::DeleteOffsets(t, Str::from("g"), vec![at.clone()]));
        match bench.reply(token) {
            Some(Reply::Offsets(Ok(codes))) => codes[&at],
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut bench, "t"), ErrorCode::GroupSubscribedToTopic);
    assert_eq!(delete(&mut bench, "other"), ErrorCode::None);
    bench.step(Event::TopicsDeleted([(Str::from("t"), Uuid::nil())].into()));
    assert!(
        bench
            .coordinator
            .offset("g", &(Str::from("t"), 0))
            .is_none()
    );
}

#[test]
fn offsets_go_with_the_topic_that_they_were_committed_for() {
    let mut bench = Bench::new(GroupConfig::default());
    let [old, new] = [1, 2].map(Uuid::from_u128);
    let mut commit = |partition: i32, topic_id: Uuid| {
        let committed = CommittedOffset {
            topic_id,
            ..CommittedOffset::default()
        };
        let commit = Commit {
            group: Str::from("g"),
            generation: -1,
            offsets: vec![((Str::from("t"), partition), committed)],
            ..Commit::default()
        };
        bench.ask(|t| Event::Commit(t, commit));
    };
    commit(0, old);
    commit(1, new);
    commit(2, Uuid::nil());
    let left = |bench: &Bench| -> Vec<i32> {
        let all = bench.coordinator.offsets("g");
        all.map(|((_, partition), _)| *partition).collect()
    };
    let t = Str::from("t");
    assert_eq!(bench.coordinator.topics().len(), 3);
    // Another topic of that name is there by now.
    bench.step(Event::TopicsDeleted([(t.clone(), old)].into()));
    assert_eq!(left(&bench), [1, 2]);
    bench.step(Event::TopicsDeleted([(t.clone(), Uuid::nil())].into()));
    assert_eq!(left(&bench), [1]);
    bench.step(Event::TopicsDeleted([(t, new)].into()));
    assert_eq!(left(&bench), [0; 0]);
}

#[test]
fn offsets_expire_with_their_group() {
    let retention = 1_000_000;
    let mut bench = Bench::new(GroupConfig {
        offsets_retention_ms: retention,
        retention_check_interval_ms: 1_000,
        ..GroupConfig::default()
    });
    bench.commit("", -1, 5);
    bench.advance(retention - 2_000);
    assert!(
        bench
            .coordinator
            .offset("g", &(Str::from("t"), 0))
            .is_some()
    );
    bench.advance(4_000);
    assert!(
        bench.coordinator.describe("g").is_none(),
        "the group goes with its last offset"
    );
}

#[test]
fn a_failed_write_of_the_assignment_rebalances() {
    let mut coordinator = Coordinator::new(GroupConfig::default());
    coordinator.step(Event::Join(1, dynamic("", "a")), 0);
    let sync = Sync {
        group: Str::from("g"),
        generation: 1,
        member: Str::from("a"),
        ..Sync::default()
    };
    let actions = coordinator.step(Event::Sync(2, sync), 0);
    let [Action::Persist(id, _)] = &actions[..] else {
        panic!("{actions:?}")
    };
    let actions = coordinator.step(
        Event::Persisted(*id, Err(ErrorCode::CoordinatorNotAvailable)),
        0,
    );
    let [Action::Reply(2, Reply::Synced(synced))] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(synced.error, Some(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(
        coordinator.describe("g").unwrap().state,
        GroupState::PreparingRebalance
    );
}
