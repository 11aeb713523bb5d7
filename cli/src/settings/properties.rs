//! Java properties, as `server.properties` is written: comments, `=`, `:` or space between key and
//! value, lines that go on after a backslash, and escapes.
//!
//! Invariant: what `java.util.Properties` reads from a file is what is read here, but that a broken
//! `\u` escape is an error with its line.

use anyhow::{Result, bail};

use super::Entry;

/// Reads all entries, in order, each with the line it begins on.
pub fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim_start_matches(is_blank);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_owned();
        while goes_on(&whole) {
            whole.pop();
            match lines.next() {
                Some((_, next)) => whole.push_str(next.trim_start_matches(is_blank)),
                None => break,
            }
        }
        let (key, value) = split(&whole);
        entries.push(Entry {
            line: at + 1,
            key: unescape(key, at + 1)?,
            value: unescape(value, at + 1)?,
        });
    }
    Ok(entries)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Whether a line ends in an odd number of backslashes.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1
}

/// Key and value, still escaped: the key ends at the first `=`, `:` or space that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' => {
                end = at;
                break;
            }
            c if is_blank(c) => {
                end = at;
                break;
            }
            _ => {}
        }
    }
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

fn unescape(text: &str, line: usize) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    // Java writes what lies beyond 16 bits as two escapes.
    let mut high: Option<u16> = None;
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let Some(unit) = u16::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == 4)
                else {
                    bail!("line {line}: \\u takes four hexadecimal digits, not {digits:?}");
                };
                let units: Vec<u16> = high.take().into_iter().chain([unit]).collect();
                match String::from_utf16(&units) {
                    Ok(text) => out.push_str(&text),
                    Err(_) if units.len() == 1 && (0xd800..0xdc00).contains(&unit) => {
                        high = Some(unit);
                    }
                    Err(_) => bail!("line {line}: \\u{digits} is half a character"),
                }
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_java_reads_it() {
        let text = "# comment\n\
            ! another\n\
            \n\
            a=1\n\
            b : 2\n\
            c 3\n\
            d=x=y:z\n\
            e = one,\\\n    two,\\\n    three\n\
            f\\ g\\=h = v\n\
            path=C:\\\\dir\\\\\n\
            tabs=\\t\\u0041\\ud83d\\ude00\n\
            empty=\n\
            alone\n\
            \t spaced \t=\t value with end  \n";
        let entries = parse(text).unwrap();
        let pairs: Vec<(&str, &str)> = entries
            .iter()
            .map(|e| (e.key.as_str(), e.value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("a", "1"),
                ("b", "2"),
                ("c", "3"),
                ("d", "x=y:z"),
                ("e", "one,two,three"),
                ("f g=h", "v"),
                ("path", "C:\\dir\\"),
                ("tabs", "\tA😀"),
                ("empty", ""),
                ("alone", ""),
                ("spaced", "value with end  "),
            ]
        );
        assert_eq!(entries[4].line, 8);
        assert_eq!(entries[5].line, 11);
        assert!(
            parse("a=1\nb=\\u00g0")
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
        assert_eq!(parse("a=b\\").unwrap()[0].value, "b");
    }
}
