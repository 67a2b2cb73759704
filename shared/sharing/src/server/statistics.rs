//! What a file's statistics and partition values say of the columns that a predicate names.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use tables::snapshot::File;

use super::value::{Value, ValueType};

/// The columns of a table that predicates can be about, and those that one predicate is about.
#[derive(Debug)]
pub(super) struct Columns {
    all: BTreeMap<String, (String, ValueType)>,
    partitioned: Vec<String>,
    wanted: Vec<(String, ValueType)>,
}

impl Columns {
    /// The columns of a table's schema with a type that compares; `None` if the text is not a schema.
    pub(super) fn of(schema_string: &str, partition_columns: &[String]) -> Option<Self> {
        let schema: serde_json::Value = serde_json::from_str(schema_string).ok()?;
        let fields = schema.get("fields")?.as_array()?;
        let column = |field: &serde_json::Value| {
            let name = field.get("name")?.as_str()?;
            let value_type = ValueType::of_column(field.get("type")?.as_str()?)?;
            Some((name.to_lowercase(), (name.to_owned(), value_type)))
        };
        let all = fields.iter().filter_map(column).collect();
        Some(Self { all, partitioned: partition_columns.to_vec(), wanted: Vec::new() })
    }

    /// The place among the wanted columns of a column, named without case, and its type.
    pub(super) fn wanted(&mut self, name: &str) -> Option<(usize, ValueType)> {
        let (name, value_type) = self.all.get(&name.to_lowercase())?;
        let place = match self.wanted.iter().position(|(wanted, _)| wanted == name) {
            Some(place) => place,
            None => {
                self.wanted.push((name.clone(), *value_type));
                self.wanted.len() - 1
            }
        };
        Some((place, *value_type))
    }

    /// What is known of a file's wanted columns.
    pub(super) fn facts(&self, file: &File) -> Facts {
        let statistics = file.stats.as_deref().and_then(|text| self.statistics(text)).unwrap_or_default();
        let fact = |(place, (name, value_type)): (usize, &(String, ValueType))| {
            if self.partitioned.contains(name) {
                partition_facts(file, name, *value_type)
            } else {
                Some(statistics.facts(place, *value_type))
            }
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

/// A partition column has one value in all rows. A value that cannot be read can be anything.
fn partition_facts(file: &File, name: &str, value_type: ValueType) -> Option<ColumnFacts> {
    match file.partition_values.get(name)?.as_deref() {
        None | Some("") => Some(ColumnFacts { min: None, max: None, may_null: true, may_value: false }),
        Some(text) => {
            let value = Value::parse(text, value_type)?;
            Some(ColumnFacts { min: Some(value.clone()), max: Some(value), may_null: false, may_value: true })
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
            min: bound(&self.min),
            max: bound(&self.max).and_then(Value::upper_bound),
            may_null: nulls != Some(0),
            may_value: nulls.is_none() || nulls != self.rows,
        }
    }
}

/// Reads a file's statistics, but of the columns only those that are wanted: a table may have hundreds of columns,
/// and each of its files states them all.
struct StatisticsOf<'a>(&'a [(String, ValueType)]);

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

struct ValuesOf<'a>(&'a [(String, ValueType)]);

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
            match self.0.iter().position(|(name, _)| *name == key).and_then(|place| values.get_mut(place)) {
                Some(value) => *value = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}
