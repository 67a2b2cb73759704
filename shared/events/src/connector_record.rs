//! A connector's record, as JSON text of version 1. It holds the secure contact and must not be printed.

use std::collections::BTreeSet;

use delivery::connector::{
    Backend, Connector, ConnectorState, Recipient, Rotation, Scope, SecureContact, SharingIdentifier, TokenRecipient,
};
use delivery::ids::{ConnectorId, TeamId, WorkflowId};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{StoredFormatError, read_stored, text, write_stored};

const WHAT: &str = "connector record";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordForm {
    v: u32,
    #[serde(with = "text::one")]
    connector_id: ConnectorId,
    #[serde(with = "text::one")]
    team_id: TeamId,
    recipient: RecipientForm,
    /// Records of before there was another have none.
    #[serde(default = "open")]
    backend: String,
    workflows: ScopeForm,
    activity_log: bool,
    backfill: bool,
    max_rejected_fraction: f64,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disabled_in: Option<String>,
    #[serde(with = "text::optional", default, skip_serializing_if = "Option::is_none")]
    missed_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rotation: Option<RotationForm>,
    #[serde(with = "text::one")]
    created_at: Timestamp,
    #[serde(default)]
    revision: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RotationForm {
    number: u32,
    #[serde(with = "text::one")]
    began_at: Timestamp,
    #[serde(with = "text::one")]
    tokens_end_at: Timestamp,
}

fn open() -> String {
    Backend::Open.as_str().to_owned()
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum RecipientForm {
    #[serde(rename_all = "camelCase")]
    Databricks { sharing_identifier: String },
    #[serde(rename_all = "camelCase")]
    Token { secure_contact: String, token_lifetime_days: u16, allowed_ips: Vec<String> },
}

/// `"all"`, or the ids.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ScopeForm {
    Word(String),
    Ids(Vec<String>),
}

/// Writes a connector's record.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the connector cannot be written as JSON.
pub fn write(connector: &Connector) -> Result<String, StoredFormatError> {
    let form = RecordForm {
        v: VERSION,
        connector_id: connector.id.clone(),
        team_id: connector.team.clone(),
        recipient: match &connector.recipient {
            Recipient::Databricks(identifier) => {
                RecipientForm::Databricks { sharing_identifier: identifier.as_str().to_owned() }
            }
            Recipient::Token(recipient) => RecipientForm::Token {
                secure_contact: recipient.secure_contact.reveal().to_owned(),
                token_lifetime_days: recipient.token_lifetime_days,
                allowed_ips: recipient.allowed_ips.clone(),
            },
        },
        backend: connector.backend.as_str().to_owned(),
        workflows: scope_form(&connector.workflows),
        activity_log: connector.activity_log,
        backfill: connector.backfill,
        max_rejected_fraction: connector.max_rejected_fraction,
        state: connector.state.as_str().to_owned(),
        disabled_in: connector.disabled_in.map(|state| state.as_str().to_owned()),
        missed_since: connector.missed_since,
        rotation: connector.rotation.map(|Rotation { number, began_at, tokens_end_at }| RotationForm {
            number,
            began_at,
            tokens_end_at,
        }),
        created_at: connector.created_at,
        revision: connector.revision,
    };
    write_stored(WHAT, &form)
}

/// Reads a connector's record.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the text is not a record of a known version.
pub fn read(record: &str) -> Result<Connector, StoredFormatError> {
    let form: RecordForm = read_stored(WHAT, VERSION, record.as_bytes())?;
    let recipient = match form.recipient {
        RecipientForm::Databricks { sharing_identifier } => Recipient::Databricks(
            SharingIdentifier::new(&sharing_identifier).ok_or_else(|| invalid("sharingIdentifier"))?,
        ),
        RecipientForm::Token { secure_contact, token_lifetime_days, allowed_ips } => {
            let secure_contact = SecureContact::new(secure_contact).ok_or_else(|| invalid("secureContact"))?;
            Recipient::Token(TokenRecipient { secure_contact, token_lifetime_days, allowed_ips })
        }
    };
    let state_of = |text: &str, property| ConnectorState::parse(text).ok_or_else(|| invalid(property));
    Ok(Connector {
        id: form.connector_id,
        team: form.team_id,
        recipient,
        backend: Backend::parse(&form.backend).ok_or_else(|| invalid("backend"))?,
        workflows: scope_of(form.workflows)?,
        activity_log: form.activity_log,
        backfill: form.backfill,
        max_rejected_fraction: form.max_rejected_fraction,
        state: state_of(&form.state, "state")?,
        disabled_in: form.disabled_in.map(|state| state_of(&state, "disabledIn")).transpose()?,
        missed_since: form.missed_since,
        rotation: form.rotation.map(|RotationForm { number, began_at, tokens_end_at }| Rotation {
            number,
            began_at,
            tokens_end_at,
        }),
        created_at: form.created_at,
        revision: form.revision,
    })
}

/// Writes a scope by itself: what the team's entry of a connector holds.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the scope cannot be written as JSON.
pub fn write_scope(scope: &Scope) -> Result<String, StoredFormatError> {
    write_stored(WHAT, &scope_form(scope))
}

/// Reads a scope by itself.
///
/// # Errors
///
/// Returns [`StoredFormatError`] if the text is not a scope.
pub fn read_scope(text: &str) -> Result<Scope, StoredFormatError> {
    let form = serde_json::from_str(text).map_err(|_| invalid("workflows"))?;
    scope_of(form)
}

fn invalid(property: &str) -> StoredFormatError {
    StoredFormatError { what: WHAT, reason: format!("{property} has a value that this program does not know") }
}

fn scope_form(scope: &Scope) -> ScopeForm {
    match scope {
        Scope::All => ScopeForm::Word("all".to_owned()),
        Scope::Only(workflows) => ScopeForm::Ids(workflows.iter().map(|id| id.as_str().to_owned()).collect()),
    }
}

fn scope_of(form: ScopeForm) -> Result<Scope, StoredFormatError> {
    match form {
        ScopeForm::Word(word) if word == "all" => Ok(Scope::All),
        ScopeForm::Word(_) => Err(invalid("workflows")),
        ScopeForm::Ids(ids) => {
            let ids: Result<BTreeSet<_>, _> = ids.into_iter().map(WorkflowId::new).collect();
            Ok(Scope::Only(ids.map_err(|_| invalid("workflows"))?))
        }
    }
}
