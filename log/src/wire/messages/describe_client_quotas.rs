//! DescribeClientQuotas: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for the quotas of the entities that a filter matches.
    request DescribeClientQuotasRequest(DescribeClientQuotas) {
        components: Vec<DescribeClientQuotasComponent>;
        strict: bool;
    }

    /// What the filter asks of one entity type.
    struct DescribeClientQuotasComponent {
        entity_type: Str;
        match_type: i8;
        match_name: Option<Str>;
    }

    /// The answer to a [`DescribeClientQuotasRequest`].
    response DescribeClientQuotasResponse(DescribeClientQuotas) {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Str>;
        entries: Option<Vec<DescribeClientQuotasEntry>>;
    }

    /// The quotas of one entity.
    struct DescribeClientQuotasEntry {
        entity: Vec<DescribeClientQuotasEntity>;
        values: Vec<DescribeClientQuotasValue>;
    }

    /// One part of an entity; a null name is the default entity.
    struct DescribeClientQuotasEntity {
        entity_type: Str;
        entity_name: Option<Str>;
    }

    /// One quota.
    struct DescribeClientQuotasValue {
        key: Str;
        value: f64;
    }
}
