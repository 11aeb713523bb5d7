//! Sources: relations of the catalog as the first operators of a fragment.

use super::{Builder, Node, OFFSET_COLUMN, PARTITION_COLUMN, free_name, names, pick};
use crate::catalog::{Body, Relation};
use crate::error::{SqlError, SqlState};
use crate::plan::{
    ChangelogMode, ColumnSpec, OperatorKind, RowFormat, SourceOp, StoreDesc, StoreTopic,
    TableSourceOp,
};
use crate::planner::session::RelationTable;
use arrow::datatypes::DataType;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::TableScan;
use std::sync::Arc;

impl Builder {
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Node, SqlError> {
        let provider = source_as_provider(&scan.source).map_err(SqlError::internal)?;
        let table = provider.downcast_ref::<RelationTable>().ok_or_else(|| {
            SqlError::unsupported(format!(
                "`{}` is a system table, which a streaming query cannot read",
                scan.table_name.table()
            ))
        })?;
        let relation = &table.relation;
        let wanted: Vec<usize> = match &scan.projection {
            Some(projection) => projection.clone(),
            None => (0..relation.visible_columns().len()).collect(),
        };
        let mut node = match &relation.body {
            Body::Source(source) if !source.is_upsert() => {
                let mut columns = pick(&source.columns, &wanted);
                let visible = columns.len();
                columns.push(ColumnSpec::required(
                    free_name(&columns, PARTITION_COLUMN),
                    DataType::Int32,
                ));
                columns.push(ColumnSpec::required(
                    free_name(&columns, OFFSET_COLUMN),
                    DataType::Int64,
                ));
                let watermark = source
                    .watermark
                    .as_ref()
                    .and_then(|w| wanted.iter().position(|index| *index == w.column));
                let kind = OperatorKind::Source(SourceOp {
                    relation: relation.name.clone(),
                    topic: source.topic.clone(),
                    format: source.format.clone(),
                    columns: source.columns.clone(),
                    projection: wanted,
                    watermark: source.watermark.clone(),
                    on_error: source.on_error,
                });
                let node = Node {
                    operator: 0,
                    columns,
                    visible,
                    key: vec![visible, visible + 1],
                    mode: ChangelogMode::AppendOnly,
                    watermark,
                    windows: Vec::new(),
                };
                self.add(kind, Vec::new(), node)
            }
            Body::Source(source) => self.table_source(
                relation,
                &wanted,
                &source.primary_key,
                source.format.clone(),
                source.watermark.clone(),
                source.on_error,
            ),
            Body::View(view) => self.table_source(
                relation,
                &wanted,
                &view.plan.stream_key,
                RowFormat::View,
                None,
                Default::default(),
            ),
            Body::Sink(_) => {
                return Err(SqlError::new(
                    SqlState::WrongObjectType,
                    format!("`{}` is a sink, which nothing can read", relation.name),
                )
                .hint("create a source over its topic"));
            }
        };
        for filter in &scan.filters {
            node = self.filter(node, filter, &scan.projected_schema)?;
        }
        Ok(node)
    }

    pub(super) fn table_source(
        &mut self,
        relation: &Arc<Relation>,
        wanted: &[usize],
        key: &[usize],
        format: RowFormat,
        watermark: Option<crate::plan::WatermarkDesc>,
        on_error: crate::plan::OnBadRecord,
    ) -> Node {
        let mut projection = wanted.to_vec();
        for column in key {
            if !projection.contains(column) {
                projection.push(*column);
            }
        }
        let positions: Vec<usize> = key
            .iter()
            .filter_map(|column| projection.iter().position(|p| p == column))
            .collect();
        let columns = pick(relation.columns(), &projection);
        let time = watermark
            .as_ref()
            .and_then(|w| projection.iter().position(|index| *index == w.column));
        let topic = relation.topic().to_owned();
        let key_names = names(relation.columns(), key);
        let store = self.add_store(|id| StoreDesc {
            id,
            name: format!("source-{id}"),
            scanned: false,
            topic: Some(StoreTopic {
                name: topic.clone(),
                written: false,
            }),
            key: key_names,
            unbounded: Some(format!("keeps every row of `{}`", relation.name)),
        });
        let kind = OperatorKind::TableSource(TableSourceOp {
            relation: relation.name.clone(),
            topic,
            format,
            columns: relation.columns().to_vec(),
            projection,
            key: key.to_vec(),
            store,
            watermark,
            on_error,
        });
        let node = Node {
            operator: 0,
            columns,
            visible: wanted.len(),
            key: positions,
            mode: ChangelogMode::Retract,
            watermark: time,
            windows: Vec::new(),
        };
        self.add(kind, Vec::new(), node)
    }
}
