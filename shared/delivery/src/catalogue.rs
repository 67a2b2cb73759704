//! The catalogue tables: workflows, their schema versions, and the columns of each, made whole of what is known of the
//! version tables that have delivered runs.

use std::collections::BTreeMap;

use crate::ids::{RunId, WorkflowId};
use crate::metadata::{Cell, MetadataTable, Row};
use crate::schema::{Column, ColumnType, Fingerprint, PublicSchema};
use crate::table::{SchemaVersion, TableName, WorkflowLabel};

/// A schema version with at least one delivered run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The workflow's name, as of its newest delivered run.
    pub workflow_name: String,
    /// The workflow's label.
    pub label: WorkflowLabel,
    /// The number of the schema.
    pub schema_version: SchemaVersion,
    /// The schema's fingerprint.
    pub fingerprint: Fingerprint,
    /// The version table.
    pub table: TableName,
    /// The run that was delivered first with this schema.
    pub first_run: RunId,
    /// The public columns.
    pub schema: PublicSchema,
}

/// All rows of a catalogue table, in the order of the entries. The tables that are written in batches have none here.
#[must_use]
pub fn rows(table: MetadataTable, entries: &[CatalogueEntry]) -> Vec<Row> {
    match table {
        MetadataTable::Workflows => workflows(entries),
        MetadataTable::WorkflowSchemaVersions => entries.iter().map(schema_version).collect(),
        MetadataTable::WorkflowSchemaFields => entries
            .iter()
            .flat_map(|entry| {
                (1..).zip(entry.schema.columns()).map(|(position, column)| field(entry, position, column))
            })
            .collect(),
        MetadataTable::WorkflowRuns | MetadataTable::ActivityLog => Vec::new(),
    }
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

fn workflows(entries: &[CatalogueEntry]) -> Vec<Row> {
    let mut newest: BTreeMap<&WorkflowId, &CatalogueEntry> = BTreeMap::new();
    for entry in entries {
        let kept = newest.entry(&entry.workflow).or_insert(entry);
        if kept.schema_version < entry.schema_version {
            *kept = entry;
        }
    }
    let row = |entry: &CatalogueEntry| {
        vec![
            text(entry.workflow.as_str()),
            text(&entry.workflow_name),
            Cell::Integer(entry.schema_version.0.into()),
            text(entry.table.as_str()),
            text(TableName::latest(&entry.label).as_str()),
        ]
    };
    newest.into_values().map(row).collect()
}

fn schema_version(entry: &CatalogueEntry) -> Row {
    vec![
        text(entry.workflow.as_str()),
        Cell::Integer(entry.schema_version.0.into()),
        text(entry.fingerprint.as_str()),
        text(entry.first_run.as_str()),
        text(entry.table.as_str()),
    ]
}

fn field(entry: &CatalogueEntry, position: i64, column: &Column) -> Row {
    vec![
        text(entry.workflow.as_str()),
        Cell::Integer(entry.schema_version.0.into()),
        Cell::Integer(position),
        text(&column.source),
        text(&column.name),
        text(&column.source_type),
        text(&delta_type(&column.column_type)),
        text(cast_policy(&column.column_type)),
        Cell::Boolean(column.key),
        column.description.as_deref().map_or(Cell::Null, text),
    ]
}

/// A column's type as SQL writes it, nested types written out, such as `struct<a:string,b:array<double>>`.
#[must_use]
pub fn delta_type(column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::String | ColumnType::Json => "string".to_owned(),
        ColumnType::Double => "double".to_owned(),
        ColumnType::Boolean => "boolean".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Timestamp => "timestamp".to_owned(),
        ColumnType::Money => "struct<amount:decimal(38,6),currency_code:string>".to_owned(),
        ColumnType::Struct(members) => {
            let members = members.iter().map(|member| format!("{}:{}", member.name, delta_type(&member.column_type)));
            format!("struct<{}>", members.collect::<Vec<_>>().join(","))
        }
        ColumnType::Array(element) => format!("array<{}>", delta_type(element)),
    }
}

/// The stable name of the rule that a column's values are cast by. A `struct` or an `array` casts each member or
/// element by the rule of its own type.
///
/// | name | rule |
/// |---|---|
/// | `text` | strings as they are; numbers and booleans as their JSON text; objects and arrays as compact JSON |
/// | `json_text` | any JSON value as compact JSON, without private keys |
/// | `exact_double` | numbers, and texts that are one; nothing that a double cannot hold finitely |
/// | `boolean` | true and false, and texts that say so |
/// | `date` | calendar dates |
/// | `timestamp_microseconds_truncated` | RFC 3339 times in UTC; what is finer than a microsecond is cut off |
/// | `money` | an amount with at most six decimals, and a currency code |
/// | `struct` | objects, member by member; keys that the schema does not declare are dropped |
/// | `array` | arrays, element by element |
#[must_use]
pub fn cast_policy(column_type: &ColumnType) -> &'static str {
    match column_type {
        ColumnType::String => "text",
        ColumnType::Json => "json_text",
        ColumnType::Double => "exact_double",
        ColumnType::Boolean => "boolean",
        ColumnType::Date => "date",
        ColumnType::Timestamp => "timestamp_microseconds_truncated",
        ColumnType::Money => "money",
        ColumnType::Struct(_) => "struct",
        ColumnType::Array(_) => "array",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Field, Marking, Shape};

    fn field_of(name: &str, data_type: &str, shape: Option<Shape>) -> Field {
        Field {
            name: name.to_owned(),
            data_type: Some(data_type.to_owned()),
            field_type: None,
            key: name == "title",
            marking: Marking::Public,
            description: (name == "title").then(|| "the film".to_owned()),
            shape,
        }
    }

    fn entry(workflow: &str, name: &str, version: u32, schema: PublicSchema) -> CatalogueEntry {
        let workflow = WorkflowId::new(workflow).unwrap();
        let label = WorkflowLabel::preferred(&workflow);
        CatalogueEntry {
            workflow_name: name.to_owned(),
            schema_version: SchemaVersion(version),
            fingerprint: schema.fingerprint(),
            table: TableName::version(&label, SchemaVersion(version)),
            first_run: RunId::new(format!("r-{version}")).unwrap(),
            workflow,
            label,
            schema,
        }
    }

    fn shown(rows: Vec<Row>) -> Vec<String> {
        let cell = |cell: Cell| match cell {
            Cell::Null => "-".to_owned(),
            Cell::Text(text) => text,
            Cell::Integer(number) => number.to_string(),
            Cell::Boolean(flag) => flag.to_string(),
            Cell::Timestamp(at) => at.to_string(),
        };
        rows.into_iter().map(|row| row.into_iter().map(cell).collect::<Vec<_>>().join(" | ")).collect()
    }

    #[test]
    fn the_tables_tell_of_workflows_versions_and_public_columns_only() {
        let shape = Shape::Object(vec![
            ("a".to_owned(), Shape::Null),
            ("_b".to_owned(), Shape::Number),
            ("list".to_owned(), Shape::Array(vec![Shape::Number])),
        ]);
        let secret = Field { marking: Marking::Private, ..field_of("margin", "NUMBER", None) };
        let wide = PublicSchema::of(&[
            field_of("title", "STRING", None),
            secret,
            field_of("run_id", "DATETIME", None),
            field_of("price", "MONEY", None),
            field_of("details", "OBJECT", Some(shape)),
            field_of("extra", "OBJECT", None),
        ])
        .unwrap();
        let narrow = PublicSchema::of(&[field_of("title", "LINK", None)]).unwrap();
        let entries =
            [entry("a-1", "Films", 1, narrow.clone()), entry("a-1", "Films", 3, wide), entry("b", "B", 1, narrow)];
        assert_eq!(
            shown(rows(MetadataTable::Workflows, &entries)),
            ["a-1 | Films | 3 | WF_A_1__V3 | WF_A_1__LATEST", "b | B | 1 | WF_B__V1 | WF_B__LATEST"]
        );
        let [a1, a3, b1] = entries.clone().map(|entry| entry.fingerprint.as_str().to_owned());
        assert_eq!(
            shown(rows(MetadataTable::WorkflowSchemaVersions, &entries)),
            [
                format!("a-1 | 1 | {a1} | r-1 | WF_A_1__V1"),
                format!("a-1 | 3 | {a3} | r-3 | WF_A_1__V3"),
                format!("b | 1 | {b1} | r-1 | WF_B__V1"),
            ]
        );
        assert_eq!(
            shown(rows(MetadataTable::WorkflowSchemaFields, &entries)),
            [
                "a-1 | 1 | 1 | title | title | LINK | string | text | true | the film",
                "a-1 | 3 | 1 | title | title | STRING | string | text | true | the film",
                "a-1 | 3 | 2 | run_id | run_id_2 | DATETIME | timestamp | timestamp_microseconds_truncated | false | -",
                "a-1 | 3 | 3 | price | price | MONEY | struct<amount:decimal(38,6),currency_code:string> | money | false | -",
                "a-1 | 3 | 4 | details | details | OBJECT | struct<a:string,list:array<double>> | struct | false | -",
                "a-1 | 3 | 5 | extra | extra | OBJECT | string | json_text | false | -",
                "b | 1 | 1 | title | title | LINK | string | text | true | the film",
            ]
        );
    }

    #[test]
    fn every_row_has_its_tables_columns() {
        let schema = PublicSchema::of(&[field_of("title", "STRING", None)]).unwrap();
        let entries = [entry("a", "A", 1, schema)];
        for table in MetadataTable::CATALOGUE {
            let rows = rows(table, &entries);
            assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == table.columns().len()), "{table:?}");
        }
    }
}
