//! The life of an activation link, from the e-mail to the profile.

use std::sync::Arc;

use axum::body::Body;
use delivery::connector::{Connector, Recipient, SecureContact, TokenRecipient};
use delivery::ports::{Invitation, Inviter as _, PortErrorKind};
use http::{Request, StatusCode};
use sharing::invite::LinkInviter;
use testkit::builders::{connector, instant};
use testkit::faults::Strikes;
use testkit::sharing::{CountedSecrets, RecordingMailer};

use crate::world::{NOW, World, request};

const DAY: i64 = 86_400;

struct Invited {
    world: World,
    mailer: Arc<RecordingMailer>,
    inviter: LinkInviter,
}

async fn invited() -> Invited {
    let world = World::new().await;
    let mailer = Arc::new(RecordingMailer::default());
    let endpoint = "https://sharing.test/delta-sharing";
    let inviter = LinkInviter::new(world.sharing.clone(), mailer.clone(), endpoint, world.clock.clone())
        .with_secrets(Arc::new(CountedSecrets::default()));
    Invited { world, mailer, inviter }
}

/// The connector with a contact, its token's life, and an address block that may read.
fn acme(contact: &str, token_lifetime_days: u16, allowed: &str) -> Connector {
    let secure_contact = SecureContact::new(contact).unwrap();
    let allowed_ips = vec![allowed.to_owned()];
    let recipient = Recipient::Token(TokenRecipient { secure_contact, token_lifetime_days, allowed_ips });
    Connector { recipient, ..connector("acme", "team") }
}

/// The connector that [`Invited::link`] invites the recipient of.
fn narrow() -> Connector {
    acme("data@acme.test", 30, "198.51.100.0/24")
}

impl Invited {
    /// Invites, and takes the path of the link out of the e-mail.
    async fn link(&self) -> String {
        self.inviter.invite(&narrow(), delivery::ports::Clock::now(&*self.world.clock)).await.unwrap();
        let mail = self.mailer.take().unwrap();
        let line = mail.body.lines().find(|line| line.contains("://")).unwrap();
        line.strip_prefix("https://sharing.test").unwrap().to_owned()
    }

    async fn send(&self, method: &str, path: &str) -> crate::world::Answer {
        self.world.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }
}

#[tokio::test]
async fn the_e_mail_says_what_the_link_does() {
    let invited = invited().await;
    let acme = connector("acme", "team");
    invited.inviter.invite(&acme, instant(NOW)).await.unwrap();
    let mail = invited.mailer.take().unwrap();
    assert_eq!(mail.to, "data@acme.test");
    assert_eq!(mail.subject, "Activate your access to the data share acme");
    let until = instant(NOW + 7 * DAY).minute_text();
    for part in ["\"acme\"", "config.share", "https://sharing.test/activate/", &until, "365 days", "contact"] {
        assert!(mail.body.contains(part), "{part}: {}", mail.body);
    }
}

#[tokio::test]
async fn opening_the_page_uses_nothing_up() {
    let invited = invited().await;
    let link = invited.link().await;
    for method in ["GET", "HEAD", "GET"] {
        let page = invited.send(method, &link).await;
        assert_eq!(page.status, StatusCode::OK);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-robots-tag", "noindex, nofollow"),
            ("content-type", "text/html; charset=utf-8"),
        ] {
            assert_eq!(page.header(name), Some(value));
        }
        assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    }
    let page = invited.send("GET", &link).await.text();
    let until = instant(NOW + 7 * DAY).minute_text();
    for part in ["acme", &until, "30 days", "198.51.100.0/24", "<button", "method=\"post\"", "lang=\"en\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("https://") && !page.contains(link.rsplit('/').next().unwrap()), "nothing is loaded");
    assert_eq!(invited.world.sharing.grants().len(), 2, "only the tokens of before");
}

#[tokio::test]
async fn the_button_hands_the_credential_out_once() {
    let invited = invited().await;
    let link = invited.link().await;
    let profile = invited.send("POST", &link).await;
    assert_eq!(profile.status, StatusCode::OK);
    assert_eq!(profile.header("content-disposition"), Some("attachment; filename=\"config.share\""));
    assert_eq!(profile.header("cache-control"), Some("no-store"));
    let profile = profile.json();
    assert_eq!(profile["shareCredentialsVersion"], 1);
    assert_eq!(profile["endpoint"], "https://sharing.test/delta-sharing");
    assert_eq!(profile["expirationTime"], instant(NOW + 30 * DAY).to_string());
    let token = profile["bearerToken"].as_str().unwrap();
    let asked = crate::world::from_address(request("GET", "/shares", token), "198.51.100.9");
    assert_eq!(invited.world.send(asked).await.status, StatusCode::OK);
    assert_eq!(invited.world.send(request("GET", "/shares", token)).await.status, StatusCode::FORBIDDEN);

    for method in ["POST", "GET"] {
        let again = invited.send(method, &link).await;
        assert_eq!(again.status, StatusCode::GONE);
        assert!(again.text().contains("used already") && !again.text().contains("<button"));
    }
    assert_eq!(invited.world.sharing.grants().len(), 3);
}

#[tokio::test]
async fn links_that_do_not_work_say_what_to_do() {
    let invited = invited().await;
    let first = invited.link().await;
    let second = invited.link().await;
    for method in ["GET", "POST"] {
        let replaced = invited.send(method, &first).await;
        assert_eq!(replaced.status, StatusCode::GONE);
        assert!(replaced.text().contains("later e-mail"));
        for path in ["/activate/nobodys", &format!("/activate/{}", "x".repeat(4_000))] {
            let unknown = invited.send(method, path).await;
            assert_eq!(unknown.status, StatusCode::NOT_FOUND);
            assert!(unknown.text().contains("not known"));
        }
    }
    invited.world.clock.advance(7 * DAY);
    for method in ["GET", "POST"] {
        let expired = invited.send(method, &second).await;
        assert_eq!(expired.status, StatusCode::GONE);
        assert!(expired.text().contains("has expired"));
    }
    assert_eq!(invited.world.sharing.grants().len(), 2);
}

#[tokio::test]
async fn a_failing_store_leaves_the_link_as_it_was() {
    let invited = invited().await;
    let link = invited.link().await;
    for method in ["GET", "POST"] {
        let calls = invited.world.sharing.faults.calls().len();
        invited.world.sharing.faults.fail_call(calls, PortErrorKind::Unavailable, Strikes::Before);
        assert_eq!(invited.send(method, &link).await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(invited.send("POST", &link).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_invitation_counts_as_sent_only_if_its_link_can_be_used() {
    let invited = invited().await;
    let acme = narrow();
    assert_eq!(invited.inviter.invitation(&acme).await.unwrap(), Invitation::Unsent);

    invited.mailer.faults.fail_call(0, PortErrorKind::Denied, Strikes::Before);
    let error = invited.inviter.invite(&acme, instant(NOW)).await.unwrap_err();
    assert_eq!(error.kind, PortErrorKind::Denied);
    assert_eq!(invited.inviter.invitation(&acme).await.unwrap(), Invitation::Unsent);

    let link = invited.link().await;
    assert_eq!(invited.inviter.invitation(&acme).await.unwrap(), Invitation::Open);
    invited.world.clock.advance(7 * DAY);
    assert_eq!(invited.inviter.invitation(&acme).await.unwrap(), Invitation::Unsent, "expired unused");
    assert_eq!(invited.send("POST", &link).await.status, StatusCode::GONE);

    let link = invited.link().await;
    assert_eq!(invited.send("POST", &link).await.status, StatusCode::OK);
    invited.world.clock.advance(7 * DAY);
    assert_eq!(invited.inviter.invitation(&acme).await.unwrap(), Invitation::Used, "used");
}

#[tokio::test]
async fn an_unused_link_of_other_settings_counts_as_unsent_and_gives_way_to_one_for_the_right_contact() {
    let invited = invited().await;
    let (mut wrong, mut sent) = (narrow(), invited.link().await);
    for right in [
        acme("ada@acme.test", 30, "198.51.100.0/24"),
        acme("ada@acme.test", 60, "198.51.100.0/24"),
        acme("ada@acme.test", 60, "203.0.113.0/24"),
    ] {
        assert_eq!(invited.inviter.invitation(&wrong).await.unwrap(), Invitation::Open);
        assert_eq!(invited.inviter.invitation(&right).await.unwrap(), Invitation::Unsent);
        invited.inviter.invite(&right, instant(NOW)).await.unwrap();
        let mail = invited.mailer.take().unwrap();
        assert_eq!(mail.to, "ada@acme.test");
        assert!(invited.send("POST", &sent).await.text().contains("newer link"), "the one of before is replaced");
        let line = mail.body.lines().find(|line| line.contains("://")).unwrap();
        (wrong, sent) = (right, line.strip_prefix("https://sharing.test").unwrap().to_owned());
    }
    assert_eq!(invited.send("POST", &sent).await.status, StatusCode::OK);
    let grants = invited.world.sharing.grants();
    let grant = grants.iter().find(|grant| grant.allowed_ips == ["203.0.113.0/24"]).unwrap();
    assert_eq!(grant.expires_at, instant(NOW + 60 * DAY));
    assert_eq!(
        invited.inviter.invitation(&narrow()).await.unwrap(),
        Invitation::Used,
        "a used link is no link any more"
    );
}
