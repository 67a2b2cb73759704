//! The public activation endpoint of token recipients. It hands a credential out once; a provider's program must never
//! call it, and the request log shows whether it did.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::json;

use crate::answer::{Answer, Refusal};
use crate::server::Workspace;
use crate::state::{Metastore, Token};

/// Hands out the credential.
pub(crate) async fn activate(State(workspace): State<Arc<Workspace>>, Path(code): Path<String>) -> Answer {
    let mut metastore = workspace.metastore();
    let token = token(&mut metastore, &code)?;
    let (bearer, expires_at) = (bearer(token), token.expires_at);
    if token.activated {
        return Err(Refusal::missing("RESOURCE_DOES_NOT_EXIST", "The activation link was used before."));
    }
    token.activated = true;
    metastore.handed_out.insert(bearer.clone());
    let credential = json!({
        "shareCredentialsVersion": 1,
        "endpoint": format!("{}/api/2.0/delta-sharing/metastores/fake", workspace.host),
        "bearerToken": bearer,
        "expirationTime": expires_at.map(|millis| millis.to_string()),
    });
    Ok(Json(credential))
}

/// The bearer token of a recipient's token.
pub(crate) fn bearer(token: &Token) -> String {
    format!("fake-bearer-{}", token.id)
}

/// Says that the link is there.
pub(crate) async fn info(State(workspace): State<Arc<Workspace>>, Path(code): Path<String>) -> Answer {
    token(&mut workspace.metastore(), &code)?;
    Ok(Json(json!({})))
}

fn token<'a>(metastore: &'a mut Metastore, code: &str) -> Result<&'a mut Token, Refusal> {
    let mut tokens = metastore.recipients.values_mut().flat_map(|recipient| recipient.tokens.iter_mut());
    let found = tokens.find(|token| token.activation_code == code);
    found.ok_or_else(|| Refusal::missing("RESOURCE_DOES_NOT_EXIST", "The activation link is not known."))
}
