//! Which quota counts for a client, and which limits for connections.

use std::collections::HashMap;
use std::net::{IpAddr, ToSocketAddrs};

use crate::config::Settings;
use crate::controller::{QuotaEntity, Quotas};
use crate::net::{ConnectionLimits, Window};

/// Who shares one quota: user and client id, where the quota tells them apart.
pub(super) type Sharers = (Option<String>, Option<String>);

/// The quota that counts for a client: the most particular one. A client without a name has only its user's.
pub(super) fn quota_of(
    quotas: &Quotas,
    key: &str,
    user: &str,
    client_id: &str,
) -> Option<(f64, Sharers)> {
    let (of_user, of_client) = (Some(user.to_owned()), Some(client_id.to_owned()));
    let part = |kind: &str, name: Option<&Option<String>>| {
        name.map(|name| (kind.to_owned(), name.clone()))
    };
    let (user, client, default) = (Some(&of_user), Some(&of_client), Some(&None));
    let ranked = [
        (user, client),
        (user, default),
        (user, None),
        (default, client),
        (default, default),
        (default, None),
        (None, client),
        (None, default),
    ];
    ranked
        .into_iter()
        .filter(|(_, client)| client.is_none() || !client_id.is_empty())
        .find_map(|(user, client)| {
            let parts = [part("user", user), part("client-id", client)];
            let entity: QuotaEntity = parts.into_iter().flatten().collect();
            let limit = quotas.get(&entity)?.get(key).copied()?;
            // Two that a default applies to do not share it.
            let sharers = (user.and(of_user.clone()), client.and(of_client.clone()));
            Some((limit.into(), sharers))
        })
}

/// The limits of connections: those of the settings, and those of addresses among the quotas. Asks for the addresses
/// of hosts.
pub(crate) fn connection_limits(settings: &Settings, quotas: &Quotas) -> ConnectionLimits {
    let count = |n: i32| usize::try_from(n).unwrap_or(0);
    let mut rate_per_ip = None;
    let mut rate_of_ip = HashMap::new();
    for (entity, values) in quotas {
        let Some(host) = entity.get("ip") else {
            continue;
        };
        let Some(rate) = values.get("connection_creation_rate").copied() else {
            continue;
        };
        match host {
            None => rate_per_ip = Some(rate.into()),
            Some(host) => rate_of_ip.extend(addresses(host).map(|ip| (ip, rate.into()))),
        }
    }
    let overrides = &settings.max_connections_per_ip_overrides;
    ConnectionLimits {
        max: count(settings.max_connections),
        max_per_ip: count(settings.max_connections_per_ip),
        max_of_ip: overrides
            .iter()
            .flat_map(|(host, max)| addresses(host).map(|ip| (ip, count(*max))))
            .collect(),
        rate: Some(settings.max_connection_creation_rate)
            .filter(|rate| *rate != i32::MAX)
            .map(f64::from),
        rate_per_ip,
        rate_of_ip,
        inter_broker: settings.inter_broker_listener.clone(),
        window: Window::new(settings.quota_window_samples, settings.quota_window_seconds),
    }
}

fn addresses(host: &str) -> impl Iterator<Item = IpAddr> + use<> {
    let found = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => match (host, 0).to_socket_addrs() {
            Ok(found) => found.map(|address| address.ip()).collect(),
            Err(error) => {
                tracing::warn!(host, %error, "the limits of connections from this host hold for nobody: it is not known");
                vec![]
            }
        },
    };
    found.into_iter().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BrokerConfig;

    fn entity(user: Option<Option<&str>>, client: Option<Option<&str>>) -> QuotaEntity {
        [("user", user), ("client-id", client)]
            .into_iter()
            .filter_map(|(kind, name)| Some((kind.to_owned(), name?.map(str::to_owned))))
            .collect()
    }

    #[test]
    fn the_most_particular_quota_counts() {
        let mut quotas = Quotas::new();
        let find = |quotas: &Quotas| quota_of(quotas, "k", "u", "c");
        assert_eq!(find(&quotas), None);
        let (user, client) = (Some("u".to_owned()), Some("c".to_owned()));
        let pair = (user.clone(), client.clone());
        // From the least particular on.
        for (limit, entity, sharers) in [
            (1.0, entity(None, Some(None)), (None, client.clone())),
            (2.0, entity(None, Some(Some("c"))), (None, client)),
            (3.0, entity(Some(None), None), (user.clone(), None)),
            (4.0, entity(Some(None), Some(None)), pair.clone()),
            (5.0, entity(Some(None), Some(Some("c"))), pair.clone()),
            (6.0, entity(Some(Some("u")), None), (user.clone(), None)),
            (7.0, entity(Some(Some("u")), Some(None)), pair.clone()),
            (8.0, entity(Some(Some("u")), Some(Some("c"))), pair),
        ] {
            let value = [("k".to_owned(), limit.into())];
            quotas.insert(entity, value.into());
            assert_eq!(find(&quotas), Some((limit, sharers)));
        }
        assert_eq!(quota_of(&quotas, "other", "u", "c"), None);
        assert_eq!(quota_of(&quotas, "k", "u", ""), Some((6.0, (user, None))));
    }

    #[test]
    fn connections_are_limited_by_settings_and_quotas() {
        let settings = BrokerConfig::new("x")
            .set("max.connections", "5")
            .set("max.connections.per.ip", "3")
            .set("max.connections.per.ip.overrides", "10.0.0.1:7, ::1:8")
            .set("max.connection.creation.rate", "9")
            .set("quota.window.num", "4")
            .set("quota.window.size.seconds", "2")
            .resolve()
            .unwrap();
        let ip =
            |name: Option<&str>| QuotaEntity::from([("ip".to_owned(), name.map(str::to_owned))]);
        let rate = |rate: f64| [("connection_creation_rate".to_owned(), rate.into())].into();
        let quotas = Quotas::from([
            (ip(None), rate(1.0)),
            (ip(Some("::ffff:10.0.0.2")), rate(2.0)),
            (entity(Some(None), None), rate(3.0)),
        ]);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            connection_limits(&settings, &quotas),
            ConnectionLimits {
                max: 5,
                max_per_ip: 3,
                max_of_ip: HashMap::from([(address("10.0.0.1"), 7), (address("::1"), 8)]),
                rate: Some(9.0),
                rate_per_ip: Some(1.0),
                rate_of_ip: HashMap::from([(address("10.0.0.2"), 2.0)]),
                inter_broker: None,
                window: Window::new(4, 2),
            }
        );
        let defaults = BrokerConfig::new("x").resolve().unwrap();
        let limits = connection_limits(&defaults, &Quotas::new());
        assert_eq!((limits.rate, limits.rate_per_ip), (None, None));
    }
}
