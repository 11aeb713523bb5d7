//! What several commands read from their arguments: pairs, places, times and spans.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

/// `KEY=VALUE` pairs of a flag.
pub fn pairs(flag: &str, given: &[String]) -> Result<Vec<(String, String)>> {
    given
        .iter()
        .map(|pair| {
            pair.split_once('=')
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
                .filter(|(key, _)| !key.is_empty())
                .with_context(|| format!("{flag} takes KEY=VALUE, not {pair:?}"))
        })
        .collect()
}

/// Numbers and ranges of numbers: `0,2-4`.
pub fn numbers(text: &str) -> Result<Vec<i32>> {
    let number = |word: &str| -> Result<i32> {
        word.trim()
            .parse()
            .ok()
            .filter(|n| *n >= 0)
            .with_context(|| format!("{word:?} is no partition number"))
    };
    let mut all = Vec::new();
    for word in text.split(',').filter(|w| !w.trim().is_empty()) {
        match word.split_once('-') {
            Some((from, to)) => all.extend(number(from)?..=number(to)?),
            None => all.push(number(word)?),
        }
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Topics with the partitions that are meant: `orders` (all of them) or `orders:0,1`.
pub fn places(given: &[String]) -> Result<BTreeMap<String, Option<Vec<i32>>>> {
    let mut all: BTreeMap<String, Option<Vec<i32>>> = BTreeMap::new();
    for place in given {
        match place.split_once(':') {
            None => {
                all.insert(place.clone(), None);
            }
            Some((topic, partitions)) => {
                let partitions = numbers(partitions).with_context(|| format!("in {place:?}"))?;
                if let Some(some) = all.entry(topic.to_owned()).or_insert(Some(Vec::new())) {
                    some.extend(partitions);
                }
            }
        }
    }
    Ok(all)
}

/// A point in time as milliseconds since 1970: those, or ISO 8601 with or without a zone (UTC).
pub fn time(text: &str) -> Result<i64> {
    let text = text.trim();
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_millis());
    }
    // Kafka's own scripts write the zone without a colon.
    if let Ok(time) = DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z") {
        return Ok(time.timestamp_millis());
    }
    for format in [
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M",
    ] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Ok(time.and_utc().timestamp_millis());
        }
    }
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        && let Some(time) = day.and_hms_opt(0, 0, 0)
    {
        return Ok(time.and_utc().timestamp_millis());
    }
    bail!(
        "{text:?} is no time: give milliseconds since 1970, or such as 2025-01-31T12:00:00 (UTC) or 2025-01-31T12:00:00+01:00"
    )
}

/// A span as milliseconds: `90s`, `15m`, `36h`, `7d`, or ISO 8601 such as `P1DT12H`.
pub fn span(text: &str) -> Result<i64> {
    let wrong = || {
        format!(
            "{text:?} is no span of time: give such as 90s, 15m, 36h, 7d, or P1DT12H (ISO 8601)"
        )
    };
    let upper = text.trim().to_ascii_uppercase();
    if let Some(iso) = upper.strip_prefix('P') {
        let (days, clock) = iso.split_once('T').unwrap_or((iso, ""));
        let millis = parts(days, &[('W', 604_800_000), ('D', 86_400_000)])
            .zip(parts(
                clock,
                &[('H', 3_600_000), ('M', 60_000), ('S', 1000)],
            ))
            .filter(|_| !iso.is_empty() && iso != "T")
            .map(|(days, clock)| days + clock);
        return millis.with_context(wrong);
    }
    let units = [
        ("MS", 1),
        ("S", 1000),
        ("M", 60_000),
        ("H", 3_600_000),
        ("D", 86_400_000),
    ];
    let found = units.iter().find_map(|(unit, millis)| {
        let number: f64 = upper.strip_suffix(unit)?.trim().parse().ok()?;
        (number >= 0.0).then_some((number * *millis as f64).round() as i64)
    });
    found.with_context(wrong)
}

/// Numbers with units, each unit at most once and in order.
fn parts(mut text: &str, units: &[(char, i64)]) -> Option<i64> {
    let mut total = 0.0;
    for (unit, millis) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            let number: f64 = number.parse().ok()?;
            total += number * *millis as f64;
            text = rest;
        }
    }
    text.is_empty().then_some(total.round() as i64)
}

/// A time as people and machines read it.
pub fn shown_time(millis: i64) -> String {
    match DateTime::<Utc>::from_timestamp_millis(millis) {
        Some(time) if millis >= 0 => time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        _ => millis.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, millis) in [
            ("1700000000000", 1_700_000_000_000),
            ("1970-01-02", 86_400_000),
            ("1970-01-01T00:00:01", 1000),
            ("1970-01-01T00:00:01.5Z", 1500),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01T01:00:00.000+0100", 0),
        ] {
            assert_eq!(time(text).unwrap(), millis, "{text}");
        }
        assert!(
            time("yesterday")
                .unwrap_err()
                .to_string()
                .contains("such as")
        );
        assert_eq!(shown_time(1500), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn spans() {
        for (text, millis) in [
            ("90s", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("P1DT2H", 93_600_000),
            ("PT0.5S", 500),
            ("p7d", 604_800_000),
        ] {
            assert_eq!(span(text).unwrap(), millis, "{text}");
        }
        for bad in ["", "P", "PT", "5", "-1h", "P1H", "1y"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn places_and_pairs() {
        let all = places(&["a".to_owned(), "b:0,2-3".to_owned(), "b:1".to_owned()]).unwrap();
        assert_eq!(all["a"], None);
        assert_eq!(all["b"], Some(vec![0, 2, 3, 1]));
        assert!(places(&["b:x".to_owned()]).is_err());
        assert_eq!(
            pairs("--config", &["a=b=c".to_owned()]).unwrap()[0].1,
            "b=c"
        );
        assert!(pairs("--config", &["a".to_owned()]).is_err());
    }
}
