//! What members subscribe to: topics by name, and by a regular expression.
//!
//! A regular expression is matched against the names of all topics, which must match it whole. The
//! topics it matched are kept in the log, so that a restart does not change the group.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};
use uuid::Uuid;

use super::group::{ConsumerGroup, Key, Resolved};
use super::member::Member;
use crate::group::coordinator::Cx;
use crate::group::topics::Topics;
use crate::group::types::Refused;
use crate::wire::{ErrorCode, Str};

/// Regular expressions are looked up again at most this often, so that many new topics make one
/// rebalance.
const REFRESH_MS: i64 = 10_000;

/// What a compiled regular expression may take.
const REGEX_BYTES: usize = 1 << 20;

/// Compiles a regular expression that is to match a whole name.
pub(in crate::group) fn compile(regex: &str) -> Result<Regex, Refused> {
    let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
    // Alone first: what is only complete within the anchors is not one.
    build(regex)
        .and_then(|_| build(&format!(r"\A(?:{regex})\z")))
        .map_err(|e| {
            // The parser draws a picture first; its last line says what is wrong.
            let text = e.to_string();
            let why = text.lines().last().unwrap_or_default();
            let why = why.trim_start_matches("error: ");
            Refused::new(
                ErrorCode::InvalidRegularExpression,
                format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {why}."),
            )
        })
}

impl ConsumerGroup {
    /// The names of topics that a member subscribes to, by name or by regular expression.
    fn names_of<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = &'a Str> {
        let regex = member.profile.regex.as_ref();
        let matched = regex.and_then(|r| self.regexes.get(r));
        let matched = matched.into_iter().flat_map(|r| &r.topics);
        member.profile.topics.iter().chain(matched)
    }

    /// The topics that a member subscribes to, as far as they exist.
    pub(in crate::group) fn topics_of(&self, member: &Member, topics: &Topics) -> BTreeSet<Uuid> {
        self.names_of(member)
            .filter_map(|name| topics.get(name))
            .map(|(id, _)| id)
            .collect()
    }

    /// The names of all topics that the group subscribes to.
    pub(in crate::group) fn subscribed(&self) -> BTreeSet<&Str> {
        self.members
            .values()
            .flat_map(|m| self.names_of(m))
            .collect()
    }

    /// Whether a member subscribes to the topic.
    pub(in crate::group) fn is_subscribed_to(&self, topic: &Str) -> bool {
        self.members
            .values()
            .any(|m| self.names_of(m).any(|name| name == topic))
    }

    /// Matches regular expressions that were not matched yet, or that new topics may match, and
    /// forgets those that nobody subscribes to any more. Says whether other topics match now.
    pub(in crate::group) fn resolve(&mut self, cx: &Cx<'_>) -> bool {
        let wanted: BTreeSet<Str> = self
            .members
            .values()
            .filter_map(|m| m.profile.regex.clone())
            .collect();
        let gone: Vec<Str> = self
            .regexes
            .keys()
            .filter(|r| !wanted.contains(*r))
            .cloned()
            .collect();
        let mut changed = false;
        for regex in gone {
            changed |= self
                .regexes
                .remove(&regex)
                .is_some_and(|r| !r.topics.is_empty());
            self.mark(Key::Regex(regex));
        }
        let last = self.regexes.values().map(|r| r.timestamp).max();
        let since = cx.now.saturating_sub(last.unwrap_or(i64::MIN));
        let old = since >= cx.config.consumer.regex_refresh_interval_ms;
        let refresh = old || (self.new_topics && since >= REFRESH_MS);
        for regex in wanted {
            let before = self.regexes.get(&regex);
            if before.is_some() && !refresh {
                continue;
            }
            let topics: BTreeSet<Str> = match compile(&regex) {
                Ok(compiled) => cx
                    .topics
                    .names()
                    .filter(|name| compiled.is_match(name))
                    .cloned()
                    .collect(),
                Err(e) => {
                    // It was checked when it came in.
                    tracing::error!(group = %self.id, error = e.message, "ignored");
                    BTreeSet::new()
                }
            };
            changed |= before.map_or(!topics.is_empty(), |b| b.topics != topics);
            let version = before.map_or(1, |b| b.version.saturating_add(1));
            let resolved = Resolved {
                topics,
                version,
                timestamp: cx.now,
            };
            self.regexes.insert(regex.clone(), resolved);
            self.mark(Key::Regex(regex));
        }
        if refresh {
            self.new_topics = false;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_names_match() {
        let regex = compile("foo|b.r").unwrap();
        for (name, matches) in [
            ("foo", true),
            ("bar", true),
            ("foobar", false),
            ("xbar", false),
        ] {
            assert_eq!(regex.is_match(name), matches, "{name}");
        }
        for wrong in ["(", "a)(b", "*", r"(?x)a #"] {
            let refused = compile(wrong).map(|r| r.is_match("a"));
            assert!(
                !refused.unwrap_or(false),
                "{wrong} is not a regular expression, or matches nothing"
            );
        }
        assert_eq!(
            compile("(").unwrap_err().code,
            ErrorCode::InvalidRegularExpression
        );
    }
}
