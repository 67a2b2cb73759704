//! Revoking where people changed what a share is known by, and where the recipient was another before.

use std::collections::BTreeMap;

use delivery::connector::{Connector, SharingIdentifier};
use delivery::ports::{
    Connected, HostedCredentials as _, Invitation, PortErrorKind, RecipientBackend as _, Refusal, Refused,
    SharingBackend as _,
};
use fake_databricks::{Fault, FaultBody};
use http::Method;
use testkit::builders::{connector_id, instant};
use unity_catalog::backend::{BackendError, Reader};
use unity_catalog::names::{DeploymentName, connector_mark};
use unity_catalog::recipients::{NewRecipient, NewRecipientKind};

use crate::recipients::{download, of_each_recipient, readers};
use crate::world::{World, cause};

const TOKEN_RECIPIENT: &str = "spillway-test-token-acme";

fn mark(deployment: &str, id: &str) -> String {
    connector_mark(&DeploymentName::new(deployment).unwrap(), &connector_id(id))
}

/// Makes shares, by name and comment, and grants them to a connector's recipient, whose name it returns.
async fn grant(world: &World, connector: &Connector, shares: &[(&str, &str)]) -> String {
    let reader = Reader::of(connector, instant(0));
    let recipient = world.backend().adopt(&connector.id, &reader).await.unwrap().recipient;
    for (name, comment) in shares {
        world.workspace.create_share(name, comment).await.unwrap();
        world.workspace.grant_share(name, &recipient).await.unwrap();
    }
    recipient
}

/// The next request of this method and path is refused.
fn refuse(world: &World, method: Method, path: &str, status: u16, code: &str) {
    let body = FaultBody::Json { code: code.to_owned(), message: "no".to_owned() };
    world.fake.add_fault(Fault { method: Some(method), status, body, ..Fault::throttled(path, None) });
}

/// The ids of the token recipient's tokens.
async fn token_ids(world: &World) -> Vec<String> {
    let recipient = world.workspace.recipient(TOKEN_RECIPIENT).await.unwrap().unwrap();
    recipient.tokens.into_iter().map(|token| token.id).collect()
}

#[tokio::test]
async fn a_recipient_loses_a_share_whose_comment_somebody_changed() {
    for acme in of_each_recipient() {
        let world = World::new().await;
        let recipient = grant(&world, &acme, &[("acme", "the data of Acme")]).await;
        let identifier = SharingIdentifier::new("aws:us-east-1:39a84bee-54bc-43a2-87de-023d0ec16018").unwrap();
        let kind = NewRecipientKind::Databricks(&identifier);
        let new = NewRecipient { name: "theirs", comment: "x", kind, properties: BTreeMap::new() };
        world.workspace.create_recipient(&new).await.unwrap();
        world.workspace.grant_share("acme", "theirs").await.unwrap();
        for _ in 0..2 {
            world.backend().revoke(&acme, instant(0)).await.unwrap();
            assert_eq!(readers(&world, "acme").await, ["theirs"], "not {recipient}");
        }
    }
}

#[tokio::test]
async fn a_share_that_bears_the_mark_of_another_connector_keeps_its_grants() {
    let [acme, ..] = of_each_recipient();
    for another in [mark("test", "Acme"), mark("test", "other"), mark("another", "acme")] {
        let world = World::new().await;
        let recipient = grant(&world, &acme, &[("acme", another.as_str())]).await;
        world.requests();
        world.backend().revoke(&acme, instant(0)).await.unwrap();
        assert!(world.requests().iter().all(|request| request.method == "GET"), "{another}");
        assert_eq!(readers(&world, "acme").await, [recipient], "{another}");
    }
}

#[tokio::test]
async fn a_share_that_was_renamed_is_known_by_its_mark() {
    let world = World::new().await;
    let backend = world.backend();
    let [acme, ..] = of_each_recipient();
    let (own, others) = (mark("test", "acme"), mark("test", "other"));
    let recipient = grant(&world, &acme, &[("acme-old", own.as_str()), ("other", others.as_str())]).await;
    backend.revoke(&acme, instant(0)).await.unwrap();
    assert!(readers(&world, "acme-old").await.is_empty());
    assert_eq!(readers(&world, "other").await, [recipient.as_str()], "another connector's grant stays");

    world.workspace.grant_share("acme-old", &recipient).await.unwrap();
    let _ = backend.provision(&acme).await.unwrap();
    assert_eq!(backend.connect(&acme).await.unwrap(), Connected::Ready);
    backend.revoke(&acme, instant(0)).await.unwrap();
    for name in ["acme", "acme-old"] {
        assert!(readers(&world, name).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_token_recipient_reads_nothing_any_longer_whatever_its_share_is_called() {
    let [by_metastore, _, by_token] = of_each_recipient();
    for acme in [&by_token, &by_metastore] {
        let world = World::new().await;
        grant(&world, &by_token, &[("sales", "the data of Acme")]).await;
        world.backend().revoke(acme, instant(0)).await.unwrap();
        assert!(readers(&world, "sales").await.is_empty());
    }
}

#[tokio::test]
async fn a_grant_that_is_not_ours_to_take_fails_the_revocation() {
    let [acme, ..] = of_each_recipient();
    for seen in [true, false] {
        let world = World::new().await;
        let recipient = grant(&world, &acme, &[("acme", "the data of Acme")]).await;
        if !seen {
            refuse(&world, Method::GET, "/shares/acme", 404, "RESOURCE_DOES_NOT_EXIST");
        }
        refuse(&world, Method::PATCH, "/shares/acme/permissions", 403, "PERMISSION_DENIED");
        let error = world.backend().revoke(&acme, instant(0)).await.unwrap_err();
        assert_eq!((error.kind, world.fake.faults_left()), (PortErrorKind::Denied, 0), "seen: {seen}");
        assert_eq!(Refused::of(&error).map(|refused| refused.refusal), Some(Refusal::Denied));
        assert_eq!(readers(&world, "acme").await, [recipient]);
    }
}

#[tokio::test]
async fn a_share_that_we_do_not_see_and_that_stays_granted_is_told() {
    let [acme, ..] = of_each_recipient();
    let world = World::new().await;
    grant(&world, &acme, &[("acme", "the data of Acme")]).await;
    refuse(&world, Method::GET, "/shares/acme", 404, "RESOURCE_DOES_NOT_EXIST");
    refuse(&world, Method::PATCH, "/shares/acme/permissions", 404, "RESOURCE_DOES_NOT_EXIST");
    let error = world.backend().revoke(&acme, instant(0)).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::StillGranted));
    assert_eq!(world.fake.faults_left(), 0);
}

#[tokio::test]
async fn a_token_of_before_the_recipient_was_a_metastore_ends_by_the_revocation() {
    let world = World::new().await;
    let backend = world.backend();
    let [by_metastore, _, by_token] = of_each_recipient();
    let now = instant(0);
    let _ = backend.provision(&by_token).await.unwrap();
    assert_eq!(backend.connect(&by_token).await.unwrap(), Connected::Ready);
    let held = backend.waiting(&by_token, now).await.unwrap();
    backend.sent(&by_token, &held.token).await.unwrap();
    download(&world, &held.url.reveal()).await;

    assert_eq!(backend.connect(&by_metastore).await.unwrap(), Connected::Ready);
    for _ in 0..2 {
        backend.revoke(&by_metastore, now).await.unwrap();
        let left = token_ids(&world).await;
        assert!(left.len() == 1 && !left.contains(&held.token), "{left:?}");
    }
    assert_eq!(backend.connect(&by_token).await.unwrap(), Connected::Ready, "set up anew");
    assert_eq!(backend.invitation(&by_token).await.unwrap(), Invitation::Unsent);
    assert!(!token_ids(&world).await.contains(&held.token));
}

#[tokio::test]
async fn a_recipient_that_only_has_the_name_of_ours_is_left_alone() {
    let world = World::new().await;
    let kind = NewRecipientKind::Token { expires_at: None, allowed_ips: &[] };
    let new = NewRecipient { name: TOKEN_RECIPIENT, comment: "x", kind, properties: BTreeMap::new() };
    world.workspace.create_recipient(&new).await.unwrap();
    world.workspace.create_share("sales", "theirs").await.unwrap();
    world.workspace.grant_share("sales", TOKEN_RECIPIENT).await.unwrap();
    world.requests();
    for acme in of_each_recipient() {
        world.backend().revoke(&acme, instant(0)).await.unwrap();
    }
    assert!(world.requests().iter().all(|request| request.method == "GET"));
}

#[tokio::test]
async fn tokens_end_though_a_grant_cannot_be_taken() {
    let world = World::new().await;
    let backend = world.backend();
    let [.., acme] = of_each_recipient();
    let now = instant(0);
    let _ = backend.provision(&acme).await.unwrap();
    assert_eq!(backend.connect(&acme).await.unwrap(), Connected::Ready);
    let held = backend.waiting(&acme, now).await.unwrap();
    backend.sent(&acme, &held.token).await.unwrap();
    refuse(&world, Method::PATCH, "/shares/acme/permissions", 403, "PERMISSION_DENIED");
    let error = backend.revoke(&acme, now).await.unwrap_err();
    assert_eq!((error.kind, world.fake.faults_left()), (PortErrorKind::Denied, 0));
    assert!(!token_ids(&world).await.contains(&held.token));
}
