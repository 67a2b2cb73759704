//! Adopting, making, granting, rotating and revoking recipients.

use std::collections::BTreeMap;

use delivery::connector::{Connector, Recipient, Rotation, SharingIdentifier};
use delivery::ids::ConnectorId;
use delivery::ports::{
    Connected, HostedCredentials as _, Invitation, PortErrorKind, RecipientBackend as _, SharingBackend as _,
};
use fake_databricks::{AlreadyExists, Fault, FaultBody, FaultTime};
use testkit::builders::{connector, connector_id, instant};
use testkit::recipient_contract::{contract_table, recipient_backend_contract};
use unity_catalog::backend::{Access, BackendError, Reader, Said};
use unity_catalog::names::{DEPLOYMENT_PROPERTY, databricks_recipient_name};
use unity_catalog::recipients::{NewRecipient, NewRecipientKind};

use crate::world::{World, cause, whole};

const METASTORE: &str = "aws:us-west-2:19a84bee-54bc-43a2-87de-023d0ec16016";

fn databricks() -> Reader {
    Reader::Databricks(SharingIdentifier::new(METASTORE).unwrap())
}

fn token() -> Reader {
    let allowed_ips = vec!["198.51.100.0/24".to_owned(), "2001:db8::/32".to_owned()];
    Reader::Token { expires_at: instant(30 * 86_400), allowed_ips }
}

async fn provisioned(world: &World, id: &str) -> ConnectorId {
    let connector = connector(id, "team");
    let _ = world.backend().provision(&connector).await.unwrap();
    connector.id
}

#[tokio::test]
async fn connectors_to_one_metastore_share_its_one_recipient() {
    for already_exists in [AlreadyExists::Conflict, AlreadyExists::BadRequest] {
        let world = World::with(|options| options.already_exists = already_exists).await;
        let backend = world.backend();
        let first = backend.adopt(&connector_id("a"), &databricks()).await.unwrap();
        let second = backend.adopt(&connector_id("b"), &databricks()).await.unwrap();
        assert_eq!(first.recipient, second.recipient);
        assert!(first.activation.is_none(), "a metastore needs no token");
        let made = world.requests().iter().filter(|it| it.method == "POST" && it.path.ends_with("/recipients")).count();
        assert_eq!(made, 1);
    }
}

#[tokio::test]
async fn a_recipient_with_our_mark_is_adopted_whatever_its_name() {
    let world = World::new().await;
    let identifier = SharingIdentifier::new(METASTORE).unwrap();
    let new = NewRecipient {
        name: "named-by-people",
        comment: "x",
        kind: NewRecipientKind::Databricks(&identifier),
        properties: BTreeMap::from([(DEPLOYMENT_PROPERTY, "test")]),
    };
    world.workspace.create_recipient(&new).await.unwrap();
    let connected = world.backend().adopt(&connector_id("a"), &databricks()).await.unwrap();
    assert_eq!(connected.recipient, "named-by-people");
}

#[tokio::test]
async fn a_foreign_recipient_is_refused_clearly_and_left_alone() {
    let world = World::new().await;
    let identifier = SharingIdentifier::new(METASTORE).unwrap();
    for properties in [BTreeMap::new(), BTreeMap::from([(DEPLOYMENT_PROPERTY, "another")])] {
        let world = World::new().await;
        let kind = NewRecipientKind::Databricks(&identifier);
        let new = NewRecipient { name: "theirs", comment: "x", kind, properties };
        world.workspace.create_recipient(&new).await.unwrap();
        world.requests();
        let error = world.backend().adopt(&connector_id("a"), &databricks()).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Denied);
        assert!(matches!(cause(&error), BackendError::ForeignRecipient { recipient } if recipient == "theirs"));
        assert!(world.requests().iter().all(|request| request.method == "GET"), "nothing was changed");
    }
    let deployment = unity_catalog::names::DeploymentName::new("test").unwrap();
    let name = databricks_recipient_name(&deployment, &identifier);
    let kind = NewRecipientKind::Token { expires_at: None, allowed_ips: &[] };
    let new = NewRecipient { name: &name, comment: "x", kind, properties: BTreeMap::new() };
    world.workspace.create_recipient(&new).await.unwrap();
    let error = world.backend().adopt(&connector_id("a"), &databricks()).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::ForeignRecipient { recipient } if *recipient == name), "our name");
}

#[tokio::test]
async fn a_recipient_of_another_service_principal_that_ours_sees_cannot_be_granted() {
    let world = World::with(|options| options.metastore_admins = vec!["principal-1".to_owned()]).await;
    let identifier = SharingIdentifier::new(METASTORE).unwrap();
    let new = NewRecipient {
        name: "theirs",
        comment: "x",
        kind: NewRecipientKind::Databricks(&identifier),
        properties: BTreeMap::from([(DEPLOYMENT_PROPERTY, "test")]),
    };
    world.other().create_recipient(&new).await.unwrap();
    let id = provisioned(&world, "a").await;
    let connected = world.backend().adopt(&id, &databricks()).await.unwrap();
    let error = world.backend().grant(&id, &connected.recipient).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Denied);
    assert!(whole(&error).contains("not an owner of Recipient"), "{}", whole(&error));
}

#[tokio::test]
async fn a_recipient_that_ours_may_not_see_is_told_with_what_to_do() {
    for already_exists in [AlreadyExists::Conflict, AlreadyExists::BadRequest] {
        let world = World::with(|options| options.already_exists = already_exists).await;
        let identifier = SharingIdentifier::new(METASTORE).unwrap();
        let kind = NewRecipientKind::Databricks(&identifier);
        let new = NewRecipient { name: "theirs", comment: "x", kind, properties: BTreeMap::new() };
        world.other().create_recipient(&new).await.unwrap();
        assert!(world.workspace.recipient_of(&identifier).await.unwrap().is_none(), "it is not listed");
        let error = world.backend().adopt(&connector_id("a"), &databricks()).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::Denied);
        let refused = delivery::ports::Refused::of(&error).map(|refused| refused.refusal);
        assert_eq!(refused, Some(delivery::ports::Refusal::Foreign));
        let told = cause(&error).to_string();
        for words in [METASTORE, "'theirs'", "metastore admin", "spillway.deployment to test"] {
            assert!(told.contains(words), "{words}: {told}");
        }
        let deployment = unity_catalog::names::DeploymentName::new("test").unwrap();
        assert!(!told.contains(&databricks_recipient_name(&deployment, &identifier)), "not our own name: {told}");
    }
}

#[tokio::test]
async fn two_that_connect_at_once_agree() {
    let world = World::new().await;
    let backend = world.backend();
    let (a, b) = (connector_id("a"), connector_id("b"));
    let reader = databricks();
    let (first, second) = tokio::join!(backend.adopt(&a, &reader), backend.adopt(&b, &reader));
    assert_eq!(first.unwrap().recipient, second.unwrap().recipient);
}

#[tokio::test]
async fn a_recipient_that_was_made_without_an_answer_is_found_again() {
    let world = World::new().await;
    world.fake.add_fault(Fault {
        method: Some(http::Method::POST),
        time: FaultTime::Afterwards,
        status: 504,
        ..Fault::throttled("/recipients", None)
    });
    let connected = world.backend().adopt(&connector_id("a"), &databricks()).await.unwrap();
    assert!(connected.recipient.starts_with("spillway-test-aws-us-west-2-"));
    assert_eq!(world.fake.faults_left(), 0);
}

#[tokio::test]
async fn a_token_recipient_s_link_is_handed_out_untouched_and_never_opened() {
    let world = World::new().await;
    let backend = world.backend();
    let id = connector_id("acme");
    let connected = backend.adopt(&id, &token()).await.unwrap();
    assert!(!format!("{connected:?}").contains("retrieve_config"), "{connected:?}");
    let link = connected.activation.unwrap().reveal();
    assert!(link.starts_with(&format!("{}/delta_sharing/retrieve_config.html?", world.fake.url())), "{link}");
    let again = backend.adopt(&id, &token()).await.unwrap().activation.unwrap().reveal();
    assert_eq!(again, link, "as long as it was not used, it is the same");
    let requests = world.requests();
    assert!(requests.iter().all(|request| !request.path.contains("data_sharing_activation")));
    let body = requests.iter().find(|request| request.method == "POST").unwrap().body.clone().unwrap();
    assert_eq!(body["expiration_time"], serde_json::json!(instant(30 * 86_400).millis()));

    download(&world, &link).await;
    assert!(backend.adopt(&id, &token()).await.unwrap().activation.is_none(), "used");
}

/// Downloads the credential behind a link.
pub(crate) async fn download(world: &World, link: &str) {
    let code = link.split_once('?').unwrap().1;
    let pressed = format!("{}/api/2.1/unity-catalog/public/data_sharing_activation/{code}", world.fake.url());
    let response = reqwest_get(&pressed).await;
    assert!(response.contains("bearerToken"), "{response}");
}

/// One GET without a client of ours, as the secure contact's browser does it.
async fn reqwest_get(url: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn changed_addresses_reach_a_token_recipient_that_is_there() {
    let world = World::new().await;
    let backend = world.backend();
    let id = connector_id("acme");
    let recipient = backend.adopt(&id, &token()).await.unwrap().recipient;
    let allowed_ips = vec!["203.0.113.7".to_owned()];
    let changed = Reader::Token { expires_at: instant(86_400), allowed_ips: allowed_ips.clone() };
    backend.adopt(&id, &changed).await.unwrap();
    let found = world.workspace.recipient(&recipient).await.unwrap().unwrap();
    assert_eq!(found.allowed_ips, allowed_ips);
    assert_eq!(found.tokens.len(), 1, "the token stays");
}

#[tokio::test]
async fn addresses_that_do_not_read_back_as_asked_end_the_verification() {
    let world = World::new().await;
    let backend = world.backend();
    let mut acme = connector("acme", "team");
    let Recipient::Token(recipient) = &mut acme.recipient else { panic!("a token recipient") };
    recipient.allowed_ips = vec!["198.51.100.0/24".to_owned(), "203.0.113.7/32".to_owned()];
    let _ = backend.provision(&acme).await.unwrap();
    let _ = backend.connect(&acme).await.unwrap();
    let name = "spillway-test-token-acme";
    let set = async |list: &[&str]| {
        let list: Vec<_> = list.iter().map(|text| (*text).to_owned()).collect();
        world.workspace.set_allowed_ips(name, &list).await.unwrap();
    };
    set(&["203.0.113.7", "198.51.100.9/24"]).await;
    assert!(backend.verify(&acme, &[]).await.unwrap().is_good(), "the same blocks, written otherwise");
    world.requests();
    assert_eq!(backend.connect(&acme).await.unwrap(), Connected::Ready);
    let patched = |path: &str| world.requests().iter().any(|it| it.method == "PATCH" && it.path.ends_with(path));
    assert!(!patched("/recipients/spillway-test-token-acme"), "what is the same is left alone");
    for other in [&["198.51.100.0/24"][..], &["198.51.100.0/24", "203.0.113.0/24"], &[]] {
        set(other).await;
        let error = backend.verify(&acme, &[]).await.unwrap_err();
        assert!(matches!(cause(&error), BackendError::OtherAddresses { found, .. } if found == other), "{other:?}");
        let refused = delivery::ports::Refused::of(&error).map(|refused| refused.refusal);
        assert_eq!(refused, Some(delivery::ports::Refusal::Invalid));
        assert!(whole(&error).contains("203.0.113.7/32") && whole(&error).contains(name), "{}", whole(&error));
        assert_eq!(backend.connect(&acme).await.unwrap(), Connected::Ready);
        assert!(backend.verify(&acme, &[]).await.unwrap().is_good(), "set up again");
    }
}

#[tokio::test]
async fn tokens_of_the_workspace_s_own_end_in_time_and_each_link_is_sent_once() {
    let world = World::new().await;
    let backend = world.backend();
    let acme = connector("acme", "team");
    let _ = backend.provision(&acme).await.unwrap();
    let now = instant(0);
    let error = backend.waiting(&acme, now).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::NoRecipient));
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Unsent);
    assert_eq!(backend.connect(&acme).await.unwrap(), Connected::Ready);

    let first = backend.waiting(&acme, now).await.unwrap();
    assert!(!format!("{first:?}").contains("retrieve_config"), "{first:?}");
    assert_eq!(first.expires_at, Some(instant(86_400 * 365 - 60)), "as long as the connector says");
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Unsent, "nobody was told yet");
    backend.sent(&acme, &first.token).await.unwrap();
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Open);
    let first_url = first.url.reveal();
    assert_eq!(backend.waiting(&acme, now).await.unwrap().url.reveal(), first_url, "sent again, it is the same");

    backend.expire_tokens(&acme, 3_600, now).await.unwrap();
    let rotation = Rotation { number: 1, began_at: now, tokens_end_at: instant(3_600) };
    let acme = Connector { rotation: Some(rotation), ..acme };
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Unsent, "not of this rotation");
    for _ in 0..2 {
        let _ = backend.waiting(&acme, now).await.unwrap();
        backend.expire_tokens(&acme, 3_600, now).await.unwrap();
    }
    let name = "spillway-test-token-acme";
    let tokens = world.workspace.recipient(name).await.unwrap().unwrap().tokens;
    assert_eq!(tokens.len(), 2, "rotated once");
    assert_eq!(tokens[0].expires_at, Some(instant(3_600)), "the old one ends after the overlap");
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Unsent, "the new one waits");
    let second = backend.waiting(&acme, now).await.unwrap();
    assert_eq!(second.expires_at, Some(instant(86_400 * 365 - 60)), "no longer than the connector says");
    backend.sent(&acme, &second.token).await.unwrap();
    backend.expire_tokens(&acme, 0, now).await.unwrap();
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Open, "the rotation's own token stays");
    assert_ne!(second.url.reveal(), first_url);

    for _ in 0..2 {
        backend.revoke(&acme, now).await.unwrap();
        let tokens = world.workspace.recipient(name).await.unwrap().unwrap().tokens;
        assert_eq!(tokens.len(), 1, "the one that was sent has ended, the one that waits was told to nobody");
        assert_ne!(tokens[0].id, second.token);
    }
    assert_eq!(backend.connect(&acme).await.unwrap(), Connected::Ready, "set up anew");
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Unsent);
    assert_ne!(backend.waiting(&acme, now).await.unwrap().token, second.token);
    let opened = world.requests().into_iter().filter(|request| request.path.contains("data_sharing_activation"));
    assert_eq!(opened.count(), 0, "nobody but the secure contact opens a link");
}

#[tokio::test]
async fn a_revocation_in_the_middle_of_a_rotation_ends_the_token_of_before_at_once() {
    let world = World::new().await;
    let backend = world.backend();
    let acme = connector("acme", "team");
    let _ = backend.provision(&acme).await.unwrap();
    let _ = backend.connect(&acme).await.unwrap();
    let now = instant(0);
    let held = backend.waiting(&acme, now).await.unwrap();
    backend.sent(&acme, &held.token).await.unwrap();
    let rotation = Rotation { number: 1, began_at: now, tokens_end_at: instant(3_600) };
    let acme = Connector { rotation: Some(rotation), ..acme };
    let _ = backend.waiting(&acme, now).await.unwrap();
    backend.revoke(&acme, now).await.unwrap();
    let tokens = world.workspace.recipient("spillway-test-token-acme").await.unwrap().unwrap().tokens;
    assert!(tokens.iter().all(|token| token.id != held.token), "{tokens:?}");
}

#[tokio::test]
async fn the_backend_keeps_the_contract_of_recipient_backends() {
    let databricks = Recipient::Databricks(SharingIdentifier::new(METASTORE).unwrap());
    for (recipient, prefix) in [(databricks, "d"), (connector("any", "any").recipient, "t")] {
        let world = World::new().await;
        world.tables.put(&connector_id(&format!("{prefix}-one")), &contract_table(), &[("id", "long")]);
        let backend = world.backend();
        recipient_backend_contract(&backend, &backend, &recipient, prefix).await;
    }
}

#[tokio::test]
async fn a_grant_is_read_back_from_both_ends_and_a_revocation_too() {
    let world = World::new().await;
    let backend = world.backend();
    let (a, b) = (provisioned(&world, "a").await, provisioned(&world, "b").await);
    let recipient = backend.adopt(&a, &databricks()).await.unwrap().recipient;
    for id in [&a, &b] {
        backend.grant(id, &recipient).await.unwrap();
        backend.grant(id, &recipient).await.unwrap();
    }
    let (yes, no) = (
        Access { by_share: Said::Yes, by_recipient: Said::Yes },
        Access { by_share: Said::No, by_recipient: Said::No },
    );
    backend.ungrant(&a, &recipient).await.unwrap();
    backend.ungrant(&a, &recipient).await.unwrap();
    assert_eq!(backend.report(&a, &recipient, &[]).await.unwrap().access, no);
    assert_eq!(backend.report(&b, &recipient, &[]).await.unwrap().access, yes, "another connector's grant stays");
    assert!(world.workspace.recipient(&recipient).await.unwrap().is_some(), "so does the recipient");
    backend.ungrant(&connector_id("never-set-up"), &recipient).await.unwrap();
    backend.ungrant(&b, "never-made").await.unwrap();
    let error = backend.grant(&connector_id("never-set-up"), &recipient).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::NoShare));
}

/// Who may read a share, by the share's end.
pub(crate) async fn readers(world: &World, share: &str) -> Vec<String> {
    world.workspace.share_grants(share).await.unwrap().into_iter().map(|grant| grant.recipient).collect()
}

/// A connector whose recipient is a metastore, another one, and a token.
pub(crate) fn of_each_recipient() -> [Connector; 3] {
    let by_token = connector("acme", "team");
    let of = |identifier: &str| {
        let recipient = Recipient::Databricks(SharingIdentifier::new(identifier).unwrap());
        Connector { recipient, ..by_token.clone() }
    };
    [of(METASTORE), of("aws:eu-west-1:29a84bee-54bc-43a2-87de-023d0ec16017"), by_token]
}

#[tokio::test]
async fn a_recipient_that_a_connector_had_before_reads_no_longer() {
    let world = World::new().await;
    let backend = world.backend();
    let mut before: Option<String> = None;
    for connector in of_each_recipient() {
        let _ = backend.provision(&connector).await.unwrap();
        for _ in 0..2 {
            assert_eq!(backend.connect(&connector).await.unwrap(), Connected::Ready);
        }
        let now = readers(&world, "acme").await;
        assert_eq!(now.len(), 1, "{now:?}");
        assert!(!backend.verify(&connector, &[]).await.unwrap().ungranted);
        if let Some(before) = before.replace(now[0].clone()) {
            assert_ne!(before, now[0]);
            assert_eq!(world.workspace.recipient_shares(&before).await.unwrap(), []);
            assert!(world.workspace.recipient(&before).await.unwrap().is_some(), "it may read other shares");
        }
    }
}

#[tokio::test]
async fn a_recipient_is_known_whatever_the_case_of_its_name() {
    let world = World::new().await;
    let identifier = SharingIdentifier::new(METASTORE).unwrap();
    let kind = NewRecipientKind::Databricks(&identifier);
    let properties = BTreeMap::from([(DEPLOYMENT_PROPERTY, "test")]);
    let new = NewRecipient { name: "Named-By-People", comment: "x", kind, properties };
    world.workspace.create_recipient(&new).await.unwrap();
    let [acme, ..] = of_each_recipient();
    let _ = world.backend().provision(&acme).await.unwrap();
    assert_eq!(world.backend().connect(&acme).await.unwrap(), Connected::Ready);
    assert_eq!(readers(&world, "acme").await, ["named-by-people"]);
}

#[tokio::test]
async fn a_revocation_takes_the_grants_of_recipients_of_before_too() {
    let world = World::new().await;
    let backend = world.backend();
    let connectors = of_each_recipient();
    let other = Connector { recipient: connectors[0].recipient.clone(), ..connector("other", "team") };
    let _ = backend.provision(&other).await.unwrap();
    let _ = backend.connect(&other).await.unwrap();
    let _ = backend.provision(&connectors[0]).await.unwrap();
    for connector in &connectors {
        let reader = Reader::of(connector, instant(0));
        let recipient = backend.adopt(&connector.id, &reader).await.unwrap().recipient;
        backend.grant(&connector.id, &recipient).await.unwrap();
    }
    assert_eq!(readers(&world, "acme").await.len(), 3);
    backend.revoke(&connectors[1], instant(0)).await.unwrap();
    assert!(readers(&world, "acme").await.is_empty());
    assert_eq!(readers(&world, "other").await.len(), 1, "another connector's grant stays");
    world.requests();
    backend.revoke(&connectors[1], instant(0)).await.unwrap();
    assert!(world.requests().iter().all(|request| request.method == "GET"), "nothing is to be taken");
}

#[tokio::test]
async fn a_rotation_that_is_tried_again_finds_the_token_of_a_workspace_whose_clock_went_on() {
    let world = World::new().await;
    let backend = world.backend();
    let acme = connector("acme", "team");
    let _ = backend.provision(&acme).await.unwrap();
    let _ = backend.connect(&acme).await.unwrap();
    let now = instant(0);
    let held = backend.waiting(&acme, now).await.unwrap();
    backend.sent(&acme, &held.token).await.unwrap();
    let rotation = Rotation { number: 1, began_at: now, tokens_end_at: instant(3_600) };
    let acme = Connector { rotation: Some(rotation), ..acme };
    world.clock.advance(5);
    let made = backend.waiting(&acme, now).await.unwrap();
    let tokens = world.workspace.recipient("spillway-test-token-acme").await.unwrap().unwrap().tokens;
    assert_eq!(tokens[0].expires_at, Some(instant(3_605)), "the overlap counts from the workspace's answer");
    for seconds in [0, 7] {
        world.clock.advance(seconds);
        let now = instant(seconds);
        assert_eq!(backend.waiting(&acme, now).await.unwrap().token, made.token);
        backend.expire_tokens(&acme, 3_600, now).await.unwrap();
    }
    backend.sent(&acme, &made.token).await.unwrap();
    assert_eq!(backend.invitation(&acme).await.unwrap(), Invitation::Open);
}

#[tokio::test]
async fn a_token_that_is_to_end_at_once_has_no_grace() {
    let world = World::new().await;
    let backend = world.backend();
    let acme = connector("acme", "team");
    let _ = backend.provision(&acme).await.unwrap();
    let _ = backend.connect(&acme).await.unwrap();
    let now = instant(0);
    let held = backend.waiting(&acme, now).await.unwrap();
    backend.sent(&acme, &held.token).await.unwrap();
    world.workspace.rotate_token("spillway-test-token-acme", 60).await.unwrap();
    backend.revoke(&acme, now).await.unwrap();
    let tokens = world.workspace.recipient("spillway-test-token-acme").await.unwrap().unwrap().tokens;
    assert!(tokens.iter().all(|token| token.id != held.token), "{tokens:?}");
}

#[tokio::test]
async fn what_people_wrote_on_a_recipient_stays_when_a_link_was_sent() {
    let world = World::new().await;
    let backend = world.backend();
    let acme = connector("acme", "team");
    let _ = backend.provision(&acme).await.unwrap();
    let _ = backend.connect(&acme).await.unwrap();
    let name = "spillway-test-token-acme";
    let mut properties = world.workspace.recipient(name).await.unwrap().unwrap().properties;
    let error = world.workspace.set_properties(name, &properties).await.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("INVALID_PARAMETER_VALUE"), "the workspace's own are among them");
    properties.retain(|key, _| !key.starts_with("databricks."));
    properties.insert("cost-center".to_owned(), "42".to_owned());
    world.workspace.set_properties(name, &properties).await.unwrap();
    let waiting = backend.waiting(&acme, instant(0)).await.unwrap();
    backend.sent(&acme, &waiting.token).await.unwrap();
    let found = world.workspace.recipient(name).await.unwrap().unwrap().properties;
    assert_eq!(found.get("cost-center").map(String::as_str), Some("42"));
    assert_eq!(found.get("databricks.name").map(String::as_str), Some(name));
}

#[tokio::test]
async fn every_recipient_of_a_share_has_to_agree_before_a_schema_counts_as_given() {
    let world = World::new().await;
    let backend = world.backend();
    let id = provisioned(&world, "acme").await;
    let tables = world.loaded(&id, 1);
    backend.add_tables(&id, &tables).await.unwrap();
    let error = backend.registered_schema(&id, &tables[0]).await.unwrap_err();
    assert!(matches!(cause(&error), BackendError::NotGranted), "nobody may read");
    for reader in [databricks(), token()] {
        let recipient = backend.adopt(&id, &reader).await.unwrap().recipient;
        backend.grant(&id, &recipient).await.unwrap();
    }
    backend.registered_schema(&id, &tables[0]).await.unwrap();
    for recipient in readers(&world, "acme").await {
        let body = FaultBody::Text(r#"{"permissions_out": []}"#.to_owned());
        let path = format!("/recipients/{recipient}/share-permissions");
        world.fake.add_fault(Fault { status: 200, body, ..Fault::throttled(&path, None) });
        let error = backend.registered_schema(&id, &tables[0]).await.unwrap_err();
        assert!(matches!(cause(&error), BackendError::NotGranted), "{recipient}");
        assert_eq!(world.fake.faults_left(), 0);
    }
}
