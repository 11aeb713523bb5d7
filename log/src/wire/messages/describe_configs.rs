//! DescribeConfigs: request and response.

use crate::wire::Str;
use crate::wire::declare::messages;

messages! {
    /// Asks for configuration entries.
    request DescribeConfigsRequest(DescribeConfigs) {
        resources: Vec<DescribeConfigsResource>;
        include_synonyms: bool;
        include_documentation: bool [3..];
    }

    /// A resource (topic 2, broker 4), and the keys asked for; null means all.
    struct DescribeConfigsResource {
        resource_type: i8;
        resource_name: Str;
        configuration_keys: Option<Vec<Str>>;
    }

    /// The answer to a [`DescribeConfigsRequest`].
    response DescribeConfigsResponse(DescribeConfigs) {
        throttle_time_ms: i32;
        results: Vec<DescribeConfigsResult>;
    }

    /// The configuration of one resource.
    struct DescribeConfigsResult {
        error_code: i16;
        error_message: Option<Str>;
        resource_type: i8;
        resource_name: Str;
        configs: Vec<DescribeConfigsResourceResult>;
    }

    /// One entry.
    struct DescribeConfigsResourceResult {
        name: Str;
        value: Option<Str>;
        read_only: bool;
        config_source: i8 = -1;
        is_sensitive: bool;
        synonyms: Vec<DescribeConfigsSynonym>;
        config_type: i8 [3..], ignorable;
        documentation: Option<Str> [3..], ignorable;
    }

    /// Another place that sets the same entry.
    struct DescribeConfigsSynonym {
        name: Str;
        value: Option<Str>;
        source: i8;
    }
}
