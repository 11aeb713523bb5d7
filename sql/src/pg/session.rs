//! One client's session: messages in, statements run one after the other, results out.
//!
//! Invariant: every message is answered as the protocol says, whatever it holds. A failed
//! statement leaves a session that takes the next one; only a client that cannot be
//! understood, or the server's end, closes it.

use super::cursor::CursorStatement;
use super::error::{Failure, WireError, notice};
use super::rows::Rows;
use super::socket::{Incoming, Interrupts, Output, read};
use super::startup::{Opening, open, welcome};
use super::statement::{Prepared, Step, Verb, steps};
use super::types::{Formats, describe};
use super::variables::Variables;
use super::{Shared, parameters, told};
use crate::engine::{Command, RowStream, Session, StatementResult};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use futures::StreamExt;
use pgwire::api::Type;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
    PortalSuspended,
};
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus,
};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// How long a client may take to say what it wants.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);
/// Statements and portals that a client may keep.
const MOST_PREPARED: usize = 10_000;

/// Serves a client until it goes.
pub(super) async fn serve(mut socket: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    // Answers are flushed as wholes; they must not wait for each other.
    let _ = socket.set_nodelay(true);
    let mut stop = shared.stop.clone();
    let opening = tokio::select! {
        opening = tokio::time::timeout(STARTUP_TIMEOUT, open(&mut socket)) => opening,
        () = told(&mut stop) => return,
    };
    let Ok(Ok(opening)) = opening else {
        return;
    };
    let (incoming, outgoing) = socket.into_split();
    let mut output = Output::new(outgoing);
    match opening {
        Opening::Cancel(key) => shared.cancels.cancel(key),
        Opening::Refused(error) => {
            output.add(&error.fatal().message());
            output.close().await;
        }
        Opening::Session(startup) => {
            let (key, cancel) = shared.cancels.register();
            let given = welcome(startup, key, &mut output);
            tracing::debug!(%peer, process = key.0, "a Postgres client has come");
            let (messages, gone) = read(incoming);
            let session = WireSession {
                session: shared.engine.session(),
                shared: Arc::clone(&shared),
                output,
                interrupts: Interrupts { cancel, gone, stop },
                variables: Variables::new(key.0, given),
                status: TransactionStatus::Idle,
                statements: HashMap::new(),
                portals: HashMap::new(),
                cursors: HashMap::new(),
                skipping: false,
            };
            session.run(messages).await;
            shared.cancels.remove(key);
            tracing::debug!(%peer, process = key.0, "a Postgres client has gone");
        }
    }
}

struct WireSession {
    session: Session,
    shared: Arc<Shared>,
    output: Output,
    interrupts: Interrupts,
    variables: Variables,
    status: TransactionStatus,
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
    /// Cursors that were declared, with the script that did.
    cursors: HashMap<String, (Cursor, String)>,
    /// An error makes the messages up to the next `Sync` void.
    skipping: bool,
}

/// A statement with its parameters, and its rows as far as they were fetched.
struct Portal {
    prepared: Arc<Prepared>,
    parameters: Option<ParamValues>,
    formats: Formats,
    state: PortalState,
}

enum PortalState {
    Bound,
    Open(Box<Cursor>),
    Finished(String),
}

/// Rows that are being sent.
struct Cursor {
    verb: Verb,
    stream: RowStream,
    formats: Formats,
    batch: Option<Rows>,
    sent: u64,
}

impl Cursor {
    fn new(verb: Verb, stream: RowStream, formats: Formats) -> Self {
        Self {
            verb,
            stream,
            formats,
            batch: None,
            sent: 0,
        }
    }
}

/// What a statement gave.
enum Outcome {
    Rows(Verb, RowStream),
    Done(Command),
}

type Answered<T = ()> = Result<T, Failure>;

impl WireSession {
    async fn run(mut self, mut messages: mpsc::Receiver<Incoming>) {
        let ended = self.serve(&mut messages).await;
        if let Err(Failure::Stopping) = ended {
            let error = WireError::new("57P01", "the server is being shut down");
            self.output.add(&error.fatal().message());
        }
        self.output.close().await;
    }

    async fn serve(&mut self, messages: &mut mpsc::Receiver<Incoming>) -> Answered {
        self.ready().await?;
        loop {
            let message = tokio::select! {
                message = messages.recv() => message,
                () = self.interrupts.stopping() => return Err(Failure::Stopping),
            };
            match message {
                None => return Ok(()),
                Some(Ok(message)) => self.answer(message).await?,
                Some(Err(error)) => {
                    self.output.add(&error.fatal().message());
                    return Ok(());
                }
            }
        }
    }

    async fn answer(&mut self, message: PgWireFrontendMessage) -> Answered {
        use PgWireFrontendMessage as From;
        if self.skipping && !matches!(message, From::Sync(_)) {
            return Ok(());
        }
        self.interrupts.arm();
        let extended = message.is_extended_query();
        let done = match message {
            From::Query(query) => self.simple(&query.query).await,
            From::Parse(parse) => self.parse(parse).await,
            From::Bind(bind) => self.bind(bind),
            From::Describe(wanted) => self.describe(&wanted),
            From::Execute(execute) => self.execute(&execute).await,
            From::Close(close) => {
                self.close(&close);
                Ok(())
            }
            From::Flush(_) => self.output.flush().await,
            From::Sync(_) => {
                self.skipping = false;
                if self.status == TransactionStatus::Idle {
                    self.portals.clear();
                }
                return self.ready().await;
            }
            // What is left of a COPY that was refused.
            From::CopyData(_) | From::CopyDone(_) | From::CopyFail(_) => Ok(()),
            _ => Err(WireError::protocol("a message that does not belong here").into()),
        };
        let failed = match done {
            Err(Failure::Statement(error)) => {
                self.output.add(&error.message());
                if self.status == TransactionStatus::Transaction {
                    self.status = TransactionStatus::Error;
                }
                true
            }
            Err(failure) => return Err(failure),
            Ok(()) => false,
        };
        if extended {
            self.skipping = failed;
            if failed {
                self.output.flush().await?;
            }
            Ok(())
        } else {
            self.ready().await
        }
    }

    fn add(&mut self, message: PgWireBackendMessage) {
        self.output.add(&message);
    }

    async fn ready(&mut self) -> Answered {
        self.add(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(
            self.status,
        )));
        self.output.flush().await
    }

    // ---- the simple protocol ---------------------------------------------------------

    async fn simple(&mut self, script: &str) -> Answered {
        // Such a query drops the unnamed statement and portal.
        self.statements.remove("");
        self.portals.remove("");
        let steps = steps(script)?;
        if steps.is_empty() {
            self.add(PgWireBackendMessage::EmptyQueryResponse(
                EmptyQueryResponse::new(),
            ));
        }
        for step in &steps {
            if let Step::Cursor(statement) = step {
                self.check_block(step)?;
                self.cursor(statement, script).await?;
                continue;
            }
            match self.run_step(step, script, None).await? {
                Outcome::Done(command) => self.done(&command),
                Outcome::Rows(verb, stream) => {
                    let formats = Formats::All(false);
                    self.add(PgWireBackendMessage::RowDescription(describe(
                        &stream.schema,
                        &formats,
                    )));
                    let mut cursor = Cursor::new(verb, stream, formats);
                    self.send(&mut cursor, 0, script).await?;
                    let tag = cursor.verb.tag(cursor.sent);
                    self.complete(tag);
                }
            }
        }
        Ok(())
    }

    fn done(&mut self, command: &Command) {
        for text in &command.notices {
            self.add(notice("NOTICE", text));
        }
        self.complete(command.tag.clone());
    }

    fn complete(&mut self, tag: String) {
        self.add(PgWireBackendMessage::CommandComplete(CommandComplete::new(
            tag,
        )));
    }

    /// That the statement may run in the transaction block as it is.
    fn check_block(&self, step: &Step) -> Answered {
        if self.status == TransactionStatus::Error && !step.ends_block() {
            return Err(WireError::new(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            )
            .into());
        }
        Ok(())
    }

    async fn cursor(&mut self, statement: &CursorStatement, script: &str) -> Answered {
        match statement {
            CursorStatement::Declare { name, query } => {
                if self.status == TransactionStatus::Idle {
                    return Err(WireError::new(
                        "25P01",
                        "DECLARE CURSOR can only be used in transaction blocks",
                    )
                    .into());
                }
                if self.cursors.contains_key(name) || self.cursors.len() >= MOST_PREPARED {
                    return Err(WireError::new(
                        "42P03",
                        format!("cursor \"{name}\" already exists"),
                    )
                    .into());
                }
                let session = self.session.clone();
                let run = session.run(query);
                let result = self.interrupts.guard(false, run).await?;
                let result = result.map_err(|error| WireError::of(&error, script))?;
                if let StatementResult::Rows(stream) = result {
                    let cursor = Cursor::new(Verb::Select, stream, Formats::All(false));
                    self.cursors
                        .insert(name.clone(), (cursor, script.to_owned()));
                }
                self.complete("DECLARE CURSOR".into());
            }
            CursorStatement::Fetch { name, count } => {
                let Some((mut cursor, declared)) = self.cursors.remove(name) else {
                    return Err(WireError::new(
                        "34000",
                        format!("cursor \"{name}\" does not exist"),
                    )
                    .into());
                };
                let formats = Formats::All(false);
                self.add(PgWireBackendMessage::RowDescription(describe(
                    &cursor.stream.schema,
                    &formats,
                )));
                let before = cursor.sent;
                self.send(&mut cursor, *count, &declared).await?;
                self.complete(format!("FETCH {}", cursor.sent - before));
                self.cursors.insert(name.clone(), (cursor, declared));
            }
            CursorStatement::Close(name) => {
                match name {
                    Some(name) => {
                        self.cursors.remove(name);
                    }
                    None => self.cursors.clear(),
                }
                self.complete("CLOSE CURSOR".into());
            }
        }
        Ok(())
    }

    /// Runs a statement up to its first row.
    async fn run_step(
        &mut self,
        step: &Step,
        script: &str,
        parameters: Option<ParamValues>,
    ) -> Answered<Outcome> {
        self.check_block(step)?;
        match step {
            Step::Cursor(_) => Err(WireError::new(
                "0A000",
                "DECLARE, FETCH and CLOSE cannot be prepared",
            )
            .hint("execute the query itself with a number of rows")
            .into()),
            Step::Engine(parsed) => {
                let session = self.session.clone();
                let run = session.run_with(parsed, parameters);
                let result = self
                    .interrupts
                    .guard(false, run)
                    .await?
                    .map_err(|error| WireError::of(&error, script))?;
                Ok(match result {
                    StatementResult::Rows(rows) => Outcome::Rows(Verb::of(&parsed.statement), rows),
                    StatementResult::Done(command) => Outcome::Done(command),
                })
            }
            Step::Begin => {
                let mut command = Command::new("BEGIN");
                if self.status == TransactionStatus::Transaction {
                    command
                        .notices
                        .push("there is already a transaction in progress".into());
                }
                self.status = TransactionStatus::Transaction;
                Ok(Outcome::Done(command))
            }
            Step::End { commit } => {
                let tag = if *commit && self.status != TransactionStatus::Error {
                    "COMMIT"
                } else {
                    "ROLLBACK"
                };
                let mut command = Command::new(tag);
                if self.status == TransactionStatus::Idle {
                    command
                        .notices
                        .push("there is no transaction in progress".into());
                } else if tag == "ROLLBACK" {
                    command
                        .notices
                        .push("every statement takes effect by itself; none was undone".into());
                }
                self.status = TransactionStatus::Idle;
                self.portals.clear();
                self.cursors.clear();
                Ok(Outcome::Done(command))
            }
            Step::Set { name, value } => {
                let told = self.variables.set(name, value)?;
                if let Some(told) = told {
                    self.add(told);
                }
                Ok(Outcome::Done(Command::new("SET")))
            }
            Step::Reset(name) => {
                self.variables.reset(name.as_deref());
                Ok(Outcome::Done(Command::new("RESET")))
            }
            Step::Show { name, parsed } => match self.variables.show(name)? {
                Some(rows) => Ok(Outcome::Rows(Verb::Show, rows)),
                None => {
                    let shown = self.session.run(parsed).await;
                    match shown.map_err(|error| WireError::of(&error, script))? {
                        StatementResult::Rows(rows) => Ok(Outcome::Rows(Verb::Show, rows)),
                        StatementResult::Done(command) => Ok(Outcome::Done(command)),
                    }
                }
            },
            Step::Discard => {
                self.statements.clear();
                self.portals.clear();
                self.cursors.clear();
                self.variables.reset(None);
                Ok(Outcome::Done(Command::new("DISCARD ALL")))
            }
            Step::Deallocate(name) => {
                match name {
                    Some(name) if self.statements.remove(name).is_none() => {
                        return Err(WireError::new(
                            "26000",
                            format!("prepared statement \"{name}\" does not exist"),
                        )
                        .into());
                    }
                    Some(_) => {}
                    None => self.statements.clear(),
                }
                Ok(Outcome::Done(Command::new("DEALLOCATE")))
            }
            Step::System(question) => {
                let rows = question
                    .answer(&self.shared.engine, &self.variables)
                    .map_err(|error| WireError::of(&error, script))?;
                Ok(Outcome::Rows(Verb::Select, rows))
            }
        }
    }

    /// Sends up to `most` rows, all when 0; gives back whether the rows are at their end.
    async fn send(&mut self, cursor: &mut Cursor, most: u64, script: &str) -> Answered<bool> {
        let endless = cursor.stream.endless;
        let mut sent = 0;
        loop {
            if let Some(batch) = &mut cursor.batch {
                while most == 0 || sent < most {
                    if !batch.write_next(&mut self.output.buffer) {
                        cursor.batch = None;
                        break;
                    }
                    sent += 1;
                    cursor.sent += 1;
                    if self.output.is_full() {
                        self.interrupts
                            .guard(endless, self.output.flush())
                            .await??;
                    }
                }
                if most > 0 && sent == most {
                    return Ok(false);
                }
            }
            if endless {
                // A row of a query that goes on is news, and is not kept waiting.
                self.interrupts.guard(true, self.output.flush()).await??;
            }
            match self
                .interrupts
                .guard(endless, cursor.stream.batches.next())
                .await?
            {
                None => return Ok(true),
                Some(batch) => {
                    let batch = batch
                        .and_then(|batch| Rows::new(&batch, &cursor.formats))
                        .map_err(|error| WireError::of(&error, script))?;
                    cursor.batch = Some(batch);
                }
            }
        }
    }

    // ---- the extended protocol -------------------------------------------------------

    async fn parse(&mut self, message: Parse) -> Answered {
        let name = message.name.unwrap_or_default();
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(WireError::new(
                "42P05",
                format!("prepared statement \"{name}\" already exists"),
            )
            .into());
        }
        if self.statements.len() >= MOST_PREPARED {
            return Err(WireError::new("54000", "too many prepared statements")
                .hint("DEALLOCATE those that are not used any more")
                .into());
        }
        let session = self.session.clone();
        let prepare = Prepared::new(&session, message.query, &message.type_oids);
        let prepared = self.interrupts.guard(false, prepare).await??;
        self.statements.insert(name, Arc::new(prepared));
        self.add(PgWireBackendMessage::ParseComplete(ParseComplete::new()));
        Ok(())
    }

    fn statement(&self, name: &str) -> Answered<Arc<Prepared>> {
        self.statements.get(name).cloned().ok_or_else(|| {
            WireError::new(
                "26000",
                format!("prepared statement \"{name}\" does not exist"),
            )
            .into()
        })
    }

    fn bind(&mut self, message: Bind) -> Answered {
        let prepared = self.statement(message.statement_name.as_deref().unwrap_or_default())?;
        let given = message.parameters.len();
        if given != prepared.parameters.len() {
            return Err(WireError::protocol(format!(
                "the statement has {} parameters, and {given} are bound",
                prepared.parameters.len()
            ))
            .into());
        }
        let codes = Formats::of(&message.parameter_format_codes);
        let columns = prepared.columns.as_ref().map_or(0, |c| c.fields().len());
        let formats = Formats::of(&message.result_column_format_codes);
        if !codes.fits(given) || !formats.fits(columns) {
            return Err(WireError::protocol(
                "a bind has formats for another number of values than there are",
            )
            .into());
        }
        let values = message
            .parameters
            .iter()
            .zip(&prepared.parameters)
            .enumerate()
            .map(|(index, (bytes, pg_type))| {
                parameters::value(index + 1, pg_type, codes.is_binary(index), bytes.as_deref())
                    .map(ScalarAndMetadata::from)
            })
            .collect::<Result<Vec<_>, WireError>>()?;
        if self.portals.len() >= MOST_PREPARED {
            return Err(WireError::new("54000", "too many portals").into());
        }
        let portal = Portal {
            prepared,
            parameters: (!values.is_empty()).then_some(ParamValues::List(values)),
            formats,
            state: PortalState::Bound,
        };
        self.portals
            .insert(message.portal_name.unwrap_or_default(), portal);
        self.add(PgWireBackendMessage::BindComplete(BindComplete::new()));
        Ok(())
    }

    fn describe(&mut self, message: &Describe) -> Answered {
        let name = message.name.as_deref().unwrap_or_default();
        let (columns, formats) = if message.target_type == b'S' {
            let prepared = self.statement(name)?;
            let types = prepared.parameters.iter().map(Type::oid).collect();
            self.add(PgWireBackendMessage::ParameterDescription(
                ParameterDescription::new(types),
            ));
            (prepared.columns.clone(), Formats::All(false))
        } else {
            let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
            (portal.prepared.columns.clone(), portal.formats.clone())
        };
        self.add(match columns {
            Some(schema) => PgWireBackendMessage::RowDescription(describe(&schema, &formats)),
            None => PgWireBackendMessage::NoData(NoData::new()),
        });
        Ok(())
    }

    async fn execute(&mut self, message: &Execute) -> Answered {
        let name = message.name.clone().unwrap_or_default();
        let most = u64::try_from(message.max_rows).unwrap_or(0);
        let mut portal = self.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        let done = self.run_portal(&mut portal, most).await;
        // A portal outlives its execution, unless that ended what it belongs to.
        if done.is_ok() && !portal.prepared.ends_block() {
            self.portals.insert(name, portal);
        }
        done
    }

    async fn run_portal(&mut self, portal: &mut Portal, most: u64) -> Answered {
        let prepared = Arc::clone(&portal.prepared);
        let script = prepared.script.as_str();
        let state = std::mem::replace(&mut portal.state, PortalState::Bound);
        let mut cursor = match state {
            PortalState::Finished(tag) => {
                portal.state = PortalState::Finished(tag.clone());
                self.complete(tag);
                return Ok(());
            }
            PortalState::Open(cursor) => cursor,
            PortalState::Bound => {
                let Some(step) = &prepared.step else {
                    self.add(PgWireBackendMessage::EmptyQueryResponse(
                        EmptyQueryResponse::new(),
                    ));
                    return Ok(());
                };
                match self
                    .run_step(step, script, portal.parameters.take())
                    .await?
                {
                    Outcome::Done(command) => {
                        self.done(&command);
                        portal.state = PortalState::Finished(command.tag);
                        return Ok(());
                    }
                    Outcome::Rows(verb, stream) => {
                        prepared.check(&stream.schema)?;
                        Box::new(Cursor::new(verb, stream, portal.formats.clone()))
                    }
                }
            }
        };
        let before = cursor.sent;
        if self.send(&mut cursor, most, script).await? {
            let tag = cursor.verb.tag(cursor.sent - before);
            self.complete(tag);
            portal.state = PortalState::Finished(cursor.verb.tag(0));
        } else {
            self.add(PgWireBackendMessage::PortalSuspended(PortalSuspended::new()));
            portal.state = PortalState::Open(cursor);
        }
        Ok(())
    }

    fn close(&mut self, message: &Close) {
        let name = message.name.as_deref().unwrap_or_default();
        if message.target_type == b'S' {
            self.statements.remove(name);
        } else {
            self.portals.remove(name);
        }
        self.add(PgWireBackendMessage::CloseComplete(CloseComplete::new()));
    }
}

fn no_portal(name: &str) -> WireError {
    WireError::new("34000", format!("portal \"{name}\" does not exist"))
}
