//! Values as Postgres writes them, as text and as bytes.

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use std::fmt::Write;

/// Days from 1970-01-01 to 2000-01-01, where Postgres counts from.
pub(super) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(super) const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

// Writing to a `BytesMut` never fails, and so neither does anything here.

/// The shortest text that reads back as the number, with an exponent where Postgres has one.
pub(super) fn float(out: &mut BytesMut, value: f64, shortest: &str, digits: i32) {
    if value.is_nan() {
        out.put_slice(b"NaN");
        return;
    }
    if value.is_infinite() {
        out.put_slice(if value > 0.0 {
            b"Infinity"
        } else {
            b"-Infinity"
        });
        return;
    }
    // `shortest` is in the form `d.ddde-7`.
    let Some((mantissa, exponent)) = shortest.split_once('e') else {
        out.put_slice(shortest.as_bytes());
        return;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..digits).contains(&exponent) || value == 0.0 {
        let _ = match digits {
            15 => write!(out, "{value}"),
            _ => write!(out, "{}", value as f32),
        };
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{mantissa}e{sign}{:02}", exponent.abs());
    }
}

/// A `double precision`.
pub(super) fn float8(out: &mut BytesMut, value: f64) {
    float(out, value, &format!("{value:e}"), 15);
}

/// A `real`.
pub(super) fn float4(out: &mut BytesMut, value: f32) {
    float(out, f64::from(value), &format!("{value:e}"), 6);
}

/// A decimal: `value` is so many units of 10^-scale.
pub(super) fn decimal(out: &mut BytesMut, value: i128, scale: i8) {
    if scale <= 0 {
        let _ = write!(out, "{value}");
        if value != 0 {
            out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    let _ = write!(out, "{sign}{whole}.{fraction}");
}

/// A decimal as Postgres' `numeric` in bytes: groups of four digits.
pub(super) fn numeric_bytes(out: &mut BytesMut, text: &str) {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let padding = (4 - whole.len() % 4) % 4;
    let mut digits = "0".repeat(padding);
    digits.push_str(whole);
    let whole_groups = digits.len() / 4;
    digits.push_str(fraction);
    digits.push_str(&"0".repeat((4 - fraction.len() % 4) % 4));
    let mut groups: Vec<i16> = digits
        .as_bytes()
        .chunks(4)
        .map(|chunk| {
            chunk.iter().fold(0, |group, digit| {
                group * 10 + i16::from(digit.saturating_sub(b'0'))
            })
        })
        .collect();
    let mut weight = i16::try_from(whole_groups).unwrap_or(i16::MAX) - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= i16::try_from(leading).unwrap_or(0);
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(i16::try_from(groups.len()).unwrap_or(0));
    out.put_i16(weight);
    out.put_u16(if negative && !groups.is_empty() {
        0x4000
    } else {
        0
    });
    out.put_u16(u16::try_from(fraction.len()).unwrap_or(0));
    for group in groups {
        out.put_i16(group);
    }
}

fn write_date(out: &mut BytesMut, date: NaiveDate) -> &'static str {
    let (year, era) = match date.year() {
        year if year > 0 => (year, ""),
        // The year before 1 is 1 BC.
        year => (1 - year, " BC"),
    };
    let _ = write!(out, "{year:04}-{:02}-{:02}", date.month(), date.day());
    era
}

fn write_time(out: &mut BytesMut, time: NaiveTime) {
    let _ = write!(
        out,
        "{:02}:{:02}:{:02}",
        time.hour(),
        time.minute(),
        time.second()
    );
    write_fraction(out, time.nanosecond() / 1000 % 1_000_000);
}

fn write_fraction(out: &mut BytesMut, micros: u32) {
    if micros > 0 {
        let text = format!("{micros:06}");
        let _ = write!(out, ".{}", text.trim_end_matches('0'));
    }
}

/// Days since 1970-01-01 as a date.
pub(super) fn date(out: &mut BytesMut, days: i32) {
    match NaiveDate::from_num_days_from_ce_opt(days.saturating_add(719_163)) {
        Some(date) => {
            let era = write_date(out, date);
            out.put_slice(era.as_bytes());
        }
        None => out.put_slice(if days > 0 { b"infinity" } else { b"-infinity" }),
    }
}

/// Microseconds since midnight as a time of day.
pub(super) fn time(out: &mut BytesMut, micros: i64) {
    let seconds = u32::try_from(micros.div_euclid(1_000_000)).unwrap_or(0);
    let nanos = u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0) * 1000;
    match NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos) {
        Some(time) => write_time(out, time),
        None => out.put_slice(b"24:00:00"),
    }
}

/// Microseconds since 1970-01-01 as a point in time, with its zone if it has one.
pub(super) fn timestamp(out: &mut BytesMut, micros: i64, zone: &str) {
    let time: Option<NaiveDateTime> =
        DateTime::from_timestamp_micros(micros).map(|t| t.naive_utc());
    match time {
        Some(time) => {
            let era = write_date(out, time.date());
            out.put_u8(b' ');
            write_time(out, time.time());
            out.put_slice(zone.as_bytes());
            out.put_slice(era.as_bytes());
        }
        None => out.put_slice(if micros > 0 {
            b"infinity"
        } else {
            b"-infinity"
        }),
    }
}

/// A length of time, with months and days that have no fixed length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) months: i32,
    pub(super) days: i32,
    pub(super) micros: i64,
}

impl Interval {
    /// As `1 year 2 mons 3 days 04:05:06`.
    pub(super) fn text(self, out: &mut BytesMut) {
        let start = out.len();
        let mut part = |value: i32, one: &str, many: &str| {
            if value != 0 {
                let space = if out.len() > start { " " } else { "" };
                let name = if value == 1 { one } else { many };
                let _ = write!(out, "{space}{value} {name}");
            }
        };
        part(self.months / 12, "year", "years");
        part(self.months % 12, "mon", "mons");
        part(self.days, "day", "days");
        if self.micros != 0 || out.len() == start {
            if out.len() > start {
                out.put_u8(b' ');
            }
            let sign = if self.micros < 0 { "-" } else { "" };
            let micros = self.micros.unsigned_abs();
            let seconds = micros / 1_000_000;
            let _ = write!(
                out,
                "{sign}{:02}:{:02}:{:02}",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            );
            write_fraction(out, u32::try_from(micros % 1_000_000).unwrap_or(0));
        }
    }

    /// As microseconds, days and months.
    pub(super) fn bytes(self, out: &mut BytesMut) {
        out.put_i64(self.micros);
        out.put_i32(self.days);
        out.put_i32(self.months);
    }
}

/// Bytes as `\x…`.
pub(super) fn bytea(out: &mut BytesMut, bytes: &[u8]) {
    out.reserve(2 + bytes.len() * 2);
    out.put_slice(b"\\x");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).expect("text")
    }

    #[test]
    fn floats_are_written_as_postgres_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e300, "1e+300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(|out| float8(out, value)), expected);
        }
        assert_eq!(text(|out| float4(out, 0.1)), "0.1");
        assert_eq!(text(|out| float4(out, 123_456.0)), "123456");
        assert_eq!(text(|out| float4(out, 1_234_567.0)), "1.234567e+06");
    }

    #[test]
    fn decimals_keep_their_scale() {
        assert_eq!(text(|out| decimal(out, 12345, 2)), "123.45");
        assert_eq!(text(|out| decimal(out, -5, 2)), "-0.05");
        assert_eq!(text(|out| decimal(out, 0, 2)), "0.00");
        assert_eq!(text(|out| decimal(out, 7, -2)), "700");
        assert_eq!(
            text(|out| decimal(out, i128::MIN, 0)),
            i128::MIN.to_string()
        );
    }

    #[test]
    fn times_are_written_as_postgres_does() {
        assert_eq!(text(|out| date(out, 0)), "1970-01-01");
        assert_eq!(text(|out| date(out, -719_163)), "0001-12-31 BC");
        assert_eq!(
            text(|out| timestamp(out, 1_704_067_201_500_000, "")),
            "2024-01-01 00:00:01.5"
        );
        assert_eq!(
            text(|out| timestamp(out, -1, "+00")),
            "1969-12-31 23:59:59.999999+00"
        );
        assert_eq!(text(|out| timestamp(out, i64::MAX, "")), "infinity");
        assert_eq!(text(|out| time(out, 3_661_000_001)), "01:01:01.000001");
    }

    #[test]
    fn intervals_are_written_as_postgres_does() {
        let interval = |months, days, micros| {
            text(|out| {
                Interval {
                    months,
                    days,
                    micros,
                }
                .text(out);
            })
        };
        assert_eq!(
            interval(14, 3, 14_706_000_000),
            "1 year 2 mons 3 days 04:05:06"
        );
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(0, 1, 0), "1 day");
        assert_eq!(interval(0, -1, -1_500_000), "-1 days -00:00:01.5");
    }

    /// The value of a numeric's bytes, in units of 10^-scale.
    fn read_numeric(mut bytes: &[u8]) -> (i128, i8) {
        use bytes::Buf;
        let groups = bytes.get_i16();
        let weight = bytes.get_i16();
        let negative = bytes.get_u16() == 0x4000;
        let scale = bytes.get_u16();
        let mut value: i128 = 0;
        for group in 0..groups {
            let power = i32::from(weight - group) * 4 + i32::from(scale);
            let digits = i128::from(bytes.get_i16());
            value += if power >= 0 {
                digits * 10i128.pow(power.unsigned_abs())
            } else {
                digits / 10i128.pow(power.unsigned_abs())
            };
        }
        (
            if negative { -value } else { value },
            i8::try_from(scale).expect("a scale"),
        )
    }

    proptest! {
        #[test]
        fn a_numeric_in_bytes_is_the_number(
            value in -10i128.pow(30)..10i128.pow(30),
            scale in 0i8..20,
        ) {
            let written = text(|out| decimal(out, value, scale));
            let mut out = BytesMut::new();
            numeric_bytes(&mut out, &written);
            prop_assert_eq!(read_numeric(&out), (value, scale));
        }

        #[test]
        fn a_float_reads_back(value in any::<f64>()) {
            let written = text(|out| float8(out, value));
            let read: f64 = written.parse().expect("a number");
            prop_assert!(read == value || value.is_nan() && read.is_nan());
        }
    }
}
