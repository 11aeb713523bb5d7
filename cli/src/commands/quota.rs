//! `thalweg quota`: what clients may take.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;
use thalweg_log::client::{
    Client, ClientQuotaAlteration, ClientQuotaEntity, ClientQuotaFilter, ClientQuotaMatch,
};

use crate::args::pairs;
use crate::output::{Output, Rows, done, say};
use crate::target::Target;

#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Show quotas
    Describe(DescribeArgs),
    /// Set quotas, or take them away
    Alter(AlterArgs),
}

/// Whose quotas: `--user`, `--client-id`, `--ip`; an empty name is the default of all.
#[derive(Debug, Args)]
struct Entity {
    /// A user, or '' for the default of all users
    #[arg(long)]
    user: Option<String>,
    /// A client id, or '' for the default of all client ids
    #[arg(long)]
    client_id: Option<String>,
    /// An address, or '' for the default of all addresses
    #[arg(long, conflicts_with_all = ["user", "client_id"])]
    ip: Option<String>,
}

impl Entity {
    fn parts(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        [
            ("user", &self.user),
            ("client-id", &self.client_id),
            ("ip", &self.ip),
        ]
        .into_iter()
        .filter_map(|(kind, name)| {
            let name = name.as_deref()?;
            Some((kind, Some(name).filter(|n| !n.is_empty())))
        })
    }
}

#[derive(Debug, Args)]
pub struct DescribeArgs {
    #[command(flatten)]
    entity: Entity,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A Thalweg broker holds connections to producer_byte_rate and consumer_byte_rate; other quotas are kept only. Examples:
  thalweg quota alter --client-id loader --set producer_byte_rate=1048576
  thalweg quota alter --user '' --delete request_percentage"
)]
pub struct AlterArgs {
    #[command(flatten)]
    entity: Entity,
    /// Set a quota, such as producer_byte_rate=1048576
    #[arg(long, short, value_name = "KEY=NUMBER")]
    set: Vec<String>,
    /// Take a quota away
    #[arg(long, short, value_name = "KEY")]
    delete: Vec<String>,
    /// Only say whether it would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

pub async fn run(command: QuotaCommand) -> Result<()> {
    match command {
        QuotaCommand::Describe(args) => {
            args.target
                .with(async |client| describe(client, &args).await)
                .await
        }
        QuotaCommand::Alter(args) => {
            let (entity, ops) = alteration(&args)?;
            args.target
                .with(async |client| alter(client, entity, ops, &args).await)
                .await
        }
    }
}

async fn describe(client: &Client, args: &DescribeArgs) -> Result<()> {
    let components = args
        .entity
        .parts()
        .map(|(kind, name)| {
            let matching = match name {
                Some(name) => ClientQuotaMatch::Exact(name.to_owned()),
                None => ClientQuotaMatch::Default,
            };
            (kind.to_owned(), matching)
        })
        .collect();
    let filter = ClientQuotaFilter {
        components,
        strict: false,
    };
    let mut rows = Rows::new(&["ENTITY", "QUOTA", "VALUE"]);
    for (entity, quotas) in client.admin().describe_client_quotas(&filter).await? {
        for (key, value) in quotas {
            rows.push(vec![json!(shown(&entity)), json!(key), json!(value)]);
        }
    }
    if rows.is_empty() && args.output == Output::Table {
        say!("There is no such quota.");
        return Ok(());
    }
    rows.print(args.output);
    Ok(())
}

fn shown(entity: &ClientQuotaEntity) -> String {
    let parts: Vec<String> = entity
        .iter()
        .map(|(kind, name)| format!("{kind}={}", name.as_deref().unwrap_or("<default>")))
        .collect();
    parts.join(" ")
}

type Ops = BTreeMap<String, Option<f64>>;

fn alteration(args: &AlterArgs) -> Result<(ClientQuotaEntity, Ops)> {
    let entity: ClientQuotaEntity = args
        .entity
        .parts()
        .map(|(kind, name)| (kind.to_owned(), name.map(str::to_owned)))
        .collect();
    if entity.is_empty() {
        bail!("say whose quotas: --user, --client-id or --ip");
    }
    let mut ops = Ops::new();
    for (key, value) in pairs("--set", &args.set)? {
        let value = value
            .parse()
            .with_context(|| format!("{key} takes a number, not {value:?}"))?;
        ops.insert(key, Some(value));
    }
    ops.extend(args.delete.iter().map(|key| (key.clone(), None)));
    if ops.is_empty() {
        bail!("nothing to change: give --set KEY=NUMBER or --delete KEY");
    }
    Ok((entity, ops))
}

async fn alter(
    client: &Client,
    entity: ClientQuotaEntity,
    ops: Ops,
    args: &AlterArgs,
) -> Result<()> {
    let dry_run = args.dry_run;
    let name = shown(&entity);
    let alteration = ClientQuotaAlteration { entity, ops };
    let results = client
        .admin()
        .alter_client_quotas(std::slice::from_ref(&alteration), dry_run)
        .await?;
    results.into_values().collect::<Result<Vec<()>, _>>()?;
    let row = json!({"entity": name, "altered": !dry_run});
    match dry_run {
        true => done(
            args.output,
            row,
            format_args!("The quotas of {name} would be altered."),
        ),
        false => done(
            args.output,
            row,
            format_args!("Altered the quotas of {name}."),
        ),
    }
    Ok(())
}
