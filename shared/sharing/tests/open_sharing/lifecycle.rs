//! The life of a connector's access: commands over in-memory ports, and what the server and the pages say after each.

use std::sync::Arc;

use axum::body::Body;
use delivery::change::{Changing, disable, enable, end_tokens, revoke};
use delivery::connector::{Connector, ConnectorState};
use delivery::failure::{FailureCode, StepError};
use delivery::lifecycle::{Action, Actor, RotationWish};
use delivery::ports::{Clock as _, ConnectorStore as _, Inviter as _, PortErrorKind, RecipientBackend as _};
use delivery::rotate::{Rotating, rotate};
use delivery::watch::{Watching, watch_tokens};
use http::{Request, StatusCode};
use sharing::expiry::MailedNotice;
use sharing::invite::LinkInviter;
use testkit::builders::{PutConnector as _, connector, instant};
use testkit::faults::Strikes;
use testkit::sharing::{CountedSecrets, RecordingMailer};
use testkit::state::InMemoryState;

use crate::world::{ACME, World, request};

const DAY: i64 = 86_400;
/// The wish of an execution that began later than every rotation of these tests.
fn a_week() -> RotationWish {
    RotationWish { overlap_seconds: 7 * 86_400, new_link: false, asked_at: instant(1_000 * DAY) }
}

struct Lived {
    world: World,
    state: InMemoryState,
    mailer: Arc<RecordingMailer>,
    inviter: LinkInviter,
    acme: Connector,
}

fn actor() -> Actor {
    Actor { execution: "arn:e".to_owned(), requested_by: Some("ada".to_owned()) }
}

impl Lived {
    async fn new() -> Self {
        let world = World::new().await;
        let mailer = Arc::new(RecordingMailer::default());
        let endpoint = "https://sharing.test/delta-sharing";
        let inviter = LinkInviter::new(world.sharing.clone(), mailer.clone(), endpoint, world.clock.clone())
            .with_secrets(Arc::new(CountedSecrets::starting_at(1_000)));
        let state = InMemoryState::default();
        let acme = Connector { state: ConnectorState::Active, ..connector("acme", "team") };
        state.put_connector(&acme).await.unwrap();
        Self { world, state, mailer, inviter, acme }
    }

    fn changing(&self) -> Changing<'_> {
        Changing {
            connectors: &self.state,
            runs: &self.state,
            recipients: &*self.world.sharing,
            clock: &*self.world.clock,
        }
    }

    async fn rotate(&self, wish: RotationWish) -> Result<Connector, StepError> {
        let ports = Rotating { connectors: &self.state, inviter: &self.inviter, clock: &*self.world.clock };
        rotate(ports, &self.acme.id, wish, &actor()).await?;
        end_tokens(self.changing(), &self.acme.id).await
    }

    async fn invite(&self) {
        self.inviter.invite(&self.acme, self.world.clock.now()).await.unwrap();
    }

    async fn revoke(&self) -> Result<Connector, StepError> {
        revoke(self.changing(), &self.acme.id, &actor()).await
    }

    /// The connector as it is stored, and what was done to it since it was made.
    async fn stored(&self) -> (Connector, Vec<Action>) {
        let connector = self.state.connector(&self.acme.id).await.unwrap().unwrap();
        let audit = self.state.audit(&self.acme.id, 100).await.unwrap();
        (connector, audit.iter().skip(1).map(|change| change.entry.action).collect())
    }

    /// The path of the newest e-mail's link.
    fn link(&self) -> String {
        let mail = std::iter::from_fn(|| self.mailer.take()).last().unwrap();
        let line = mail.body.lines().find(|line| line.contains("://")).unwrap();
        line.strip_prefix("https://sharing.test").unwrap().to_owned()
    }

    async fn press(&self, path: &str) -> crate::world::Answer {
        self.world.send(Request::builder().method("POST").uri(path).body(Body::empty()).unwrap()).await
    }

    /// The token behind a link.
    async fn token(&self, link: &str) -> String {
        let profile = self.press(link).await;
        assert_eq!(profile.status, StatusCode::OK);
        profile.json()["bearerToken"].as_str().unwrap().to_owned()
    }

    /// What a token is told: 200, or the message of a refusal.
    async fn told(&self, token: &str) -> Result<(), String> {
        let mut told = Vec::new();
        for path in ["/shares", "/shares/acme/schemas/data/tables/WF_A__V1/version"] {
            let answer = self.world.send(request("GET", path, token)).await;
            told.push(if answer.status == StatusCode::OK { Ok(()) } else { Err(answer.error()) });
        }
        assert_eq!(told[0], told[1], "every endpoint says the same");
        told.remove(0).map_err(|(status, code, message)| {
            assert_eq!((status, code.as_str()), (401, "UNAUTHENTICATED"));
            message
        })
    }
}

#[tokio::test]
async fn a_revoked_token_is_told_so_at_once_and_for_good() {
    let lived = Lived::new().await;
    lived.invite().await;
    let token = lived.token(&lived.link()).await;
    lived.invite().await;
    let unused = lived.link();
    assert_eq!(lived.told(&token).await, Ok(()));
    assert_eq!(lived.told(ACME).await, Ok(()));

    assert_eq!(lived.revoke().await.unwrap().state, ConnectorState::Revoked);
    for token in [token.as_str(), ACME] {
        let message = lived.told(token).await.unwrap_err();
        assert!(message.contains("was revoked") && !message.contains("expired"), "{message}");
    }
    let page = lived.press(&unused).await;
    assert_eq!(page.status, StatusCode::GONE);
    assert!(page.text().contains("was revoked"));

    let _ = lived.world.sharing.connect(&lived.acme).await.unwrap();
    assert!(lived.told(&token).await.unwrap_err().contains("was revoked"), "also after it was set up anew");
    lived.invite().await;
    let anew = lived.token(&lived.link()).await;
    assert_eq!(lived.told(&anew).await, Ok(()));
}

#[tokio::test]
async fn a_revoked_share_costs_a_query_no_request_more() {
    let lived = Lived::new().await;
    lived.revoke().await.unwrap();
    let before = lived.world.sharing.faults.calls().len();
    let answer = lived.world.get("/shares/acme/schemas/data/tables/WF_A__V1/version").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(lived.world.sharing.faults.calls()[before..], ["grant and table"]);
}

#[tokio::test]
async fn a_link_of_a_share_that_is_shut_says_that_it_was_revoked() {
    let lived = Lived::new().await;
    lived.revoke().await.unwrap();
    lived.invite().await;
    let page = lived.press(&lived.link()).await;
    assert_eq!(page.status, StatusCode::GONE);
    assert!(page.text().contains("was revoked") && !page.text().contains("used already"), "{}", page.text());
}

#[tokio::test]
async fn a_rotation_overlaps_and_then_the_token_of_before_has_expired() {
    let lived = Lived::new().await;
    lived.invite().await;
    let first = lived.token(&lived.link()).await;
    let rotation = lived.rotate(a_week()).await.unwrap().rotation.unwrap();
    let mail = lived.mailer.take().unwrap();
    assert!(mail.body.contains(&rotation.tokens_end_at.minute_text()), "the e-mail says until when: {}", mail.body);
    let link = mail.body.lines().find_map(|line| line.strip_prefix("https://sharing.test")).unwrap().to_owned();
    assert_eq!(lived.told(&first).await, Ok(()), "both read");
    let second = lived.token(&link).await;
    assert_eq!(lived.told(&second).await, Ok(()), "both read");

    assert_eq!(lived.rotate(a_week()).await.unwrap().rotation.unwrap(), rotation, "started again: the same rotation");
    assert!(lived.mailer.take().is_none(), "no second e-mail");
    lived.world.clock.advance(7 * DAY);
    let message = lived.told(&first).await.unwrap_err();
    assert!(message.contains(&format!("expired at {}", rotation.tokens_end_at)), "{message}");
    assert!(message.contains("a newer one has taken its place"), "{message}");
    assert_eq!(lived.told(&second).await, Ok(()), "the new token has its own life");
    assert_eq!(lived.stored().await.1, [Action::RotateToken]);
}

#[tokio::test]
async fn a_rotation_without_overlap_ends_every_token_that_there_was() {
    let lived = Lived::new().await;
    lived.invite().await;
    let (first, unused) = (lived.token(&lived.link()).await, {
        lived.invite().await;
        lived.link()
    });
    let at_once = RotationWish { overlap_seconds: 0, ..a_week() };
    lived.rotate(at_once).await.unwrap();
    assert!(lived.told(&first).await.unwrap_err().contains("expired"));
    assert!(lived.press(&unused).await.text().contains("newer link"), "the unused link is replaced");
    let second = lived.token(&lived.link()).await;
    lived.rotate(at_once).await.unwrap();
    assert!(lived.told(&second).await.unwrap_err().contains("expired"), "asked for after the new token was there");
}

#[tokio::test]
async fn a_new_link_can_be_had_for_one_that_went_astray() {
    let lived = Lived::new().await;
    lived.rotate(a_week()).await.unwrap();
    let lost = lived.link();
    lived.rotate(RotationWish { new_link: true, ..a_week() }).await.unwrap();
    let found = lived.link();
    assert!(lived.press(&lost).await.text().contains("newer link"));
    lived.token(&found).await;
    assert_eq!(lived.stored().await.1, [Action::RotateToken; 2]);
}

#[tokio::test]
async fn commands_that_are_not_possible_say_why() {
    let lived = Lived::new().await;
    let stranger = testkit::builders::connector_id("stranger");
    let code = |ended: Result<Connector, StepError>| ended.unwrap_err().code;
    assert_eq!(code(disable(lived.changing(), &stranger, &actor()).await), FailureCode::ConnectorNotFound);
    for (state, expected) in [
        (ConnectorState::Provisioning, FailureCode::ChangeRefused),
        (ConnectorState::Revoked, FailureCode::ConnectorRevoked),
    ] {
        lived.state.put_connector(&Connector { state, ..lived.acme.clone() }).await.unwrap();
        let id = &lived.acme.id;
        assert_eq!(code(disable(lived.changing(), id, &actor()).await), expected);
        assert_eq!(code(enable(lived.changing(), id, &actor()).await), expected);
        assert_eq!(code(lived.rotate(a_week()).await), expected);
        assert!(lived.mailer.take().is_none());
    }
    let metastore = delivery::connector::SharingIdentifier::new("aws:eu-west-1:19a84bee-54bc-43a2-87de-023d0ec16016");
    let recipient = delivery::connector::Recipient::Databricks(metastore.unwrap());
    lived.state.put_connector(&Connector { recipient, ..lived.acme.clone() }).await.unwrap();
    assert_eq!(code(lived.rotate(a_week()).await), FailureCode::RotationUnsupported);
}

#[tokio::test]
async fn who_loses_a_race_begins_again_and_changes_nothing_that_the_winner_did() {
    let lived = Lived::new().await;
    let state = Arc::new(InMemoryState::default());
    state.put_connector(&lived.acme).await.unwrap();
    let (rival, acme) = (state.clone(), lived.acme.clone());
    let calls = state.faults.calls().len();
    state.faults.meanwhile(calls + 1, move || {
        let gone = acme.revoked().unwrap();
        let entry = testkit::builders::audit_entry(Action::Revoke, 0);
        let mut change = Box::pin(rival.change_connector(Some(&acme), &gone, &entry));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(change.as_mut().poll(&mut context).is_ready());
    });
    let ports = Changing { connectors: &*state, ..lived.changing() };
    let lost = disable(ports, &lived.acme.id, &actor()).await.unwrap_err();
    assert_eq!(lost.code, FailureCode::ChangeConflict);
    assert_eq!(disable(ports, &lived.acme.id, &actor()).await.unwrap_err().code, FailureCode::ConnectorRevoked);
}

/// Every call of every port fails once, before and after its work; the command is started again, and has come to the
/// same end with one entry in the audit.
#[tokio::test]
async fn a_command_that_fails_anywhere_is_brought_to_its_end_by_being_started_again() {
    type Command = for<'a> fn(&'a Lived) -> std::pin::Pin<Box<dyn Future<Output = Result<Connector, StepError>> + 'a>>;
    let commands: [(&str, Command, ConnectorState, Action); 3] = [
        (
            "disable",
            |lived| Box::pin(async { disable(lived.changing(), &lived.acme.id, &actor()).await }),
            ConnectorState::Disabled,
            Action::Disable,
        ),
        ("rotate", |lived| Box::pin(lived.rotate(a_week())), ConnectorState::Active, Action::RotateToken),
        ("revoke", |lived| Box::pin(lived.revoke()), ConnectorState::Revoked, Action::Revoke),
    ];
    for (name, command, state, action) in commands {
        let mut struck = 0;
        for port in ["state", "sharing", "mail"] {
            for strikes in [Strikes::Before, Strikes::After] {
                for number in 0.. {
                    let lived = Lived::new().await;
                    lived.invite().await;
                    let first = lived.token(&lived.link()).await;
                    let faults = match port {
                        "state" => &lived.state.faults,
                        "sharing" => &lived.world.sharing.faults,
                        _ => &lived.mailer.faults,
                    };
                    faults.fail_call(faults.calls().len() + number, PortErrorKind::Unavailable, strikes);
                    let ended = command(&lived).await;
                    faults.heal();
                    if ended.is_ok() {
                        break;
                    }
                    struck += 1;
                    let what = format!("{name}: call {number} of {port} failed {strikes:?}");
                    if name == "rotate" {
                        assert_eq!(lived.told(&first).await, Ok(()), "{what}: the recipient still reads");
                    }
                    if lived.stored().await.0.state == ConnectorState::Revoked {
                        assert!(lived.told(&first).await.is_err(), "{what}: said to be revoked, and read from");
                    }
                    command(&lived).await.unwrap_or_else(|error| unreachable!("{what}: {error}"));
                    let (connector, audit) = lived.stored().await;
                    assert_eq!((connector.state, audit), (state, vec![action]), "{what}");
                    if name == "rotate" {
                        let second = lived.token(&lived.link()).await;
                        assert_eq!(lived.told(&second).await, Ok(()), "{what}");
                        lived.world.clock.advance(7 * DAY);
                        assert!(lived.told(&first).await.is_err(), "{what}: the token of before has ended");
                    } else {
                        let reads = state != ConnectorState::Revoked;
                        assert_eq!(lived.told(&first).await.is_ok(), reads, "{what}");
                    }
                }
            }
        }
        assert!(struck >= 4, "{name}: {struck} faults");
    }
}

#[tokio::test]
async fn a_recipient_is_warned_once_at_each_threshold_and_not_of_a_token_that_was_rotated_away() {
    let lived = Lived::new().await;
    let acme = lived.acme.clone();
    // The world's own token ends before.
    lived.world.clock.advance(DAY);
    lived.inviter.invite(&acme, lived.world.clock.now()).await.unwrap();
    lived.token(&lived.link()).await;
    let notice = MailedNotice::new(lived.mailer.clone());
    let watch = async |connector: &Connector| {
        let ports = Watching {
            connectors: &lived.state,
            tokens: &*lived.world.sharing,
            notice: &notice,
            clock: &*lived.world.clock,
        };
        watch_tokens(ports, connector).await
    };
    let mut warnings = Vec::new();
    for day in 0..366 {
        for _ in 0..2 {
            let seen = watch(&acme).await.unwrap();
            for _ in 0..seen.warnings {
                warnings.push(365 - day);
                let mail = lived.mailer.take().unwrap();
                assert!(mail.body.contains("\"acme\"") && !mail.body.contains("://"), "{}", mail.body);
            }
            assert_eq!(seen.expiring == 1, (358..365).contains(&day), "day {day}");
        }
        lived.world.clock.advance(DAY);
    }
    assert_eq!(warnings, [30, 7, 1]);

    // A mail service that is away: nothing is noted, and the next watch warns.
    let lived_again = Lived::new().await;
    lived_again.world.clock.advance(DAY);
    lived_again.inviter.invite(&acme, lived_again.world.clock.now()).await.unwrap();
    lived_again.token(&lived_again.link()).await;
    lived_again.world.clock.advance(364 * DAY);
    let notice = MailedNotice::new(lived_again.mailer.clone());
    let ports = Watching {
        connectors: &lived_again.state,
        tokens: &*lived_again.world.sharing,
        notice: &notice,
        clock: &*lived_again.world.clock,
    };
    let mails = lived_again.mailer.faults.calls().len();
    lived_again.mailer.faults.fail_call(mails, PortErrorKind::Unavailable, Strikes::Before);
    assert_eq!(watch_tokens(ports, &acme).await.unwrap_err().code, FailureCode::WatchUnavailable);
    let seen = watch_tokens(ports, &acme).await.unwrap();
    assert_eq!((seen.warnings, seen.refused), (1, 0), "the nearest threshold, once");
    let rotated = lived_again.rotate(a_week()).await.unwrap();
    assert_eq!(watch_tokens(ports, &rotated).await.unwrap().expiring, 1, "its recipient has no other token yet");
    lived_again.token(&lived_again.link()).await;
    assert_eq!(watch_tokens(ports, &rotated).await.unwrap().expiring, 0, "it was rotated away");
}

#[tokio::test]
async fn who_has_the_next_link_is_told_to_use_it_and_is_told_to_ask_when_that_has_expired() {
    let lived = Lived::new().await;
    lived.world.clock.advance(DAY);
    lived.invite().await;
    lived.token(&lived.link()).await;
    lived.world.clock.advance(DAY);
    let rotated = lived.rotate(RotationWish { overlap_seconds: 30 * 86_400, ..a_week() }).await.unwrap();
    lived.link();
    let notice = MailedNotice::new(lived.mailer.clone());
    let ports = Watching {
        connectors: &lived.state,
        tokens: &*lived.world.sharing,
        notice: &notice,
        clock: &*lived.world.clock,
    };
    for (days, said, not_said) in
        [(0, "was sent already", "for a new activation link"), (23, "for a new activation link", "was sent already")]
    {
        lived.world.clock.advance(days * DAY);
        assert_eq!(watch_tokens(ports, &rotated).await.unwrap().warnings, 1);
        let mail = lived.mailer.take().unwrap();
        assert!(mail.body.contains(said) && !mail.body.contains(not_said), "{}", mail.body);
        assert!(!mail.body.contains("://"), "nothing in it opens anything");
    }
}
