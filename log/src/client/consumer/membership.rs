//! A consumer's part in a group: what its background task and the owner tell each other.
//!
//! The task speaks the classic protocol ([`classic`](super::classic)) or that of KIP-848
//! ([`modern`](super::modern)) while the owner works; it tells the owner by [`Event`]s,
//! which `poll` returns. Invariants of both: a partition is given up only after the owner
//! went on from `Revoking` (or it is `Lost`, because the group has gone on without us);
//! `Assigned` comes only for what the coordinator gave in the generation that commits will
//! name.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use regex::Regex;
use tokio::sync::{Notify, mpsc, oneshot};

use super::assignor::PartitionAssignor;
use super::config::{ConsumerConfig, GroupProtocol};
use super::{classic, modern};
use crate::client::core::Core;
use crate::client::{ClientError, GroupMetadata, TopicPartition};
use crate::wire::ErrorCode;

/// What a member wants to share.
#[derive(Debug, Clone)]
pub(super) enum Subscription {
    /// These topics.
    Topics(Vec<Arc<str>>),
    /// Topics whose whole name matches; the client looks (classic protocol).
    Matching(Regex),
    /// Topics whose whole name matches; the coordinator looks (KIP-848).
    Pattern(Arc<str>),
}

impl Subscription {
    fn is_empty(&self) -> bool {
        matches!(self, Subscription::Topics(topics) if topics.is_empty())
    }
}

/// What the owner learns.
#[derive(Debug)]
pub(super) enum Event {
    /// These partitions will be given up when the owner goes on from this.
    Revoking {
        number: u64,
        partitions: Vec<TopicPartition>,
    },
    /// These partitions were added; `all` is the whole assignment.
    Assigned {
        added: Vec<TopicPartition>,
        all: BTreeSet<TopicPartition>,
    },
    /// These partitions are gone already.
    Lost(Vec<TopicPartition>),
    /// The group cannot be joined. The task tries again when the owner goes on from this.
    Failed { number: u64, error: ClientError },
}

/// What the owner says.
#[derive(Debug)]
pub(super) enum Command {
    /// What to share.
    Subscribe(Subscription),
    /// Go on from the `Revoking` or `Failed` of this number.
    Continue(u64),
    /// Leave the group and end.
    Leave(oneshot::Sender<()>),
}

/// What task and owner share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) group: Mutex<GroupMetadata>,
    polled: Mutex<Instant>,
    pub(super) polled_again: Notify,
}

impl Shared {
    /// The owner is alive.
    pub(super) fn polled(&self) {
        *self.polled.lock() = Instant::now();
        self.polled_again.notify_waiters();
    }

    pub(super) fn last_poll(&self) -> Instant {
        *self.polled.lock()
    }
}

/// The owner's end.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) shared: Arc<Shared>,
}

impl Membership {
    /// Starts the task; it joins when it is given topics.
    pub(super) fn start(
        core: Arc<Core>,
        config: &ConsumerConfig,
        group: GroupMetadata,
        assignors: Vec<Arc<dyn PartitionAssignor>>,
    ) -> Result<Self, ClientError> {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (outbox, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            group: Mutex::new(group.clone()),
            polled: Mutex::new(Instant::now()),
            polled_again: Notify::new(),
        });
        let orders = Orders {
            inbox,
            subscription: Subscription::Topics(Vec::new()),
            continued: 0,
            resubscribed: false,
            leaving: None,
        };
        let parts = Parts {
            config: config.clone(),
            group_id: group.group_id,
            shared: shared.clone(),
            orders,
            outbox,
            core: core.clone(),
        };
        let runtime = core.runtime()?;
        match config.group_protocol {
            GroupProtocol::Classic => runtime.spawn(classic::Member::new(parts, assignors).run()),
            GroupProtocol::Consumer => runtime.spawn(modern::Member::new(parts).run()),
        };
        Ok(Self {
            commands,
            events,
            shared,
        })
    }
}

/// What a task begins with.
pub(super) struct Parts {
    pub(super) core: Arc<Core>,
    pub(super) config: ConsumerConfig,
    pub(super) group_id: String,
    pub(super) shared: Arc<Shared>,
    pub(super) orders: Orders,
    pub(super) outbox: mpsc::UnboundedSender<Event>,
}

/// What the owner has said.
pub(super) struct Orders {
    pub(super) inbox: mpsc::UnboundedReceiver<Command>,
    pub(super) subscription: Subscription,
    /// From which of our events the owner has gone on.
    pub(super) continued: u64,
    pub(super) resubscribed: bool,
    pub(super) leaving: Option<oneshot::Sender<()>>,
}

impl Orders {
    pub(super) fn take(&mut self, command: Option<Command>) -> Result<(), Turn> {
        match command {
            Some(Command::Subscribe(new)) => {
                self.subscription = new;
                self.resubscribed = true;
                Ok(())
            }
            Some(Command::Continue(number)) => {
                self.continued = number;
                Ok(())
            }
            Some(Command::Leave(told)) => {
                self.leaving = Some(told);
                Err(Turn::Leave)
            }
            None => Err(Turn::Leave),
        }
    }

    /// Waits for an answer, taking commands meanwhile; only leaving ends the wait.
    pub(super) async fn attend<T>(&mut self, answer: impl Future<Output = T>) -> Result<T, Turn> {
        tokio::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return Ok(answer),
                command = self.inbox.recv() => self.take(command)?,
            }
        }
    }

    /// Waits until there is something to subscribe to.
    pub(super) async fn subscribed(&mut self) -> Result<(), Turn> {
        let forever = crate::client::core::after(std::time::Duration::MAX);
        self.listen_until(forever, |orders| !orders.subscription.is_empty())
            .await
    }

    /// Takes commands until `until`, or until `done` says so.
    pub(super) async fn listen_until(
        &mut self,
        until: Instant,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Turn> {
        while !done(self) {
            tokio::select! {
                biased;
                command = self.inbox.recv() => self.take(command)?,
                () = tokio::time::sleep_until(until.into()) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits until the owner polls again.
    pub(super) async fn await_poll(
        &mut self,
        shared: &Shared,
        limit: std::time::Duration,
    ) -> Result<(), Turn> {
        loop {
            let polled = shared.polled_again.notified();
            tokio::pin!(polled);
            polled.as_mut().enable();
            if shared.last_poll().elapsed() <= limit {
                return Ok(());
            }
            tokio::select! {
                () = &mut polled => {}
                command = self.inbox.recv() => self.take(command)?,
            }
        }
    }
}

/// Why the present work of the task ends.
pub(super) enum Turn {
    /// Join anew.
    Rejoin,
    /// The group has gone on without us. `known`: it still has us as a member, of an earlier
    /// generation, and would wait for us under this id.
    Lost { known: bool },
    /// The owner has stayed away for too long, and we have left.
    Away,
    /// The owner is gone or leaves.
    Leave,
    /// Nothing can be done before something changes.
    Failed(ClientError),
}

impl From<ClientError> for Turn {
    fn from(error: ClientError) -> Self {
        match error.code() {
            Some(ErrorCode::RebalanceInProgress | ErrorCode::MemberIdRequired) => Turn::Rejoin,
            Some(ErrorCode::UnknownMemberId) => Turn::Lost { known: false },
            Some(ErrorCode::IllegalGeneration) => Turn::Lost { known: true },
            _ => Turn::Failed(error),
        }
    }
}
