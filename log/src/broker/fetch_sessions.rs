//! Incremental fetch sessions (KIP-227): a client that fetches the same partitions again and again sends, and is
//! sent, only what changed.
//!
//! Invariant: a session's epoch grows by one with each fetch that it answers, and a fetch of any other epoch is
//! refused, so that broker and client always mean the same partitions. A partition is left out of an answer only if
//! the client was told the same of it before. The cache never holds more sessions than it has slots.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::wire::messages::{FetchPartition, FetchRequest, PartitionData};
use crate::wire::{ErrorCode, Str};

/// A session that was not used for so long may always be evicted.
const EVICTION_MS: i64 = 120_000;

/// The epoch that asks for a new session.
const INITIAL_EPOCH: i32 = 0;

/// The epoch that wants none, and closes the one there is.
const FINAL_EPOCH: i32 = -1;

/// The first version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;

/// A partition that a fetch asks for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The topic's name; empty where the client knows the id.
    pub(crate) topic: Str,
    /// The topic's id; nil where the client knows the name.
    pub(crate) topic_id: Uuid,
    /// What is asked for.
    pub(crate) partition: FetchPartition,
}

impl Asked {
    fn key(&self) -> Key {
        (self.topic.clone(), self.topic_id, self.partition.partition)
    }
}

type Key = (Str, Uuid, i32);

/// What a fetch is to be answered with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The partitions, in the order in which they get their share of the answer.
    pub(crate) asked: Arc<Vec<Asked>>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Sessionless,
    /// A full fetch that wants a session.
    Full {
        uses_topic_ids: bool,
        privileged: bool,
    },
    Incremental {
        session: Arc<Mutex<Session>>,
        /// The epoch that the session has if no other fetch came in between.
        epoch: i32,
    },
}

/// The sessions of a broker.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots: usize,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    sessions: HashMap<i32, Entry>,
    /// By when they were last used.
    by_use: BTreeSet<(i64, i32)>,
    /// Those that a consumer's new session may push out, the least worth first.
    evictable: BTreeSet<Worth>,
    /// Those that a follower's new session may push out.
    evictable_by_privileged: BTreeSet<Worth>,
}

/// Followers before consumers, many partitions before few.
type Worth = (bool, usize, i32);

#[derive(Debug)]
struct Entry {
    session: Arc<Mutex<Session>>,
    privileged: bool,
    created_at: i64,
    used_at: i64,
    /// How many partitions it had when it was last used.
    size: usize,
}

#[derive(Debug)]
struct Session {
    id: i32,
    epoch: i32,
    uses_topic_ids: bool,
    /// By their turn.
    partitions: BTreeMap<u64, Cached>,
    turns: HashMap<Key, u64>,
    next_turn: u64,
}

#[derive(Debug)]
struct Cached {
    asked: Asked,
    /// What the client was told last.
    high_watermark: i64,
    log_start_offset: i64,
}

impl Session {
    fn put(&mut self, asked: Asked, high_watermark: i64, log_start_offset: i64) {
        let turn = self.next_turn;
        self.next_turn += 1;
        if let Some(old) = self.turns.insert(asked.key(), turn) {
            self.partitions.remove(&old);
        }
        let cached = Cached {
            asked,
            high_watermark,
            log_start_offset,
        };
        self.partitions.insert(turn, cached);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(turn) = self.turns.remove(key) {
            self.partitions.remove(&turn);
        }
    }

    /// Takes over what a request changes.
    fn update(&mut self, request: &FetchRequest) {
        for asked in flat(request) {
            let known = self.turns.get(&asked.key());
            match known.and_then(|turn| self.partitions.get_mut(turn)) {
                Some(cached) => cached.asked = asked,
                None => self.put(asked, -1, -1),
            }
        }
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                self.remove(&(topic.topic.clone(), topic.topic_id, *partition));
            }
        }
    }

    fn asked(&self) -> Arc<Vec<Asked>> {
        Arc::new(self.partitions.values().map(|c| c.asked.clone()).collect())
    }

    /// Whether the client has to be told of this, which it then knows. A partition with records goes to the end
    /// of the line, so that busy ones do not starve the others.
    fn tell(&mut self, asked: &Asked, data: &PartitionData, has_records: bool) -> bool {
        let Some(turn) = self.turns.get(&asked.key()).copied() else {
            return true;
        };
        let Some(cached) = self.partitions.get_mut(&turn) else {
            return true;
        };
        let failed = data.error_code != ErrorCode::None.code();
        let changed = cached.high_watermark != data.high_watermark
            || cached.log_start_offset != data.log_start_offset;
        // After an error, the next answer without one is new in any case.
        cached.high_watermark = if failed { -1 } else { data.high_watermark };
        cached.log_start_offset = data.log_start_offset;
        if has_records && let Some(cached) = self.partitions.remove(&turn) {
            self.put(cached.asked, cached.high_watermark, cached.log_start_offset);
        }
        let diverges = data.diverging_epoch.epoch >= 0 || data.diverging_epoch.end_offset >= 0;
        has_records || changed || failed || diverges || data.preferred_read_replica >= 0
    }
}

impl FetchSessions {
    /// A cache of so many slots.
    pub(crate) fn new(slots: i32) -> Self {
        Self {
            slots: usize::try_from(slots).unwrap_or(0),
            cache: Mutex::default(),
        }
    }

    /// What a request asks for, in its session; or why it cannot be answered.
    pub(crate) fn begin(
        &self,
        request: &FetchRequest,
        version: i16,
        now: i64,
    ) -> Result<Context, ErrorCode> {
        let uses_topic_ids = version >= TOPIC_IDS_FROM;
        if matches!(request.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            if request.session_id != 0 {
                self.cache.lock().remove(request.session_id);
            }
            let replica = request.replica_id.max(request.replica_state.replica_id);
            return Ok(Context {
                asked: Arc::new(flat(request).collect()),
                kind: if request.session_epoch == FINAL_EPOCH {
                    Kind::Sessionless
                } else {
                    Kind::Full {
                        uses_topic_ids,
                        privileged: replica >= 0,
                    }
                },
            });
        }
        let mut cache = self.cache.lock();
        let entry = cache.sessions.get(&request.session_id);
        let session = entry.map(|entry| Arc::clone(&entry.session));
        let session = session.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let mut locked = session.lock();
        if locked.epoch != request.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if locked.uses_topic_ids != uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        locked.update(request);
        if locked.partitions.is_empty() {
            cache.remove(request.session_id);
            return Ok(Context {
                asked: Arc::default(),
                kind: Kind::Sessionless,
            });
        }
        locked.epoch = next_epoch(locked.epoch);
        let (asked, epoch, size) = (locked.asked(), locked.epoch, locked.partitions.len());
        drop(locked);
        cache.touch(request.session_id, size, now);
        Ok(Context {
            asked,
            kind: Kind::Incremental { session, epoch },
        })
    }

    /// Ends a fetch: drops from the answers what the client knows, and says the session's id, 0 for none.
    /// `answers` are those to what was asked for, in that order, each with whether it has records.
    pub(crate) fn finish<T>(
        &self,
        context: &Context,
        answers: &mut Vec<T>,
        seen: impl Fn(&T) -> (&PartitionData, bool),
        now: i64,
    ) -> Result<i32, ErrorCode> {
        match &context.kind {
            Kind::Sessionless => Ok(0),
            Kind::Full {
                uses_topic_ids,
                privileged,
            } => {
                let told = context.asked.iter().zip(&*answers).map(|(asked, answer)| {
                    let (data, _) = seen(answer);
                    let failed = data.error_code != ErrorCode::None.code();
                    let high_watermark = if failed { -1 } else { data.high_watermark };
                    (asked.clone(), high_watermark, data.log_start_offset)
                });
                Ok(self.create(told.collect(), *uses_topic_ids, *privileged, now))
            }
            Kind::Incremental { session, epoch } => {
                let mut session = session.lock();
                if session.epoch != *epoch {
                    answers.clear();
                    return Err(ErrorCode::InvalidFetchSessionEpoch);
                }
                let mut asked = context.asked.iter();
                answers.retain(|answer| {
                    let (data, has_records) = seen(answer);
                    asked
                        .next()
                        .is_none_or(|asked| session.tell(asked, data, has_records))
                });
                Ok(session.id)
            }
        }
    }

    /// Ends a fetch without answering what was asked for: the session's id, 0 for none. It is as if nothing had
    /// been found. Where another fetch came in between, that and the session's id.
    pub(crate) fn throttled(&self, context: &Context) -> Result<i32, (ErrorCode, i32)> {
        match &context.kind {
            Kind::Sessionless | Kind::Full { .. } => Ok(0),
            Kind::Incremental { session, epoch } => {
                let session = session.lock();
                if session.epoch == *epoch {
                    Ok(session.id)
                } else {
                    Err((ErrorCode::InvalidFetchSessionEpoch, session.id))
                }
            }
        }
    }

    fn create(
        &self,
        partitions: Vec<(Asked, i64, i64)>,
        uses_topic_ids: bool,
        privileged: bool,
        now: i64,
    ) -> i32 {
        let size = partitions.len();
        if size == 0 || self.slots == 0 {
            return 0;
        }
        let mut cache = self.cache.lock();
        if cache.sessions.len() >= self.slots && !cache.evict((privileged, size, 0), now) {
            return 0;
        }
        let id = loop {
            let id = rand::random_range(1..i32::MAX);
            if !cache.sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            id,
            epoch: next_epoch(INITIAL_EPOCH),
            uses_topic_ids,
            partitions: BTreeMap::new(),
            turns: HashMap::new(),
            next_turn: 0,
        };
        for (asked, high_watermark, log_start_offset) in partitions {
            session.put(asked, high_watermark, log_start_offset);
        }
        let entry = Entry {
            session: Arc::new(Mutex::new(session)),
            privileged,
            created_at: now,
            used_at: now,
            size,
        };
        cache.sessions.insert(id, entry);
        cache.touch(id, size, now);
        id
    }
}

impl Cache {
    fn forget_order(&mut self, id: i32) {
        if let Some(entry) = self.sessions.get(&id) {
            let worth = (entry.privileged, entry.size, id);
            self.by_use.remove(&(entry.used_at, id));
            self.evictable.remove(&worth);
            self.evictable_by_privileged.remove(&worth);
        }
    }

    fn remove(&mut self, id: i32) {
        self.forget_order(id);
        self.sessions.remove(&id);
    }

    /// The session is used, now with so many partitions.
    fn touch(&mut self, id: i32, size: usize, now: i64) {
        self.forget_order(id);
        let Some(entry) = self.sessions.get_mut(&id) else {
            return;
        };
        entry.used_at = now;
        entry.size = size;
        let worth = (entry.privileged, size, id);
        let established = now - entry.created_at > EVICTION_MS;
        self.by_use.insert((now, id));
        if !entry.privileged || established {
            self.evictable_by_privileged.insert(worth);
        }
        if established {
            self.evictable.insert(worth);
        }
    }

    /// Makes room for a session of this worth, if one is stale or is worth less.
    fn evict(&mut self, worth: Worth, now: i64) -> bool {
        let oldest = self.by_use.first().copied();
        let victim = match oldest {
            Some((used_at, id)) if now - used_at > EVICTION_MS => Some(id),
            _ => {
                let candidates = if worth.0 {
                    &self.evictable_by_privileged
                } else {
                    &self.evictable
                };
                let least = candidates.first();
                least.filter(|least| worth >= **least).map(|least| least.2)
            }
        };
        if let Some(id) = victim {
            self.remove(id);
        }
        victim.is_some()
    }
}

fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

/// A request's partitions, one after the other.
fn flat(request: &FetchRequest) -> impl Iterator<Item = Asked> {
    request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| Asked {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partition: partition.clone(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::{FetchTopic, ForgottenTopic};

    fn request(id: i32, epoch: i32, partitions: &[i32]) -> FetchRequest {
        let partitions: Vec<FetchPartition> = partitions
            .iter()
            .map(|partition| FetchPartition {
                partition: *partition,
                ..FetchPartition::default()
            })
            .collect();
        FetchRequest {
            session_id: id,
            session_epoch: epoch,
            topics: match partitions.is_empty() {
                true => vec![],
                false => vec![FetchTopic {
                    topic: Str::from("t"),
                    partitions,
                    ..FetchTopic::default()
                }],
            },
            ..FetchRequest::default()
        }
    }

    fn data(partition: i32, high_watermark: i64) -> PartitionData {
        PartitionData {
            partition_index: partition,
            high_watermark,
            log_start_offset: 0,
            ..PartitionData::default()
        }
    }

    /// Fetches, with the high watermarks that the partitions have and whether they have records.
    fn fetch(
        sessions: &FetchSessions,
        request: &FetchRequest,
        now: i64,
        log: impl Fn(i32) -> (i64, bool),
    ) -> Result<(i32, Vec<i32>), ErrorCode> {
        let context = sessions.begin(request, 12, now)?;
        let mut answers: Vec<(PartitionData, bool)> = context
            .asked
            .iter()
            .map(|asked| {
                let (high_watermark, has_records) = log(asked.partition.partition);
                (data(asked.partition.partition, high_watermark), has_records)
            })
            .collect();
        let id = sessions.finish(&context, &mut answers, |(d, r)| (d, *r), now)?;
        let told = answers.iter().map(|(d, _)| d.partition_index).collect();
        Ok((id, told))
    }

    #[test]
    fn a_client_is_told_what_changed() {
        let sessions = FetchSessions::new(10);
        let quiet = |_| (5, false);
        let (id, told) = fetch(&sessions, &request(0, 0, &[0, 1, 2]), 0, quiet).unwrap();
        assert!(id > 0);
        assert_eq!(told, [0, 1, 2], "a full fetch is answered in full");
        let (same, told) = fetch(&sessions, &request(id, 1, &[]), 0, quiet).unwrap();
        assert_eq!((same, told), (id, vec![]), "nothing changed");
        let one = |partition| (if partition == 1 { 6 } else { 5 }, partition == 1);
        let (_, told) = fetch(&sessions, &request(id, 2, &[]), 0, one).unwrap();
        assert_eq!(told, [1]);
        let all = |_| (7, true);
        let (_, told) = fetch(&sessions, &request(id, 3, &[]), 0, all).unwrap();
        assert_eq!(told, [0, 2, 1], "who had records last is last in line");
    }

    #[test]
    fn partitions_come_and_go() {
        let sessions = FetchSessions::new(10);
        let quiet = |_| (5, false);
        let (id, _) = fetch(&sessions, &request(0, 0, &[0, 1]), 0, quiet).unwrap();
        let mut changed = request(id, 1, &[2]);
        changed.forgotten_topics_data = vec![ForgottenTopic {
            topic: Str::from("t"),
            partitions: vec![0],
            ..ForgottenTopic::default()
        }];
        let (_, told) = fetch(&sessions, &changed, 0, quiet).unwrap();
        assert_eq!(told, [2], "the new one");
        let (_, told) = fetch(&sessions, &request(id, 2, &[]), 0, |_| (6, false)).unwrap();
        assert_eq!(told, [1, 2]);
        changed.session_epoch = 3;
        changed.topics = vec![];
        changed.forgotten_topics_data[0].partitions = vec![1, 2];
        let (none, told) = fetch(&sessions, &changed, 0, quiet).unwrap();
        assert_eq!((none, told), (0, vec![]), "an empty session ends");
        let gone = fetch(&sessions, &request(id, 4, &[]), 0, quiet);
        assert_eq!(gone, Err(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn epochs_are_kept() {
        let sessions = FetchSessions::new(10);
        let quiet = |_| (5, false);
        let (id, _) = fetch(&sessions, &request(0, 0, &[0]), 0, quiet).unwrap();
        let wrong = fetch(&sessions, &request(id, 2, &[]), 0, quiet);
        assert_eq!(wrong, Err(ErrorCode::InvalidFetchSessionEpoch));
        let unknown = fetch(&sessions, &request(id ^ 1, 1, &[]), 0, quiet);
        assert_eq!(unknown, Err(ErrorCode::FetchSessionIdNotFound));
        let ids = sessions.begin(&request(id, 1, &[]), 13, 0).unwrap_err();
        assert_eq!(ids, ErrorCode::FetchSessionTopicIdError);

        let context = sessions.begin(&request(id, 1, &[]), 12, 0).unwrap();
        let between = fetch(&sessions, &request(id, 2, &[]), 0, quiet).unwrap();
        assert_eq!(between.0, id);
        let mut answers = vec![(data(0, 9), true)];
        let late = sessions.finish(&context, &mut answers, |(d, r)| (d, *r), 0);
        assert_eq!(late, Err(ErrorCode::InvalidFetchSessionEpoch));
        assert!(answers.is_empty());

        let closed = fetch(&sessions, &request(id, -1, &[0]), 0, quiet).unwrap();
        assert_eq!(closed, (0, vec![0]));
        let gone = fetch(&sessions, &request(id, 3, &[]), 0, quiet);
        assert_eq!(gone, Err(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn after_an_error_the_partition_is_told_again() {
        let sessions = FetchSessions::new(10);
        let (id, _) = fetch(&sessions, &request(0, 0, &[0]), 0, |_| (5, false)).unwrap();
        let context = sessions.begin(&request(id, 1, &[]), 12, 0).unwrap();
        let mut answers = vec![PartitionData {
            error_code: ErrorCode::NotLeaderOrFollower.code(),
            ..data(0, 5)
        }];
        sessions
            .finish(&context, &mut answers, |d| (d, false), 0)
            .unwrap();
        assert_eq!(answers.len(), 1);
        let (_, told) = fetch(&sessions, &request(id, 2, &[]), 0, |_| (5, false)).unwrap();
        assert_eq!(told, [0]);
    }

    #[test]
    fn a_full_cache_evicts_what_is_stale_or_worth_less() {
        let sessions = FetchSessions::new(2);
        let quiet = |_| (5, false);
        let open = |partitions: &[i32], now| {
            fetch(&sessions, &request(0, 0, partitions), now, quiet)
                .unwrap()
                .0
        };
        let small = open(&[0], 0);
        let large = open(&[0, 1, 2], 0);
        assert_eq!(open(&[0, 1], 1000), 0, "both are young");
        // Both are used, the small one has become established.
        let keep = |id, epoch, now| fetch(&sessions, &request(id, epoch, &[]), now, quiet);
        keep(large, 1, EVICTION_MS).unwrap();
        keep(small, 1, EVICTION_MS + 1).unwrap();
        let medium = open(&[0, 1], EVICTION_MS + 2);
        assert!(medium > 0, "it is worth more than the small one");
        assert!(keep(small, 2, EVICTION_MS + 3).is_err());
        assert!(keep(large, 2, EVICTION_MS + 3).is_ok());
        assert_eq!(open(&[0], EVICTION_MS + 4), 0, "worth less than either");
        assert!(
            open(&[0], 3 * EVICTION_MS) > 0,
            "stale ones give way to anybody"
        );
        let mut follower = request(0, 0, &[0]);
        follower.replica_id = 3;
        let pushed = fetch(&sessions, &follower, 3 * EVICTION_MS, quiet).unwrap();
        assert!(pushed.0 > 0, "a follower goes before young consumers");
    }

    #[test]
    fn no_slots_mean_no_sessions() {
        let sessions = FetchSessions::new(0);
        let (id, told) = fetch(&sessions, &request(0, 0, &[0]), 0, |_| (5, false)).unwrap();
        assert_eq!((id, told), (0, vec![0]));
    }
}
