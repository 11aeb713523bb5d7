//! The fold of the catalog's log: which statements took effect, and what there is now.
//!
//! Invariant: the state depends on the events and their order alone, so that every node
//! that reads the same log has the same catalog, and of two concurrent `CREATE`s of one
//! name the first in the log wins everywhere.

use super::Relation;
use crate::error::{SqlError, SqlState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The version of events that this code writes.
pub const EVENT_VERSION: u32 = 1;

/// A record of the catalog's log: a statement under its unique id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The format; see [`EVENT_VERSION`].
    pub version: u32,
    /// The statement's id.
    pub id: String,
    /// When it was issued, in milliseconds since 1970; for people.
    pub issued_at: i64,
    /// What it asks for.
    pub change: Change,
}

/// What a statement asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A new relation.
    Create {
        /// It.
        relation: Box<Relation>,
        /// The ids of what its plan reads, by name, as they were when it was planned.
        #[serde(default)]
        reads: BTreeMap<String, String>,
    },
    /// The end of relations, by id.
    Drop {
        /// Which.
        ids: BTreeSet<String>,
    },
}

/// What there is.
#[derive(Debug, Clone, Default)]
pub struct CatalogState {
    relations: BTreeMap<String, Arc<Relation>>,
}

impl CatalogState {
    /// All relations, by name.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }

    /// The relation of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<Relation>> {
        self.relations.get(name)
    }

    /// The relation of an id.
    pub fn by_id(&self, id: &str) -> Option<&Arc<Relation>> {
        self.relations.values().find(|relation| relation.id == id)
    }

    /// The relations that read `name` directly.
    pub fn readers(&self, name: &str) -> Vec<&Arc<Relation>> {
        self.relations
            .values()
            .filter(|relation| relation.reads().contains(&name))
            .collect()
    }

    /// `name` and all that reads it, directly or not; readers before what they read.
    pub fn with_readers(&self, name: &str) -> Vec<Arc<Relation>> {
        let mut found: Vec<Arc<Relation>> = Vec::new();
        self.collect_readers(name, &mut found);
        found
    }

    fn collect_readers(&self, name: &str, found: &mut Vec<Arc<Relation>>) {
        for reader in self.readers(name) {
            self.collect_readers(&reader.name, found);
        }
        if let Some(relation) = self.get(name)
            && !found.iter().any(|known| known.id == relation.id)
        {
            found.push(Arc::clone(relation));
        }
    }

    /// All relations, each behind what it reads.
    pub fn in_order(&self) -> Vec<Arc<Relation>> {
        let mut ordered: Vec<Arc<Relation>> = Vec::new();
        for relation in self.relations.values() {
            self.visit(relation, &mut ordered);
        }
        ordered
    }

    fn visit(&self, relation: &Arc<Relation>, ordered: &mut Vec<Arc<Relation>>) {
        if ordered.iter().any(|known| known.id == relation.id) {
            return;
        }
        for input in relation.reads() {
            if let Some(input) = self.get(input) {
                self.visit(input, ordered);
            }
        }
        ordered.push(Arc::clone(relation));
    }

    /// Applies an event, or says why it has no effect.
    pub fn apply(&mut self, change: &Change) -> Result<(), SqlError> {
        match change {
            Change::Create { relation, reads } => {
                if let Some(existing) = self.relations.get(&relation.name) {
                    return Err(already_exists(existing));
                }
                for (name, id) in reads {
                    if self.get(name).is_none_or(|input| input.id != *id) {
                        return Err(SqlError::new(
                            SqlState::UndefinedTable,
                            format!("`{name}` was dropped in the meantime"),
                        )
                        .hint("create it again, then this statement"));
                    }
                }
                self.relations
                    .insert(relation.name.clone(), Arc::new((**relation).clone()));
                Ok(())
            }
            Change::Drop { ids } => {
                for id in ids {
                    let Some(relation) = self.by_id(id) else {
                        return Err(SqlError::new(
                            SqlState::UndefinedTable,
                            "it was dropped in the meantime",
                        ));
                    };
                    let left: Vec<&Arc<Relation>> = self
                        .readers(&relation.name)
                        .into_iter()
                        .filter(|reader| !ids.contains(&reader.id))
                        .collect();
                    if !left.is_empty() {
                        return Err(still_read(relation, &left));
                    }
                }
                self.relations
                    .retain(|_, relation| !ids.contains(&relation.id));
                Ok(())
            }
        }
    }
}

/// The error that a name is taken.
pub(crate) fn already_exists(existing: &Relation) -> SqlError {
    SqlError::new(
        SqlState::DuplicateTable,
        format!(
            "there is already a {} `{}`",
            existing.kind().words(),
            existing.name
        ),
    )
    .hint("choose another name, DROP it first, or write IF NOT EXISTS")
}

/// The error that a relation has readers.
pub(crate) fn still_read(relation: &Relation, readers: &[&Arc<Relation>]) -> SqlError {
    let names: Vec<String> = readers
        .iter()
        .map(|reader| format!("the {} `{}`", reader.kind().words(), reader.name))
        .collect();
    SqlError::new(
        SqlState::DependentObjects,
        format!(
            "the {} `{}` is read by {}",
            relation.kind().words(),
            relation.name,
            names.join(", ")
        ),
    )
    .hint("drop these first, or add CASCADE to drop them with it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Body, SourceDef};
    use crate::plan::{OnBadRecord, RowFormat};

    fn source(id: &str, name: &str) -> Change {
        Change::Create {
            relation: Box::new(Relation {
                id: id.into(),
                name: name.into(),
                sql: String::new(),
                body: Body::Source(SourceDef {
                    topic: name.into(),
                    columns: Vec::new(),
                    primary_key: Vec::new(),
                    watermark: None,
                    format: RowFormat::Json,
                    on_error: OnBadRecord::Fail,
                    connector: "kafka".into(),
                    options: BTreeMap::new(),
                }),
            }),
            reads: BTreeMap::new(),
        }
    }

    #[test]
    fn of_two_concurrent_creates_the_first_wins_and_the_second_is_told() {
        let mut state = CatalogState::default();
        assert_eq!(state.apply(&source("1", "ads")), Ok(()));
        let error = state
            .apply(&source("2", "ads"))
            .expect_err("the name is taken");
        assert_eq!(error.state(), SqlState::DuplicateTable);
        assert_eq!(state.get("ads").map(|r| r.id.as_str()), Some("1"));
    }

    #[test]
    fn what_was_planned_over_a_dropped_relation_does_not_come_to_be() {
        let mut state = CatalogState::default();
        state.apply(&source("1", "ads")).expect("created");
        let ids = BTreeSet::from(["1".to_owned()]);
        state
            .apply(&Change::Drop { ids: ids.clone() })
            .expect("dropped");
        state.apply(&source("2", "ads")).expect("created again");
        let Change::Create { relation, .. } = source("3", "view") else {
            unreachable!()
        };
        let late = Change::Create {
            relation,
            reads: BTreeMap::from([("ads".to_owned(), "1".to_owned())]),
        };
        assert!(state.apply(&late).is_err());
        assert!(
            state.apply(&Change::Drop { ids }).is_err(),
            "a second drop of the same id"
        );
        assert!(state.get("ads").is_some());
    }

    #[test]
    fn an_event_reads_back_from_its_json() {
        let event = Event {
            version: EVENT_VERSION,
            id: "x".into(),
            issued_at: 1,
            change: source("1", "ads"),
        };
        let text = serde_json::to_string(&event).expect("json");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("event"), event);
    }
}
