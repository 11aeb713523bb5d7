//! DescribeConfigs: every setting of topics and of this broker, with its source.

use crate::broker::core::Core;
use crate::config::{DescribedConfig, describe_broker, describe_topic};
use crate::controller::ConfigScope;
use crate::storage::ConfigType;
use crate::wire::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::{ErrorCode, Str};

pub(crate) fn handle(core: &Core, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let (configs, code, message) = match describe(core, resource) {
                Ok(configs) => (configs, ErrorCode::None, None),
                Err((code, message)) => (vec![], code, Some(Str::from(message))),
            };
            DescribeConfigsResult {
                error_code: code.code(),
                error_message: message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                configs: configs
                    .into_iter()
                    .filter(|c| {
                        resource
                            .configuration_keys
                            .as_ref()
                            .is_none_or(|keys| keys.iter().any(|k| *k == c.name))
                    })
                    .map(|c| shown(c, request))
                    .collect(),
                ..DescribeConfigsResult::default()
            }
        })
        .collect();
    DescribeConfigsResponse {
        results,
        ..DescribeConfigsResponse::default()
    }
}

fn describe(
    core: &Core,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribedConfig>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    match ConfigScope::from_code(resource.resource_type) {
        Some(ConfigScope::Topic) => {
            let image = core.image();
            crate::broker::topics::check_name(name)?;
            if image.topic(name).is_none() {
                return Err((
                    ErrorCode::UnknownTopicOrPartition,
                    format!("The topic '{name}' does not exist."),
                ));
            }
            let overrides = image.configs(ConfigScope::Topic, name);
            Ok(describe_topic(&core.settings, overrides.map(|o| &**o)))
        }
        // The empty name asks for the cluster-wide dynamic defaults, of which there are none.
        Some(ConfigScope::Broker) if name.is_empty() => Ok(vec![]),
        Some(ConfigScope::Broker) if name == core.node_id().to_string() => {
            Ok(describe_broker(&core.settings))
        }
        Some(ConfigScope::Broker) => Err((
            ErrorCode::InvalidRequest,
            format!(
                "Unexpected broker id, expected {} or empty string, but received {name}",
                core.node_id()
            ),
        )),
        None => Err((
            ErrorCode::InvalidRequest,
            format!(
                "Configurations of resource type {} are not supported.",
                resource.resource_type
            ),
        )),
    }
}

fn shown(
    config: DescribedConfig,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResourceResult {
    let synonyms = if request.include_synonyms {
        config.synonyms
    } else {
        vec![]
    };
    DescribeConfigsResourceResult {
        name: Str::from(config.name),
        value: config.value.map(Str::from),
        read_only: config.read_only,
        config_source: config.source.code(),
        synonyms: synonyms
            .into_iter()
            .map(|(name, value, source)| DescribeConfigsSynonym {
                name: Str::from(name),
                value: value.map(Str::from),
                source: source.code(),
                ..DescribeConfigsSynonym::default()
            })
            .collect(),
        config_type: type_code(config.kind),
        documentation: request.include_documentation.then(|| Str::from(config.doc)),
        ..DescribeConfigsResourceResult::default()
    }
}

/// Kafka's code of a config type.
fn type_code(kind: ConfigType) -> i8 {
    match kind {
        ConfigType::Boolean => 1,
        ConfigType::String => 2,
        ConfigType::Int => 3,
        ConfigType::Long => 5,
        ConfigType::Double => 6,
        ConfigType::List => 7,
    }
}
