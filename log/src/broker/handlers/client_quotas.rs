//! DescribeClientQuotas and AlterClientQuotas: who may use how much, kept in the cluster's metadata.

use std::collections::BTreeMap;
use std::net::ToSocketAddrs;

use crate::broker::core::Core;
use crate::controller::{Command, QuotaChange, QuotaEntity};
use crate::wire::messages::{
    AlterClientQuotasEntityResult, AlterClientQuotasEntry, AlterClientQuotasEntryResult,
    AlterClientQuotasOp, AlterClientQuotasRequest, AlterClientQuotasResponse,
    DescribeClientQuotasComponent, DescribeClientQuotasEntity, DescribeClientQuotasEntry,
    DescribeClientQuotasRequest, DescribeClientQuotasResponse, DescribeClientQuotasValue,
};
use crate::wire::{ErrorCode, Str};

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const SPECIFIED: i8 = 2;

type Refused = (ErrorCode, String);

pub(crate) fn describe(
    core: &Core,
    request: &DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let filter = match Filter::new(&request.components, request.strict) {
        Ok(filter) => filter,
        Err((error, message)) => {
            return DescribeClientQuotasResponse {
                error_code: error.code(),
                error_message: Some(message.into()),
                entries: None,
                ..DescribeClientQuotasResponse::default()
            };
        }
    };
    let image = core.image();
    let entries = image
        .quotas()
        .iter()
        .filter(|(entity, _)| filter.matches(entity))
        .map(|(entity, values)| DescribeClientQuotasEntry {
            entity: entity
                .iter()
                .map(|(kind, name)| DescribeClientQuotasEntity {
                    entity_type: kind.as_str().into(),
                    entity_name: name.as_deref().map(Str::from),
                    ..DescribeClientQuotasEntity::default()
                })
                .collect(),
            values: values
                .iter()
                .map(|(key, value)| DescribeClientQuotasValue {
                    key: key.as_str().into(),
                    value: (*value).into(),
                    ..DescribeClientQuotasValue::default()
                })
                .collect(),
            ..DescribeClientQuotasEntry::default()
        })
        .collect();
    DescribeClientQuotasResponse {
        entries: Some(entries),
        ..DescribeClientQuotasResponse::default()
    }
}

/// Which entities are asked for.
struct Filter {
    /// What a part must be: a name, the default (`Some(None)`), or any name at all (`None`).
    parts: BTreeMap<String, Option<Option<String>>>,
    strict: bool,
}

impl Filter {
    fn new(components: &[DescribeClientQuotasComponent], strict: bool) -> Result<Filter, Refused> {
        let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
        let mut parts = BTreeMap::new();
        for component in components {
            let kind = &*component.entity_type;
            if kind.is_empty() {
                return invalid("An entity type of the filter is empty.".to_owned());
            }
            if parts.contains_key(kind) {
                return invalid(format!("The filter names entity type {kind} twice."));
            }
            if ![IP, USER, CLIENT_ID].contains(&kind) {
                let message = format!("There is no entity type {kind}.");
                return Err((ErrorCode::UnsupportedVersion, message));
            }
            let part = match (component.match_type, &component.match_name) {
                (EXACT, Some(name)) => Some(Some(name.to_string())),
                (EXACT, None) => {
                    return invalid("An exact match of the filter has no name.".to_owned());
                }
                (DEFAULT, None) => Some(None),
                (SPECIFIED, None) => None,
                (DEFAULT | SPECIFIED, Some(_)) => {
                    return invalid("Only an exact match of the filter has a name.".to_owned());
                }
                (other, _) => return invalid(format!("There is no match type {other}.")),
            };
            parts.insert(kind.to_owned(), part);
        }
        if parts.contains_key(IP) && parts.len() > 1 {
            return invalid("An ip is never filtered together with others.".to_owned());
        }
        Ok(Filter { parts, strict })
    }

    fn matches(&self, entity: &QuotaEntity) -> bool {
        (!self.strict || entity.len() == self.parts.len())
            && self.parts.iter().all(|(kind, wanted)| {
                entity
                    .get(kind)
                    .is_some_and(|name| wanted.as_ref().is_none_or(|wanted| wanted == name))
            })
    }
}

pub(crate) async fn alter(
    core: &Core,
    request: AlterClientQuotasRequest,
) -> AlterClientQuotasResponse {
    let mut changes = Vec::new();
    let mut results: Vec<(QuotaEntity, Result<(), Refused>)> = Vec::new();
    for entry in &request.entries {
        let checked = entity_of(entry);
        let entity = checked.clone().unwrap_or_else(|_| loose_entity(entry));
        if let Some((_, earlier)) = results.iter_mut().find(|(known, _)| *known == entity) {
            let message = "The request names this entity twice.".to_owned();
            *earlier = Err((ErrorCode::InvalidRequest, message));
            continue;
        }
        let result = checked.and_then(|entity| changes_of(&entity, &entry.ops));
        results.push((entity, result.map(|new| changes.extend(new))));
    }
    if !request.validate_only
        && !changes.is_empty()
        && let Err(error) = core.propose(Command::AlterClientQuotas { changes }).await
    {
        for (_, result) in results.iter_mut().filter(|(_, result)| result.is_ok()) {
            *result = Err((error.code(), error.to_string()));
        }
    }
    AlterClientQuotasResponse {
        entries: results.into_iter().map(answer).collect(),
        ..AlterClientQuotasResponse::default()
    }
}

fn answer((entity, result): (QuotaEntity, Result<(), Refused>)) -> AlterClientQuotasEntryResult {
    let (error, message) = match result {
        Ok(()) => (ErrorCode::None, None),
        Err((error, message)) => (error, Some(message.into())),
    };
    AlterClientQuotasEntryResult {
        error_code: error.code(),
        error_message: message,
        entity: entity
            .into_iter()
            .map(|(kind, name)| AlterClientQuotasEntityResult {
                entity_type: kind.into(),
                entity_name: name.map(Str::from),
                ..AlterClientQuotasEntityResult::default()
            })
            .collect(),
        ..AlterClientQuotasEntryResult::default()
    }
}

/// The parts of an entity as they came, to answer with.
fn loose_entity(entry: &AlterClientQuotasEntry) -> QuotaEntity {
    entry
        .entity
        .iter()
        .map(|part| {
            let name = part.entity_name.as_ref().map(ToString::to_string);
            (part.entity_type.to_string(), name)
        })
        .collect()
}

fn invalid(message: impl Into<String>) -> Refused {
    (ErrorCode::InvalidRequest, message.into())
}

fn entity_of(entry: &AlterClientQuotasEntry) -> Result<QuotaEntity, Refused> {
    if entry.entity.is_empty() {
        return Err(invalid("The entity is empty."));
    }
    let entity = loose_entity(entry);
    if entity.len() < entry.entity.len() {
        return Err(invalid("The entity names a type twice."));
    }
    for (kind, name) in &entity {
        if ![USER, CLIENT_ID, IP].contains(&kind.as_str()) {
            return Err(invalid(format!("There is no entity type {kind}.")));
        }
        if name.as_deref() == Some("") {
            return Err(invalid(format!("The {kind} of the entity is empty.")));
        }
    }
    if let Some(ip) = entity.get(IP) {
        if entity.len() > 1 {
            return Err(invalid("An ip is never combined with a user or client id."));
        }
        if let Some(host) = ip
            && (host.as_str(), 0).to_socket_addrs().is_err()
        {
            return Err(invalid(format!(
                "{host} is neither an ip nor a known host."
            )));
        }
    }
    Ok(entity)
}

fn changes_of(
    entity: &QuotaEntity,
    ops: &[AlterClientQuotasOp],
) -> Result<Vec<QuotaChange>, Refused> {
    let mut changes: Vec<QuotaChange> = Vec::new();
    for op in ops {
        let key = op.key.to_string();
        if changes.iter().any(|change| change.key == key) {
            return Err(invalid(format!("The request names the quota {key} twice.")));
        }
        if !op.remove {
            check_value(entity, &key, op.value)?;
        }
        changes.push(QuotaChange {
            entity: entity.clone(),
            key,
            value: (!op.remove).then(|| op.value.into()),
        });
    }
    Ok(changes)
}

/// Whether a quota exists for the entity and may have the value.
fn check_value(entity: &QuotaEntity, key: &str, value: f64) -> Result<(), Refused> {
    let most = match (entity.contains_key(IP), key) {
        (true, "connection_creation_rate") => Some(f64::from(i32::MAX)),
        (false, "producer_byte_rate" | "consumer_byte_rate") => Some(i64::MAX as f64),
        (false, "request_percentage" | "controller_mutation_rate") => None,
        _ => return Err(invalid(format!("There is no quota {key} for this entity."))),
    };
    if value.is_nan() || value <= 0.0 {
        return Err(invalid(format!("The quota {key} must be greater than 0.")));
    }
    if let Some(most) = most {
        if value > most {
            return Err(invalid(format!("The quota {key} is greater than {most}.")));
        }
        if (value % 1.0).abs() > 1e-6 {
            return Err(invalid(format!("The quota {key} must be a whole number.")));
        }
    }
    Ok(())
}
