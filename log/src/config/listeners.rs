//! Listeners: what `listeners` and `advertised.listeners` say.
//!
//! Invariant: a [`Listener`] speaks plaintext; one whose protocol is not there yet is an error at the
//! start, and never a port that silently speaks another protocol.

use super::ConfigError;
use super::settings::invalid;

/// A name and an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, such as `PLAINTEXT`.
    pub name: String,
    /// The host; empty for every interface.
    pub host: String,
    /// The port; 0 for any free one.
    pub port: u16,
}

impl Listener {
    /// Reads a list of `NAME://HOST:PORT`; a bare `HOST:PORT` is named `PLAINTEXT`.
    ///
    /// # Errors
    /// [`ConfigError::InvalidValue`] that says what is expected.
    pub fn parse(text: &str) -> Result<Vec<Self>, ConfigError> {
        parse("listeners", text)
    }

    /// `host:port` to bind.
    pub fn address(&self) -> String {
        let host = match self.host.as_str() {
            "" => "0.0.0.0",
            host => host,
        };
        if host.contains(':') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

/// Reads a list of `NAME://HOST:PORT`; a bare `HOST:PORT` is named `PLAINTEXT`.
pub(super) fn parse(key: &str, text: &str) -> Result<Vec<Listener>, ConfigError> {
    let mut all: Vec<Listener> = Vec::new();
    for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
        let (name, address) = word.split_once("://").unwrap_or(("PLAINTEXT", word));
        let address = address.rsplit_once(':').and_then(|(host, port)| {
            let host = host.strip_prefix('[').unwrap_or(host);
            let host = host.strip_suffix(']').unwrap_or(host);
            Some((host, port.parse::<u16>().ok()?))
        });
        let Some((host, port)) = address else {
            return Err(invalid(
                key,
                word,
                &"HOST:PORT or NAME://HOST:PORT is expected, such as PLAINTEXT://127.0.0.1:9092",
            ));
        };
        let name = name.to_ascii_uppercase();
        if let Some(other) = all
            .iter()
            .find(|l| l.name == name || l.port == port && port != 0 && l.host == host)
        {
            let what = if other.name == name {
                "name"
            } else {
                "address"
            };
            return Err(invalid(
                key,
                text,
                &format!("each listener is expected to have a {what} of its own"),
            ));
        }
        all.push(Listener {
            name,
            host: host.to_owned(),
            port,
        });
    }
    Ok(all)
}

/// Takes the controllers' listeners out and checks that the others speak what there is.
pub(super) fn plaintext(
    key: &str,
    text: &str,
    controllers: &str,
    protocols: &str,
) -> Result<Vec<Listener>, ConfigError> {
    let mut all = parse(key, text)?;
    let mut controllers = controllers.split(',').map(str::trim);
    all.retain(|l| !controllers.clone().any(|c| c.eq_ignore_ascii_case(&l.name)));
    for listener in &all {
        match protocol(&listener.name, protocols) {
            Some(p) if p.eq_ignore_ascii_case("PLAINTEXT") => {}
            Some(p) => {
                return Err(invalid(
                    key,
                    text,
                    &format!(
                        "listener {} speaks {p}, which is not there yet: a PLAINTEXT listener is expected, on a network you trust",
                        listener.name
                    ),
                ));
            }
            None => {
                return Err(invalid(
                    key,
                    text,
                    &format!(
                        "listener {name} has no protocol: {name}:PLAINTEXT is expected in listener.security.protocol.map",
                        name = listener.name
                    ),
                ));
            }
        }
    }
    if controllers.any(|c| !c.is_empty()) && all.is_empty() && key == "listeners" {
        return Err(invalid(
            key,
            text,
            &"a listener besides those of controller.listener.names is expected",
        ));
    }
    Ok(all)
}

fn protocol<'a>(name: &str, protocols: &'a str) -> Option<&'a str> {
    protocols.split(',').find_map(|pair| {
        let (listener, protocol) = pair.split_once(':')?;
        listener
            .trim()
            .eq_ignore_ascii_case(name)
            .then_some(protocol.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT,SSL:SSL";

    #[test]
    fn lists_of_listeners() {
        let two = plaintext(
            "listeners",
            "PLAINTEXT://:9092, internal://[::1]:9094,CONTROLLER://:9093",
            "CONTROLLER",
            MAP,
        )
        .unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!(two[0].address(), "0.0.0.0:9092");
        assert_eq!(
            (two[1].name.as_str(), two[1].address().as_str()),
            ("INTERNAL", "[::1]:9094")
        );
        assert_eq!(
            plaintext("listeners", "h:1", "", MAP).unwrap()[0].name,
            "PLAINTEXT"
        );
    }

    #[test]
    fn what_is_not_there_is_said() {
        for (text, controllers, says) in [
            ("SSL://:1", "", "not there yet"),
            ("OTHER://:1", "", "listener.security.protocol.map"),
            ("A", "", "HOST:PORT"),
            ("PLAINTEXT://:1,PLAINTEXT://:2", "", "name of its own"),
            ("PLAINTEXT://:1,INTERNAL://:1", "", "address of its own"),
            ("CONTROLLER://:1", "CONTROLLER", "besides"),
        ] {
            let error = plaintext("listeners", text, controllers, MAP).unwrap_err();
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }
}
