//! Whom the URL of a workspace's token goes to, and how long the token lives.

use std::sync::Arc;

use delivery::connector::{Connector, Recipient, Rotation, SecureContact};
use delivery::ports::{
    HostedCredentials as _, Invitation, PortErrorKind, RecipientBackend as _, Refusal, Refused, SharingBackend as _,
    WaitingCredential,
};
use serde_json::json;
use testkit::builders::{connector, instant};
use testkit::sharing::ManualClock;
use unity_catalog::backend::Reader;
use unity_catalog::names::CONTACT_PROPERTY;

use crate::recipients::download;
use crate::world::World;

const RECIPIENT: &str = "spillway-test-token-acme";

/// A connector whose contact was sent a link, and the link.
async fn invited(world: &World) -> (Connector, WaitingCredential) {
    let (backend, acme) = (world.backend(), connector("acme", "team"));
    let _ = backend.provision(&acme).await.unwrap();
    let _ = backend.connect(&acme).await.unwrap();
    let waiting = backend.waiting(&acme, instant(0)).await.unwrap();
    backend.sent(&acme, &waiting.token).await.unwrap();
    (acme, waiting)
}

/// The same connector with another contact.
fn with_another_contact(connector: &Connector) -> Connector {
    let mut changed = connector.clone();
    let Recipient::Token(recipient) = &mut changed.recipient else { panic!("a token recipient") };
    recipient.secure_contact = SecureContact::new("another@acme.test").unwrap();
    changed
}

/// The same connector in its first rotation.
fn rotated(connector: Connector) -> Connector {
    let rotation = Rotation { number: 1, began_at: instant(0), tokens_end_at: instant(3_600) };
    Connector { rotation: Some(rotation), ..connector }
}

/// The ids of the recipient's tokens.
async fn token_ids(world: &World) -> Vec<String> {
    let recipient = world.workspace.recipient(RECIPIENT).await.unwrap().unwrap();
    recipient.tokens.into_iter().map(|token| token.id).collect()
}

#[tokio::test]
async fn an_unused_link_that_went_to_another_contact_is_dead_and_the_contact_of_now_gets_one() {
    let world = World::new().await;
    let backend = world.backend();
    let (acme, first) = invited(&world).await;
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Open);
    let changed = with_another_contact(&acme);
    assert_eq!(backend.invitation(&changed).await.unwrap(), Invitation::Unsent);

    let second = backend.waiting(&changed, instant(0)).await.unwrap();
    assert_eq!(backend.waiting(&changed, instant(0)).await.unwrap().token, second.token, "tried again, it is the same");
    assert_eq!(token_ids(&world).await, [second.token.as_str()], "{} is gone", first.token);
    assert_eq!(second.expires_at, first.expires_at, "as long as the connector says");
    backend.sent(&changed, &second.token).await.unwrap();
    assert_eq!(backend.invitation(&changed).await.unwrap(), Invitation::Open);
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Unsent);
    let properties = world.workspace.recipient(RECIPIENT).await.unwrap().unwrap().properties;
    assert!(properties.values().all(|value| !value.contains('@')), "{properties:?}");

    download(&world, &second.url.reveal()).await;
    for connector in [&acme, &changed] {
        assert_eq!(backend.invitation(connector).await.unwrap(), Invitation::Used);
    }
}

#[tokio::test]
async fn a_link_of_which_nobody_noted_the_contact_stays() {
    let world = World::new().await;
    let backend = world.backend();
    let (acme, first) = invited(&world).await;
    let mut properties = world.workspace.recipient(RECIPIENT).await.unwrap().unwrap().properties;
    properties.retain(|key, _| !key.starts_with("databricks.") && key != CONTACT_PROPERTY);
    world.workspace.set_properties(RECIPIENT, &properties).await.unwrap();
    let changed = with_another_contact(&acme);
    assert_eq!(backend.invitation(&changed).await.unwrap(), Invitation::Open);
    assert_eq!(backend.waiting(&changed, instant(0)).await.unwrap().token, first.token);
}

#[tokio::test]
async fn a_rotation_leaves_no_overlap_to_an_unused_link_that_went_to_another_contact() {
    let world = World::new().await;
    let backend = world.backend();
    let (acme, _) = invited(&world).await;
    let changed = rotated(with_another_contact(&acme));
    let second = backend.waiting(&changed, instant(0)).await.unwrap();
    assert_eq!(token_ids(&world).await, [second.token.as_str()]);
    assert_eq!(backend.waiting(&changed, instant(0)).await.unwrap().token, second.token, "tried again, it is the same");
}

#[tokio::test]
async fn a_token_in_use_keeps_its_overlap_when_the_next_link_went_to_another_contact() {
    let world = World::new().await;
    let backend = world.backend();
    let (acme, first) = invited(&world).await;
    download(&world, &first.url.reveal()).await;
    let acme = rotated(acme);
    let second = backend.waiting(&acme, instant(0)).await.unwrap();
    backend.sent(&acme, &second.token).await.unwrap();
    let changed = with_another_contact(&acme);

    world.clock.advance(600);
    world.requests();
    let error = backend.waiting(&changed, instant(600)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::InvalidData, "the workspace has two tokens at most");
    assert_eq!(Refused::of(&error).map(|refused| refused.refusal), Some(Refusal::Invalid));
    let requests = world.requests();
    let asked = requests.iter().find(|request| request.path.ends_with("/rotate-token")).unwrap();
    assert_eq!(asked.body.as_ref().unwrap()["existing_token_expire_in_seconds"], json!(3_000), "what is left of it");
    let tokens = world.workspace.recipient(RECIPIENT).await.unwrap().unwrap().tokens;
    assert_eq!((tokens[0].id.as_str(), tokens[0].expires_at), (first.token.as_str(), Some(instant(3_600))));

    world.clock.advance(3_000);
    let third = backend.waiting(&changed, instant(3_600)).await.unwrap();
    assert_eq!(token_ids(&world).await, [third.token.as_str()]);
}

#[tokio::test]
async fn a_token_of_a_year_is_taken_by_a_workspace_whose_clock_is_behind() {
    let behind = Arc::new(ManualClock::at_seconds(0));
    let world = World::with(|options| options.clock = behind).await;
    world.clock.advance(30);
    let backend = world.backend();
    let acme = connector("acme", "team");
    let _ = backend.provision(&acme).await.unwrap();
    let _ = backend.connect(&acme).await.unwrap();
    let waiting = backend.waiting(&acme, instant(30)).await.unwrap();
    assert_eq!(waiting.expires_at, Some(instant(30 + 365 * 86_400 - 60)));

    let mut brief = acme;
    let Recipient::Token(recipient) = &mut brief.recipient else { panic!("a token recipient") };
    recipient.token_lifetime_days = 364;
    let Reader::Token { expires_at, .. } = Reader::of(&brief, instant(0)) else { panic!("a token recipient") };
    assert_eq!(expires_at, instant(364 * 86_400), "any other life is as it is said");
}
