//! Client quotas: who may use how much (KIP-546).
//!
//! Invariant: an entity has one or two parts (user and client id) or one (ip), and an entity without a quota is
//! not kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, Reader, Writer};

/// Whom a quota is for: a name for each entity type (`user`, `client-id`, `ip`), `None` for that type's default.
pub type QuotaEntity = BTreeMap<String, Option<String>>;

/// A limit. Kept as the bits of a floating point number, so that metadata can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaValue(u64);

impl From<f64> for QuotaValue {
    fn from(value: f64) -> QuotaValue {
        QuotaValue(value.to_bits())
    }
}

impl From<QuotaValue> for f64 {
    fn from(value: QuotaValue) -> f64 {
        f64::from_bits(value.0)
    }
}

/// One change: a new limit, or none any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaChange {
    /// For whom.
    pub entity: QuotaEntity,
    /// What is limited, by Kafka's name, such as `producer_byte_rate`.
    pub key: String,
    /// The limit; `None` removes it.
    pub value: Option<QuotaValue>,
}

/// All quotas of the cluster.
pub type Quotas = BTreeMap<QuotaEntity, BTreeMap<String, QuotaValue>>;

/// Makes a change.
pub(super) fn apply(quotas: &mut Quotas, change: &QuotaChange) {
    match change.value {
        Some(value) => {
            let of_entity = quotas.entry(change.entity.clone()).or_default();
            of_entity.insert(change.key.clone(), value);
        }
        None => {
            if let Some(of_entity) = quotas.get_mut(&change.entity) {
                of_entity.remove(&change.key);
                if of_entity.is_empty() {
                    quotas.remove(&change.entity);
                }
            }
        }
    }
}

fn write_entity(w: &mut Writer, entity: &QuotaEntity) {
    w.count(entity.len());
    for (kind, name) in entity {
        w.str(kind);
        w.opt_str(name.as_deref());
    }
}

fn read_entity(r: &mut Reader) -> Result<QuotaEntity, DecodeError> {
    let n = r.count("quota entity", 5)?;
    (0..n)
        .map(|_| Ok((r.str("entity type")?, r.opt_str("entity name")?)))
        .collect()
}

pub(super) fn write_change(w: &mut Writer, change: &QuotaChange) {
    write_entity(w, &change.entity);
    w.str(&change.key);
    w.bool(change.value.is_some());
    if let Some(value) = change.value {
        w.u64(value.0);
    }
}

pub(super) fn read_change(r: &mut Reader) -> Result<QuotaChange, DecodeError> {
    Ok(QuotaChange {
        entity: read_entity(r)?,
        key: r.str("quota key")?,
        value: match r.bool("quota set")? {
            true => Some(QuotaValue(r.u64("quota value")?)),
            false => None,
        },
    })
}

pub(super) fn write_all(w: &mut Writer, quotas: &Quotas) {
    w.count(quotas.len());
    for (entity, values) in quotas {
        write_entity(w, entity);
        w.count(values.len());
        for (key, value) in values {
            w.str(key);
            w.u64(value.0);
        }
    }
}

pub(super) fn read_all(r: &mut Reader) -> Result<Quotas, DecodeError> {
    let n = r.count("quotas", 8)?;
    (0..n)
        .map(|_| {
            let entity = read_entity(r)?;
            let n = r.count("quota values", 12)?;
            let values = (0..n)
                .map(|_| Ok((r.str("quota key")?, QuotaValue(r.u64("quota value")?))))
                .collect::<Result<_, DecodeError>>()?;
            Ok((entity, values))
        })
        .collect()
}
