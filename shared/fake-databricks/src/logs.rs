//! The logs of registered tables, read for their columns only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use crate::state::Column;

/// Finds the schema of the Delta table at a location.
#[async_trait]
pub trait TableLogs: Send + Sync {
    /// The newest schema text in the log at a location such as `s3://bucket/path`; `None` if there is no Delta log.
    ///
    /// # Errors
    ///
    /// Returns what went wrong, for the answer to the client.
    async fn schema_text(&self, location: &str) -> Result<Option<String>, String>;
}

/// Schema texts by location, put there by a test.
#[derive(Debug, Default)]
pub struct StatedLogs(Mutex<BTreeMap<String, String>>);

impl StatedLogs {
    /// States the schema text of the table at a location.
    pub fn put(&self, location: &str, schema_text: &str) {
        let mut stated = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stated.insert(location.trim_end_matches('/').to_owned(), schema_text.to_owned());
    }
}

#[async_trait]
impl TableLogs for StatedLogs {
    async fn schema_text(&self, location: &str) -> Result<Option<String>, String> {
        let stated = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stated.get(location.trim_end_matches('/')).cloned())
    }
}

/// Logs behind an HTTP endpoint that serves `s3://bucket/key` as `<base>/bucket/key`, as a local object store or a
/// plain file server does. Reads the log from its first entry, so it finds nothing once that is cleaned up.
#[derive(Debug)]
pub struct HttpLogs {
    base_url: String,
    client: reqwest::Client,
}

impl HttpLogs {
    /// Logs below a URL.
    #[must_use]
    pub fn new(base_url: &str) -> Self {
        Self { base_url: base_url.trim_end_matches('/').to_owned(), client: reqwest::Client::new() }
    }
}

#[async_trait]
impl TableLogs for HttpLogs {
    async fn schema_text(&self, location: &str) -> Result<Option<String>, String> {
        let Some(path) = location.strip_prefix("s3://") else { return Err(format!("{location} is not on S3")) };
        let mut newest = None;
        for version in 0_u64.. {
            let url = format!("{}/{path}/_delta_log/{version:020}.json", self.base_url);
            let answer = self.client.get(&url).send().await.map_err(|error| error.to_string())?;
            if answer.status() == http::StatusCode::NOT_FOUND {
                break;
            }
            if !answer.status().is_success() {
                return Err(format!("the log's storage answered {}", answer.status()));
            }
            let entry = answer.text().await.map_err(|error| error.to_string())?;
            newest = schema_of_entry(&entry).or(newest);
        }
        Ok(newest)
    }
}

/// The schema text in a log entry, if it sets one.
fn schema_of_entry(entry: &str) -> Option<String> {
    let actions = entry.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut texts = actions.filter_map(|action| {
        let text = action.get("metaData")?.get("schemaString")?.as_str()?;
        Some(text.to_owned())
    });
    texts.next_back()
}

/// The columns of a schema text, as the catalog words them.
pub(crate) fn columns(schema_text: &str) -> Option<Vec<Column>> {
    let schema: Value = serde_json::from_str(schema_text).ok()?;
    let fields = schema.get("fields")?.as_array()?;
    (0_u32..).zip(fields).map(|(position, field)| column(position, field)).collect()
}

fn column(position: u32, field: &Value) -> Option<Column> {
    let data_type = field.get("type")?;
    let text = type_text(data_type)?;
    let decimal = text.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
    let (precision, scale) = match decimal.and_then(|inner| inner.split_once(',')) {
        Some((precision, scale)) => (Some(precision.parse().ok()?), Some(scale.parse().ok()?)),
        None => (None, None),
    };
    Some(Column {
        name: field.get("name")?.as_str()?.to_owned(),
        type_name: type_name(data_type)?,
        type_text: text,
        type_json: field.to_string(),
        position,
        nullable: field.get("nullable").and_then(Value::as_bool),
        comment: None,
        partition_index: None,
        type_precision: precision,
        type_scale: scale,
        type_interval_type: None,
    })
}

/// A Delta type as SQL writes it.
fn type_text(data_type: &Value) -> Option<String> {
    if let Some(primitive) = data_type.as_str() {
        return Some(match primitive {
            "long" => "bigint".to_owned(),
            "integer" => "int".to_owned(),
            "short" => "smallint".to_owned(),
            "byte" => "tinyint".to_owned(),
            other => other.to_owned(),
        });
    }
    match data_type.get("type")?.as_str()? {
        "struct" => {
            let fields = data_type.get("fields")?.as_array()?.iter();
            let fields: Option<Vec<_>> = fields
                .map(|field| Some(format!("{}:{}", field.get("name")?.as_str()?, type_text(field.get("type")?)?)))
                .collect();
            Some(format!("struct<{}>", fields?.join(",")))
        }
        "array" => Some(format!("array<{}>", type_text(data_type.get("elementType")?)?)),
        "map" => {
            Some(format!("map<{},{}>", type_text(data_type.get("keyType")?)?, type_text(data_type.get("valueType")?)?))
        }
        _ => None,
    }
}

/// A Delta type as the catalog names it.
fn type_name(data_type: &Value) -> Option<String> {
    let word = data_type.as_str().or_else(|| data_type.get("type")?.as_str())?;
    Some(match word {
        "integer" => "INT".to_owned(),
        decimal if decimal.starts_with("decimal(") => "DECIMAL".to_owned(),
        other => other.to_uppercase(),
    })
}

/// What is wrong with stated columns, given the log's: names, types and order count, comments do not.
pub(crate) fn difference(stated: &[Column], logged: &[Column]) -> Option<String> {
    if stated.len() != logged.len() {
        return Some(format!("{} columns are stated, the log has {}", stated.len(), logged.len()));
    }
    stated.iter().zip(logged).find_map(|(stated, logged)| {
        let comparable = |column: &Column| {
            let field: Value = serde_json::from_str(&column.type_json).ok()?;
            Some((field.get("name")?.clone(), field.get("type")?.clone()))
        };
        let words = |column: &Column| {
            (column.name.clone(), column.type_name.clone(), column.type_text.clone(), column.position)
        };
        let numbers = |column: &Column| (column.type_precision.unwrap_or(0), column.type_scale.unwrap_or(0));
        let same = words(stated) == words(logged)
            && numbers(stated) == numbers(logged)
            && comparable(stated).is_some()
            && comparable(stated) == comparable(logged);
        (!same).then(|| format!("column {} ({}) differs from the log's", logged.position, logged.type_text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"struct","fields":[
        {"name":"id","type":"long","nullable":true,"metadata":{}},
        {"name":"price","type":{"type":"struct","fields":[
            {"name":"amount","type":"decimal(38,6)","nullable":true,"metadata":{}},
            {"name":"tags","type":{"type":"array","elementType":"integer","containsNull":true},"nullable":true,
             "metadata":{}}]},"nullable":true,"metadata":{}},
        {"name":"rate","type":"decimal(10,2)","nullable":true,"metadata":{}}]}"#;

    #[test]
    fn columns_are_worded_as_the_catalog_does() {
        let columns = columns(SCHEMA).unwrap();
        let words: Vec<_> = columns.iter().map(|c| format!("{} {} {}", c.name, c.type_name, c.type_text)).collect();
        assert_eq!(
            words,
            [
                "id LONG bigint",
                "price STRUCT struct<amount:decimal(38,6),tags:array<int>>",
                "rate DECIMAL decimal(10,2)"
            ]
        );
        assert_eq!((columns[2].type_precision, columns[2].type_scale), (Some(10), Some(2)));
        assert!(super::columns("{}").is_none());
    }

    #[test]
    fn any_difference_to_the_log_is_found() {
        let logged = columns(SCHEMA).unwrap();
        assert_eq!(difference(&logged, &logged), None);
        let changes: [fn(&mut Vec<Column>); 5] = [
            |columns| columns.truncate(2),
            |columns| columns.swap(0, 1),
            |columns| columns[0].type_text = "int".to_owned(),
            |columns| columns[0].type_json = r#"{"name":"id","type":"integer"}"#.to_owned(),
            |columns| columns[2].type_scale = None,
        ];
        for change in changes {
            let mut stated = logged.clone();
            change(&mut stated);
            assert!(difference(&stated, &logged).is_some());
        }
    }

    #[test]
    fn the_schema_of_an_entry_is_its_metadata_s() {
        let entry = format!(
            "{}\n{}\n",
            serde_json::json!({"protocol": {"minReaderVersion": 1}}),
            serde_json::json!({"metaData": {"id": "x", "schemaString": SCHEMA}})
        );
        assert_eq!(schema_of_entry(&entry).as_deref(), Some(SCHEMA));
        assert_eq!(schema_of_entry(r#"{"add":{"path":"a"}}"#), None);
    }

    #[tokio::test]
    async fn a_log_behind_http_is_read_to_its_newest_schema() {
        use axum::Router;
        use axum::routing::get;
        let metadata = |text: &str| serde_json::json!({"metaData": {"schemaString": text}}).to_string();
        let (first, second) = (metadata("first"), metadata("second"));
        let entry = |version: u32| format!("/tables/connectors/acme/T/_delta_log/{version:020}.json");
        let router = Router::new()
            .route(&entry(0), get(async || first))
            .route(&entry(1), get(async || r#"{"add":{"path":"a.parquet"}}"#))
            .route(&entry(2), get(async || second));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let logs = HttpLogs::new(&format!("http://{}/", listener.local_addr().unwrap()));
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        let newest = logs.schema_text("s3://tables/connectors/acme/T").await.unwrap();
        assert_eq!(newest.as_deref(), Some("second"));
        assert_eq!(logs.schema_text("s3://tables/connectors/acme/U").await, Ok(None));
        assert!(logs.schema_text("file:///tables").await.is_err());
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
    }
}
