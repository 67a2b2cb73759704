//! Statements on the SQL warehouse: the few that register tables and refresh their metadata.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Refusal, read};
use crate::names;
use crate::server::{Caller, Workspace};
use crate::state::Statement;
use crate::tables::{NewTable, Registration, logged_columns, register};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Execute {
    statement: String,
    warehouse_id: String,
    #[expect(dead_code, reason = "statements name their tables in full")]
    catalog: Option<String>,
    #[expect(dead_code, reason = "statements name their tables in full")]
    schema: Option<String>,
    #[serde(default)]
    parameters: Vec<Parameter>,
    wait_timeout: Option<String>,
    on_wait_timeout: Option<String>,
}

/// A value for a marker such as `:name`. No statement that is read here has a marker.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameter {
    name: String,
    #[expect(dead_code, reason = "nothing is substituted")]
    value: Option<String>,
    #[serde(rename = "type")]
    #[expect(dead_code, reason = "nothing is substituted")]
    data_type: Option<String>,
}

pub(crate) async fn execute(
    State(workspace): State<Arc<Workspace>>,
    Extension(Caller(caller)): Extension<Caller>,
    body: Bytes,
) -> Answer {
    let wanted: Execute = read(&body)?;
    if wanted.warehouse_id != workspace.options.warehouse_id {
        let message = format!("SQL warehouse {} does not exist.", wanted.warehouse_id);
        return Err(Refusal::missing("RESOURCE_DOES_NOT_EXIST", message));
    }
    let mut named = BTreeSet::new();
    if !wanted.parameters.iter().all(|parameter| !parameter.name.is_empty() && named.insert(&parameter.name)) {
        return Err(Refusal::invalid("parameters need names, each its own"));
    }
    let wait = wait_seconds(wanted.wait_timeout.as_deref().unwrap_or("10s"))?;
    let cancel = match wanted.on_wait_timeout.as_deref() {
        None | Some("CONTINUE") => false,
        Some("CANCEL") if wait > 0 => true,
        Some(_) => return Err(Refusal::invalid("on_wait_timeout must be CONTINUE, or CANCEL with a wait_timeout")),
    };
    let polls_left = workspace.options.statement_polls.max(u32::from(wait == 0));
    let mut statement = Statement { text: wanted.statement, caller, polls_left, outcome: None };
    if polls_left == 0 {
        statement.outcome = Some(run(&workspace, &statement).await);
    } else if cancel {
        return Ok(Json(json!({"statement_id": workspace.metastore().new_id(), "status": {"state": "CANCELED"}})));
    }
    let mut metastore = workspace.metastore();
    let id = metastore.new_id();
    let answer = info(&id, &statement);
    metastore.statements.insert(id, statement);
    Ok(Json(answer))
}

fn wait_seconds(text: &str) -> Result<u32, Refusal> {
    let seconds = text.strip_suffix('s').and_then(|digits| digits.parse().ok());
    let allowed = seconds.filter(|seconds| *seconds == 0 || (5..=50).contains(seconds));
    allowed.ok_or_else(|| Refusal::invalid("wait_timeout must be 0s or between 5s and 50s"))
}

fn info(id: &str, statement: &Statement) -> Value {
    let status = match &statement.outcome {
        None => json!({"state": "PENDING"}),
        Some(Ok(())) => json!({"state": "SUCCEEDED"}),
        Some(Err(refusal)) => json!({
            "state": "FAILED",
            "error": {"error_code": "BAD_REQUEST", "message": format!("[{}] {}", refusal.code, refusal.message)},
        }),
    };
    json!({"statement_id": id, "status": status})
}

pub(crate) async fn get(State(workspace): State<Arc<Workspace>>, Path(id): Path<String>) -> Answer {
    let found = workspace.metastore().statements.get(&id).cloned();
    let mut statement =
        found.ok_or_else(|| Refusal::missing("NOT_FOUND", format!("The statement {id} was not found.")))?;
    if statement.outcome.is_none() {
        statement.polls_left = statement.polls_left.saturating_sub(1);
        if statement.polls_left == 0 {
            statement.outcome = Some(run(&workspace, &statement).await);
        }
    }
    let answer = info(&id, &statement);
    workspace.metastore().statements.insert(id, statement);
    Ok(Json(answer))
}

/// What a statement asks for.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    CreateTable { full_name: String, location: String, if_not_exists: bool },
    SyncMetadata { full_name: String },
}

async fn run(workspace: &Workspace, statement: &Statement) -> Result<(), Refusal> {
    let parsed = parse(&statement.text)
        .ok_or_else(|| Refusal::new(http::StatusCode::BAD_REQUEST, "PARSE_SYNTAX_ERROR", "Syntax error."))?;
    match parsed {
        Parsed::CreateTable { full_name, location, if_not_exists } => {
            for part in full_name.split('.') {
                names::kept("Table", part)?;
            }
            if if_not_exists && workspace.metastore().tables.contains_key(&full_name) {
                return Ok(());
            }
            let columns = logged_columns(workspace, &location).await?.unwrap_or_default();
            let owner = &statement.caller;
            let by = Registration::Statement;
            let table = NewTable { full_name: &full_name, location: &location, owner, columns, by };
            register(workspace, &mut workspace.metastore(), table)
        }
        Parsed::SyncMetadata { full_name } => {
            let location = workspace.metastore().tables.get(&full_name).map(|table| table.storage_location.clone());
            let missing =
                || Refusal::missing("TABLE_OR_VIEW_NOT_FOUND", format!("The table {full_name} cannot be found."));
            let columns = logged_columns(workspace, &location.ok_or_else(missing)?).await?;
            if let (Some(table), Some(columns)) = (workspace.metastore().tables.get_mut(&full_name), columns) {
                table.columns = columns;
            }
            Ok(())
        }
    }
}

/// Reads a statement: words without case, names in back quotes or without, the location in single quotes.
fn parse(text: &str) -> Option<Parsed> {
    let mut rest = Words(text);
    if rest.take("CREATE") {
        rest.all(&["TABLE"])?;
        let if_not_exists = rest.take("IF");
        if if_not_exists {
            rest.all(&["NOT", "EXISTS"])?;
        }
        let full_name = rest.name()?;
        rest.all(&["USING", "DELTA", "LOCATION"])?;
        let location = rest.quoted()?;
        return rest.0.trim().is_empty().then_some(Parsed::CreateTable { full_name, location, if_not_exists });
    }
    rest.all(&["MSCK", "REPAIR", "TABLE"])?;
    let full_name = rest.name()?;
    rest.all(&["SYNC", "METADATA"])?;
    rest.0.trim().is_empty().then_some(Parsed::SyncMetadata { full_name })
}

/// What is left of a statement.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn take(&mut self, word: &str) -> bool {
        let text = self.0.trim_start();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (first, rest) = text.split_at(end);
        let same = first.eq_ignore_ascii_case(word);
        if same {
            self.0 = rest;
        }
        same
    }

    fn all(&mut self, words: &[&str]) -> Option<()> {
        words.iter().all(|word| self.take(word)).then_some(())
    }

    /// A name of three parts, in lower case.
    fn name(&mut self) -> Option<String> {
        let mut parts = Vec::new();
        loop {
            let text = self.0.trim_start();
            let (part, rest) = match text.strip_prefix('`') {
                Some(inside) => inside.split_once('`')?,
                None => {
                    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    text.split_at(text.find(|c| !plain(c)).unwrap_or(text.len()))
                }
            };
            parts.push(part.to_lowercase());
            match rest.strip_prefix('.') {
                Some(rest) => self.0 = rest,
                None => {
                    self.0 = rest;
                    break;
                }
            }
        }
        (parts.len() == 3 && parts.iter().all(|part| !part.is_empty())).then(|| parts.join("."))
    }

    fn quoted(&mut self) -> Option<String> {
        let (inside, rest) = self.0.trim_start().strip_prefix('\'')?.split_once('\'')?;
        self.0 = rest;
        Some(inside.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_statements_are_read_and_no_other() {
        let create = |if_not_exists| {
            Some(Parsed::CreateTable {
                full_name: "main.a-b.t".to_owned(),
                location: "s3://bucket/t".to_owned(),
                if_not_exists,
            })
        };
        assert_eq!(
            parse("CREATE TABLE IF NOT EXISTS `main`.`a-b`.`T` USING DELTA LOCATION 's3://bucket/t'"),
            create(true)
        );
        assert_eq!(parse("create table main.`a-b`.T using delta location 's3://bucket/t'"), create(false));
        let sync = Some(Parsed::SyncMetadata { full_name: "main.s.t".to_owned() });
        assert_eq!(parse("MSCK REPAIR TABLE main.s.t SYNC METADATA"), sync);
        for other in [
            "",
            "SELECT 1",
            "DROP TABLE main.s.t",
            "CREATE TABLE main.a-b.t USING DELTA LOCATION 's3://bucket/t'",
            "CREATE TABLE s.t USING DELTA LOCATION 's3://bucket/t'",
            "CREATE TABLE main.s.t USING DELTA LOCATION 's3://bucket/t'; DROP TABLE main.s.t",
            "MSCK REPAIR TABLE main.s.t",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
