//! What goes into the coordinator and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::consumer::{Assignor, Partitions};
use super::topics::Topics;
use crate::storage::Verification;
use crate::wire::{ErrorCode, Str};

/// The coordinator's settings; the names are those of the broker's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.max.size`
    pub max_size: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: i64,
    /// What holds for groups of the consumer protocol.
    pub consumer: ConsumerGroupConfig,
}

/// The settings of the consumer protocol; the names are those of the broker's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`
    pub assignment_interval_ms: i32,
    /// `group.consumer.max.size`
    pub max_size: usize,
    /// `group.consumer.assignors`; the first is the default.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`: a classic group becomes one of the consumer protocol.
    pub upgrade: bool,
    /// `group.consumer.migration.policy`: and back.
    pub downgrade: bool,
    /// `group.consumer.regex.refresh.interval.ms`
    pub regex_refresh_interval_ms: i64,
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 0,
            max_size: usize::MAX,
            assignors: Assignor::ALL.to_vec(),
            upgrade: true,
            downgrade: true,
            regex_refresh_interval_ms: 600_000,
        }
    }
}

/// What a group sets for itself: the dynamic configuration of resources of type GROUP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupOverrides {
    /// `consumer.session.timeout.ms`
    pub session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: Option<i32>,
    /// `consumer.assignment.interval.ms`
    pub assignment_interval_ms: Option<i32>,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            initial_rebalance_delay_ms: 0,
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            max_size: usize::MAX,
            offset_metadata_max_bytes: 4096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            retention_check_interval_ms: 600_000,
            consumer: ConsumerGroupConfig::default(),
        }
    }
}

/// Names a request, so that its answer finds its way back. Chosen by the caller, never reused.
pub type Token = u64;

/// Names a write to `__consumer_offsets`.
pub type WriteId = u64;

/// A member asks to join, or joins again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// Group id.
    pub group: Str,
    /// The member's id; empty for a new member.
    pub member: Str,
    /// The id this member gets if it is new. Random, chosen by the caller.
    pub new_member: Str,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
    /// Client id, for people.
    pub client_id: Str,
    /// Where it comes from, for people.
    pub client_host: Str,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// How long it may take to rejoin.
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, …
    pub protocol_type: Str,
    /// The assignors it supports, by preference, with its metadata for each.
    pub protocols: Vec<(Str, Bytes)>,
    /// The request is new enough for a new member to be told its id first (KIP-394).
    pub member_id_required: bool,
    /// The request is new enough for a leader to be told not to assign (KIP-814).
    pub can_skip_assignment: bool,
}

/// A member asks for its assignment; the leader brings everyone's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sync {
    /// Group id.
    pub group: Str,
    /// Generation the member knows.
    pub generation: i32,
    /// The member's id.
    pub member: Str,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
    /// The protocol type the member knows, where the request has it.
    pub protocol_type: Option<Str>,
    /// The protocol the member knows, where the request has it.
    pub protocol: Option<Str>,
    /// Member id to assignment, from the leader.
    pub assignments: Vec<(Str, Bytes)>,
}

/// A member says it is alive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Group id.
    pub group: Str,
    /// Generation the member knows.
    pub generation: i32,
    /// The member's id.
    pub member: Str,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
}

/// One member that leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leaver {
    /// The member's id; may be empty for a static member that an administrator removes.
    pub member: Str,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
}

/// A member of a group of the consumer protocol says that it is alive, and what it wants and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    /// Group id.
    pub group: Str,
    /// The member's id.
    pub member: Str,
    /// The epoch that it knows; 0 to join, -1 to leave, -2 to leave as a static member that comes
    /// back.
    pub epoch: i32,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
    /// Its rack.
    pub rack: Option<Str>,
    /// How long it may take to give partitions up; -1 if nothing has changed.
    pub rebalance_timeout_ms: i32,
    /// The topics it subscribes to, if that has changed.
    pub topics: Option<Vec<Str>>,
    /// The regular expression it subscribes to, if that has changed.
    pub regex: Option<Str>,
    /// The assignor it would like, if that has changed.
    pub assignor: Option<Str>,
    /// The partitions it has, if that has changed.
    pub owned: Option<Partitions>,
    /// Client id, for people.
    pub client_id: Str,
    /// Where it comes from, for people.
    pub client_host: Str,
}

/// The answer to a member's heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerBeat {
    /// The member's id.
    pub member: Str,
    /// Its epoch.
    pub epoch: i32,
    /// When it shall come again.
    pub heartbeat_interval_ms: i32,
    /// What it has from now on; `None` if nothing has changed.
    pub assignment: Option<Partitions>,
}

/// Why a request is refused, with words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The error.
    pub code: ErrorCode,
    /// What is wrong.
    pub message: String,
}

impl Refused {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// A topic partition.
pub type TopicPartition = (Str, i32);

/// A committed offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the last record read, -1 if unknown.
    pub leader_epoch: i32,
    /// The client's own text.
    pub metadata: Str,
    /// When it was committed.
    pub commit_timestamp: i64,
    /// When it expires, where the client said so (old requests only).
    pub expire_timestamp: Option<i64>,
    /// The topic's id; nil where it was not known.
    pub topic_id: Uuid,
}

/// Offsets to commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Group id.
    pub group: Str,
    /// Generation or epoch the member knows; -1 for a commit without membership.
    pub generation: i32,
    /// The member's id; empty without membership.
    pub member: Str,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
    /// Version of the request: older clients are told different errors.
    pub version: i16,
    /// The offsets.
    pub offsets: Vec<(TopicPartition, CommittedOffset)>,
}

/// The producer whose transaction something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Producer id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// What its records are appended with: they are only if no marker came after the guard was
    /// taken.
    pub verification: Verification,
}

/// What happens to the coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// JoinGroup.
    Join(Token, Join),
    /// SyncGroup.
    Sync(Token, Sync),
    /// Heartbeat.
    Heartbeat(Token, Heartbeat),
    /// ConsumerGroupHeartbeat.
    ConsumerHeartbeat(Token, ConsumerHeartbeat),
    /// LeaveGroup: group id, members.
    Leave(Token, Str, Vec<Leaver>),
    /// OffsetCommit.
    Commit(Token, Commit),
    /// TxnOffsetCommit.
    TransactionalCommit(Token, Commit, Producer),
    /// The marker of a producer's transaction is in the log, after all that it decides.
    TransactionEnded {
        /// Producer id.
        producer_id: i64,
        /// Whether it was committed.
        committed: bool,
    },
    /// DeleteGroups, for one group.
    Delete(Token, Str),
    /// OffsetDelete: group id, partitions.
    DeleteOffsets(Token, Str, Vec<TopicPartition>),
    /// The topics there are have changed.
    Topics(Arc<Topics>),
    /// The settings have changed: the broker's, and those that groups set for themselves.
    Configure(Arc<GroupConfig>, Arc<BTreeMap<Str, GroupOverrides>>),
    /// Topics are gone, and with them what was committed for them: by name and by the id under which
    /// it was committed, which is nil where the commit did not say.
    TopicsDeleted(BTreeSet<(Str, Uuid)>),
    /// A write was made (`Ok`), or could not be made.
    Persisted(WriteId, Result<(), ErrorCode>),
    /// Time has passed.
    Tick,
}

/// The answer to a join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// What went wrong, if anything.
    pub error: Option<ErrorCode>,
    /// The generation joined; -1 with an error.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Str>,
    /// The protocol chosen.
    pub protocol: Option<Str>,
    /// Who leads.
    pub leader: Str,
    /// The member's id.
    pub member: Str,
    /// The leader need not assign: the group keeps its assignment.
    pub skip_assignment: bool,
    /// For the leader: every member with its instance and metadata.
    pub members: Vec<(Str, Option<Str>, Bytes)>,
}

/// The answer to a sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synced {
    /// What went wrong, if anything.
    pub error: Option<ErrorCode>,
    /// The group's protocol type.
    pub protocol_type: Option<Str>,
    /// The protocol chosen.
    pub protocol: Option<Str>,
    /// The member's assignment.
    pub assignment: Bytes,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To [`Event::Join`].
    Joined(Joined),
    /// To [`Event::Sync`].
    Synced(Synced),
    /// To [`Event::ConsumerHeartbeat`].
    ConsumerBeat(Result<ConsumerBeat, Refused>),
    /// To [`Event::Heartbeat`] and [`Event::Delete`].
    Code(ErrorCode),
    /// To [`Event::Leave`]: the answer for each member, or one for all.
    Left(Result<Vec<(Leaver, ErrorCode)>, ErrorCode>),
    /// To commits and [`Event::DeleteOffsets`]: the answer for each partition; or, for
    /// deletions only, one for all.
    Offsets(Result<BTreeMap<TopicPartition, ErrorCode>, ErrorCode>),
}

/// What the coordinator wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Answer a request.
    Reply(Token, Reply),
    /// Append records to `__consumer_offsets`, all or none, in the order of the actions, and tell
    /// with [`Event::Persisted`].
    Persist(WriteId, Vec<super::records::GroupRecord>),
    /// The same, as part of a producer's transaction.
    PersistTransactional(WriteId, Producer, Vec<super::records::GroupRecord>),
}

/// A group's state, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// No members; perhaps offsets.
    Empty,
    /// Members are joining.
    PreparingRebalance,
    /// Members have joined, the leader's assignment is awaited.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
    /// Gone.
    Dead,
}

impl GroupState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A member, as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription {
    /// The member's id.
    pub member: Str,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
    /// Client id.
    pub client_id: Str,
    /// Where it comes from.
    pub client_host: Str,
    /// Its metadata for the chosen protocol.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// A group, as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Group id.
    pub group: Str,
    /// Its state.
    pub state: GroupState,
    /// Its generation.
    pub generation: i32,
    /// `consumer`, `connect`, …; empty for a group that only stores offsets.
    pub protocol_type: Str,
    /// The protocol chosen, if stable.
    pub protocol: Str,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// The protocol of a group, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupType {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

impl GroupType {
    /// Kafka's name of the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// The state of a group of the consumer protocol, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsumerGroupState {
    /// No members; perhaps offsets.
    Empty,
    /// A new assignment is to be computed.
    Assigning,
    /// Members are on their way to the assignment.
    Reconciling,
    /// Every member has its assignment.
    Stable,
    /// Gone.
    Dead,
}

impl ConsumerGroupState {
    /// Kafka's name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// A group, as ListGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    /// Group id.
    pub group: Str,
    /// `consumer`, `connect`, …; empty for a group that only stores offsets.
    pub protocol_type: Str,
    /// Its state, by Kafka's name.
    pub state: &'static str,
    /// Its protocol.
    pub group_type: GroupType,
}

/// A member, as ConsumerGroupDescribe shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    /// The member's id.
    pub member: Str,
    /// `group.instance.id` of a static member.
    pub instance: Option<Str>,
    /// Its rack.
    pub rack: Option<Str>,
    /// Its epoch.
    pub epoch: i32,
    /// Client id.
    pub client_id: Str,
    /// Where it comes from.
    pub client_host: Str,
    /// The topics it subscribes to.
    pub topics: Vec<Str>,
    /// The regular expression it subscribes to.
    pub regex: Option<Str>,
    /// What it has.
    pub assignment: Partitions,
    /// What it shall have.
    pub target: Partitions,
    /// It speaks the classic protocol.
    pub classic: bool,
}

/// A group, as ConsumerGroupDescribe shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerGroupDescription {
    /// Group id.
    pub group: Str,
    /// Its state.
    pub state: ConsumerGroupState,
    /// Its epoch.
    pub epoch: i32,
    /// The epoch that the target assignment was computed for.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor: Assignor,
    /// Its members.
    pub members: Vec<ConsumerMemberDescription>,
}
