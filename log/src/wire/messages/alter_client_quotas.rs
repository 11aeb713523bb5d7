//! AlterClientQuotas: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Sets and removes quotas.
    request AlterClientQuotasRequest(AlterClientQuotas) {
        entries: Vec<AlterClientQuotasEntry>;
        validate_only: bool;
    }

    /// The changes of one entity.
    struct AlterClientQuotasEntry {
        entity: Vec<AlterClientQuotasEntity>;
        ops: Vec<AlterClientQuotasOp>;
    }

    /// One part of an entity; a null name is the default entity.
    struct AlterClientQuotasEntity {
        entity_type: Str;
        entity_name: Option<Str>;
    }

    /// One quota to set or to remove.
    struct AlterClientQuotasOp {
        key: Str;
        value: f64;
        remove: bool;
    }

    /// The answer to an [`AlterClientQuotasRequest`].
    response AlterClientQuotasResponse(AlterClientQuotas) {
        throttle_time_ms: i32;
        entries: Vec<AlterClientQuotasEntryResult>;
    }

    /// The answer for one entity.
    struct AlterClientQuotasEntryResult {
        error_code: i16;
        error_message: Option<Str>;
        entity: Vec<AlterClientQuotasEntityResult>;
    }

    /// One part of the entity answered for.
    struct AlterClientQuotasEntityResult {
        entity_type: Str;
        entity_name: Option<Str>;
    }
}
