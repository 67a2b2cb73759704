//! Column statistics of one file: from the Parquet metadata, without a second pass, to the JSON text of a Delta `add`
//! action (PROTOCOL.md, "Per-file Statistics").

use delivery::schema::{Column, ColumnType, RUN_COLUMNS};
use delivery::timestamp::{Timestamp, format_date};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::number::AMOUNT_SCALE;

/// How many leaf columns of the schema have statistics. Readers expect them on 32 columns; the two run columns, which
/// stand last but are what recipients filter by, always have them.
pub const SCHEMA_LEAVES_MAX: usize = 30;

/// A text bound that is longer is left out: it would not help anybody.
const TEXT_BOUND_BYTES_MAX: usize = 256;

/// What is known of one leaf column of a file: JSON values of the bounds, if there are any.
#[derive(Debug, Default)]
struct Leaf {
    min: Option<String>,
    max: Option<String>,
    nulls: u64,
}

#[derive(Debug)]
enum Node {
    Leaf(Leaf),
    Struct(Vec<(String, Node)>),
}

/// The statistics of a file. `array_nulls` tells for the first leaf of each array column how many arrays are null.
pub(crate) fn statistics(columns: &[Column], metadata: &ParquetMetaData, array_nulls: impl Fn(usize) -> u64) -> String {
    let mut walk = Walk { metadata, array_nulls: &array_nulls, leaf: 0, left: SCHEMA_LEAVES_MAX };
    let mut root: Vec<_> = columns.iter().map(|column| (column.name.clone(), walk.node(&column.column_type))).collect();
    walk.left = RUN_COLUMNS.len();
    let run_types = [ColumnType::String, ColumnType::Timestamp];
    root.extend(RUN_COLUMNS.iter().zip(run_types).map(|(name, t)| ((*name).to_owned(), walk.node(&t))));
    let root: Vec<_> = root.into_iter().filter_map(|(name, node)| Some((name, node?))).collect();
    format!(
        r#"{{"numRecords":{},"minValues":{},"maxValues":{},"nullCount":{}}}"#,
        metadata.file_metadata().num_rows(),
        object(&root, &|leaf| leaf.min.clone()).unwrap_or_else(|| "{}".to_owned()),
        object(&root, &|leaf| leaf.max.clone()).unwrap_or_else(|| "{}".to_owned()),
        object(&root, &|leaf| Some(leaf.nulls.to_string())).unwrap_or_else(|| "{}".to_owned()),
    )
}

/// One of the three trees as JSON; nothing if no leaf has the value.
fn object(nodes: &[(String, Node)], value: &dyn Fn(&Leaf) -> Option<String>) -> Option<String> {
    let members: Vec<_> = nodes
        .iter()
        .filter_map(|(name, node)| {
            let value = match node {
                Node::Leaf(leaf) => value(leaf)?,
                Node::Struct(members) => object(members, value)?,
            };
            Some(format!("{}:{value}", quoted(name)))
        })
        .collect();
    (!members.is_empty()).then(|| format!("{{{}}}", members.join(",")))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Walk<'a> {
    metadata: &'a ParquetMetaData,
    array_nulls: &'a dyn Fn(usize) -> u64,
    /// The Parquet leaf that comes next.
    leaf: usize,
    /// How many leaves may still have statistics.
    left: usize,
}

impl Walk<'_> {
    fn node(&mut self, column_type: &ColumnType) -> Option<Node> {
        match column_type {
            ColumnType::Money => {
                let amount = self.next(|walk, leaf| walk.read(leaf, bounds));
                let code = self.next(|walk, leaf| walk.read(leaf, bounds));
                let members = [("amount", amount), ("currency_code", code)];
                let members = members.into_iter().filter_map(|(name, node)| Some((name.to_owned(), node?)));
                Some(Node::Struct(members.collect()))
            }
            ColumnType::Struct(fields) => {
                let members: Vec<_> = fields.iter().map(|f| (f.name.clone(), self.node(&f.column_type))).collect();
                Some(Node::Struct(members.into_iter().filter_map(|(name, node)| Some((name, node?))).collect()))
            }
            ColumnType::Array(element) => {
                let node = self.next(|walk, leaf| Leaf { nulls: (walk.array_nulls)(leaf), ..Leaf::default() });
                self.leaf += leaves(element).saturating_sub(1);
                node
            }
            ColumnType::Json => self.next(|walk, leaf| walk.read(leaf, |_| None)),
            ColumnType::String
            | ColumnType::Boolean
            | ColumnType::Double
            | ColumnType::Date
            | ColumnType::Timestamp => self.next(|walk, leaf| walk.read(leaf, bounds)),
        }
    }

    fn next(&mut self, read: impl Fn(&Self, usize) -> Leaf) -> Option<Node> {
        let leaf = self.leaf;
        self.leaf += 1;
        self.left = self.left.checked_sub(1)?;
        Some(Node::Leaf(read(self, leaf)))
    }

    /// Merges the row groups' statistics of a leaf. A row group that has values but no bounds leaves the file without.
    fn read(&self, leaf: usize, bounds: impl Fn(&ColumnChunkMetaData) -> Option<(Bound, Bound)>) -> Leaf {
        let mut merged: Option<(Bound, Bound)> = None;
        let mut bounded = true;
        let mut nulls = 0;
        for group in self.metadata.row_groups() {
            let Some(chunk) = group.columns().get(leaf) else { continue };
            let chunk_nulls = chunk.statistics().and_then(Statistics::null_count_opt).unwrap_or(0);
            nulls += chunk_nulls;
            match (bounds(chunk), merged.take()) {
                (Some((min, max)), Some((low, high))) => {
                    merged = Some((if min < low { min } else { low }, if max > high { max } else { high }));
                }
                (Some(found), None) => merged = Some(found),
                (None, before) => {
                    merged = before;
                    bounded &= u64::try_from(chunk.num_values()).is_ok_and(|values| values == chunk_nulls);
                }
            }
        }
        match merged.filter(|_| bounded) {
            Some((min, max)) => Leaf { min: min.lower(), max: max.upper(), nulls },
            None => Leaf { nulls, ..Leaf::default() },
        }
    }
}

/// The smallest or largest value of a leaf column, or a bound of it.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Bound {
    Text(String),
    Double(f64),
    Days(i32),
    Micros(i64),
    Millionths(i128),
}

/// The bounds of a column chunk, of the types that have some.
fn bounds(chunk: &ColumnChunkMetaData) -> Option<(Bound, Bound)> {
    let statistics = chunk.statistics()?;
    match statistics {
        Statistics::Int32(s) => Some((Bound::Days(*s.min_opt()?), Bound::Days(*s.max_opt()?))),
        Statistics::Int64(s) => Some((Bound::Micros(*s.min_opt()?), Bound::Micros(*s.max_opt()?))),
        Statistics::Double(s) => Some((Bound::Double(*s.min_opt()?), Bound::Double(*s.max_opt()?))),
        // The writer cuts a long text to a prefix for the minimum, and raises the prefix for the maximum.
        Statistics::ByteArray(s) => {
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(|text| Bound::Text(text.to_owned()));
            Some((text(s.min_opt()?.data())?, text(s.max_opt()?.data())?))
        }
        Statistics::FixedLenByteArray(s) => {
            let number = |bytes: &[u8]| Some(Bound::Millionths(i128::from_be_bytes(bytes.try_into().ok()?)));
            Some((number(s.min_opt()?.data())?, number(s.max_opt()?.data())?))
        }
        Statistics::Boolean(_) | Statistics::Int96(_) | Statistics::Float(_) => None,
    }
}

impl Bound {
    /// The bound as a JSON value that is not greater.
    fn lower(self) -> Option<String> {
        if let Self::Micros(micros) = self { instant(micros.div_euclid(1_000)) } else { self.exact() }
    }

    /// The bound as a JSON value that is not less.
    fn upper(self) -> Option<String> {
        if let Self::Micros(micros) = self {
            return instant(micros.div_euclid(1_000) + i64::from(micros.rem_euclid(1_000) > 0));
        }
        self.exact()
    }

    fn exact(self) -> Option<String> {
        match self {
            Self::Text(text) => (text.len() <= TEXT_BOUND_BYTES_MAX).then(|| quoted(&text)),
            Self::Double(value) => serde_json::to_string(&value).ok(),
            Self::Days(days) => Some(format!("\"{}\"", format_date(days))),
            Self::Micros(_) => None, // Delta's times have milliseconds only.
            Self::Millionths(value) => {
                let (sign, value) = (if value < 0 { "-" } else { "" }, value.unsigned_abs());
                let one = 10_u128.pow(AMOUNT_SCALE.unsigned_abs().into());
                Some(format!("{sign}{}.{:06}", value / one, value % one))
            }
        }
    }
}

/// RFC 3339 with exactly three digits of fraction.
fn instant(millis: i64) -> Option<String> {
    let seconds = Timestamp::from_millis(millis.div_euclid(1_000) * 1_000)?.to_string();
    let seconds = seconds.strip_suffix('Z')?;
    Some(format!("\"{seconds}.{:03}Z\"", millis.rem_euclid(1_000)))
}

/// The number of Parquet leaves of a type.
pub(crate) fn leaves(column_type: &ColumnType) -> usize {
    match column_type {
        ColumnType::Money => 2,
        ColumnType::Struct(fields) => fields.iter().map(|field| leaves(&field.column_type)).sum(),
        ColumnType::Array(element) => leaves(element),
        ColumnType::String
        | ColumnType::Json
        | ColumnType::Double
        | ColumnType::Boolean
        | ColumnType::Date
        | ColumnType::Timestamp => 1,
    }
}
