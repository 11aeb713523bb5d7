//! Dates and times as text and back, exact to the unit of their type.
//!
//! Years 0 to 9999 are written in ISO 8601; a value outside is written as the bare
//! number that Arrow keeps, so that everything comes back as it was.

use arrow::datatypes::TimeUnit;

const DAY: i64 = 86_400;

/// Ticks of a unit in a second, and the digits that takes.
pub(super) fn ticks(unit: TimeUnit) -> (i64, usize) {
    match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    }
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian).
fn civil(days: i64) -> (i64, i64, i64) {
    // Years begin in March here, so that the leap day is the last of a year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// The day of a date, if there is such a date.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let y = if month <= 2 { year - 1 } else { year };
    let of_era = y.rem_euclid(400);
    let m = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * m + 2) / 5 + day - 1;
    let days =
        y.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

fn put_digits(value: i64, width: usize, out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + width, b'0');
    let mut rest = value;
    for digit in out.iter_mut().skip(at).rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Writes a day, or nothing when its year is out of range.
pub(super) fn put_date(days: i64, out: &mut Vec<u8>) -> bool {
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        return false;
    }
    put_digits(year, 4, out);
    out.push(b'-');
    put_digits(month, 2, out);
    out.push(b'-');
    put_digits(day, 2, out);
    true
}

/// Writes a time of day, or nothing when it is none.
pub(super) fn put_time(value: i64, unit: TimeUnit, out: &mut Vec<u8>) -> bool {
    let (per_second, digits) = ticks(unit);
    let seconds = value.div_euclid(per_second);
    if !(0..DAY).contains(&seconds) {
        return false;
    }
    put_digits(seconds / 3600, 2, out);
    out.push(b':');
    put_digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    put_digits(seconds % 60, 2, out);
    if digits > 0 {
        out.push(b'.');
        put_digits(value.rem_euclid(per_second), digits, out);
    }
    true
}

/// Writes a timestamp, or nothing when its year is out of range.
pub(super) fn put_timestamp(value: i64, unit: TimeUnit, utc: bool, out: &mut Vec<u8>) -> bool {
    let per_day = ticks(unit).0 * DAY;
    if !put_date(value.div_euclid(per_day), out) {
        return false;
    }
    out.push(b'T');
    put_time(value.rem_euclid(per_day), unit, out);
    if utc {
        out.push(b'Z');
    }
    true
}

fn number(text: &str, width: usize) -> Option<i64> {
    (text.len() == width && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Reads `YYYY-MM-DD`.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    days(number(year, 4)?, number(month, 2)?, number(day, 2)?)
}

/// Reads `HH:MM:SS` with a fraction no finer than the unit.
pub(super) fn parse_time(text: &str, unit: TimeUnit) -> Option<i64> {
    let (per_second, digits) = ticks(unit);
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.splitn(3, ':');
    let (h, m, s) = (parts.next()?, parts.next()?, parts.next()?);
    let (h, m, s) = (number(h, 2)?, number(m, 2)?, number(s, 2)?);
    if h > 23 || m > 59 || s > 59 || fraction.len() > digits {
        return None;
    }
    let mut ticks = 0;
    for i in 0..digits {
        let digit = fraction.as_bytes().get(i).copied().unwrap_or(b'0');
        ticks = ticks * 10 + i64::from(digit.is_ascii_digit().then_some(digit)? - b'0');
    }
    Some((h * 3600 + m * 60 + s) * per_second + ticks)
}

/// Reads a date and a time; a final `Z` is allowed.
pub(super) fn parse_timestamp(text: &str, unit: TimeUnit) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once('T')?;
    // The first day of the range begins before it: its middle must not overflow.
    let per_day = i128::from(ticks(unit).0 * DAY);
    let start = i128::from(parse_date(date)?) * per_day;
    i64::try_from(start + i128::from(parse_time(time, unit)?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: i64, unit: TimeUnit) -> Option<String> {
        let mut out = Vec::new();
        put_timestamp(value, unit, false, &mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn known_instants() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000"),
            (-1, "1969-12-31T23:59:59.999"),
            (951_782_400_000, "2000-02-29T00:00:00.000"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000"),
        ] {
            assert_eq!(text(ms, TimeUnit::Millisecond).as_deref(), Some(expected));
        }
        assert_eq!(text(253_402_300_800_000, TimeUnit::Millisecond), None);
        for bad in [
            "2023-02-29T00:00:00",
            "2023-2-01T00:00:00",
            "2023-01-01",
            "2023-01-01T24:00:00",
            "x",
        ] {
            assert_eq!(parse_timestamp(bad, TimeUnit::Second), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn timestamps_come_back(value in any::<i64>(), seconds in -70_000_000_000i64..300_000_000_000) {
            for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
                for value in [value, seconds, seconds.saturating_mul(ticks(unit).0)] {
                    if let Some(text) = text(value, unit) {
                        prop_assert_eq!(parse_timestamp(&text, unit), Some(value), "{}", text);
                    }
                }
            }
        }
    }
}
