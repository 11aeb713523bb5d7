//! What a file source or sink is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use thalweg_schema::Format;

use crate::ConnectorError;
use crate::options::Options;

/// What to do about a record that is not what the source declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Stop the source and say where (the default: nothing is lost in silence).
    #[default]
    Fail,
    /// Pass over it, count it and log it.
    Skip,
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileCompression {
    /// By the file's ending: `.gz` is gzip, all else is plain.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// With gzip.
    Gzip,
}

/// A file of CSV records or JSON lines as a source.
#[derive(Debug, Clone)]
pub struct FileSourceConfig {
    /// The file.
    pub path: PathBuf,
    /// How it is compressed.
    pub compression: FileCompression,
    /// Whether to wait for more at the end of the file, also across log rotation.
    pub follow: bool,
    /// Whether a CSV file starts with the names of its columns. They are found by name then,
    /// in any order, and columns the source does not declare are passed over.
    pub header: bool,
    /// What to do about a malformed record.
    pub on_error: OnError,
    /// The longest record, in bytes; one that is longer is malformed beyond repair.
    pub max_record_bytes: usize,
    /// The format of the records.
    pub format: Format,
    /// The columns of the source.
    pub schema: SchemaRef,
    /// The index of the column that becomes the record's key.
    pub key: Option<usize>,
}

const SOURCE: &str = "file";

impl FileSourceConfig {
    /// A source of the whole file at `path` with the defaults.
    pub fn new(path: impl Into<PathBuf>, format: Format, schema: SchemaRef) -> Self {
        Self {
            path: path.into(),
            compression: FileCompression::default(),
            follow: false,
            header: matches!(format, Format::Csv(_)),
            on_error: OnError::default(),
            max_record_bytes: 1024 * 1024,
            format,
            schema,
            key: None,
        }
    }

    /// Reads the options `path`, `compression` (`auto`, `none`, `gzip`), `mode` (`whole`,
    /// `follow`), `header` (`true`, `false`; CSV), `key` (a column), `on_error` (`fail`,
    /// `skip`) and `max_record_bytes`.
    ///
    /// # Errors
    /// An unknown option, a missing path, or a value that an option cannot take.
    pub fn from_options(
        options: &BTreeMap<String, String>,
        format: Format,
        schema: SchemaRef,
    ) -> Result<Self, ConnectorError> {
        let mut options = Options::new(SOURCE, options);
        let mut config = Self::new(options.require("path")?, format, schema);
        config.compression = options.choose(
            "compression",
            &[
                ("auto", FileCompression::Auto),
                ("none", FileCompression::None),
                ("gzip", FileCompression::Gzip),
            ],
            config.compression,
        )?;
        config.follow = options.choose("mode", &[("whole", false), ("follow", true)], false)?;
        config.header =
            options.choose("header", &[("true", true), ("false", false)], config.header)?;
        config.on_error = options.choose(
            "on_error",
            &[("fail", OnError::Fail), ("skip", OnError::Skip)],
            config.on_error,
        )?;
        if let Some(bytes) = options.take("max_record_bytes") {
            config.max_record_bytes = bytes.parse().map_err(|_| {
                options.bad(
                    "max_record_bytes",
                    format!("must be a number of bytes, not {bytes:?}"),
                )
            })?;
        }
        if let Some(key) = options.take("key") {
            let index = config.schema.index_of(&key).map_err(|_| {
                let names: Vec<&str> = config
                    .schema
                    .fields()
                    .iter()
                    .map(|field| field.name().as_str())
                    .collect();
                let hint = crate::options::did_you_mean(&key, &names);
                options.bad("key", format!("there is no column {key:?}{hint}"))
            })?;
            config.key = Some(index);
        }
        if config.header && !matches!(config.format, Format::Csv(_)) {
            return Err(options.bad("header", "only CSV files have one".to_owned()));
        }
        if config.follow && config.is_gzip() {
            return Err(options.bad(
                "mode",
                "a gzip file cannot be followed; read it whole".to_owned(),
            ));
        }
        options.finish()?;
        Ok(config)
    }

    /// Whether the file is read through gzip.
    pub fn is_gzip(&self) -> bool {
        match self.compression {
            FileCompression::None => false,
            FileCompression::Gzip => true,
            FileCompression::Auto => self.path.extension().is_some_and(|ending| ending == "gz"),
        }
    }
}

/// A file as a sink: one line a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSinkConfig {
    /// The file. Beside it stands `<path>.position`, which says how much of it is committed.
    pub path: PathBuf,
}

impl FileSinkConfig {
    /// Reads the option `path`.
    ///
    /// # Errors
    /// An unknown option or a missing path.
    pub fn from_options(options: &BTreeMap<String, String>) -> Result<Self, ConnectorError> {
        let mut options = Options::new(SOURCE, options);
        let path = options.require("path")?.into();
        options.finish()?;
        Ok(Self { path })
    }
}
