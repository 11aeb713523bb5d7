//! The exchange: rows on their way to the task of their key.
//!
//! Invariant: all rows with equal key columns go to one partition, chosen by Kafka's
//! default partitioner over the memcomparable bytes of the key, in the order in which
//! they came. What one task sends to one partition is read back in that order.

use super::ipc::{ChunkCodec, IpcError};
use super::{
    Chunk, ColumnarNode, ColumnarSource, EncodedKeys, KeyCodec, KeyVersion, NodeName, Outputs,
};
use crate::StreamsError;
use crate::task::{OutputRecord, Progress, Run, TaskContext, partition_for_key};
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;

/// The size that a record of a repartition topic stays below: `max.message.bytes` of
/// Kafka's default, less what batch and headers take.
pub const DEFAULT_MAX_RECORD_BYTES: usize = 1_000_000;

/// A chunk of the exchange ends behind this many rows.
const CHUNK_ROWS: usize = 8192;

/// Sends each row to the partition of its key.
pub struct ExchangeSink {
    name: NodeName,
    sink: usize,
    schema: SchemaRef,
    keys: Vec<usize>,
    key_codec: KeyCodec,
    codec: ChunkCodec,
    max_record_bytes: usize,
    encoded: EncodedKeys,
    rows: Vec<Vec<u32>>,
}

impl ExchangeSink {
    /// A node that sends rows of `schema` to the sub-topology's sink number `sink`, by the
    /// columns `keys`. Without key columns all rows go to partition 0.
    pub fn new(
        name: &str,
        sink: usize,
        schema: SchemaRef,
        keys: Vec<usize>,
        max_record_bytes: usize,
    ) -> Result<Self, StreamsError> {
        let name = NodeName::new(name);
        let mut types = Vec::new();
        for key in &keys {
            let field = schema.fields().get(*key);
            let field = field.ok_or_else(|| name.error(format!("there is no key column {key}")))?;
            types.push(field.data_type().clone());
        }
        let key_codec = KeyCodec::new(KeyVersion::V1, types).map_err(|e| name.error(e))?;
        Ok(Self {
            name,
            sink,
            codec: ChunkCodec::new(schema.clone()),
            schema,
            keys,
            key_codec,
            max_record_bytes,
            encoded: EncodedKeys::default(),
            rows: Vec::new(),
        })
    }

    fn send(
        &self,
        partition: i32,
        chunk: &Chunk,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), StreamsError> {
        let timestamp = match cx.stream_time() {
            i64::MIN => cx.wall_clock(),
            time => time,
        };
        self.codec
            .encode(chunk, self.max_record_bytes, |value, header| {
                cx.send(
                    self.sink,
                    OutputRecord {
                        partition: Some(partition),
                        key: None,
                        value: Some(value),
                        headers: vec![header],
                        timestamp,
                    },
                );
            })
            .map_err(|e| self.name.error(e))
    }
}

impl ColumnarNode for ExchangeSink {
    fn inputs(&self) -> Vec<SchemaRef> {
        vec![self.schema.clone()]
    }

    fn outputs(&self) -> Vec<SchemaRef> {
        Vec::new()
    }

    fn process(
        &mut self,
        _port: usize,
        chunk: Chunk,
        cx: &mut TaskContext<'_>,
        _out: &mut Outputs,
    ) -> Result<(), StreamsError> {
        let partitions = cx.sink_partitions(self.sink);
        if self.keys.is_empty() || partitions <= 1 {
            return self.send(0, &chunk, cx);
        }
        let columns: Vec<ArrayRef> = self
            .keys
            .iter()
            .map(|k| chunk.column(*k).cloned())
            .collect::<Result<_, _>>()?;
        self.key_codec
            .encode(&columns, chunk.num_rows(), &mut self.encoded)
            .map_err(|e| self.name.error(e))?;
        self.rows.iter_mut().for_each(Vec::clear);
        self.rows
            .resize_with(usize::try_from(partitions).unwrap_or(1), Vec::new);
        for (row, key) in (0u32..).zip(self.encoded.iter()) {
            let partition = usize::try_from(partition_for_key(key, partitions)).unwrap_or(0);
            if let Some(rows) = self.rows.get_mut(partition) {
                rows.push(row);
            }
        }
        for (partition, rows) in (0..).zip(&self.rows) {
            if rows.len() == chunk.num_rows() {
                self.send(partition, &chunk, cx)?;
            } else if !rows.is_empty() {
                self.send(partition, &chunk.take(rows)?, cx)?;
            }
        }
        Ok(())
    }
}

/// Reads the chunks of an exchange.
pub struct ExchangeSource {
    codec: ChunkCodec,
}

impl ExchangeSource {
    /// A source of chunks of `schema`, as the exchange's sink was given it.
    #[must_use]
    pub fn new(schema: SchemaRef) -> Self {
        Self {
            codec: ChunkCodec::new(schema),
        }
    }
}

impl ColumnarSource for ExchangeSource {
    fn output(&self) -> SchemaRef {
        self.codec.schema().clone()
    }

    fn run(
        &mut self,
        run: &mut Run<'_>,
        cx: &mut TaskContext<'_>,
        out: &mut Outputs,
    ) -> Result<Progress, StreamsError> {
        let mut rows = 0;
        while rows < CHUNK_ROWS {
            let Some(record) = run.next(cx) else {
                return Ok(Progress::Done);
            };
            let broken = |cause: IpcError| StreamsError::Deserialize {
                part: "value",
                topic: run.topic().to_owned(),
                partition: run.partition(),
                offset: record.offset,
                cause: cause.into(),
            };
            let value = record
                .value
                .as_ref()
                .ok_or_else(|| broken(IpcError::NoHeader))?;
            let chunk = self.codec.decode(value, &record.headers).map_err(broken)?;
            rows += chunk.num_rows();
            out.push(chunk);
        }
        Ok(Progress::More)
    }
}
