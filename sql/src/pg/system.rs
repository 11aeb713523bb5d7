//! What psql and drivers ask Postgres' own catalog, known by the shape of the question
//! and answered from ours. A source and a sink are foreign tables there, since their rows
//! live in a topic; a source is listed among the tables too.

use super::error::WireError;
use super::select::{Item, Shape};
use super::variables::Variables;
use crate::catalog::{Body, CatalogState, Relation};
use crate::engine::{Engine, RowStream, SERVER_VERSION, sql_type_name};
use crate::error::SqlError;
use crate::planner::{DATABASE, SCHEMA};
use arrow::array::{Array, ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray};
use arrow::compute::regexp_is_match_scalar;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// A question that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    shape: Shape,
    subject: Subject,
}

/// What it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// Values of the session or the server.
    Facts(Vec<Fact>),
    Relations,
    Columns,
    Databases,
    Schemas,
    /// The topic behind a source or a sink.
    Foreign,
    /// The types of columns that psql was told of, by their numbers: `\gdesc`.
    Described,
    /// The statement of the relation with that number.
    Definition(u32),
    /// Objects that there are none of.
    Nothing,
}

/// Values that drivers ask for at their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Version,
    VersionNumber,
    Database,
    Schema,
    User,
    Process,
    Recovery,
    Empty,
}

const FACTS: [(&str, Fact); 13] = [
    ("version()", Fact::Version),
    ("current_setting('server_version_num')", Fact::VersionNumber),
    ("current_database()", Fact::Database),
    ("current_catalog", Fact::Database),
    ("current_schema()", Fact::Schema),
    ("current_schema", Fact::Schema),
    ("current_user", Fact::User),
    ("session_user", Fact::User),
    ("user", Fact::User),
    ("pg_backend_pid()", Fact::Process),
    ("pg_is_in_recovery()", Fact::Recovery),
    ("set_config('search_path', '', false)", Fact::Empty),
    ("inet_server_addr()", Fact::Empty),
];

/// Kinds of object that streams have none of, by their tables.
const NOTHING: [&str; 34] = [
    "pg_aggregate",
    "pg_am",
    "pg_attrdef",
    "pg_cast",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_index",
    "pg_inherits",
    "pg_largeobject_metadata",
    "pg_opclass",
    "pg_operator",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_rewrite",
    "pg_roles",
    "pg_sequence",
    "pg_statistic_ext",
    "pg_subscription",
    "pg_tablespace",
    "pg_trigger",
    "pg_ts_config",
    "pg_type",
];

impl Question {
    /// The question that a statement is, if it is one; an error if it asks something of
    /// Postgres' catalog that is not known.
    pub(super) fn recognize(text: &str) -> Result<Option<Self>, WireError> {
        let Some(shape) = Shape::of(text) else {
            return Ok(None);
        };
        let subject = match shape.table.as_str() {
            "" => match (facts(&shape.items), definition(&shape.items)) {
                (Some(facts), _) => Subject::Facts(facts),
                (None, Some(oid)) => Subject::Definition(oid),
                (None, None) => return Ok(None),
            },
            "pg_class" => {
                let inherits = shape.says(" join pg_catalog.pg_inherits ");
                let others = [
                    "pg_catalog.pg_index i",
                    "pg_catalog.pg_inherits i",
                    "pg_depend d",
                ];
                let indexes = shape.says("c.relkind in ('i'");
                if inherits || !indexes && others.iter().any(|other| join(&shape, other)) {
                    Subject::Nothing
                } else {
                    Subject::Relations
                }
            }
            "(values" if shape.says("::pg_catalog.oid") => Subject::Described,
            "pg_attribute" => Subject::Columns,
            "pg_database" => Subject::Databases,
            "pg_namespace" => Subject::Schemas,
            "pg_foreign_table" => Subject::Foreign,
            table if NOTHING.contains(&table) => Subject::Nothing,
            table if shape.says(&format!(" from pg_catalog.{table}")) => {
                return Err(WireError::new(
                    "42P01",
                    format!("there is no `{table}` here: this is not Postgres itself"),
                )
                .hint("ask with SHOW TABLES, SHOW JOBS, DESCRIBE name, or information_schema"));
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { shape, subject }))
    }

    /// The columns of the answer.
    pub(super) fn columns(&self) -> SchemaRef {
        let fields = self.shape.items.iter().enumerate().map(|(index, item)| {
            let data_type = match &self.subject {
                Subject::Facts(facts) => match facts.get(index) {
                    Some(Fact::Process) => DataType::Int32,
                    Some(Fact::Recovery) => DataType::Boolean,
                    _ => DataType::Utf8,
                },
                _ => DataType::Utf8,
            };
            Field::new(&item.name, data_type, true)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// The answer.
    pub(super) fn answer(
        &self,
        engine: &Engine,
        variables: &Variables,
    ) -> Result<RowStream, SqlError> {
        let catalog = engine.catalog();
        let user = variables.user();
        let columns: Vec<ArrayRef> = match &self.subject {
            Subject::Facts(facts) => facts.iter().map(|fact| fact.value(variables)).collect(),
            Subject::Relations => {
                let found = self.relations(&catalog)?;
                self.rows(&found, |relation, item| relation_item(relation, item, user))
            }
            Subject::Columns => {
                let found: Vec<(&Relation, usize)> = self
                    .relations(&catalog)?
                    .into_iter()
                    .flat_map(|relation| {
                        let count = relation.visible_columns().len();
                        (0..count).map(move |index| (relation, index))
                    })
                    .filter(|(relation, index)| self.completes(relation, *index))
                    .collect();
                self.rows(&found, |(relation, index), item| {
                    column_item(relation, *index, item)
                })
            }
            Subject::Foreign => {
                let found = self.relations(&catalog)?;
                self.rows(&found, |relation, item| foreign_item(relation, item))
            }
            Subject::Definition(wanted) => {
                let found: Vec<&Relation> = catalog
                    .relations()
                    .map(AsRef::as_ref)
                    .filter(|relation| oid(relation) == *wanted)
                    .collect();
                self.rows(&found, |relation, _| owned(&relation.sql))
            }
            Subject::Described => {
                let texts = self.shape.texts();
                let columns: Vec<&[String]> = texts.chunks(2).collect();
                self.rows(&columns, |column, item| {
                    if item.text == "name" {
                        return column.first().cloned();
                    }
                    let oid = column.get(1)?.parse().ok()?;
                    Some(type_name(&pgwire::api::Type::from_oid(oid)?))
                })
            }
            Subject::Databases => self.rows(&[()], |(), item| database_item(item, user)),
            Subject::Schemas => {
                let asked = self.name_pattern("n.nspname");
                let found: &[()] = if matches(asked.as_ref(), SCHEMA)? {
                    &[()]
                } else {
                    &[]
                };
                self.rows(found, |(), item| schema_item(item, user))
            }
            Subject::Nothing => self.rows::<()>(&[], |(), _| None),
        };
        RecordBatch::try_new(self.columns(), columns)
            .map(RowStream::of)
            .map_err(SqlError::internal)
    }

    fn rows<T>(&self, rows: &[T], value: impl Fn(&T, &Item) -> Option<String>) -> Vec<ArrayRef> {
        self.shape
            .items
            .iter()
            .map(|item| {
                let column: StringArray = rows.iter().map(|row| value(row, item)).collect();
                Arc::new(column) as ArrayRef
            })
            .collect()
    }

    fn name_pattern(&self, column: &str) -> Option<Pattern> {
        let shape = &self.shape;
        let regex = [
            format!("{column} operator(pg_catalog.~) "),
            format!("{column} ~ "),
        ];
        let regex: Vec<&str> = regex.iter().map(String::as_str).collect();
        if let Some(regex) = shape.quoted(&regex) {
            return Some(Pattern::Regex(regex));
        }
        let bare = column.rsplit('.').next().unwrap_or(column);
        if let Some(like) = shape.quoted(&[
            &format!("({column}) like "),
            &format!("substring(pg_catalog.quote_ident({bare})"),
        ]) {
            let mut prefix = String::new();
            let mut chars = like.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\\' => prefix.extend(chars.next()),
                    '%' => break,
                    c => prefix.push(c),
                }
            }
            return Some(Pattern::Prefix(prefix));
        }
        shape
            .quoted(&[&format!("{column} = ")])
            .map(Pattern::Exactly)
    }

    /// Whether a column begins as what the client completes.
    fn completes(&self, relation: &Relation, index: usize) -> bool {
        match (
            self.name_pattern("a.attname"),
            relation.visible_columns().get(index),
        ) {
            (Some(Pattern::Prefix(prefix)), Some(column)) => column.name.starts_with(&prefix),
            _ => true,
        }
    }

    fn relations<'a>(&self, catalog: &'a CatalogState) -> Result<Vec<&'a Relation>, SqlError> {
        let kinds = self.shape.letters("c.relkind in (");
        let wanted = self
            .shape
            .number(&["c.oid = ", "a.attrelid = ", "f.ftrelid = "]);
        let schema = self.name_pattern("n.nspname");
        let name = self.name_pattern("c.relname");
        let mut found = Vec::new();
        for relation in catalog.relations() {
            let kind = match &kinds {
                Some(kinds) => kinds.iter().any(|kind| is_of_kind(relation, *kind)),
                None => true,
            };
            if kind
                && wanted.is_none_or(|wanted| wanted == oid(relation))
                && matches(schema.as_ref(), SCHEMA)?
                && matches(name.as_ref(), &relation.name)?
            {
                found.push(relation.as_ref());
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

fn join(shape: &Shape, other: &str) -> bool {
    shape.says(&format!(", {other}")) || shape.says(&format!(" inner join {other}"))
}

fn facts(items: &[Item]) -> Option<Vec<Fact>> {
    items
        .iter()
        .map(|item| {
            let asked = item.text.trim_start_matches("pg_catalog.");
            let known = FACTS.iter().find(|(name, _)| *name == asked);
            known.map(|(_, fact)| *fact)
        })
        .collect()
}

/// The relation whose definition alone is asked for.
fn definition(items: &[Item]) -> Option<u32> {
    let [item] = items else {
        return None;
    };
    let text = item.text.trim_start_matches("pg_catalog.");
    let rest = text
        .strip_prefix("pg_get_viewdef(")?
        .trim_start_matches('\'');
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest.get(..end)?.parse().ok()
}

impl Fact {
    fn value(self, variables: &Variables) -> ArrayRef {
        let text = match self {
            Self::Process => return Arc::new(Int32Array::from(vec![variables.process])),
            Self::Recovery => return Arc::new(BooleanArray::from(vec![false])),
            Self::Version => format!("PostgreSQL {SERVER_VERSION}, a streaming database"),
            Self::VersionNumber => "150000".to_owned(),
            Self::Database => DATABASE.to_owned(),
            Self::Schema => SCHEMA.to_owned(),
            Self::User => variables.user().to_owned(),
            Self::Empty => String::new(),
        };
        Arc::new(StringArray::from(vec![text]))
    }
}

enum Pattern {
    Regex(String),
    Prefix(String),
    Exactly(String),
}

fn matches(pattern: Option<&Pattern>, name: &str) -> Result<bool, SqlError> {
    Ok(match pattern {
        None => true,
        Some(Pattern::Prefix(prefix)) => name.starts_with(prefix),
        Some(Pattern::Exactly(wanted)) => name == wanted,
        Some(Pattern::Regex(regex)) => {
            let names = StringArray::from(vec![name]);
            let found = regexp_is_match_scalar(&names, regex, None).map_err(|error| {
                SqlError::new(crate::error::SqlState::InvalidParameter, error.to_string())
            })?;
            found.is_valid(0) && found.value(0)
        }
    })
}

/// A number for a relation that never changes, as Postgres' clients know it by.
fn oid(relation: &Relation) -> u32 {
    // FNV-1a; numbers below 16384 are Postgres' own.
    let hash = relation.id.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    16_384 + hash % (i32::MAX.unsigned_abs() - 16_384)
}

/// A type as SQL writes it.
fn type_name(pg_type: &pgwire::api::Type) -> String {
    match pg_type.name() {
        "bool" => "boolean",
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        "time" => "time without time zone",
        other => other,
    }
    .to_owned()
}

fn is_of_kind(relation: &Relation, kind: char) -> bool {
    match relation.body {
        Body::Source(_) => kind == 'r' || kind == 'f',
        Body::View(_) => kind == 'm',
        Body::Sink(_) => kind == 'f',
    }
}

fn owned(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// What is the same for every subject; the outer `None` is for what is not.
fn literal(item: &Item) -> Option<Option<String>> {
    let text = item.text.as_str();
    if text.starts_with("null") {
        Some(None)
    } else if text.starts_with("''") {
        Some(owned(""))
    } else if text == "false" || text == "true" {
        Some(owned(text.get(..1).unwrap_or_default()))
    } else {
        None
    }
}

fn relation_item(relation: &Relation, item: &Item, user: &str) -> Option<String> {
    if let Some(value) = literal(item) {
        return value;
    }
    let text = item.text.as_str();
    let column = text.rsplit('.').next().unwrap_or(text);
    if text.starts_with("case c.relkind") {
        return owned(relation.kind().words());
    }
    if text.starts_with("case c.relpersistence") {
        return owned("permanent");
    }
    if text.starts_with("case when c.reloftype") {
        return owned("");
    }
    if text.contains("pg_get_userbyid") {
        return owned(user);
    }
    if text.contains("pg_get_viewdef") {
        return owned(&relation.sql);
    }
    if text.contains("obj_description") {
        return Some(format!("topic {}", relation.topic()));
    }
    match column.trim_end_matches(')') {
        "oid" => Some(oid(relation).to_string()),
        "nspname" => owned(SCHEMA),
        "relname" => owned(&relation.name),
        "relkind" => owned(match relation.body {
            Body::View(_) => "m",
            Body::Source(_) | Body::Sink(_) => "f",
        }),
        "relchecks" | "reltablespace" => owned("0"),
        "relpersistence" => owned("p"),
        "relreplident" => owned("d"),
        "amname" => owned(""),
        name if name.starts_with("relhas")
            || name.starts_with("relis")
            || name.ends_with("rowsecurity") =>
        {
            owned("f")
        }
        _ => None,
    }
}

fn column_item(relation: &Relation, index: usize, item: &Item) -> Option<String> {
    if let Some(value) = literal(item) {
        return value;
    }
    let text = item.text.as_str();
    let column = relation.visible_columns().get(index)?;
    if text.contains("format_type(") {
        return Some(sql_type_name(&column.data_type));
    }
    if text.contains("col_description(") {
        let key = relation.key_columns().contains(&column.name.as_str());
        return key.then(|| "key".to_owned());
    }
    if text.contains("attfdwoptions") {
        return owned("");
    }
    let bare = text.trim_end_matches(')');
    match bare.rsplit('.').next().unwrap_or(bare) {
        "attname" => owned(&column.name),
        "attnotnull" => owned(if column.nullable { "f" } else { "t" }),
        "attnum" => Some((index + 1).to_string()),
        "atttypid" => Some(super::types::pg_type(&column.data_type).oid().to_string()),
        "atttypmod" => owned("-1"),
        "attidentity" | "attgenerated" | "attcompression" => owned(""),
        "attstorage" => owned("p"),
        _ => None,
    }
}

fn foreign_item(relation: &Relation, item: &Item) -> Option<String> {
    if item.text == "s.srvname" {
        return match &relation.body {
            Body::Source(source) => owned(&source.connector),
            Body::Sink(sink) => owned(&sink.connector),
            Body::View(_) => None,
        };
    }
    Some(format!("topic '{}'", relation.topic()))
}

fn database_item(item: &Item, user: &str) -> Option<String> {
    let text = item.text.as_str();
    if text.contains("datname") && !text.contains('(') {
        owned(DATABASE)
    } else if text.contains("pg_get_userbyid") {
        owned(user)
    } else if text.contains("pg_encoding_to_char") {
        owned("UTF8")
    } else if text.contains("datlocprovider") {
        owned("libc")
    } else if text.contains("datcollate") || text.contains("datctype") {
        owned("C")
    } else {
        None
    }
}

fn schema_item(item: &Item, user: &str) -> Option<String> {
    let text = item.text.as_str();
    if text.contains("nspname") {
        owned(SCHEMA)
    } else if text.contains("pg_get_userbyid") {
        owned(user)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(text: &str) -> Option<Subject> {
        Question::recognize(text)
            .expect("no error")
            .map(|q| q.subject)
    }

    #[test]
    fn facts_are_known_however_they_are_written() {
        assert_eq!(
            subject("select pg_catalog.VERSION();"),
            Some(Subject::Facts(vec![Fact::Version]))
        );
        assert_eq!(
            subject("SELECT current_database() AS db, current_user"),
            Some(Subject::Facts(vec![Fact::Database, Fact::User]))
        );
        assert_eq!(subject("SELECT 1"), None);
        assert_eq!(subject("SELECT version(), n FROM clicks"), None);
    }

    #[test]
    fn what_is_not_known_of_the_catalog_says_so() {
        assert!(Question::recognize("SELECT * FROM pg_catalog.pg_stat_activity").is_err());
        // One of ours may have such a name.
        assert_eq!(subject("SELECT * FROM pg_locks"), None);
        assert_eq!(
            subject("SELECT tgname FROM pg_catalog.pg_trigger t"),
            Some(Subject::Nothing)
        );
    }

    #[test]
    fn a_completion_asks_for_names_that_begin_so() {
        let question = Question::recognize(
            "SELECT c.relname, NULL::pg_catalog.text FROM pg_catalog.pg_class c
             WHERE c.relkind IN ('m') AND (c.relname) LIKE 'top\\_c%'
             AND pg_catalog.pg_table_is_visible(c.oid) UNION ALL
             SELECT NULL::pg_catalog.text, n.nspname FROM pg_catalog.pg_namespace n
             WHERE n.nspname LIKE 'top\\_c%' LIMIT 1000",
        )
        .expect("no error")
        .expect("a question");
        assert_eq!(question.subject, Subject::Relations);
        assert_eq!(question.shape.letters("c.relkind in ("), Some(vec!['m']));
        assert!(question.name_pattern("n.nspname").is_none());
        assert!(matches!(
            question.name_pattern("c.relname"),
            Some(Pattern::Prefix(prefix)) if prefix == "top_c"
        ));
    }

    #[test]
    fn a_pattern_takes_the_names_it_means() {
        let is = |pattern, name| matches(Some(&pattern), name).expect("a pattern");
        assert!(is(Pattern::Regex("^(cl.*)$".into()), "clicks"));
        assert!(!is(Pattern::Regex("^(cl)$".into()), "clicks"));
        assert!(is(Pattern::Prefix("cl".into()), "clicks"));
        assert!(!is(Pattern::Exactly("cl".into()), "clicks"));
        assert!(matches(Some(&Pattern::Regex("(".into())), "x").is_err());
    }
}
