//! DescribeConfigs: every setting of topics, groups and this broker, with its sources, and the
//! levels of its loggers.

use crate::broker::core::Core;
use crate::broker::loggers;
use crate::config::{
    ConfigSource, DescribedConfig, describe_broker, describe_cluster, describe_group,
    describe_topic,
};
use crate::controller::ConfigScope;
use crate::wire::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::wire::{ErrorCode, Str};

/// Kafka's resource type of loggers.
const BROKER_LOGGER: i8 = 8;

pub(crate) fn handle(core: &Core, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request
        .resources
        .iter()
        .map(|resource| {
            let described = match resource.resource_type {
                BROKER_LOGGER => describe_loggers(core, &resource.resource_name),
                _ => describe(core, resource)
                    .map(|all| all.into_iter().map(|c| shown(c, request)).collect()),
            };
            let (mut configs, code, message) = match described {
                Ok(configs) => (configs, ErrorCode::None, None),
                Err((code, message)) => (vec![], code, Some(Str::from(message))),
            };
            let keys = resource.configuration_keys.as_deref().unwrap_or_default();
            configs.retain(|c| keys.is_empty() || keys.contains(&c.name));
            DescribeConfigsResult {
                error_code: code.code(),
                error_message: message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name.clone(),
                configs,
                ..DescribeConfigsResult::default()
            }
        })
        .collect();
    DescribeConfigsResponse {
        results,
        ..DescribeConfigsResponse::default()
    }
}

type Refused = (ErrorCode, String);

fn bad<T>(message: String) -> Result<T, Refused> {
    Err((ErrorCode::InvalidRequest, message))
}

fn describe(
    core: &Core,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribedConfig>, Refused> {
    let name = resource.resource_name.as_str();
    let (image, settings) = (core.image(), core.live());
    match ConfigScope::from_code(resource.resource_type) {
        Some(ConfigScope::Topic) => {
            crate::broker::topics::check_name(name)?;
            if image.topic(name).is_none() {
                return Err((
                    ErrorCode::UnknownTopicOrPartition,
                    format!("The topic '{name}' does not exist."),
                ));
            }
            let own = image.configs(ConfigScope::Topic, name);
            Ok(describe_topic(&settings, own.map(|o| &**o)))
        }
        Some(ConfigScope::Broker) if name.is_empty() => Ok(describe_cluster(&settings)),
        Some(ConfigScope::Broker) => {
            check_id(core, name, " or empty string,")?;
            Ok(describe_broker(&settings))
        }
        Some(ConfigScope::Group) if name.is_empty() => {
            bad("Group name must not be empty".to_owned())
        }
        Some(ConfigScope::Group) => {
            let own = image.configs(ConfigScope::Group, name);
            Ok(describe_group(&settings, own.map(|o| &**o)))
        }
        None => bad(format!(
            "Unsupported resource type: {}",
            resource.resource_type
        )),
    }
}

fn describe_loggers(
    core: &Core,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, Refused> {
    let Some(loggers) = loggers::installed() else {
        return bad(format!("Unsupported resource type: {BROKER_LOGGER}"));
    };
    if name.is_empty() {
        return bad("Broker id must not be empty".to_owned());
    }
    check_id(core, name, "")?;
    let shown = |(logger, level): (String, String)| DescribeConfigsResourceResult {
        name: Str::from(logger),
        value: Some(Str::from(level)),
        config_source: ConfigSource::BrokerLogger.code(),
        documentation: None,
        ..DescribeConfigsResourceResult::default()
    };
    Ok(loggers.levels().into_iter().map(shown).collect())
}

fn check_id(core: &Core, name: &str, or: &str) -> Result<(), Refused> {
    let Ok(id) = name.parse::<i32>() else {
        return bad(format!("Broker id must be an integer, but it is: {name}"));
    };
    if id == core.node_id() {
        return Ok(());
    }
    bad(format!(
        "Unexpected broker id, expected {}{or} but received {name}",
        core.node_id()
    ))
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
        config_type: config.kind.code(),
        documentation: request.include_documentation.then(|| Str::from(config.doc)),
        ..DescribeConfigsResourceResult::default()
    }
}
