//! Connectors by name, as `WITH (connector = …)` asks for them.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use thalweg_schema::Format;

use crate::file::{FileSink, FileSinkConfig, FileSource, FileSourceConfig};
use crate::options::{Options, did_you_mean};
use crate::{ConnectorError, SinkConnector, SourceConnector, StdoutSink};

const SOURCES: [&str; 1] = ["file"];
const SINKS: [&str; 2] = ["file", "stdout"];

/// Makes the source connector `name` from its options (all but `connector` itself).
///
/// # Errors
/// An unknown connector or option, or a value that an option cannot take.
pub fn source(
    name: &str,
    options: &BTreeMap<String, String>,
    format: Format,
    schema: SchemaRef,
) -> Result<Box<dyn SourceConnector>, ConnectorError> {
    match name.to_ascii_lowercase().as_str() {
        "file" => Ok(Box::new(FileSource::new(FileSourceConfig::from_options(
            options, format, schema,
        )?))),
        _ => Err(unknown(name, &SOURCES, "file")),
    }
}

/// Makes the sink connector `name` from its options (all but `connector` itself).
///
/// # Errors
/// An unknown connector or option, or a value that an option cannot take.
pub fn sink(
    name: &str,
    options: &BTreeMap<String, String>,
) -> Result<Box<dyn SinkConnector>, ConnectorError> {
    match name.to_ascii_lowercase().as_str() {
        "file" => Ok(Box::new(FileSink::new(FileSinkConfig::from_options(
            options,
        )?))),
        "stdout" => {
            Options::new("stdout", options).finish()?;
            Ok(Box::new(StdoutSink::new()))
        }
        _ => Err(unknown(name, &SINKS, "file, stdout")),
    }
}

fn unknown(name: &str, names: &[&str], known: &'static str) -> ConnectorError {
    ConnectorError::UnknownConnector {
        name: name.to_owned(),
        hint: did_you_mean(name, names),
        known,
    }
}
