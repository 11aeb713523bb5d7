//! The producers of the simulation: what a client library does, as far as transactions go.

use super::*;

impl World {
    /// Some producer does what is next for it, or a new one comes.
    pub(super) fn client_acts(&mut self) {
        let alive = |c: &Client| c.state != State::Dead;
        let living = self.clients.iter().filter(|c| alive(c)).count();
        if living == 0 || (living < 6 && self.rng.random_ratio(1, 15)) {
            let id = self.rng.random_range(0..IDS);
            self.clients.push(Client {
                id,
                // Every id has one kind of client, some ids both.
                v2: match id {
                    0 => true,
                    1 => false,
                    _ => self.rng.random(),
                },
                state: State::Starting,
                producer: (-1, -1),
                sequences: BTreeMap::new(),
                tag: 0,
                added: BTreeSet::new(),
                left: 0,
                failed: false,
                unsure: false,
                started: false,
                waiting: None,
            });
        }
        let living = (0..self.clients.len()).filter(|n| alive(&self.clients[*n]));
        let Some(n) = living.choose(&mut self.rng) else {
            return;
        };
        if self.rng.random_ratio(1, 120) {
            // It is killed; what it sent is still on its way.
            self.clients[n].state = State::Dead;
            return;
        }
        if let Some((_, message)) = self.clients[n].waiting.clone() {
            self.wait_longer(n, message);
        } else {
            self.go_on(n);
        }
    }

    /// The answer has not come: the request is sent again, or a batch is given up.
    fn wait_longer(&mut self, n: usize, message: Message) {
        if matches!(message, Message::Write(_)) && self.rng.random_ratio(1, 12) {
            let client = &mut self.clients[n];
            client.waiting = None;
            client.failed = true;
            client.unsure = true;
        } else if self.rng.random_ratio(1, 3) {
            self.send(message);
        }
    }

    fn ask_for(&mut self, n: usize, ask: Ask) {
        self.next_request += 1;
        let request = self.next_request;
        self.wait_for(n, request, Message::Ask(n, request, ask));
    }

    fn wait_for(&mut self, n: usize, request: u64, message: Message) {
        self.clients[n].waiting = Some((request, message.clone()));
        self.send(message);
    }

    fn go_on(&mut self, n: usize) {
        let client = &self.clients[n];
        let producer = client.producer;
        match client.state {
            State::Dead => {}
            State::Starting => {
                let expected = (producer.0 != -1).then_some(producer);
                self.ask_for(n, Ask::Init(expected));
            }
            State::Ready => {
                self.next_tag += 1;
                let left = self.rng.random_range(1..5);
                let tag = self.next_tag;
                let client = &mut self.clients[n];
                client.tag = tag;
                client.left = left;
                client.failed = false;
                client.unsure = false;
                client.started = false;
                client.added.clear();
                client.state = State::Working;
            }
            State::Working if client.failed || client.left == 0 => {
                let commit = !client.failed && self.rng.random_ratio(2, 3);
                let client = &mut self.clients[n];
                let must_end = client.v2 && client.failed;
                if !client.started && !client.unsure && !must_end {
                    // Nothing was begun.
                    client.state = State::Ready;
                    return;
                }
                client.state = State::Ending { commit };
                self.ask_for(n, Ask::End(producer, commit));
            }
            State::Working => {
                let partition = self.rng.random_range(0..PARTITIONS);
                if !self.clients[n].v2 && !self.clients[n].added.contains(&partition) {
                    self.clients[n].added.insert(partition);
                    return self.ask_for(n, Ask::Add(producer, partition));
                }
                if !self.clients[n].v2 {
                    // To one that is there already, as likely as to any.
                    let added = self.clients[n].added.iter().copied();
                    let partition = added.choose(&mut self.rng).unwrap_or(partition);
                    return self.write_to(n, partition);
                }
                self.write_to(n, partition);
            }
            State::Ending { commit } => self.ask_for(n, Ask::End(producer, commit)),
        }
    }

    fn write_to(&mut self, n: usize, partition: usize) {
        self.next_request += 1;
        let client = &mut self.clients[n];
        client.left -= 1;
        let sequence = client.sequences.entry(partition).or_insert(0);
        let write = Write {
            client: n,
            request: self.next_request,
            tag: client.tag,
            producer: client.producer,
            partition,
            sequence: *sequence,
            v2: client.v2,
        };
        *sequence += 1;
        self.wait_for(n, write.request, Message::Write(write));
    }

    fn adopt(&mut self, n: usize, producer: (i64, i16)) {
        let client = &mut self.clients[n];
        if client.producer != producer {
            client.producer = producer;
            client.sequences.clear();
        }
    }

    pub(super) fn answered(&mut self, n: usize, request: u64, reply: Reply) {
        let client = &mut self.clients[n];
        let Some((waiting, message)) = client.waiting.clone() else {
            return;
        };
        if waiting != request || client.state == State::Dead {
            return;
        }
        let code = reply.error();
        let again = matches!(
            code,
            ErrorCode::ConcurrentTransactions
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::UnknownServerError
        );
        // A v1 client's earlier copies are behind this answer on its connection.
        if !client.v2 && matches!(message, Message::Ask(_, _, Ask::End(..))) {
            self.network
                .retain(|m| !matches!(m, Message::Ask(c, r, _) if *c == n && *r == request));
        }
        if again {
            return;
        }
        let client = &mut self.clients[n];
        client.waiting = None;
        if code == ErrorCode::OutOfOrderSequenceNumber || code == ErrorCode::NotEnoughReplicas {
            client.failed = true;
            client.unsure = true;
            return;
        }
        if code == ErrorCode::TransactionAbortable
            || (code == ErrorCode::InvalidTxnState && client.state == State::Working)
        {
            client.failed = true;
            client.unsure = true;
            return;
        }
        if code.is_error() {
            // Fenced, or it cannot know better.
            client.state = State::Dead;
            return;
        }
        match (message, reply) {
            (_, Reply::Initialized(Ok(producer))) => {
                client.state = State::Ready;
                self.adopt(n, producer);
            }
            (_, Reply::Ended(Ok(producer))) => {
                let State::Ending { commit } = client.state else {
                    return;
                };
                let tag = client.tag;
                client.state = if !client.v2 && client.unsure {
                    State::Starting
                } else {
                    State::Ready
                };
                let v2 = client.v2;
                self.told.ended.insert(tag, commit);
                if v2 {
                    self.adopt(n, producer);
                }
            }
            (Message::Write(write), _) => {
                client.started = true;
                self.told.acked.insert((write.tag, write.partition));
            }
            _ => client.started = true,
        }
    }
}
