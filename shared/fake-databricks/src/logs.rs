//! The logs of registered tables, read for their columns only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use delivery::ports::PortErrorKind;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use serde_json::Value;
use tables::snapshot::TableReader;

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

/// The logs of tables in the buckets of an S3 endpoint, read as any reader of Delta tables does: from the newest
/// checkpoint on. Key, secret and region are those of the process (`AWS_ACCESS_KEY_ID` and so on).
#[derive(Debug)]
pub struct StoredLogs {
    endpoint: String,
}

impl StoredLogs {
    /// Logs behind an endpoint.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        Self { endpoint: endpoint.trim_end_matches('/').to_owned() }
    }
}

#[async_trait]
impl TableLogs for StoredLogs {
    async fn schema_text(&self, location: &str) -> Result<Option<String>, String> {
        let Some(place) = location.strip_prefix("s3://") else { return Err(format!("{location} is not on S3")) };
        let (bucket, path) = place.split_once('/').ok_or_else(|| format!("{location} is a whole bucket"))?;
        let bucket = AmazonS3Builder::from_env()
            .with_endpoint(&self.endpoint)
            .with_allow_http(true)
            .with_virtual_hosted_style_request(false)
            .with_bucket_name(bucket)
            .build()
            .map_err(|error| error.to_string())?;
        newest_schema(Arc::new(bucket), path).await
    }
}

/// The newest schema text of the table at a path.
async fn newest_schema(store: Arc<dyn ObjectStore>, path: &str) -> Result<Option<String>, String> {
    match TableReader::new(store).snapshot(path.trim_end_matches('/'), None).await {
        Ok(snapshot) => Ok(Some(snapshot.metadata.schema_string.clone())),
        Err(error) if error.kind == PortErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{error}: {}", error.source)),
    }
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

    #[tokio::test]
    async fn a_log_is_read_from_its_newest_checkpoint_to_its_newest_schema() {
        use object_store::{ObjectStoreExt as _, PutPayload};
        let store = Arc::new(object_store::memory::InMemory::new());
        let metadata = |text: &str| {
            serde_json::json!({"metaData": {
                "id": "00000000-0000-4000-8000-000000000000", "format": {"provider": "parquet", "options": {}},
                "schemaString": text, "partitionColumns": [], "configuration": {},
            }})
        };
        let protocol = serde_json::json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}});
        let path = "connectors/acme/T";
        for (version, entry) in [
            (0_u64, format!("{protocol}\n{}", metadata("first"))),
            (1, serde_json::json!({"commitInfo": {}}).to_string()),
            (2, metadata("second").to_string()),
        ] {
            let key = format!("{path}/_delta_log/{version:020}.json");
            store.put(&key.into(), PutPayload::from(entry.into_bytes())).await.unwrap();
        }
        assert_eq!(newest_schema(store.clone(), path).await, Ok(Some("second".to_owned())));
        assert_eq!(newest_schema(store, "connectors/acme/U").await, Ok(None));
        assert!(StoredLogs::new("http://127.0.0.1:1").schema_text("file:///tables").await.is_err());
    }
}
