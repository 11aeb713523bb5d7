//! Configurations of topics, brokers, groups and loggers.

use std::collections::BTreeMap;

use super::topics::check;
use super::{Admin, AlterConfig, ConfigEntry, ConfigResource, ConfigSynonym, Each, only};
use crate::client::ClientError;
use crate::client::transport::Destination;
use crate::wire::Str;
use crate::wire::messages::{
    AlterConfigsResource, AlterableConfig, DescribeConfigsRequest, DescribeConfigsResource,
    DescribeConfigsResourceResult, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

/// What to ask of configurations besides their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DescribeConfigsOptions {
    /// Every place that sets an entry.
    pub include_synonyms: bool,
    /// What an entry does.
    pub include_documentation: bool,
}

impl Admin {
    /// The configuration of topics, brokers, groups or loggers, defaults included.
    pub async fn describe_configs(
        &self,
        resources: &[ConfigResource],
    ) -> Result<Each<Vec<ConfigEntry>, ConfigResource>, ClientError> {
        self.describe_configs_with(resources, DescribeConfigsOptions::default())
            .await
    }

    /// As [`describe_configs`](Self::describe_configs), with more of each entry.
    pub async fn describe_configs_with(
        &self,
        resources: &[ConfigResource],
        options: DescribeConfigsOptions,
    ) -> Result<Each<Vec<ConfigEntry>, ConfigResource>, ClientError> {
        let mut results = BTreeMap::new();
        let (brokers, others): (Vec<_>, Vec<_>) = resources
            .iter()
            .cloned()
            .partition(|r| r.destination() != Destination::Any);
        let brokers = brokers.into_iter().map(|r| vec![r]);
        let others = Some(others).filter(|o| !o.is_empty());
        for resources in others.into_iter().chain(brokers) {
            let destination = resources
                .first()
                .map_or(Destination::Any, ConfigResource::destination);
            let request = DescribeConfigsRequest {
                resources: resources
                    .iter()
                    .map(|r| DescribeConfigsResource {
                        resource_type: r.kind(),
                        resource_name: Str::from(r.name()),
                        configuration_keys: None,
                        ..DescribeConfigsResource::default()
                    })
                    .collect(),
                include_synonyms: options.include_synonyms,
                include_documentation: options.include_documentation,
                ..DescribeConfigsRequest::default()
            };
            let core = &self.core;
            let response = core
                .retry(core.deadline(), || core.ask(destination, request.clone()))
                .await?;
            for result in response.results {
                let resource = resources
                    .iter()
                    .find(|r| r.kind() == result.resource_type && result.resource_name == r.name());
                let Some(resource) = resource else { continue };
                let what = format!("configuration of {resource}");
                let entries = check(result.error_code, what, result.error_message)
                    .map(|()| result.configs.into_iter().map(entry).collect());
                results.insert(resource.clone(), entries);
            }
        }
        Ok(results)
    }

    /// Changes single configuration entries of a topic, broker, group or logger.
    pub async fn alter_configs(
        &self,
        resource: &ConfigResource,
        changes: &[AlterConfig],
    ) -> Result<(), ClientError> {
        self.send_changes(resource, changes, false).await
    }

    /// Asks whether [`alter_configs`](Self::alter_configs) would make the changes, which it does
    /// not.
    pub async fn validate_configs(
        &self,
        resource: &ConfigResource,
        changes: &[AlterConfig],
    ) -> Result<(), ClientError> {
        self.send_changes(resource, changes, true).await
    }

    async fn send_changes(
        &self,
        resource: &ConfigResource,
        changes: &[AlterConfig],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource.kind(),
                resource_name: Str::from(resource.name()),
                configs: changes.iter().map(alterable).collect(),
                ..AlterConfigsResource::default()
            }],
            validate_only,
            ..IncrementalAlterConfigsRequest::default()
        };
        let destination = resource.destination();
        let core = &self.core;
        let response = core
            .retry(core.deadline(), || core.ask(destination, request.clone()))
            .await?;
        match response.responses.into_iter().next() {
            Some(r) => check(
                r.error_code,
                format!("change the configuration of {resource}"),
                r.error_message,
            ),
            None => only(Each::<(), String>::new(), "IncrementalAlterConfigs"),
        }
    }

    /// The resources that have a configuration: all of them, or those of some of Kafka's types
    /// (2 topics, 4 brokers, 8 loggers, 16 client metrics, 32 groups).
    pub async fn list_config_resources(
        &self,
        types: &[i8],
    ) -> Result<Vec<ConfigResource>, ClientError> {
        let request = ListConfigResourcesRequest {
            resource_types: types.to_vec(),
            ..ListConfigResourcesRequest::default()
        };
        let core = &self.core;
        let response = core
            .retry(core.deadline(), || {
                core.ask(Destination::Any, request.clone())
            })
            .await?;
        let what = "list what has a configuration".to_owned();
        check(response.error_code, what, None::<Str>)?;
        Ok(response
            .config_resources
            .iter()
            .filter_map(|r| ConfigResource::from_parts(r.resource_type, &r.resource_name))
            .collect())
    }
}

fn entry(config: DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: config.name.to_string(),
        value: config.value.map(|v| v.to_string()),
        read_only: config.read_only,
        is_default: config.config_source == 5,
        is_sensitive: config.is_sensitive,
        source: config.config_source,
        synonyms: config
            .synonyms
            .into_iter()
            .map(|s| ConfigSynonym {
                name: s.name.to_string(),
                value: s.value.map(|v| v.to_string()),
                source: s.source,
            })
            .collect(),
        kind: config.config_type,
        documentation: config
            .documentation
            .filter(|d| !d.is_empty())
            .map(|d| d.to_string()),
    }
}

fn alterable(change: &AlterConfig) -> AlterableConfig {
    let (name, operation, value) = match change {
        AlterConfig::Set(name, value) => (name, 0, Some(value)),
        AlterConfig::Delete(name) => (name, 1, None),
        AlterConfig::Append(name, value) => (name, 2, Some(value)),
        AlterConfig::Subtract(name, value) => (name, 3, Some(value)),
    };
    AlterableConfig {
        name: Str::from(name),
        config_operation: operation,
        value: value.map(Str::from),
        ..AlterableConfig::default()
    }
}
