//! Finding the source's columns in a CSV file by the names in its header.

use std::borrow::Cow;

use arrow::datatypes::Schema;
use thalweg_schema::CsvOptions;

use crate::options::did_you_mean;

/// Where the declared columns stand in the file's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Columns {
    /// As declared: records pass through as they are.
    Same,
    /// At these fields.
    At(Vec<usize>),
}

impl Columns {
    /// Reads a header line.
    pub(super) fn from_header(
        header: &[u8],
        schema: &Schema,
        csv: &CsvOptions,
    ) -> Result<Self, String> {
        let header = header.strip_prefix("\u{feff}".as_bytes()).unwrap_or(header);
        let record = parse(header, csv).map_err(|error| format!("the header: {error}"))?;
        let names: Vec<String> = record
            .iter()
            .map(|name| String::from_utf8_lossy(name).trim().to_owned())
            .collect();
        let mut places = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let place = names
                .iter()
                .position(|name| name == field.name())
                .or_else(|| {
                    names
                        .iter()
                        .position(|name| name.eq_ignore_ascii_case(field.name()))
                });
            match place {
                Some(place) => places.push(place),
                None => {
                    let known: Vec<&str> = names.iter().map(String::as_str).collect();
                    return Err(format!(
                        "the header has no column {:?}{}; it has {}. If the file has no header, set header = 'false'",
                        field.name(),
                        did_you_mean(field.name(), &known),
                        known.join(", ")
                    ));
                }
            }
        }
        let same = places.len() == names.len() && places.iter().copied().eq(0..names.len());
        Ok(if same { Self::Same } else { Self::At(places) })
    }

    /// The declared columns of a record, in the declared order.
    pub(super) fn pick<'r>(
        &self,
        record: &'r [u8],
        csv: &CsvOptions,
    ) -> Result<Cow<'r, [u8]>, String> {
        let Self::At(places) = self else {
            return Ok(Cow::Borrowed(record));
        };
        let fields = parse(record, csv)?;
        let mut writer = csv::WriterBuilder::new()
            .has_headers(false)
            .delimiter(csv.delimiter)
            .quote(csv.quote)
            .from_writer(Vec::with_capacity(record.len()));
        for &place in places {
            let field = fields.get(place).ok_or_else(|| {
                format!(
                    "expected at least {} fields, found {}",
                    place + 1,
                    fields.len()
                )
            })?;
            writer.write_field(field).map_err(|e| e.to_string())?;
        }
        writer
            .write_record(None::<&[u8]>)
            .map_err(|e| e.to_string())?;
        let mut picked = writer.into_inner().map_err(|e| e.to_string())?;
        picked.pop();
        Ok(Cow::Owned(picked))
    }
}

fn parse(record: &[u8], csv: &CsvOptions) -> Result<csv::ByteRecord, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(csv.delimiter)
        .quote(csv.quote)
        .from_reader(record);
    let mut fields = csv::ByteRecord::new();
    match reader.read_byte_record(&mut fields) {
        Ok(true) => Ok(fields),
        Ok(false) => Err("an empty record".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn schema() -> Schema {
        Schema::new(vec![
            Field::new("item", DataType::Utf8, true),
            Field::new("clicks", DataType::Int64, true),
        ])
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let csv = CsvOptions::default();
        let columns = Columns::from_header(b"clicks,at,Item", &schema(), &csv).unwrap();
        assert_eq!(columns, Columns::At(vec![2, 0]));
        let picked = columns.pick(b"3,now,\"a,b\"", &csv).unwrap();
        assert_eq!(picked.as_ref(), b"\"a,b\",3");
        assert!(columns.pick(b"3", &csv).is_err());
    }

    #[test]
    fn records_pass_through_when_the_order_is_the_declared_one() {
        let csv = CsvOptions::default();
        let header = "\u{feff}item,clicks";
        let columns = Columns::from_header(header.as_bytes(), &schema(), &csv).unwrap();
        assert_eq!(columns, Columns::Same);
    }

    #[test]
    fn a_missing_column_is_named_with_the_nearest() {
        let error = Columns::from_header(b"itm,clicks", &schema(), &CsvOptions::default());
        let error = error.unwrap_err();
        assert!(
            error.contains("\"item\" (did you mean \"itm\"?)"),
            "{error}"
        );
    }
}
