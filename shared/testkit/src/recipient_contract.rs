//! The rules of the recipient's side of a sharing backend. Every backend that serves connectors keeps them.

use delivery::connector::{Connector, Recipient};
use delivery::ports::{Connected, Provisioned, RecipientBackend, ShareReport, SharingBackend};
use delivery::table::TableName;

use crate::builders::{connector, instant};

/// The table of the suite. A backend that reads logs needs one for it, in the connector `<prefix>-one`.
#[must_use]
pub fn contract_table() -> TableName {
    TableName::from_stored("WF_A__V1")
}

/// The rules of [`RecipientBackend`], for two connectors of one recipient.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn recipient_backend_contract(
    sharing: &dyn SharingBackend,
    recipients: &dyn RecipientBackend,
    recipient: &Recipient,
    prefix: &str,
) {
    let named = |name: &str| {
        let made = connector(&format!("{prefix}-{name}"), &format!("{prefix}-team"));
        Connector { recipient: recipient.clone(), ..made }
    };
    let (one, two, tables) = (named("one"), named("two"), [contract_table()]);
    let now = instant(0);
    recipients.revoke(&one, now).await.expect("revoking what never was does nothing");
    recipients.expire_tokens(&one, 60, now).await.expect("nobody has a token");
    for made in [&one, &two] {
        assert_eq!(sharing.provision(made).await.expect("make"), Provisioned::Ready);
        assert_eq!(recipients.connect(made).await.expect("connect"), Connected::Ready);
        assert_eq!(recipients.connect(made).await.expect("connect"), Connected::Ready, "twice is no error");
    }
    let report = recipients.verify(&one, &tables).await.expect("verify");
    assert_eq!((report.missing.len(), report.ungranted), (1, false), "a table that is not there is named");
    assert!(!report.is_good());

    sharing.add_table(&one.id, &contract_table()).await.expect("add");
    let good = ShareReport::default();
    assert_eq!(recipients.verify(&one, &tables).await.expect("verify"), good);
    sharing.refresh_table(&one.id, &contract_table()).await.expect("what is fresh is refreshed by nothing");
    for _ in 0..2 {
        recipients.expire_tokens(&one, 0, now).await.expect("end its tokens");
    }
    assert_eq!(recipients.verify(&one, &tables).await.expect("verify"), good, "a token's end takes no grant");

    for _ in 0..2 {
        recipients.revoke(&one, now).await.expect("revoke");
        let revoked = recipients.verify(&one, &tables).await.expect("verify");
        assert_eq!(revoked, ShareReport { ungranted: true, ..good.clone() }, "the table stays in the share");
    }
    assert_eq!(recipients.verify(&two, &[]).await.expect("verify"), good, "another connector's grant stays");
    assert_eq!(recipients.connect(&one).await.expect("connect"), Connected::Ready, "set up anew");
    assert_eq!(recipients.verify(&one, &tables).await.expect("verify"), good);
}
