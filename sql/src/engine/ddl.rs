//! `CREATE` and `DROP`: checked and planned against the catalog, decided by its log.

use super::session::{Command, planner};
use super::{Inner, show, topics};
use crate::catalog::{
    Body, Change, Relation, SinkDef, SourceDef, ViewDef, already_exists, log_error, still_read,
};
use crate::error::{SqlError, SqlState, suggest};
use crate::parse::{CreateSink, CreateSource, CreateView, Drop, Name, Options, Parsed};
use crate::plan::{SinkStyle, StreamPlan, arrow_schema};
use crate::planner::{SinkTarget, source};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use thalweg_log::client::NewTopic;
use uuid::Uuid;

/// `IF NOT EXISTS` and the name is taken: done, with a notice.
fn exists(
    inner: &Inner,
    name: &Name,
    if_not_exists: bool,
    tag: &str,
) -> Result<Option<Command>, SqlError> {
    let catalog = inner.catalog();
    let Some(existing) = catalog.get(&name.text) else {
        return Ok(None);
    };
    if !if_not_exists {
        return Err(already_exists(existing).at(Some(name.place)));
    }
    Ok(Some(Command {
        tag: tag.into(),
        notices: vec![format!(
            "there is already a {} `{}`, nothing done",
            existing.kind().words(),
            name.text
        )],
    }))
}

fn new_id() -> String {
    Uuid::new_v4().simple().to_string()
}

fn partitions_of(options: &mut Options) -> Result<Option<i32>, SqlError> {
    let Some((text, place)) = options.remove("partitions") else {
        return Ok(None);
    };
    match text.parse() {
        Ok(count @ 1..=10_000) => Ok(Some(count)),
        _ => Err(SqlError::new(
            SqlState::InvalidParameter,
            format!("`{text}` is not a number of partitions"),
        )
        .at(Some(place))
        .hint("a topic has 1 to 10000 partitions")),
    }
}

fn refuse_unknown(options: &Options, what: &str, known: &[&str]) -> Result<(), SqlError> {
    let Some((key, (_, place))) = options.iter().next() else {
        return Ok(());
    };
    let error = SqlError::new(
        SqlState::InvalidParameter,
        format!("{what} has no option `{key}`"),
    )
    .at(Some(*place));
    Err(
        match suggest(key, "its options are", known.iter().copied()) {
            Some(hint) => error.hint(hint),
            None => error,
        },
    )
}

/// `CREATE SOURCE`.
pub(super) async fn create_source(
    inner: &Arc<Inner>,
    create: &CreateSource,
    parsed: &Parsed,
) -> Result<Command, SqlError> {
    const TAG: &str = "CREATE SOURCE";
    if let Some(done) = exists(inner, &create.name, create.if_not_exists, TAG)? {
        return Ok(done);
    }
    let mut def = source::source_def(create)?;
    let place = |option: &str| create.options.get(option).map(|(_, place)| *place);
    let mut options = create.options.clone();
    let partitions = partitions_of(&mut options)?;
    let mut notices = Vec::new();
    let there = topics::partitions(&inner.client, &def.topic).await?;
    if def.connector == "kafka" {
        for option in ["connector", "topic", "on_error", "idle_timeout"] {
            options.remove(option);
        }
        refuse_unknown(
            &options,
            "a source over a topic",
            &["topic", "partitions", "on_error", "idle_timeout"],
        )?;
        match (there, partitions) {
            (Some(there), Some(wanted)) if there != wanted => {
                return Err(SqlError::new(
                    SqlState::InvalidParameter,
                    format!(
                        "the topic `{}` has {there} partitions, not {wanted}",
                        def.topic
                    ),
                )
                .at(place("partitions"))
                .hint("leave `partitions` out for a topic that is there"));
            }
            (Some(_), _) => {}
            (None, Some(wanted)) => {
                let topic = NewTopic::new(&def.topic).partitions(wanted);
                topics::create(&inner.client, topic)
                    .await
                    .map_err(|error| log_error("create the topic", &error).at(place("topic")))?;
                notices.push(format!(
                    "created the topic `{}` with {wanted} partitions",
                    def.topic
                ));
            }
            (None, None) => {
                return Err(topics::no_such_topic(&inner.client, &def.topic)
                    .await
                    .at(place("topic"))
                    .at(Some(create.name.place)));
            }
        }
    } else {
        if there.is_some() {
            return Err(topic_is_taken(&def.topic)
                .at(place("topic"))
                .at(Some(create.name.place)));
        }
        connector_options(&mut def, create)?;
        check_connector(&def).map_err(|error| error.at(place("connector")))?;
        if let Some(wanted) = partitions {
            def.options.insert("partitions".into(), wanted.to_string());
        }
    }
    let id = new_id();
    let relation = Relation {
        id: id.clone(),
        name: create.name.text.clone(),
        sql: parsed.text.clone(),
        body: Body::Source(def),
    };
    decide_create(inner, relation, &create.name).await?;
    inner.jobs.started(&id)?;
    Ok(Command {
        tag: TAG.into(),
        notices,
    })
}

fn topic_is_taken(topic: &str) -> SqlError {
    SqlError::new(
        SqlState::DuplicateTable,
        format!("there is already a topic `{topic}`"),
    )
    .hint("choose another name, give WITH (topic = '…'), or delete the topic if nobody needs it")
}

/// The options that go to the connector; `on_error` is for both of us.
fn connector_options(def: &mut SourceDef, create: &CreateSource) -> Result<(), SqlError> {
    for option in ["topic", "partitions", "idle_timeout"] {
        def.options.remove(option);
    }
    if let Some((value, _)) = create.options.get("on_error") {
        def.options.insert("on_error".into(), value.clone());
    }
    Ok(())
}

fn check_connector(def: &SourceDef) -> Result<(), SqlError> {
    super::jobs::source_connector(def)
        .map(drop_it)
        .map_err(|error| SqlError::new(SqlState::InvalidParameter, error.to_string()))
}

fn drop_it<T>(_: T) {}

/// Appends a `CREATE`, planned over what the catalog is now.
async fn decide_create(
    inner: &Arc<Inner>,
    relation: Relation,
    name: &Name,
) -> Result<(), SqlError> {
    let catalog = inner.catalog();
    let reads: BTreeMap<String, String> = relation
        .reads()
        .into_iter()
        .filter_map(|name| {
            let input = catalog.get(name)?;
            Some((name.to_owned(), input.id.clone()))
        })
        .collect();
    let id = relation.id.clone();
    let change = Change::Create {
        relation: Box::new(relation),
        reads,
    };
    inner
        .decide(&id, change)
        .await
        .map_err(|error| error.at(Some(name.place)))
}

/// `CREATE MATERIALIZED VIEW`: returns when the view reflects all that its inputs held
/// when it was created.
pub(super) async fn create_view(
    inner: &Arc<Inner>,
    create: &CreateView,
    parsed: &Parsed,
) -> Result<Command, SqlError> {
    const TAG: &str = "CREATE MATERIALIZED VIEW";
    if let Some(done) = exists(inner, &create.name, create.if_not_exists, TAG)? {
        return Ok(done);
    }
    let mut options = create.options.clone();
    let topic = options
        .remove("topic")
        .map_or_else(|| create.name.text.clone(), |(topic, _)| topic);
    refuse_unknown(&options, "a materialized view", &["topic"])?;
    let plan = planner(inner)
        .view(
            &create.name.text,
            &topic,
            &create.columns,
            &create.query,
            parsed,
        )
        .await?;
    if topics::partitions(&inner.client, &topic).await?.is_some() {
        return Err(topic_is_taken(&topic).at(Some(create.name.place)));
    }
    let id = new_id();
    let relation = Relation {
        id: id.clone(),
        name: create.name.text.clone(),
        sql: parsed.text.clone(),
        body: Body::View(ViewDef { topic, plan }),
    };
    run_new(inner, relation, &create.name, &id).await?;
    Ok(Command::new(TAG))
}

/// Creates what has a job, and waits until it has caught up. What cannot run is taken
/// back, so that the statement can be corrected and sent again.
async fn run_new(
    inner: &Arc<Inner>,
    relation: Relation,
    name: &Name,
    id: &str,
) -> Result<(), SqlError> {
    decide_create(inner, relation.clone(), name).await?;
    let caught_up = async {
        inner.jobs.started(id)?;
        inner.jobs.caught_up(id).await
    };
    if let Err(error) = caught_up.await {
        let ids = BTreeSet::from([id.to_owned()]);
        if let Err(second) = inner.decide(&new_id(), Change::Drop { ids }).await {
            tracing::warn!(relation = name.text, %second, "what failed to start stays in the catalog");
        } else {
            inner.jobs.clean_up(&relation).await;
        }
        return Err(error.at(Some(name.place)));
    }
    Ok(())
}

/// What a sink writes and its plan.
pub(super) async fn plan_sink(
    inner: &Arc<Inner>,
    create: &CreateSink,
    parsed: &Parsed,
) -> Result<(SinkDef, StreamPlan, Option<i32>), SqlError> {
    let mut options = create.options.clone();
    let connector = match options.remove("connector") {
        Some((connector, _)) => connector.to_lowercase(),
        None => {
            return Err(SqlError::new(
                SqlState::InvalidParameter,
                "a sink needs a connector",
            )
            .at(Some(create.name.place))
            .hint("add WITH (connector = 'kafka', topic = '…'), or connector = 'file' or 'stdout'"));
        }
    };
    let partitions = partitions_of(&mut options)?;
    let key: Vec<Name> = match options.remove("primary_key") {
        None => Vec::new(),
        Some((columns, place)) => columns
            .split(',')
            .map(|column| Name {
                text: column.trim().to_owned(),
                place,
            })
            .collect(),
    };
    let topic = match options.remove("topic") {
        Some((topic, _)) => topic,
        None if connector == "kafka" => {
            return Err(SqlError::new(
                SqlState::InvalidParameter,
                "a sink into a topic needs its name",
            )
            .at(Some(create.name.place))
            .hint("add topic = '…' to WITH"));
        }
        None => create.name.text.clone(),
    };
    if connector == "kafka" {
        refuse_unknown(
            &options,
            "a sink into a topic",
            &["topic", "partitions", "primary_key"],
        )?;
    } else {
        let plain: BTreeMap<String, String> = options
            .iter()
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect();
        thalweg_connectors::sink(&connector, &plain).map_err(|error| {
            SqlError::new(SqlState::InvalidParameter, error.to_string())
                .at(create.options.get("connector").map(|(_, place)| *place))
        })?;
    }
    let planner = planner(inner);
    let (style, format) = source::row_format(create.format.as_ref())?;
    let mut target = SinkTarget {
        topic: topic.clone(),
        format,
        style,
        key,
    };
    let plan = match planner
        .sink(&create.name, &target, &create.query, parsed)
        .await
    {
        // Without a FORMAT, a query whose rows change is written as they change.
        Err(_) if create.format.is_none() => {
            target.style = SinkStyle::Upsert;
            planner
                .sink(&create.name, &target, &create.query, parsed)
                .await?
        }
        other => other?,
    };
    let def = SinkDef {
        topic,
        connector,
        options: options
            .into_iter()
            .map(|(key, (value, _))| (key, value))
            .collect(),
        plan: plan.clone(),
    };
    Ok((def, plan, partitions))
}

/// `CREATE SINK`: returns when what the query gives now is in the sink's topic.
pub(super) async fn create_sink(
    inner: &Arc<Inner>,
    create: &CreateSink,
    parsed: &Parsed,
) -> Result<Command, SqlError> {
    const TAG: &str = "CREATE SINK";
    if let Some(done) = exists(inner, &create.name, create.if_not_exists, TAG)? {
        return Ok(done);
    }
    let (def, _, partitions) = plan_sink(inner, create, parsed).await?;
    let there = topics::partitions(&inner.client, &def.topic).await?;
    let mut notices = Vec::new();
    if def.connector != "kafka" && there.is_some() {
        return Err(topic_is_taken(&def.topic).at(Some(create.name.place)));
    }
    if there.is_none() {
        let mut topic = NewTopic::new(&def.topic);
        topic.partitions = partitions;
        topics::create(&inner.client, topic)
            .await
            .map_err(|error| log_error("create the topic", &error).at(Some(create.name.place)))?;
        if def.connector == "kafka" {
            notices.push(format!("created the topic `{}`", def.topic));
        }
    }
    let id = new_id();
    let relation = Relation {
        id: id.clone(),
        name: create.name.text.clone(),
        sql: parsed.text.clone(),
        body: Body::Sink(def),
    };
    run_new(inner, relation, &create.name, &id).await?;
    Ok(Command {
        tag: TAG.into(),
        notices,
    })
}

/// `DROP`.
pub(super) async fn drop(inner: &Arc<Inner>, drop: &Drop) -> Result<Command, SqlError> {
    let catalog = inner.catalog();
    let mut notices = Vec::new();
    let mut going: Vec<Arc<Relation>> = Vec::new();
    for name in &drop.names {
        let relation = match show::find(&catalog, name) {
            Ok(relation) => relation,
            Err(_) if drop.if_exists => {
                notices.push(format!(
                    "there is no {} `{}`, nothing done",
                    drop.kind.words(),
                    name.text
                ));
                continue;
            }
            Err(error) => return Err(error),
        };
        if relation.kind() != drop.kind {
            return Err(show::wrong_kind(relation, drop.kind).at(Some(name.place)));
        }
        let wanted = if drop.cascade {
            catalog.with_readers(&name.text)
        } else {
            vec![Arc::clone(relation)]
        };
        for relation in wanted {
            if !going.iter().any(|known| known.id == relation.id) {
                going.push(relation);
            }
        }
    }
    for relation in &going {
        let left: Vec<&Arc<Relation>> = catalog
            .readers(&relation.name)
            .into_iter()
            .filter(|reader| !going.iter().any(|known| known.id == reader.id))
            .collect();
        if !left.is_empty() {
            let place = drop.names.iter().find(|name| name.text == relation.name);
            return Err(still_read(relation, &left).at(place.map(|name| name.place)));
        }
    }
    if !going.is_empty() {
        let ids: BTreeSet<String> = going.iter().map(|relation| relation.id.clone()).collect();
        inner.decide(&new_id(), Change::Drop { ids }).await?;
        for relation in &going {
            inner.jobs.clean_up(relation).await;
        }
    }
    for relation in &going {
        if !drop.names.iter().any(|name| name.text == relation.name) {
            notices.push(format!(
                "dropped the {} `{}` with it",
                relation.kind().words(),
                relation.name
            ));
        }
    }
    Ok(Command {
        tag: format!("DROP {}", drop.kind.words().to_uppercase()),
        notices,
    })
}

/// The Arrow schema of a source's rows.
pub(super) fn source_schema(def: &SourceDef) -> arrow::datatypes::SchemaRef {
    arrow_schema(&def.columns)
}
