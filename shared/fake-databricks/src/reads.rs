//! What a recipient is handed of a share: the tables, and where they lie. Stands for the recipient's own metastore, and
//! for the workspace's sharing server with its tokens; the rows are for who asks to read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::activation::bearer;
use crate::answer::{Answer, Refusal, read};
use crate::server::Workspace;
use crate::state::{Authentication, Metastore, ObjectKind, Recipient, Share};

/// Who wants to read which share: exactly one of sharing identifier and bearer token says who.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ReadInput {
    share: String,
    sharing_identifier: Option<String>,
    bearer_token: Option<String>,
}

impl ReadInput {
    /// Whether this recipient asks, by something that is good now.
    fn is_of(&self, recipient: &Recipient, now: i64) -> bool {
        match (&self.sharing_identifier, &self.bearer_token) {
            (Some(identifier), None) => {
                recipient.authentication_type == Authentication::Databricks
                    && recipient.sharing_identifier.as_ref() == Some(identifier)
            }
            (None, Some(wanted)) => recipient
                .tokens
                .iter()
                .any(|token| token.activated && token.expires_at.is_none_or(|at| now < at) && bearer(token) == *wanted),
            (None, None) | (Some(_), Some(_)) => false,
        }
    }
}

/// The tables of a share, for who was granted it. Those that its owner may not read are not among them.
pub(crate) async fn tables(State(workspace): State<Arc<Workspace>>, body: Bytes) -> Answer {
    let input: ReadInput = read(&body)?;
    let now = workspace.now_millis();
    let metastore = workspace.metastore();
    let share = granted(&metastore, &input, now)
        .ok_or_else(|| Refusal::denied(format!("Share '{}' is not shared with this recipient.", input.share)))?;
    let readable = share
        .objects
        .iter()
        .filter(|object| object.kind == ObjectKind::Table && metastore.may_select(&object.name, &share.owner));
    let tables = readable.filter_map(|object| {
        let table = metastore.tables.get(&object.name)?;
        Some(json!({"name": object.shared_as, "location": table.storage_location}))
    });
    Ok(Json(json!({"tables": tables.collect::<Vec<_>>()})))
}

fn granted<'a>(metastore: &'a Metastore, input: &ReadInput, now: i64) -> Option<&'a Share> {
    let key = input.share.to_lowercase();
    let mut readers = metastore.recipients.iter().filter(|(_, recipient)| input.is_of(recipient, now));
    readers.any(|(name, _)| metastore.holds("share", &key, name, "SELECT")).then(|| metastore.shares.get(&key))?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::state::Token;

    fn recipient(authentication_type: Authentication, tokens: Vec<Token>) -> Recipient {
        Recipient {
            name: "r".to_owned(),
            owner: "principal-1".to_owned(),
            authentication_type,
            sharing_identifier: Some("aws:us-west-2:id".to_owned()),
            comment: None,
            properties: BTreeMap::new(),
            allowed_ips: None,
            tokens,
            policies: Vec::new(),
            created_at: 0,
        }
    }

    fn asked(body: Value) -> ReadInput {
        read(&body.to_string().into()).unwrap()
    }

    #[test]
    fn a_recipient_is_known_by_its_metastore_or_by_a_token_that_was_downloaded_and_is_good() {
        let token = Token {
            id: "t".to_owned(),
            activation_code: "c".to_owned(),
            activated: true,
            created_at: 0,
            expires_at: Some(10),
        };
        let (metastore, bearer) = (recipient(Authentication::Databricks, Vec::new()), bearer(&token));
        let unused = recipient(Authentication::Token, vec![Token { activated: false, ..token.clone() }]);
        let holder = recipient(Authentication::Token, vec![token]);
        let by_identifier = asked(json!({"share": "s", "sharingIdentifier": "aws:us-west-2:id"}));
        assert!(by_identifier.is_of(&metastore, 0) && !by_identifier.is_of(&holder, 0));
        let by_token = asked(json!({"share": "s", "bearerToken": bearer}));
        assert!(by_token.is_of(&holder, 9) && !by_token.is_of(&holder, 10) && !by_token.is_of(&unused, 9));
        let both = json!({"share": "s", "bearerToken": bearer, "sharingIdentifier": "aws:us-west-2:id"});
        assert!(!asked(both).is_of(&holder, 9) && !asked(json!({"share": "s"})).is_of(&metastore, 0));
    }

    #[test]
    fn only_a_grant_opens_a_share() {
        let mut metastore = Metastore::default();
        metastore.recipients.insert("r".to_owned(), recipient(Authentication::Databricks, Vec::new()));
        let (name, owner) = ("s".to_owned(), "principal-1".to_owned());
        let share = Share { name: name.clone(), owner, comment: None, objects: Vec::new(), created_at: 0 };
        metastore.shares.insert(name, share);
        let asked = asked(json!({"share": "S", "sharingIdentifier": "aws:us-west-2:id"}));
        assert!(granted(&metastore, &asked, 0).is_none());
        metastore.grant("share", "s", "r", "SELECT");
        assert!(granted(&metastore, &asked, 0).is_some());
    }
}
