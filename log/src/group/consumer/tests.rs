//! One scenario a rule of the consumer protocol (those of migration: [`migration`]). What happens when rules meet is for the simulation
//! in `tests/broker_consumer_group_simulation.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::group::*;
use crate::wire::{ErrorCode, Str};

mod migration;

const SESSION: i64 = 45_000;
const REBALANCE: i64 = 30_000;

fn topic(at: u128) -> Uuid {
    Uuid::from_u128(at)
}

fn topics(all: &[(&str, u128, i32)]) -> Arc<Topics> {
    let all = all
        .iter()
        .map(|(name, id, n)| (Str::from(*name), topic(*id), *n));
    Arc::new(Topics::new(all))
}

fn held(topic_id: u128, partitions: &[i32]) -> Partitions {
    Partitions::from([(topic(topic_id), partitions.iter().copied().collect())])
}

struct Bench {
    coordinator: Coordinator,
    now: i64,
    token: Token,
    replies: BTreeMap<Token, Reply>,
    log: Vec<GroupRecord>,
    failing: bool,
}

impl Bench {
    fn with(config: GroupConfig) -> Self {
        let mut bench = Self {
            coordinator: Coordinator::new(config),
            now: 0,
            token: 0,
            replies: BTreeMap::new(),
            log: vec![],
            failing: false,
        };
        bench.step(Event::Topics(topics(&[("t", 1, 6), ("u", 2, 2)])));
        bench
    }

    fn new() -> Self {
        Self::with(GroupConfig::default())
    }

    fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.coordinator.step(event, self.now) {
                match action {
                    Action::Reply(token, reply) => {
                        assert!(self.replies.insert(token, reply).is_none());
                    }
                    Action::Persist(id, _) if self.failing => {
                        let failed = Err(ErrorCode::CoordinatorNotAvailable);
                        events.push(Event::Persisted(id, failed));
                    }
                    Action::Persist(id, records) | Action::PersistTransactional(id, _, records) => {
                        self.log.extend(records);
                        events.push(Event::Persisted(id, Ok(())));
                    }
                }
            }
        }
    }

    fn ask(&mut self, event: impl FnOnce(Token) -> Event) -> Option<Reply> {
        self.token += 1;
        let token = self.token;
        self.step(event(token));
        self.replies.remove(&token)
    }

    fn beat(&mut self, beat: ConsumerHeartbeat) -> Result<ConsumerBeat, ErrorCode> {
        match self.ask(|t| Event::ConsumerHeartbeat(t, beat)) {
            Some(Reply::ConsumerBeat(beat)) => beat.map_err(|refused| refused.code),
            other => panic!("{other:?}"),
        }
    }

    /// A member that merely says that it is alive.
    fn alive(&mut self, member: &str, epoch: i32) -> Result<ConsumerBeat, ErrorCode> {
        self.beat(at(member, epoch))
    }

    /// A member that says what it has.
    fn has(
        &mut self,
        member: &str,
        epoch: i32,
        owned: Partitions,
    ) -> Result<ConsumerBeat, ErrorCode> {
        self.beat(ConsumerHeartbeat {
            owned: Some(owned),
            ..at(member, epoch)
        })
    }

    fn advance(&mut self, millis: i64) {
        let until = self.now + millis;
        while let Some(due) = self.coordinator.next_deadline().filter(|d| *d <= until) {
            self.now = self.now.max(due);
            self.step(Event::Tick);
        }
        self.now = until;
    }

    fn group(&self) -> ConsumerGroupDescription {
        self.coordinator.describe_consumer("g").unwrap()
    }

    fn commit(&mut self, member: &str, epoch: i32, partition: i32, version: i16) -> ErrorCode {
        let at = (Str::from("t"), partition);
        let commit = Commit {
            group: Str::from("g"),
            generation: epoch,
            member: Str::from(member),
            version,
            offsets: vec![(at.clone(), CommittedOffset::default())],
            ..Commit::default()
        };
        match self.ask(|t| Event::Commit(t, commit)) {
            Some(Reply::Offsets(Ok(codes))) => codes[&at],
            other => panic!("{other:?}"),
        }
    }

    /// Two members, `a` and `b`, that share `t`.
    fn two() -> Self {
        let mut bench = Self::new();
        let a = bench.beat(joins("a")).unwrap();
        assert_eq!(
            (a.epoch, a.assignment),
            (1, Some(held(1, &[0, 1, 2, 3, 4, 5])))
        );
        let b = bench.beat(joins("b")).unwrap();
        assert_eq!((b.epoch, b.assignment), (2, Some(Partitions::new())));
        let a = bench.alive("a", 1).unwrap();
        assert_eq!((a.epoch, a.assignment), (1, Some(held(1, &[0, 1, 2]))));
        assert_eq!(bench.alive("b", 2).unwrap().assignment, None);
        let a = bench.has("a", 1, held(1, &[0, 1, 2])).unwrap();
        assert_eq!((a.epoch, a.assignment), (2, None));
        let b = bench.alive("b", 2).unwrap();
        assert_eq!((b.epoch, b.assignment), (2, Some(held(1, &[3, 4, 5]))));
        assert_eq!(bench.group().state, ConsumerGroupState::Stable);
        bench
    }

    /// What a coordinator makes of the log.
    fn reloaded(&self) -> Self {
        let mut after = Self::new();
        after.coordinator = Coordinator::new(GroupConfig::default());
        for record in &self.log {
            let (key, value) = record.encode();
            let read = GroupRecord::decode(key, value).unwrap().unwrap();
            assert_eq!(&read, record);
            after.coordinator.load(read, self.now);
        }
        after.now = self.now;
        after.log = self.log.clone();
        after.step(Event::Topics(topics(&[("t", 1, 6), ("u", 2, 2)])));
        after
    }
}

fn at(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: Str::from("g"),
        member: Str::from(member),
        epoch,
        rebalance_timeout_ms: -1,
        ..ConsumerHeartbeat::default()
    }
}

fn joins(member: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        rebalance_timeout_ms: i32::try_from(REBALANCE).unwrap(),
        topics: Some(vec![Str::from("t")]),
        owned: Some(Partitions::new()),
        ..at(member, 0)
    }
}

fn fixed(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        instance: Some(Str::from("i")),
        ..if epoch == 0 {
            joins(member)
        } else {
            at(member, epoch)
        }
    }
}

#[test]
fn partitions_change_hands_only_when_they_are_given_up() {
    Bench::two();
}

#[test]
fn the_group_survives_a_restart_of_the_coordinator() {
    let before = Bench::two();
    let mut after = before.reloaded();
    assert_eq!(after.group(), before.group());
    assert_eq!(after.alive("a", 2).unwrap().assignment, None);
    assert_eq!(after.group(), before.group(), "nothing has changed");
    after.advance(SESSION - 1);
    after.alive("b", 2).unwrap();
    after.advance(1);
    assert_eq!(after.group().members.len(), 1, "a was not heard of");
}

#[test]
fn a_member_that_leaves_or_falls_silent_is_out() {
    let mut bench = Bench::two();
    let left = bench.beat(at("a", -1)).unwrap();
    assert_eq!(left.epoch, -1);
    let b = bench.alive("b", 2).unwrap();
    assert_eq!(
        (b.epoch, b.assignment),
        (3, Some(held(1, &[0, 1, 2, 3, 4, 5])))
    );
    bench.advance(SESSION);
    assert_eq!(bench.group().state, ConsumerGroupState::Empty);
    assert_eq!(bench.alive("b", 3), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.reloaded().group(), bench.group());
}

#[test]
fn a_member_that_does_not_give_up_is_thrown_out() {
    let mut bench = Bench::new();
    bench.beat(joins("a")).unwrap();
    bench.beat(joins("b")).unwrap();
    bench.alive("a", 1).unwrap();
    for _ in 0..3 {
        bench.advance(REBALANCE / 3);
        let _ = bench.has("a", 1, held(1, &[0, 1, 2, 3, 4, 5]));
        bench.alive("b", 2).unwrap();
    }
    assert_eq!(bench.alive("a", 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.alive("b", 3).unwrap().epoch, 3);
}

#[test]
fn epochs_are_fenced() {
    let mut bench = Bench::two();
    assert_eq!(bench.alive("a", 3), Err(ErrorCode::FencedMemberEpoch));
    assert_eq!(bench.alive("a", 1), Err(ErrorCode::FencedMemberEpoch));
    // The answer that told it the new epoch was lost.
    let again = bench.has("a", 1, held(1, &[0, 1])).unwrap();
    assert_eq!(again.epoch, 2);
    assert_eq!(
        bench.has("a", 1, held(1, &[4])),
        Err(ErrorCode::FencedMemberEpoch)
    );
    assert_eq!(bench.alive("nobody", 2), Err(ErrorCode::UnknownMemberId));
    let other = ConsumerHeartbeat {
        group: Str::from("other"),
        ..at("a", 2)
    };
    assert_eq!(bench.beat(other), Err(ErrorCode::GroupIdNotFound));
}

#[test]
fn requests_are_checked() {
    let mut bench = Bench::new();
    let wrong = [
        (
            ConsumerHeartbeat {
                member: Str::new(),
                ..joins("a")
            },
            ErrorCode::InvalidRequest,
        ),
        (
            ConsumerHeartbeat {
                rebalance_timeout_ms: -1,
                ..joins("a")
            },
            ErrorCode::InvalidRequest,
        ),
        (
            ConsumerHeartbeat {
                owned: None,
                ..joins("a")
            },
            ErrorCode::InvalidRequest,
        ),
        (
            ConsumerHeartbeat {
                topics: None,
                ..joins("a")
            },
            ErrorCode::InvalidRequest,
        ),
        (at("a", -2), ErrorCode::InvalidRequest),
        (at("a", -3), ErrorCode::InvalidRequest),
        (
            ConsumerHeartbeat {
                assignor: Some(Str::from("x")),
                ..joins("a")
            },
            ErrorCode::UnsupportedAssignor,
        ),
        (
            ConsumerHeartbeat {
                regex: Some(Str::from("(")),
                ..joins("a")
            },
            ErrorCode::InvalidRegularExpression,
        ),
    ];
    for (beat, code) in wrong {
        assert_eq!(bench.beat(beat), Err(code));
    }
    assert!(bench.log.is_empty());
}

#[test]
fn a_full_group_takes_nobody() {
    let mut config = GroupConfig::default();
    config.consumer.max_size = 1;
    let mut bench = Bench::with(config);
    bench.beat(joins("a")).unwrap();
    assert_eq!(bench.beat(joins("b")), Err(ErrorCode::GroupMaxSizeReached));
    assert!(bench.beat(joins("a")).is_ok());
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut bench = Bench::new();
    bench.beat(fixed("a1", 0)).unwrap();
    bench.beat(joins("b")).unwrap();
    assert_eq!(
        bench.beat(fixed("a2", 0)),
        Err(ErrorCode::UnreleasedInstanceId)
    );
    bench.alive("a1", 1).unwrap();
    bench.has("a1", 1, held(1, &[0, 1, 2])).unwrap();
    bench.alive("b", 2).unwrap();
    assert_eq!(bench.beat(fixed("a1", -2)).unwrap().epoch, -2);
    assert_eq!(
        bench.alive("b", 2).unwrap().assignment,
        None,
        "it is waited for"
    );
    let back = bench.beat(fixed("a2", 0)).unwrap();
    assert_eq!(
        (back.epoch, back.assignment),
        (2, Some(held(1, &[0, 1, 2])))
    );
    assert_eq!(bench.beat(fixed("a1", 2)), Err(ErrorCode::FencedInstanceId));
    assert_eq!(bench.group().epoch, 2, "nothing has changed for the others");
    assert_eq!(bench.reloaded().group(), bench.group());
    // It may also be gone for good.
    bench.beat(fixed("a2", -2)).unwrap();
    bench.advance(SESSION);
    bench.beat(joins("b")).unwrap();
    let found = bench.group().members[0].assignment.clone();
    assert_eq!(found, held(1, &[0, 1, 2, 3, 4, 5]));
}

#[test]
fn new_partitions_and_topics_are_assigned() {
    let mut bench = Bench::two();
    bench.step(Event::Topics(topics(&[("t", 1, 8), ("u", 2, 2)])));
    let a = bench.alive("a", 2).unwrap();
    assert_eq!((a.epoch, a.assignment), (3, Some(held(1, &[0, 1, 2, 6]))));
    bench.step(Event::Topics(topics(&[("u", 2, 2)])));
    let a = bench.alive("a", 3).unwrap();
    assert_eq!((a.epoch, a.assignment), (3, Some(Partitions::new())));
    assert_eq!(bench.has("a", 3, Partitions::new()).unwrap().epoch, 4);
    bench.step(Event::Topics(topics(&[("u", 2, 2), ("v", 9, 4)])));
    assert_eq!(bench.alive("a", 4).unwrap().epoch, 4, "not subscribed to");
}

#[test]
fn subscriptions_change() {
    let mut bench = Bench::new();
    bench.beat(joins("a")).unwrap();
    let changed = bench
        .beat(ConsumerHeartbeat {
            topics: Some(vec![Str::from("u")]),
            ..at("a", 1)
        })
        .unwrap();
    // What it no longer subscribes to goes first.
    assert_eq!(
        (changed.epoch, changed.assignment),
        (1, Some(Partitions::new()))
    );
    let a = bench.has("a", 1, Partitions::new()).unwrap();
    assert_eq!((a.epoch, a.assignment), (2, Some(held(2, &[0, 1]))));
}

#[test]
fn regular_expressions_match_whole_names() {
    let mut bench = Bench::new();
    let by_regex = |regex: &str| ConsumerHeartbeat {
        topics: None,
        regex: Some(Str::from(regex)),
        ..joins("a")
    };
    let a = bench.beat(by_regex("u|x.*")).unwrap();
    assert_eq!(a.assignment, Some(held(2, &[0, 1])));
    bench.step(Event::Topics(topics(&[
        ("t", 1, 6),
        ("u", 2, 2),
        ("xyz", 3, 1),
    ])));
    assert_eq!(
        bench.alive("a", 1).unwrap().epoch,
        1,
        "not looked up that often"
    );
    bench.advance(10_000);
    let a = bench.alive("a", 1).unwrap();
    let both = [held(2, &[0, 1]), held(3, &[0])]
        .into_iter()
        .flatten()
        .collect();
    assert_eq!((a.epoch, a.assignment), (2, Some(both)));
    assert_eq!(bench.reloaded().group(), bench.group());
    bench.beat(at("a", -1)).unwrap();
    assert!(
        bench
            .log
            .iter()
            .any(|r| matches!(r, GroupRecord::Consumer(_, ConsumerRecord::Regex(_, None))))
    );
}

#[test]
fn most_choose_the_assignor() {
    let mut bench = Bench::new();
    let like = |member: &str, name: &str| ConsumerHeartbeat {
        assignor: Some(Str::from(name)),
        ..joins(member)
    };
    bench.beat(like("a", "range")).unwrap();
    assert_eq!(bench.group().assignor, Assignor::Range);
    bench.beat(like("b", "uniform")).unwrap();
    bench.beat(like("c", "uniform")).unwrap();
    assert_eq!(bench.group().assignor, Assignor::Uniform);
}

#[test]
fn assignments_keep_their_distance() {
    let mut bench = Bench::new();
    let own = GroupOverrides {
        assignment_interval_ms: Some(1_000),
        heartbeat_interval_ms: Some(3_000),
        session_timeout_ms: Some(50_000),
    };
    let overrides = BTreeMap::from([(Str::from("g"), own)]);
    bench.step(Event::Configure(Arc::default(), Arc::new(overrides)));
    bench.now = 10;
    assert_eq!(bench.beat(joins("a")).unwrap().heartbeat_interval_ms, 3_000);
    bench.now = 110;
    let b = bench.beat(joins("b")).unwrap();
    assert_eq!(
        (b.heartbeat_interval_ms, bench.group().assignment_epoch),
        (900, 1)
    );
    bench.now = 1_010;
    let b = bench.alive("b", b.epoch).unwrap();
    assert_eq!((b.epoch, b.heartbeat_interval_ms), (2, 3_000));
}

#[test]
fn commits_are_fenced_by_epoch() {
    let mut bench = Bench::two();
    assert_eq!(bench.commit("a", 2, 0, 9), ErrorCode::None);
    assert_eq!(bench.commit("a", 2, 0, 8), ErrorCode::UnsupportedVersion);
    // It has had the partition since epoch 1, but never that one.
    assert_eq!(bench.commit("a", 1, 0, 9), ErrorCode::None);
    assert_eq!(bench.commit("a", 1, 4, 9), ErrorCode::StaleMemberEpoch);
    assert_eq!(bench.commit("b", 1, 4, 9), ErrorCode::StaleMemberEpoch);
    assert_eq!(bench.commit("a", 3, 0, 9), ErrorCode::StaleMemberEpoch);
    assert_eq!(bench.commit("x", 2, 0, 9), ErrorCode::UnknownMemberId);
    assert_eq!(bench.commit("", -1, 0, 9), ErrorCode::UnknownMemberId);
    let check = |member, epoch| bench.coordinator.check_fetch("g", member, epoch);
    assert_eq!(check(None, -1), Ok(()));
    assert_eq!(check(Some("a"), 2), Ok(()));
    assert_eq!(check(Some("a"), 1), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(check(Some("x"), 1), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn what_was_not_written_is_written_later() {
    let mut bench = Bench::new();
    bench.failing = true;
    assert_eq!(
        bench.beat(joins("a")),
        Err(ErrorCode::CoordinatorNotAvailable)
    );
    bench.failing = false;
    let a = bench.beat(joins("a")).unwrap();
    assert_eq!(a.assignment, Some(held(1, &[0, 1, 2, 3, 4, 5])));
    assert_eq!(bench.reloaded().group(), bench.group());
    bench.failing = true;
    assert!(bench.beat(at("a", -1)).is_err());
    bench.failing = false;
    bench.beat(joins("b")).unwrap();
    assert_eq!(bench.reloaded().group(), bench.group());
}

#[test]
fn an_answer_waits_for_what_it_tells() {
    let mut coordinator = Coordinator::new(GroupConfig::default());
    coordinator.step(Event::Topics(topics(&[("t", 1, 6)])), 0);
    let actions = coordinator.step(Event::ConsumerHeartbeat(1, joins("a")), 0);
    let [Action::Persist(id, _)] = &actions[..] else {
        panic!("{actions:?}")
    };
    let early = coordinator.step(Event::ConsumerHeartbeat(2, at("a", 1)), 0);
    assert!(early.is_empty(), "{early:?}");
    let actions = coordinator.step(Event::Persisted(*id, Ok(())), 0);
    let answered: Vec<Token> = actions
        .iter()
        .filter_map(|a| match a {
            Action::Reply(token, _) => Some(*token),
            _ => None,
        })
        .collect();
    assert_eq!(answered, [1, 2]);
}

#[test]
fn groups_are_deleted_when_empty() {
    let mut bench = Bench::two();
    bench.commit("a", 2, 0, 9);
    let delete = |bench: &mut Bench| bench.ask(|t| Event::Delete(t, Str::from("g")));
    assert_eq!(
        delete(&mut bench),
        Some(Reply::Code(ErrorCode::NonEmptyGroup))
    );
    let unsubscribed = vec![(Str::from("t"), 0), (Str::from("u"), 0)];
    let Some(Reply::Offsets(Ok(codes))) =
        bench.ask(|t| Event::DeleteOffsets(t, Str::from("g"), unsubscribed))
    else {
        panic!()
    };
    let codes: Vec<_> = codes.into_values().collect();
    assert_eq!(codes, [ErrorCode::GroupSubscribedToTopic, ErrorCode::None]);
    bench.beat(at("a", -1)).unwrap();
    bench.beat(at("b", -1)).unwrap();
    assert_eq!(delete(&mut bench), Some(Reply::Code(ErrorCode::None)));
    assert!(!bench.coordinator.contains("g"));
    let after = bench.reloaded();
    assert!(
        !after.coordinator.contains("g"),
        "{:?}",
        after.coordinator.list()
    );
}

#[test]
fn a_loaded_member_has_the_session_of_its_group() {
    let mut bench = Bench::new();
    bench.beat(joins("a")).unwrap();
    let own = GroupOverrides {
        session_timeout_ms: Some(100_000),
        ..GroupOverrides::default()
    };
    let overrides = Arc::new(BTreeMap::from([(Str::from("g"), own)]));
    let mut after = Bench::new();
    after.step(Event::Configure(Arc::default(), overrides));
    for record in bench.log {
        after.coordinator.load(record, 0);
    }
    after.advance(99_000);
    assert_eq!(after.group().members.len(), 1);
    after.advance(1_000);
    assert!(after.group().members.is_empty());
}

#[test]
fn a_static_member_that_left_for_a_while_has_its_whole_session() {
    let mut bench = Bench::new();
    bench.beat(fixed("a", 0)).unwrap();
    bench.beat(joins("b")).unwrap();
    // It is to give partitions up, and leaves instead.
    let told = bench.beat(fixed("a", 1)).unwrap();
    assert!(told.assignment.is_some());
    bench.beat(fixed("a", -2)).unwrap();
    bench.advance(REBALANCE + 1_000);
    bench.alive("b", 2).unwrap();
    assert_eq!(bench.group().members.len(), 2);
    let back = bench.beat(fixed("a2", 0)).unwrap();
    assert_eq!(
        (back.epoch, back.assignment.unwrap()[&topic(1)].len()),
        (2, 3)
    );
}
