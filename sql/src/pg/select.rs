//! A `SELECT` taken apart by its outer shape alone: its items, and what it reads. Enough
//! to know the questions that psql and drivers ask Postgres' catalog, whose expressions
//! our planner does not have.

/// One item of a select list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// The expression, in lower case.
    pub(super) text: String,
    /// Its name in the result.
    pub(super) name: String,
}

/// A `SELECT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) items: Vec<Item>,
    /// The first relation behind `FROM`, without `pg_catalog.`; empty without a `FROM`.
    pub(super) table: String,
    /// All behind the select list, as written.
    rest: String,
    /// The same in lower case, byte for byte.
    lower: String,
}

impl Shape {
    /// The shape of a statement, if it is a `SELECT`.
    pub(super) fn of(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        let text = text.trim_end_matches([';', ' ']);
        let lower = text.to_ascii_lowercase();
        let body = lower.strip_prefix("select ")?;
        let body = body.strip_prefix("distinct ").unwrap_or(body);
        let text = text.get(text.len() - body.len()..)?;
        let (list, rest) = match cut(body, " from ") {
            Some(at) => (text.get(..at)?, text.get(at..)?),
            None => (text, ""),
        };
        let lower = rest.to_ascii_lowercase();
        let table = lower
            .strip_prefix(" from ")
            .and_then(|from| {
                from.split(|c: char| c.is_whitespace() || c == ',' || c == ')')
                    .next()
            })
            .map(|table| table.trim_start_matches("pg_catalog.").to_owned())
            .unwrap_or_default();
        Some(Self {
            items: split(list).iter().map(|item| named(item)).collect(),
            table,
            rest: rest.to_owned(),
            lower,
        })
    }

    /// Whether what stands behind the select list has these words, in lower case.
    pub(super) fn says(&self, words: &str) -> bool {
        self.lower.contains(words)
    }

    /// The quoted text behind the first of `heads`, in lower case.
    pub(super) fn quoted(&self, heads: &[&str]) -> Option<String> {
        heads.iter().find_map(|head| {
            let start = self.lower.find(head)? + head.len();
            let rest = self.rest.get(start..)?.trim_start();
            let rest = rest.strip_prefix(['e', 'E']).unwrap_or(rest);
            let mut chars = rest.strip_prefix('\'')?.chars().peekable();
            let mut text = String::new();
            while let Some(c) = chars.next() {
                if c == '\'' && chars.next_if_eq(&'\'').is_none() {
                    return Some(text);
                }
                text.push(c);
            }
            None
        })
    }

    /// Every quoted text behind the select list.
    pub(super) fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        let mut text: Option<String> = None;
        let mut chars = self.rest.chars().peekable();
        while let Some(c) = chars.next() {
            match (&mut text, c) {
                (None, '\'') => text = Some(String::new()),
                (None, _) => {}
                (Some(open), '\'') => {
                    if chars.next_if_eq(&'\'').is_some() {
                        open.push(c);
                    } else {
                        texts.extend(text.take());
                    }
                }
                (Some(open), c) => open.push(c),
            }
        }
        texts
    }

    /// The number behind one of `heads`, quoted or not.
    pub(super) fn number(&self, heads: &[&str]) -> Option<u32> {
        heads.iter().find_map(|head| {
            let start = self.lower.find(head)? + head.len();
            let rest = self.lower.get(start..)?.trim_start_matches([' ', '\'']);
            let end = rest.find(|c: char| !c.is_ascii_digit());
            rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
        })
    }

    /// The list of quoted letters behind `head`.
    pub(super) fn letters(&self, head: &str) -> Option<Vec<char>> {
        let start = self.lower.find(head)? + head.len();
        let list = self.rest.get(start..)?.split(')').next()?;
        Some(
            list.split(',')
                .filter_map(|letter| letter.trim().trim_matches('\'').chars().next())
                .collect(),
        )
    }
}

/// Calls `each` with the place and the text of what stands outside brackets and quotes.
fn outside(text: &str, mut each: impl FnMut(usize, &str) -> bool) {
    let mut depth = 0usize;
    let mut quote: Option<char> = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth = depth.saturating_sub(1),
            (None, _) if depth == 0 => {
                let done = text.get(at..).is_some_and(|rest| each(at, rest));
                if done {
                    return;
                }
            }
            _ => {}
        }
    }
}

/// Where `words` first stand outside brackets and quotes.
fn cut(text: &str, words: &str) -> Option<usize> {
    let mut found = None;
    outside(text, |at, rest| {
        let here = rest.starts_with(words);
        if here {
            found = Some(at);
        }
        here
    });
    found
}

fn split(list: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut start = 0;
    outside(list, |at, rest| {
        if rest.starts_with(',') {
            items.extend(list.get(start..at));
            start = at + 1;
        }
        false
    });
    items.extend(list.get(start..));
    items.into_iter().map(str::trim).collect()
}

fn named(item: &str) -> Item {
    let lower = item.to_ascii_lowercase();
    let mut place = None;
    outside(&lower, |at, rest| {
        if rest.starts_with(" as ") {
            place = Some(at);
        }
        false
    });
    let (text, name) = match place {
        Some(at) => (
            lower.get(..at).unwrap_or_default(),
            item.get(at + 4..).unwrap_or_default().trim_matches('"'),
        ),
        None => {
            let whole = item.split('(').next().unwrap_or(item);
            (lower.as_str(), whole.rsplit('.').next().unwrap_or(whole))
        }
    };
    Item {
        text: text.trim().to_owned(),
        name: if name.trim().is_empty() {
            "?column?".to_owned()
        } else {
            name.trim().to_owned()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_comes_apart_at_its_outer_words() {
        let shape = Shape::of(
            "SELECT n.nspname as \"Schema\",\n  CASE c.relkind WHEN 'r' THEN 'a, b' END as \"Type\",
             (SELECT x FROM y), pg_catalog.f(1, 2)
             FROM pg_catalog.pg_class c WHERE c.relkind IN ('r','m','') AND c.oid = '42'
             AND c.relname OPERATOR(pg_catalog.~) '^(It''s)$' COLLATE pg_catalog.default;",
        )
        .expect("a shape");
        let names: Vec<&str> = shape.items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["Schema", "Type", "?column?", "f"]);
        assert_eq!(shape.items[2].text, "(select x from y)");
        assert_eq!(shape.table, "pg_class");
        assert_eq!(shape.letters("c.relkind in ("), Some(vec!['r', 'm']));
        assert_eq!(shape.number(&["c.oid = "]), Some(42));
        assert_eq!(
            shape
                .quoted(&["c.relname operator(pg_catalog.~) "])
                .as_deref(),
            Some("^(It's)$")
        );
        assert_eq!(Shape::of("INSERT INTO x VALUES (1)"), None);
    }
}
