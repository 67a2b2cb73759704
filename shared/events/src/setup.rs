//! The input of `SetupConnector`: an operator's words, checked property by property.

use std::collections::BTreeSet;
use std::net::IpAddr;

use delivery::connector::{
    Backend, Connector, ConnectorState, Recipient, Scope, SecureContact, SharingIdentifier, TOKEN_LIFETIME_DAYS_MAX,
    TokenRecipient,
};
use delivery::failure::{FailureCode, StepError};
use delivery::ids::{ConnectorId, InvalidId, TeamId, WorkflowId};
use delivery::timestamp::Timestamp;
use serde_json::Value;

use crate::property::Properties;

/// The most workflows that a scope names.
pub const WORKFLOWS_MAX: usize = 1_000;

/// The most CIDR blocks of a recipient.
pub const ALLOWED_IPS_MAX: usize = 100;

/// Reads the input of `SetupConnector` as a connector that is about to be provisioned.
///
/// # Errors
///
/// `CONNECTOR_INVALID` with the path of the property. No error holds the secure contact.
pub fn connector(input: &Value, now: Timestamp) -> Result<Connector, StepError> {
    let Value::Object(input) = input else {
        return Err(StepError::new(FailureCode::ConnectorInvalid, "the input must be a JSON object"));
    };
    let input = Properties::of(input, FailureCode::ConnectorInvalid);
    let max_rejected_fraction = input.optional_number("maxRejectedFraction")?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&max_rejected_fraction) {
        return Err(input.refuse("maxRejectedFraction", "must be a number from 0 to 1"));
    }
    let recipient = recipient(&input.object("recipient")?)?;
    let backend = backend(&input, &recipient)?;
    Ok(Connector {
        id: ConnectorId::new(input.string("connectorId")?).map_err(invalid_id)?,
        team: TeamId::new(input.string("teamId")?).map_err(invalid_id)?,
        recipient,
        backend,
        workflows: scope(&input)?,
        activity_log: input.flag("activityLog", true)?,
        backfill: input.flag("backfill", true)?,
        max_rejected_fraction,
        state: ConnectorState::Provisioning,
        disabled_in: None,
        missed_since: None,
        rotation: None,
        created_at: now,
        revision: 0,
    })
}

fn invalid_id(error: InvalidId) -> StepError {
    StepError::new(FailureCode::ConnectorInvalid, error.to_string())
}

/// What serves the share: a metastore for who reads in one; for a token our own server, unless the input says
/// otherwise.
fn backend(input: &Properties<'_>, recipient: &Recipient) -> Result<Backend, StepError> {
    let asked = match input.get("backend") {
        None => None,
        Some(value) => Some(
            value
                .as_str()
                .and_then(Backend::parse)
                .ok_or_else(|| input.refuse("backend", "must be open or databricks"))?,
        ),
    };
    match (recipient, asked) {
        (Recipient::Databricks(_), Some(Backend::Open)) => {
            Err(input.refuse("backend", "must be databricks for a recipient of type databricks"))
        }
        (Recipient::Databricks(_), _) => Ok(Backend::Databricks),
        (Recipient::Token(_), asked) => Ok(asked.unwrap_or(Backend::Open)),
    }
}

fn recipient(recipient: &Properties<'_>) -> Result<Recipient, StepError> {
    match recipient.string("type")? {
        "token" => token_recipient(recipient).map(Recipient::Token),
        "databricks" => {
            SharingIdentifier::new(recipient.string("sharingIdentifier")?).map(Recipient::Databricks).ok_or_else(|| {
                recipient.refuse(
                    "sharingIdentifier",
                    "must be <cloud>:<region>:<metastore uuid>, as CURRENT_METASTORE() shows it",
                )
            })
        }
        _ => Err(recipient.refuse("type", "must be token or databricks")),
    }
}

fn token_recipient(recipient: &Properties<'_>) -> Result<TokenRecipient, StepError> {
    let secure_contact = SecureContact::new(recipient.string("secureContact")?)
        .ok_or_else(|| recipient.refuse("secureContact", "must be an e-mail address"))?;
    let token_lifetime_days = recipient
        .optional_integer("tokenLifetimeDays")?
        .map_or(Some(TOKEN_LIFETIME_DAYS_MAX), |days| u16::try_from(days).ok())
        .filter(|days| (1..=TOKEN_LIFETIME_DAYS_MAX).contains(days))
        .ok_or_else(|| recipient.refuse("tokenLifetimeDays", &format!("must be 1 to {TOKEN_LIFETIME_DAYS_MAX}")))?;
    let listed = if recipient.get("allowedIps").is_some() { recipient.array("allowedIps")? } else { &[] };
    if listed.len() > ALLOWED_IPS_MAX {
        return Err(recipient.refuse("allowedIps", &format!("must have at most {ALLOWED_IPS_MAX} elements")));
    }
    let block = |(index, value): (usize, &Value)| {
        value.as_str().and_then(cidr).ok_or_else(|| {
            recipient
                .refuse(&format!("allowedIps[{index}]"), "must be an address or a CIDR block such as 203.0.113.0/24")
        })
    };
    let allowed_ips = listed.iter().enumerate().map(block).collect::<Result<_, _>>()?;
    Ok(TokenRecipient { secure_contact, token_lifetime_days, allowed_ips })
}

/// A block as `<address>/<prefix length>`; an address alone is a block of one.
fn cidr(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => longest,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u8>().ok()?,
        Some(_) => return None,
    };
    (length <= longest).then(|| format!("{address}/{length}"))
}

fn scope(input: &Properties<'_>) -> Result<Scope, StepError> {
    let problem = || input.refuse("workflows", "must be \"all\" or a list of workflow ids");
    match input.get("workflows") {
        None => Err(input.refuse("workflows", "is missing")),
        Some(Value::String(word)) if word == "all" => Ok(Scope::All),
        Some(Value::Array(ids)) if (1..=WORKFLOWS_MAX).contains(&ids.len()) => {
            let ids = ids.iter().map(|id| WorkflowId::new(id.as_str().ok_or_else(problem)?).map_err(invalid_id));
            Ok(Scope::Only(ids.collect::<Result<BTreeSet<_>, _>>()?))
        }
        Some(Value::Array(_)) => Err(input.refuse("workflows", &format!("must have 1 to {WORKFLOWS_MAX} elements"))),
        Some(Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(problem()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn input() -> Value {
        json!({
            "connectorId": "acme-token",
            "teamId": "team-acme",
            "recipient": {"type": "token", "secureContact": "data@acme.test"},
            "workflows": "all",
        })
    }

    fn read(change: impl FnOnce(&mut Value)) -> Result<Connector, StepError> {
        let mut input = input();
        change(&mut input);
        connector(&input, Timestamp::parse("2026-09-01T06:07:30Z").unwrap())
    }

    fn refusal(pointer: &str, value: Value) -> String {
        let error = read(|input| {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            input.pointer_mut(parent).unwrap()[name] = value;
        })
        .unwrap_err();
        assert!(!error.to_string().contains("acme.test"));
        error.to_string()
    }

    #[test]
    fn defaults_are_filled_in() {
        let connector = read(|_| {}).unwrap();
        assert_eq!(connector.id.as_str(), "acme-token");
        assert_eq!(connector.workflows, Scope::All);
        let recipient = connector.recipient.token().unwrap();
        assert_eq!(recipient.token_lifetime_days, 365);
        assert!(recipient.allowed_ips.is_empty());
        assert_eq!(connector.backend, Backend::Open);
        assert!(connector.activity_log && connector.backfill);
        assert!(connector.max_rejected_fraction.abs() < f64::EPSILON);
        assert_eq!(connector.state, ConnectorState::Provisioning);
    }

    #[test]
    fn what_is_given_is_kept() {
        let connector = read(|input| {
            input["workflows"] = json!(["w-2", "w-1", "w-1"]);
            input["activityLog"] = json!(false);
            input["maxRejectedFraction"] = json!(0.25);
            input["recipient"]["tokenLifetimeDays"] = json!(30);
            input["recipient"]["allowedIps"] = json!(["203.0.113.0/24", "2001:db8::/32", "198.51.100.7"]);
        })
        .unwrap();
        let ids = ["w-1", "w-2"].map(|id| WorkflowId::new(id).unwrap());
        assert_eq!(connector.workflows, Scope::Only(BTreeSet::from(ids)));
        assert!(!connector.activity_log);
        assert!((connector.max_rejected_fraction - 0.25).abs() < f64::EPSILON);
        let recipient = connector.recipient.token().unwrap();
        assert_eq!(recipient.token_lifetime_days, 30);
        assert_eq!(recipient.allowed_ips, ["203.0.113.0/24", "2001:db8::/32", "198.51.100.7/32"]);
    }

    #[test]
    fn a_databricks_recipient_is_served_by_databricks_and_a_token_by_what_is_asked_for() {
        let identifier = "aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016";
        let databricks = |input: &mut Value| {
            input["recipient"] = json!({"type": "databricks", "sharingIdentifier": identifier});
        };
        let connector = read(databricks).unwrap();
        assert_eq!(connector.backend, Backend::Databricks);
        assert_eq!(connector.recipient.databricks().unwrap().as_str(), identifier);
        let open = read(|input| {
            databricks(input);
            input["backend"] = json!("open");
        });
        assert_eq!(
            open.unwrap_err().to_string(),
            "CONNECTOR_INVALID: backend must be databricks for a recipient of type databricks"
        );
        let bad = refusal("/recipient", json!({"type": "databricks", "sharingIdentifier": "aws:us-west-2"}));
        assert!(bad.starts_with("CONNECTOR_INVALID: recipient.sharingIdentifier must be <cloud>"), "{bad}");
        let hosted = read(|input| input["backend"] = json!("databricks")).unwrap();
        assert_eq!(hosted.backend, Backend::Databricks);
        assert!(hosted.recipient.token().is_some());
    }

    #[test]
    fn a_refusal_names_the_property() {
        for (pointer, value, expected) in [
            ("/connectorId", json!(null), "CONNECTOR_INVALID: connectorId is missing"),
            ("/connectorId", json!(7), "CONNECTOR_INVALID: connectorId must be a string"),
            ("/teamId", json!("../x"), "CONNECTOR_INVALID: teamId must be 1 to 128"),
            ("/recipient", json!("token"), "CONNECTOR_INVALID: recipient must be an object"),
            ("/recipient/type", json!("mail"), "CONNECTOR_INVALID: recipient.type must be token or databricks"),
            ("/recipient/type", json!("databricks"), "CONNECTOR_INVALID: recipient.sharingIdentifier is missing"),
            ("/backend", json!("snowflake"), "CONNECTOR_INVALID: backend must be open or databricks"),
            (
                "/recipient/secureContact",
                json!("nobody"),
                "CONNECTOR_INVALID: recipient.secureContact must be an e-mail",
            ),
            (
                "/recipient/secureContact",
                json!("a@acme.test\r\nBcc: b@acme.test"),
                "CONNECTOR_INVALID: recipient.secureC",
            ),
            (
                "/recipient/tokenLifetimeDays",
                json!(0),
                "CONNECTOR_INVALID: recipient.tokenLifetimeDays must be 1 to 365",
            ),
            ("/recipient/tokenLifetimeDays", json!(366), "CONNECTOR_INVALID: recipient.tokenLifetimeDays must be 1 to"),
            ("/recipient/tokenLifetimeDays", json!(65_537), "CONNECTOR_INVALID: recipient.tokenLifetimeDays must be 1"),
            ("/recipient/allowedIps", json!(["10.0.0.0/33"]), "CONNECTOR_INVALID: recipient.allowedIps[0] must be an"),
            ("/recipient/allowedIps", json!(["10.0.0.0/+8"]), "CONNECTOR_INVALID: recipient.allowedIps[0] must be an"),
            ("/recipient/allowedIps", json!(["acme.test"]), "CONNECTOR_INVALID: recipient.allowedIps[0] must be an"),
            ("/workflows", json!(null), "CONNECTOR_INVALID: workflows is missing"),
            ("/workflows", json!("some"), "CONNECTOR_INVALID: workflows must be \"all\" or a list"),
            ("/workflows", json!([]), "CONNECTOR_INVALID: workflows must have 1 to 1000 elements"),
            ("/workflows", json!(["a/b"]), "CONNECTOR_INVALID: workflowId must be 1 to 128"),
            ("/maxRejectedFraction", json!(1.5), "CONNECTOR_INVALID: maxRejectedFraction must be a number from 0 to 1"),
            (
                "/maxRejectedFraction",
                json!(-0.1),
                "CONNECTOR_INVALID: maxRejectedFraction must be a number from 0 to 1",
            ),
            ("/activityLog", json!("yes"), "CONNECTOR_INVALID: activityLog must be true or false"),
        ] {
            let refused = refusal(pointer, value);
            assert!(refused.starts_with(expected), "{pointer}: {refused}");
        }
        assert_eq!(
            connector(&json!([]), Timestamp::from_micros(0).unwrap()).unwrap_err().to_string(),
            "CONNECTOR_INVALID: the input must be a JSON object"
        );
    }
}
