//! What `EXPLAIN` prints: each operator with its changelog mode, key, watermark and
//! stores, the fragments they run in, and warnings where state grows without bound.

use crate::plan::types::type_name;
use crate::plan::{
    AggregateCall, AggregateFunction, ChangelogMode, ColumnSpec, Fragment, Operator, OperatorKind,
    RowFormat, ScalarExpr, SinkStyle, StoreDesc, StreamPlan,
};
use std::fmt::Write as _;

/// The lines of `EXPLAIN` for a streaming plan.
pub fn explain(plan: &StreamPlan) -> String {
    let mut text = String::new();
    for fragment in &plan.fragments {
        let _ = writeln!(text, "fragment {}", fragment.id);
        for operator in &fragment.operators {
            explain_operator(&mut text, fragment, operator);
        }
    }
    let warnings: Vec<String> = plan
        .fragments
        .iter()
        .flat_map(|fragment| &fragment.stores)
        .filter(|store| store.topic.as_ref().is_none_or(|topic| !topic.written))
        .filter_map(|store| {
            let why = store.unbounded.as_ref()?;
            Some(format!(
                "warning: the state `{}` grows without bound: it {why}",
                store.name
            ))
        })
        .collect();
    for warning in warnings {
        let _ = writeln!(text, "{warning}");
    }
    text
}

fn explain_operator(text: &mut String, fragment: &Fragment, operator: &Operator) {
    let input: &[ColumnSpec] = operator
        .inputs
        .first()
        .and_then(|id| fragment.operators.iter().find(|o| o.id == *id))
        .map_or(&[], |o| &o.columns);
    let mode = match operator.mode {
        ChangelogMode::AppendOnly => "append-only",
        ChangelogMode::Retract => "retract",
    };
    let _ = writeln!(
        text,
        "  {}: {} [{mode}]",
        operator.id,
        describe(&operator.kind, input, &operator.columns)
    );
    let columns: Vec<String> = operator
        .columns
        .iter()
        .map(|c| {
            format!(
                "{} {}",
                c.name,
                type_name(&c.data_type).unwrap_or_else(|| c.data_type.to_string())
            )
        })
        .collect();
    let is_end = matches!(
        operator.kind,
        OperatorKind::ExchangeSink { .. }
            | OperatorKind::Materialize(_)
            | OperatorKind::Sink(_)
            | OperatorKind::Push
    );
    if !is_end {
        let _ = writeln!(text, "       columns: {}", columns.join(", "));
    }
    if !operator.stream_key.is_empty() && !is_end {
        let _ = writeln!(
            text,
            "       key: {}",
            list(&operator.columns, &operator.stream_key)
        );
    }
    let time = match &operator.kind {
        OperatorKind::Source(source) => source
            .watermark
            .as_ref()
            .map(|w| (&source.columns, w.clone())),
        OperatorKind::TableSource(source) => source
            .watermark
            .as_ref()
            .map(|w| (&source.columns, w.clone())),
        _ => None,
    };
    if let Some((columns, watermark)) = time {
        let _ = writeln!(
            text,
            "       watermark: {} - {}",
            list(columns, &[watermark.column]),
            duration(watermark.delay_ms)
        );
    }
    for (store, role) in stores(fragment, &operator.kind) {
        let topic = match &store.topic {
            None => String::new(),
            Some(topic) if topic.written => format!(", changelog is topic {}", topic.name),
            Some(topic) => format!(", restored from topic {}", topic.name),
        };
        let _ = writeln!(
            text,
            "       state: {} {role} ({}){topic}",
            store.name,
            store.key.join(", ")
        );
    }
}

fn stores<'a>(
    fragment: &'a Fragment,
    kind: &OperatorKind,
) -> impl Iterator<Item = (&'a StoreDesc, &'static str)> {
    let ids: Vec<(u32, &'static str)> = match kind {
        OperatorKind::TableSource(source) => vec![(source.store, "newest record by")],
        OperatorKind::GroupAggregate(aggregate) => {
            let mut ids = vec![(aggregate.store, "groups by")];
            ids.extend(
                aggregate
                    .calls
                    .iter()
                    .filter_map(|call| call.store.map(|store| (store, "values by"))),
            );
            ids
        }
        OperatorKind::Materialize(view) => vec![(view.store, "rows by")],
        _ => Vec::new(),
    };
    ids.into_iter().filter_map(|(id, role)| {
        let store = fragment.stores.iter().find(|store| store.id == id)?;
        Some((store, role))
    })
}

fn describe(kind: &OperatorKind, input: &[ColumnSpec], output: &[ColumnSpec]) -> String {
    match kind {
        OperatorKind::Source(source) => format!(
            "Source {} (topic {}, {})",
            source.relation,
            source.topic,
            format_name(&source.format)
        ),
        OperatorKind::TableSource(source) => format!(
            "TableSource {} (topic {}, {})",
            source.relation,
            source.topic,
            format_name(&source.format)
        ),
        OperatorKind::ExchangeSource { exchange } => format!("ExchangeSource {}", exchange.name),
        OperatorKind::ExchangeSink { exchange } if exchange.keys.is_empty() => {
            format!("ExchangeSink {} to one task", exchange.name)
        }
        OperatorKind::ExchangeSink { exchange } => format!(
            "ExchangeSink {} by ({})",
            exchange.name,
            list(input, &exchange.keys)
        ),
        OperatorKind::Filter { predicate } => format!("Filter {}", predicate.display(input)),
        OperatorKind::Project { exprs } => {
            let exprs: Vec<String> = exprs
                .iter()
                .zip(output)
                .map(|(expr, column)| {
                    let shown = expr.display(input);
                    match expr {
                        ScalarExpr::Column(_) if shown == column.name => shown,
                        _ => format!("{shown} AS {}", quoted(&column.name)),
                    }
                })
                .collect();
            format!("Project {}", exprs.join(", "))
        }
        OperatorKind::Hop(hop) => format!(
            "Hop over {}, size {}, every {}",
            list(input, &[hop.time]),
            duration(hop.size_ms),
            duration(hop.slide_ms)
        ),
        OperatorKind::PartialAggregate(partial) => format!(
            "PartialAggregate by ({}): {}",
            list(input, &partial.keys),
            calls(input, &partial.calls)
        ),
        OperatorKind::GroupAggregate(aggregate) => {
            let mut text = if aggregate.keys.is_empty() {
                "GroupAggregate of all rows".to_owned()
            } else {
                format!("GroupAggregate by ({})", list(input, &aggregate.keys))
            };
            if aggregate.partial_input {
                let merged: Vec<_> = aggregate.calls.iter().filter_map(|c| c.argument).collect();
                text += &format!(", merging {}", list(input, &merged));
            } else if !aggregate.calls.is_empty() {
                text += &format!(": {}", calls(input, &aggregate.calls));
            }
            if let Some(window) = &aggregate.window {
                let column = aggregate.keys.get(window.key).copied();
                let name = column.map_or_else(String::new, |c| list(input, &[c]));
                text += &match window.until_end_ms + window.grace_ms {
                    0 => format!("; closes at {name}"),
                    later => format!("; closes {} after {name}", duration(later)),
                };
            }
            text
        }
        OperatorKind::Materialize(view) => {
            format!("Materialize {} by ({})", view.view, list(input, &view.key))
        }
        OperatorKind::Sink(sink) => format!(
            "Sink {} (topic {}, {} {}{})",
            sink.sink,
            sink.topic,
            match sink.style {
                SinkStyle::Plain => "PLAIN",
                SinkStyle::Upsert => "UPSERT",
            },
            format_name(&sink.format),
            if sink.key.is_empty() {
                String::new()
            } else {
                format!(" by {}", list(input, &sink.key))
            }
        ),
        OperatorKind::Push => "Push to the client".into(),
    }
}

fn calls(input: &[ColumnSpec], calls: &[AggregateCall]) -> String {
    let shown: Vec<String> = calls
        .iter()
        .map(|call| {
            let name = match call.function {
                AggregateFunction::Count => "COUNT",
                AggregateFunction::Sum => "SUM",
                AggregateFunction::Avg => "AVG",
                AggregateFunction::Min => "MIN",
                AggregateFunction::Max => "MAX",
            };
            let argument = call
                .argument
                .map_or_else(|| "*".to_owned(), |column| list(input, &[column]));
            let distinct = if call.distinct { "DISTINCT " } else { "" };
            let filter = call
                .filter
                .map(|column| format!(" FILTER ({})", list(input, &[column])))
                .unwrap_or_default();
            format!("{name}({distinct}{argument}){filter}")
        })
        .collect();
    shown.join(", ")
}

fn list(columns: &[ColumnSpec], wanted: &[usize]) -> String {
    let names: Vec<String> = wanted
        .iter()
        .map(|index| {
            columns
                .get(*index)
                .map_or_else(|| format!("#{index}"), |c| quoted(&c.name))
        })
        .collect();
    names.join(", ")
}

fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain {
        name.to_owned()
    } else {
        format!("\"{name}\"")
    }
}

fn format_name(format: &RowFormat) -> &'static str {
    match format {
        RowFormat::Json => "JSON",
        RowFormat::Csv { .. } => "CSV",
        RowFormat::View => "view rows",
    }
}

/// A duration in the largest unit that is whole.
pub(crate) fn duration(ms: i64) -> String {
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "min"),
        (1_000, "s"),
    ];
    for (size, unit) in units {
        if ms != 0 && ms % size == 0 {
            return format!("{} {unit}", ms / size);
        }
    }
    format!("{ms} ms")
}
