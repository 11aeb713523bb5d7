//! `thalweg config describe|alter`: settings of topics, brokers, groups and loggers.

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use thalweg_log::client::{
    AlterConfig, Client, ConfigEntry, ConfigResource, DescribeConfigsOptions,
};
use thalweg_log::config::nearest_key;

use crate::commands::topic::ConfigChanges;
use crate::output::{Output, Rows, all_done, done, say};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show settings, and where they come from
    Describe(DescribeArgs),
    /// Change settings
    Alter(AlterArgs),
}

/// What has settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Entity {
    /// A topic, by name
    #[value(alias = "topics")]
    Topic,
    /// A broker, by id
    #[value(alias = "brokers")]
    Broker,
    /// What holds for all brokers that set nothing themselves
    BrokerDefaults,
    /// The levels of a broker's loggers, by its id
    BrokerLoggers,
    /// A consumer group, by its id
    #[value(alias = "groups")]
    Group,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg config describe topic orders --all
  thalweg config describe broker 1 --all --docs
  thalweg config describe broker-defaults
  thalweg config describe group billing -o json")]
pub struct DescribeArgs {
    /// What has the settings
    #[arg(value_enum)]
    entity: Entity,
    /// Its name or id [default: every one there is]
    name: Option<String>,
    /// Show defaults too, and not only what was set
    #[arg(long, short)]
    all: bool,
    /// Show what each setting does
    #[arg(long)]
    docs: bool,
    /// Show every place that sets a setting, the nearest first
    #[arg(long)]
    synonyms: bool,
    /// Only settings whose key contains this
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thalweg config alter topic orders --set retention.ms=3600000
  thalweg config alter topic orders --delete retention.ms
  thalweg config alter broker 1 --from-file dynamic.properties
  thalweg config alter broker-defaults --set log.retention.ms=86400000
  thalweg config alter group billing --set consumer.session.timeout.ms=50000
  thalweg config alter broker-loggers 1 --set thalweg_log::broker=DEBUG")]
pub struct AlterArgs {
    /// What has the settings
    #[arg(value_enum)]
    entity: Entity,
    /// Its name or id; broker-defaults have none
    name: Option<String>,
    #[command(flatten)]
    changes: ConfigChanges,
    /// Only say whether it would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Describe(args) => {
            args.target
                .with(async |client| describe(client, &args).await)
                .await
        }
        ConfigCommand::Alter(args) => {
            let changes = args.changes.list()?;
            let resource = resource(args.entity, args.name.as_deref())?;
            args.target
                .with(async |client| alter(client, &resource, changes, args.dry_run).await)
                .await?;
            let row = json!({"resource": resource.to_string(), "altered": !args.dry_run});
            match args.dry_run {
                true => done(
                    args.output,
                    row,
                    format_args!("The configuration of {resource} would be altered."),
                ),
                false => done(
                    args.output,
                    row,
                    format_args!("Altered the configuration of {resource}."),
                ),
            }
            Ok(())
        }
    }
}

fn resource(entity: Entity, name: Option<&str>) -> Result<ConfigResource> {
    if entity == Entity::BrokerDefaults {
        return match name {
            None | Some("") => Ok(ConfigResource::BrokerDefaults),
            Some(_) => bail!("broker-defaults have no name: they hold for all brokers"),
        };
    }
    let name = name.context("say whose configuration: a name or an id is missing")?;
    let id = || {
        name.parse::<i32>()
            .with_context(|| format!("a broker's id is a number, not {name:?}"))
    };
    Ok(match entity {
        Entity::Topic => ConfigResource::Topic(name.to_owned()),
        Entity::Group => ConfigResource::Group(name.to_owned()),
        Entity::Broker => ConfigResource::Broker(id()?),
        Entity::BrokerLoggers => ConfigResource::BrokerLoggers(id()?),
        Entity::BrokerDefaults => ConfigResource::BrokerDefaults,
    })
}

async fn resources(client: &Client, args: &DescribeArgs) -> Result<Vec<ConfigResource>> {
    if args.name.is_some() || args.entity == Entity::BrokerDefaults {
        return Ok(vec![resource(args.entity, args.name.as_deref())?]);
    }
    let admin = client.admin();
    let brokers = async || -> Result<Vec<i32>> {
        let cluster = client.admin().describe_cluster().await?;
        Ok(cluster.nodes.iter().map(|n| n.id).collect())
    };
    Ok(match args.entity {
        Entity::Topic => {
            let topics = admin.list_topics().await?;
            topics
                .into_iter()
                .map(|t| ConfigResource::Topic(t.name))
                .collect()
        }
        Entity::Group => admin.list_config_resources(&[32]).await?,
        Entity::Broker => brokers()
            .await?
            .into_iter()
            .map(ConfigResource::Broker)
            .collect(),
        _ => brokers()
            .await?
            .into_iter()
            .map(ConfigResource::BrokerLoggers)
            .collect(),
    })
}

async fn describe(client: &Client, args: &DescribeArgs) -> Result<()> {
    let resources = resources(client, args).await?;
    let options = DescribeConfigsOptions {
        include_synonyms: true,
        include_documentation: args.docs,
    };
    let described = client
        .admin()
        .describe_configs_with(&resources, options)
        .await?;
    let mut all = Vec::new();
    let mut failed = Vec::new();
    for (resource, entries) in described {
        match entries {
            Ok(mut entries) => {
                entries.retain(|entry| {
                    let named = args.key.as_ref().is_none_or(|key| entry.name.contains(key));
                    named && (args.all || !entry.is_default)
                });
                entries.sort_by(|a, b| a.name.cmp(&b.name));
                all.push((resource, entries));
            }
            Err(error) => failed.push(error.to_string()),
        }
    }
    match args.output {
        Output::Json => {
            let all: Vec<Value> = all.iter().map(|(r, entries)| to_json(r, entries)).collect();
            say!("{}", json!(all));
        }
        Output::Table => print(args, &all),
    }
    all_done(failed)
}

fn print(args: &DescribeArgs, all: &[(ConfigResource, Vec<ConfigEntry>)]) {
    let several = all.len() > 1;
    let shown: Vec<_> = all
        .iter()
        .filter(|(_, entries)| !several || !entries.is_empty())
        .collect();
    if shown.iter().all(|(_, entries)| entries.is_empty()) {
        match shown.first() {
            Some((resource, _)) => {
                say!("Nothing is set for {resource}. With --all its defaults are shown.")
            }
            None => say!("Nothing is set."),
        }
        return;
    }
    for (at, (resource, entries)) in shown.iter().enumerate() {
        if several {
            say!("{}{resource}:", if at > 0 { "\n" } else { "" });
        }
        let mut columns = vec!["KEY", "VALUE", "SOURCE"];
        if args.synonyms {
            columns.push("SYNONYMS");
        }
        if args.docs {
            columns.push("DOCUMENTATION");
        }
        let mut rows = Rows::new(&columns);
        for entry in entries {
            let mut row = vec![json!(entry.name), value(entry), json!(source(entry.source))];
            if args.synonyms {
                row.push(json!(synonyms(entry)));
            }
            if args.docs {
                row.push(json!(entry.documentation));
            }
            rows.push(row);
        }
        rows.print(Output::Table);
    }
}

/// Every place that sets the entry.
fn synonyms(entry: &ConfigEntry) -> Vec<String> {
    entry
        .synonyms
        .iter()
        .map(|s| {
            let value = s.value.as_deref().unwrap_or("-");
            format!("{}:{}={value}", source(s.source), s.name)
        })
        .collect()
}

fn value(entry: &ConfigEntry) -> Value {
    match entry.is_sensitive {
        true => json!("(kept back)"),
        false => json!(entry.value),
    }
}

fn to_json(resource: &ConfigResource, entries: &[ConfigEntry]) -> Value {
    let entries: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let synonyms: Vec<Value> = entry
                .synonyms
                .iter()
                .map(|s| json!({"name": s.name, "value": s.value, "source": source(s.source)}))
                .collect();
            json!({
                "name": entry.name,
                "value": entry.value,
                "source": source(entry.source),
                "read_only": entry.read_only,
                "sensitive": entry.is_sensitive,
                "type": kind(entry.kind),
                "synonyms": synonyms,
                "documentation": entry.documentation,
            })
        })
        .collect();
    json!({"resource": resource.to_string(), "configs": entries})
}

/// Kafka's name of a source.
fn source(code: i8) -> &'static str {
    match code {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "CLIENT_METRICS_CONFIG",
        8 => "GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

/// Kafka's name of a type.
fn kind(code: i8) -> &'static str {
    match code {
        1 => "BOOLEAN",
        2 => "STRING",
        3 => "INT",
        4 => "SHORT",
        5 => "LONG",
        6 => "DOUBLE",
        7 => "LIST",
        8 => "CLASS",
        9 => "PASSWORD",
        _ => "UNKNOWN",
    }
}

/// Makes changes, or asks whether they could be made. The broker deletes what is not set without a
/// word, so that a key that does not exist is looked for here.
pub async fn alter(
    client: &Client,
    resource: &ConfigResource,
    changes: Vec<AlterConfig>,
    dry_run: bool,
) -> Result<()> {
    let admin = client.admin();
    let deleted: Vec<&String> = changes
        .iter()
        .filter_map(|change| match change {
            AlterConfig::Delete(key) => Some(key),
            _ => None,
        })
        .collect();
    if !deleted.is_empty() {
        // The defaults of all brokers only show what is set.
        let asked = match resource {
            ConfigResource::BrokerDefaults => {
                let cluster = admin.describe_cluster().await?;
                let first = cluster.nodes.first().map(|n| n.id);
                ConfigResource::Broker(first.context("the cluster has no broker")?)
            }
            other => other.clone(),
        };
        let mut described = admin.describe_configs(std::slice::from_ref(&asked)).await?;
        let known = described
            .remove(&asked)
            .with_context(|| format!("the broker said nothing of {asked}"))??;
        for key in deleted {
            if !known.iter().any(|entry| entry.name == *key) {
                match nearest_key(key, known.iter().map(|entry| entry.name.as_str())) {
                    Some(near) => bail!("there is no {key:?} to delete; did you mean {near:?}?"),
                    None => bail!("there is no {key:?} to delete"),
                }
            }
        }
    }
    match dry_run {
        true => admin.validate_configs(resource, &changes).await?,
        false => admin.alter_configs(resource, &changes).await?,
    }
    Ok(())
}
