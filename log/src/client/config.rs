//! Typed configurations under Kafka's keys.
//!
//! Every field is named like its key with `_` for `.`, so that a reader of Kafka's
//! documentation finds it. `from_map` takes the textual form; a key that is unknown is an
//! error that names the nearest known one, never ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ClientError;
use crate::record::Compression;

/// A value of a configuration in its textual form.
pub(crate) trait ConfigValue: Sized {
    /// Reads the value; the error says what was expected.
    fn parse(text: &str) -> Result<Self, String>;
}

impl ConfigValue for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let ms: i64 = text
            .trim()
            .parse()
            .map_err(|_| "expected milliseconds as a whole number".to_owned())?;
        match ms {
            // Kafka writes "no limit" as -1.
            -1 => Ok(Duration::MAX),
            0.. => Ok(Duration::from_millis(ms.unsigned_abs())),
            _ => Err("expected milliseconds of 0 or more, or -1 for no limit".to_owned()),
        }
    }
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl ConfigValue for $t {
            fn parse(text: &str) -> Result<Self, String> {
                text.trim().parse().map_err(|_| {
                    format!("expected a whole number between {} and {}", <$t>::MIN, <$t>::MAX)
                })
            }
        }
    )*};
}
number!(i32, u32, usize);

impl ConfigValue for bool {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        }
    }
}

impl ConfigValue for Option<bool> {
    fn parse(text: &str) -> Result<Self, String> {
        bool::parse(text).map(Some)
    }
}

impl ConfigValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl ConfigValue for Option<String> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Some(text.to_owned()).filter(|t| !t.is_empty()))
    }
}

impl ConfigValue for Vec<String> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text
            .split(',')
            .map(|t| t.trim().to_owned())
            .filter(|t| !t.is_empty())
            .collect())
    }
}

impl ConfigValue for Compression {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "none" | "uncompressed" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip),
            "snappy" => Ok(Compression::Snappy),
            "lz4" => Ok(Compression::Lz4),
            "zstd" => Ok(Compression::Zstd),
            _ => Err("expected none, gzip, snappy, lz4 or zstd".to_owned()),
        }
    }
}

/// Declares a configuration: its fields with Kafka's keys, defaults, and `from_map`.
macro_rules! config {
    (
        $(#[$meta:meta])*
        pub struct $name:ident ($kind:literal) {
            $( $(#[$fmeta:meta])* $key:literal => $field:ident : $ty:ty = $default:expr, )*
        }
        $( extra { $( $(#[$emeta:meta])* $efield:ident : $ety:ty, )* } )?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $( $(#[$fmeta])* #[doc = concat!("\n\nKey: `", $key, "`.")] pub $field: $ty, )*
            $( $( $(#[$emeta])* pub $efield: $ety, )* )?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $default, )*
                    $( $( $efield: Default::default(), )* )?
                }
            }
        }

        impl $name {
            /// Every key that this configuration knows.
            pub const KEYS: &'static [&'static str] = &[ $( $key ),* ];

            /// Sets `key` from its textual form, as in a properties file.
            pub fn set(&mut self, key: &str, value: &str) -> Result<(), $crate::client::ClientError> {
                match key {
                    $( $key => {
                        self.$field = $crate::client::config::ConfigValue::parse(value)
                            .map_err(|reason| $crate::client::ClientError::InvalidConfig {
                                key: key.to_owned(),
                                value: value.to_owned(),
                                reason,
                            })?;
                    } )*
                    _ => return Err($crate::client::config::unknown_key($kind, key, Self::KEYS)),
                }
                Ok(())
            }

            /// Defaults, changed by `entries` (Kafka's keys, textual values). A key that
            /// is unknown and a value that does not parse are errors.
            pub fn from_map<K: AsRef<str>, V: AsRef<str>>(
                entries: impl IntoIterator<Item = (K, V)>,
            ) -> Result<Self, $crate::client::ClientError> {
                let mut config = Self::default();
                for (key, value) in entries {
                    config.set(key.as_ref(), value.as_ref())?;
                }
                Ok(config)
            }
        }
    };
}
pub(crate) use config;

/// The error for an unknown key, with the nearest known one if there is one near.
pub(crate) fn unknown_key(kind: &str, key: &str, known: &[&str]) -> ClientError {
    let nearest = known
        .iter()
        .map(|k| (strsim::jaro_winkler(key, k), *k))
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k.to_owned());
    ClientError::UnknownConfig {
        kind: kind.to_owned(),
        key: key.to_owned(),
        nearest,
    }
}

config! {
    /// How a [`Client`](super::Client) reaches its brokers.
    pub struct ClientConfig ("client") {
        /// Under which name the brokers log and meter this client.
        "client.id" => client_id: String = "thalweg".to_owned(),
        /// How long one request may take until its answer must be there.
        "request.timeout.ms" => request_timeout_ms: Duration = Duration::from_secs(30),
        /// How long an admin or lookup call may take over all its retries.
        "default.api.timeout.ms" => default_api_timeout_ms: Duration = Duration::from_secs(60),
        /// The wait before the first retry; it doubles up to `retry.backoff.max.ms`.
        "retry.backoff.ms" => retry_backoff_ms: Duration = Duration::from_millis(100),
        /// The longest wait between two retries.
        "retry.backoff.max.ms" => retry_backoff_max_ms: Duration = Duration::from_secs(1),
        /// The wait before the first reconnect to a broker; it doubles up to the maximum.
        "reconnect.backoff.ms" => reconnect_backoff_ms: Duration = Duration::from_millis(50),
        /// The longest wait between two reconnects.
        "reconnect.backoff.max.ms" => reconnect_backoff_max_ms: Duration = Duration::from_secs(1),
        /// How long the setup of one TCP connection may take.
        "socket.connection.setup.timeout.ms" => socket_connection_setup_timeout_ms: Duration = Duration::from_secs(10),
        /// After which time metadata are fetched anew although nothing went wrong.
        "metadata.max.age.ms" => metadata_max_age_ms: Duration = Duration::from_secs(300),
    }
    extra {
        /// The runtime on which background work (sender, heartbeats, connections) runs.
        /// `None` takes the runtime in whose context a producer or consumer is made.
        runtime: Option<tokio::runtime::Handle>,
    }
}

/// Splits settings given as one list into what `keys` has and the rest, so that one
/// properties file can serve client, producer and consumer.
pub fn split_config(
    entries: impl IntoIterator<Item = (String, String)>,
    keys: &[&str],
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    entries
        .into_iter()
        .partition(|(key, _)| keys.contains(&key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = ClientConfig::from_map([("request.timeout", "1")]).unwrap_err();
        assert!(error.to_string().contains("request.timeout.ms"), "{error}");
        let error = ClientConfig::from_map([("zzz", "1")]).unwrap_err();
        assert!(matches!(
            error,
            ClientError::UnknownConfig { nearest: None, .. }
        ));
    }

    #[test]
    fn values_are_parsed_and_refused_by_type() {
        let config = ClientConfig::from_map([("request.timeout.ms", "250")]).unwrap();
        assert_eq!(config.request_timeout_ms, Duration::from_millis(250));
        let error = ClientConfig::from_map([("request.timeout.ms", "soon")]).unwrap_err();
        assert!(error.to_string().contains("milliseconds"), "{error}");
    }
}
