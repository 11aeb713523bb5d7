//! Quotas of clients: who may take how much.

use std::collections::BTreeMap;

use super::topics::check;
use super::{Admin, Each};
use crate::client::ClientError;
use crate::client::transport::Destination;
use crate::wire::Str;
use crate::wire::messages::{
    AlterClientQuotasEntity, AlterClientQuotasEntry, AlterClientQuotasOp, AlterClientQuotasRequest,
    DescribeClientQuotasComponent, DescribeClientQuotasRequest,
};

/// Whom a quota is for: a name for each type (`user`, `client-id`, `ip`); `None` is the
/// default of that type.
pub type ClientQuotaEntity = BTreeMap<String, Option<String>>;

/// Which entities to describe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientQuotaFilter {
    /// What each type must be; empty means every entity.
    pub components: BTreeMap<String, ClientQuotaMatch>,
    /// Whether entities with other types than those are left out.
    pub strict: bool,
}

/// What a type of a quota's entity must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientQuotaMatch {
    /// This name.
    Exact(String),
    /// The default of the type.
    Default,
    /// Any name, or the default.
    Any,
}

/// A change of an entity's quotas.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientQuotaAlteration {
    /// Whose.
    pub entity: ClientQuotaEntity,
    /// The new values by key, such as `producer_byte_rate`; `None` takes the quota away.
    pub ops: BTreeMap<String, Option<f64>>,
}

impl Admin {
    /// The quotas of the entities that the filter lets through.
    pub async fn describe_client_quotas(
        &self,
        filter: &ClientQuotaFilter,
    ) -> Result<BTreeMap<ClientQuotaEntity, BTreeMap<String, f64>>, ClientError> {
        let request = DescribeClientQuotasRequest {
            components: filter
                .components
                .iter()
                .map(|(entity_type, matching)| {
                    let (match_type, name) = match matching {
                        ClientQuotaMatch::Exact(name) => (0, Some(Str::from(name))),
                        ClientQuotaMatch::Default => (1, None),
                        ClientQuotaMatch::Any => (2, None),
                    };
                    DescribeClientQuotasComponent {
                        entity_type: Str::from(entity_type),
                        match_type,
                        match_name: name,
                        ..DescribeClientQuotasComponent::default()
                    }
                })
                .collect(),
            strict: filter.strict,
            ..DescribeClientQuotasRequest::default()
        };
        let core = &self.core;
        let response = core
            .retry(core.deadline(), || {
                core.ask(Destination::Any, request.clone())
            })
            .await?;
        let what = "describe client quotas".to_owned();
        check(response.error_code, what, response.error_message)?;
        Ok(response
            .entries
            .unwrap_or_default()
            .into_iter()
            .map(|entry| {
                let entity = entry
                    .entity
                    .iter()
                    .map(|e| {
                        let name = e.entity_name.as_ref().map(ToString::to_string);
                        (e.entity_type.to_string(), name)
                    })
                    .collect();
                let values = entry.values.iter();
                let values = values.map(|v| (v.key.to_string(), v.value)).collect();
                (entity, values)
            })
            .collect())
    }

    /// Changes quotas, or only says whether that could be done.
    pub async fn alter_client_quotas(
        &self,
        alterations: &[ClientQuotaAlteration],
        validate_only: bool,
    ) -> Result<Each<(), ClientQuotaEntity>, ClientError> {
        let request = AlterClientQuotasRequest {
            entries: alterations
                .iter()
                .map(|alteration| AlterClientQuotasEntry {
                    entity: alteration
                        .entity
                        .iter()
                        .map(|(entity_type, name)| AlterClientQuotasEntity {
                            entity_type: Str::from(entity_type),
                            entity_name: name.as_ref().map(Str::from),
                            ..AlterClientQuotasEntity::default()
                        })
                        .collect(),
                    ops: alteration
                        .ops
                        .iter()
                        .map(|(key, value)| AlterClientQuotasOp {
                            key: Str::from(key),
                            value: value.unwrap_or(0.0),
                            remove: value.is_none(),
                            ..AlterClientQuotasOp::default()
                        })
                        .collect(),
                    ..AlterClientQuotasEntry::default()
                })
                .collect(),
            validate_only,
            ..AlterClientQuotasRequest::default()
        };
        let response = self.ask_controller(request).await?;
        Ok(response
            .entries
            .into_iter()
            .map(|entry| {
                let entity: ClientQuotaEntity = entry
                    .entity
                    .iter()
                    .map(|e| {
                        let name = e.entity_name.as_ref().map(ToString::to_string);
                        (e.entity_type.to_string(), name)
                    })
                    .collect();
                let what = format!("change the quotas of {}", named(&entity));
                let result = check(entry.error_code, what, entry.error_message);
                (entity, result)
            })
            .collect())
    }
}

/// An entity as people write it.
fn named(entity: &ClientQuotaEntity) -> String {
    let parts: Vec<String> = entity
        .iter()
        .map(|(kind, name)| format!("{kind}={}", name.as_deref().unwrap_or("<default>")))
        .collect();
    parts.join(" ")
}
