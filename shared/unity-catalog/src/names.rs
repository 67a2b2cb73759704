//! Names in the metastore, derived from ours, and the marks by which ours are known.
//!
//! The metastore keeps names in lower case and compares them without it. Two connectors whose ids differ by case only
//! want the same names: the mark says whose they are.

use delivery::connector::{SHARE_SCHEMA, SharingIdentifier};
use delivery::ids::{ConnectorId, sha256_hex};
use delivery::table::TableName;

/// Names this deployment among others that use the same metastore: 1 to 32 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentName(String);

impl DeploymentName {
    /// Reads a name.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ((1..=32).contains(&text.len()) && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a connector's share and of its schema: the id in lower case. A point cannot be in a name; an id with
/// points gets a hash, so that `a.b` and `a_b` stay apart.
#[must_use]
pub fn connector_name(connector: &ConnectorId) -> String {
    let lower = connector.as_str().to_ascii_lowercase();
    if lower.contains('.') {
        let hash: String = sha256_hex(&[&lower]).chars().take(8).collect();
        return format!("{}_{hash}", lower.replace('.', "_"));
    }
    lower
}

/// What is written on a connector's share and schema: whose they are.
#[must_use]
pub fn connector_mark(deployment: &DeploymentName, connector: &ConnectorId) -> String {
    format!("Spillway {}: connector {connector}", deployment.0)
}

/// Whether a text is the mark of a connector, of this deployment or of another.
#[must_use]
pub fn is_connector_mark(text: &str) -> bool {
    let parts = text.strip_prefix("Spillway ").and_then(|rest| rest.split_once(": connector "));
    // An id may end with a full stop. A text that does is a sentence of people's.
    parts.is_some_and(|(deployment, id)| {
        DeploymentName::new(deployment).is_some() && ConnectorId::new(id).is_ok() && !id.ends_with('.')
    })
}

/// The property by which a recipient is known as a deployment's.
pub const DEPLOYMENT_PROPERTY: &str = "spillway.deployment";

/// The property that says which connector a token recipient belongs to.
pub const CONNECTOR_PROPERTY: &str = "spillway.connector";

/// The property that says of which of a token recipient's tokens the secure contact was told: a token's id.
pub const INVITED_PROPERTY: &str = "spillway.invited";

/// The property that says which secure contact was told of that token: a hash of connector and address.
pub const CONTACT_PROPERTY: &str = "spillway.contact";

/// The property that says which rotation of its connector a token recipient's newest token came by: its number.
pub const ROTATION_PROPERTY: &str = "spillway.rotation";

/// How the names of the properties begin that the workspace sets itself, and refuses to be told.
pub const RESERVED_PROPERTIES: &str = "databricks.";

/// The name of the recipient of a metastore.
#[must_use]
pub fn databricks_recipient_name(deployment: &DeploymentName, identifier: &SharingIdentifier) -> String {
    format!("spillway-{}-{}", deployment.0, identifier.as_str().replace(':', "-"))
}

/// The name of the token recipient of a connector.
#[must_use]
pub fn token_recipient_name(deployment: &DeploymentName, connector: &ConnectorId) -> String {
    format!("spillway-{}-token-{}", deployment.0, connector_name(connector))
}

/// A table's name as recipients see it: `data.WF_A__V1`.
#[must_use]
pub fn shared_as(table: &TableName) -> String {
    format!("{SHARE_SCHEMA}.{table}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connector(id: &str) -> ConnectorId {
        ConnectorId::new(id).unwrap()
    }

    #[test]
    fn names_are_what_a_metastore_takes() {
        assert_eq!(connector_name(&connector("Acme-1")), "acme-1");
        assert_ne!(connector_name(&connector("a.b")), connector_name(&connector("a_b")));
        assert_eq!(shared_as(&TableName::from_stored("WF_A__V1")), "data.WF_A__V1");
        let deployment = DeploymentName::new("prod").unwrap();
        let identifier = SharingIdentifier::new(" AWS:us-west-2:19A84BEE-54BC-43A2-87DE-023D0EC16016 ").unwrap();
        assert_eq!(
            databricks_recipient_name(&deployment, &identifier),
            "spillway-prod-aws-us-west-2-19a84bee-54bc-43a2-87de-023d0ec16016"
        );
    }

    #[test]
    fn what_is_no_deployment_name_is_refused() {
        for text in ["", "Prod", "a b", "x".repeat(33).as_str()] {
            assert_eq!(DeploymentName::new(text), None, "{text}");
        }
    }

    #[test]
    fn a_text_that_people_changed_is_no_mark() {
        let deployment = DeploymentName::new("prod").unwrap();
        let mark = connector_mark(&deployment, &connector("Acme-1"));
        assert!(is_connector_mark(&mark));
        let changed = [mark.to_lowercase(), format!("{mark}."), format!("{mark} (ask Bo)"), format!(" {mark}")];
        for text in changed.iter().map(String::as_str).chain(["", "Spillway", "Spillway prod: connector "]) {
            assert!(!is_connector_mark(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn names_fit_and_only_meet_where_case_alone_differs(
            a in "[a-zA-Z0-9]([a-z._-]?[a-zA-Z0-9]){0,40}",
            b in "[a-zA-Z0-9]([a-z._-]?[a-zA-Z0-9]){0,40}",
        ) {
            let (a, b) = (connector(&a), connector(&b));
            let deployment = DeploymentName::new("0123456789012345678901234567890a").unwrap();
            let name = connector_name(&a);
            prop_assert!(name.bytes().all(|byte| !matches!(byte, b'.' | b' ' | b'/') && !byte.is_ascii_uppercase()));
            prop_assert!(token_recipient_name(&deployment, &a).len() <= 255);
            let same_id = a.as_str().eq_ignore_ascii_case(b.as_str());
            prop_assert_eq!(name == connector_name(&b), same_id);
        }
    }
}
