//! What a file's statistics and partition values say of the columns that a predicate names.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use tables::snapshot::{File, Metadata};

use super::value::{Value, ValueType, instants};

/// The columns of a table that predicates can be about, and those that one predicate is about.
#[derive(Debug)]
pub(super) struct Columns {
    /// By their names in lower case.
    all: BTreeMap<String, Column>,
    wanted: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Column {
    /// The name by which files speak of it.
    stored_name: String,
    value_type: ValueType,
    place: Place,
}

/// Where a column's values are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the files; their statistics tell bounds.
    Rows,
    /// In the partition.
    Partition,
}

/// Field metadata that says that texts do not compare byte by byte: fixed lengths and collations.
const COMPARED_OTHERWISE: [&str; 2] = ["__CHAR_VARCHAR_TYPE_STRING", "__COLLATIONS"];

impl Columns {
    /// The columns of a table with a type that compares; `None` if its schema cannot be read.
    pub(super) fn of(metadata: &Metadata) -> Option<Self> {
        let schema: serde_json::Value = serde_json::from_str(&metadata.schema_string).ok()?;
        let fields = schema.get("fields")?.as_array()?;
        let mapping = metadata.configuration.get("delta.columnMapping.mode");
        let is_mapped = mapping.is_some_and(|mode| !mode.eq_ignore_ascii_case("none"));
        let column = |field: &serde_json::Value| {
            let name = field.get("name")?.as_str()?;
            let said = |key: &str| field.get("metadata").and_then(|metadata| metadata.get(key));
            if COMPARED_OTHERWISE.into_iter().any(|key| said(key).is_some()) {
                return None;
            }
            let stored_name = match is_mapped {
                true => said("delta.columnMapping.physicalName")?.as_str()?,
                false => name,
            };
            let value_type = ValueType::of_column(field.get("type")?.as_str()?)?;
            let is_partition = metadata.partition_columns.iter().any(|partition| partition == name);
            let place = if is_partition { Place::Partition } else { Place::Rows };
            Some((name.to_lowercase(), Column { stored_name: stored_name.to_owned(), value_type, place }))
        };
        // Of names that differ by case only nobody can say which is meant.
        let mut names: BTreeMap<_, usize> = BTreeMap::new();
        let lower = fields.iter().filter_map(|field| Some(field.get("name")?.as_str()?.to_lowercase()));
        lower.for_each(|name| *names.entry(name).or_default() += 1);
        let all = fields.iter().filter_map(column).filter(|(name, _)| names.get(name) == Some(&1)).collect();
        Some(Self { all, wanted: Vec::new() })
    }

    /// The place among the wanted columns of a column, named without case, and its type.
    pub(super) fn wanted(&mut self, name: &str) -> Option<(usize, ValueType)> {
        let column = self.all.get(&name.to_lowercase())?;
        let place = match self.wanted.iter().position(|wanted| wanted == column) {
            Some(place) => place,
            None => {
                self.wanted.push(column.clone());
                self.wanted.len() - 1
            }
        };
        Some((place, column.value_type))
    }

    /// What is known of a file's wanted columns.
    pub(super) fn facts(&self, file: &File) -> Facts {
        let statistics = file.stats.as_deref().and_then(|text| self.statistics(text)).unwrap_or_default();
        let fact = |(place, column): (usize, &Column)| match column.place {
            Place::Partition => partition_facts(file, column),
            Place::Rows => Some(statistics.facts(place, column.value_type)),
        };
        Facts(self.wanted.iter().enumerate().map(fact).collect())
    }

    fn statistics(&self, text: &str) -> Option<Statistics> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        StatisticsOf(&self.wanted).deserialize(&mut deserializer).ok()
    }
}

/// What is known of the wanted columns of one file.
#[derive(Debug)]
pub(super) struct Facts(Vec<Option<ColumnFacts>>);

impl Facts {
    /// One column's facts; `None` if nothing is known.
    pub(super) fn column(&self, place: usize) -> Option<&ColumnFacts> {
        self.0.get(place)?.as_ref()
    }
}

/// What is known of one column in one file.
#[derive(Debug)]
pub(super) struct ColumnFacts {
    /// No value is below it.
    pub(super) min: Option<Value>,
    /// No value is above it.
    pub(super) max: Option<Value>,
    /// Whether a row may be null.
    pub(super) may_null: bool,
    /// Whether a row may have a value.
    pub(super) may_value: bool,
}

impl ColumnFacts {
    /// Whether all values are known to be whole numbers of 32 bits.
    pub(super) fn fits_int(&self) -> bool {
        let fits =
            |bound: &Option<Value>| matches!(bound, Some(Value::Integer(number)) if i32::try_from(*number).is_ok());
        !self.may_value || fits(&self.min) && fits(&self.max)
    }
}

/// A partition column has one value in all rows. A value that cannot be read can be anything.
fn partition_facts(file: &File, column: &Column) -> Option<ColumnFacts> {
    match file.partition_values.get(&column.stored_name)?.as_deref() {
        None | Some("") => Some(ColumnFacts { min: None, max: None, may_null: true, may_value: false }),
        // The digits are not those that the number has when engines compare it with one of 64 bits.
        Some(_) if column.value_type == ValueType::Float => None,
        Some(text) => {
            let (min, max) = if column.value_type == ValueType::Timestamp {
                instants(text)?
            } else {
                let value = Value::parse(text, column.value_type)?;
                (value.clone(), value)
            };
            Some(ColumnFacts { min: Some(min), max: Some(max), may_null: false, may_value: true })
        }
    }
}

#[derive(Debug, Default)]
struct Statistics {
    rows: Option<u64>,
    min: Vec<Option<serde_json::Value>>,
    max: Vec<Option<serde_json::Value>>,
    nulls: Vec<Option<serde_json::Value>>,
}

impl Statistics {
    fn facts(&self, place: usize, value_type: ValueType) -> ColumnFacts {
        let at = |values: &[Option<serde_json::Value>]| values.get(place).cloned().flatten();
        let bound = |values| at(values).and_then(|value| Value::of_statistic(&value, value_type));
        let nulls = at(&self.nulls).and_then(|nulls| nulls.as_u64());
        ColumnFacts {
            min: bound(&self.min).map(Value::lower_bound),
            max: bound(&self.max).and_then(Value::upper_bound),
            may_null: nulls != Some(0),
            may_value: nulls.is_none() || nulls != self.rows,
        }
    }
}

/// Reads a file's statistics, but of the columns only those that are wanted: a table may have hundreds of columns,
/// and each of its files states them all.
struct StatisticsOf<'a>(&'a [Column]);

impl<'de> DeserializeSeed<'de> for StatisticsOf<'_> {
    type Value = Statistics;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Statistics, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for StatisticsOf<'_> {
    type Value = Statistics;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the statistics of a file")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Statistics, A::Error> {
        let mut read = Statistics::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "numRecords" => read.rows = map.next_value()?,
                "minValues" => read.min = map.next_value_seed(ValuesOf(self.0))?,
                "maxValues" => read.max = map.next_value_seed(ValuesOf(self.0))?,
                "nullCount" => read.nulls = map.next_value_seed(ValuesOf(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(read)
    }
}

struct ValuesOf<'a>(&'a [Column]);

impl<'de> DeserializeSeed<'de> for ValuesOf<'_> {
    type Value = Vec<Option<serde_json::Value>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ValuesOf<'_> {
    type Value = Vec<Option<serde_json::Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("statistics by column")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.0.len()];
        while let Some(key) = map.next_key::<String>()? {
            match self.0.iter().position(|column| column.stored_name == key).and_then(|place| values.get_mut(place)) {
                Some(value) => *value = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}
