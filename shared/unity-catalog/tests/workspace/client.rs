//! Tokens, attempts, errors and lists of the client.

use delivery::ports::{HostedCredentials as _, PortError, PortErrorKind, RecipientBackend as _, SharingBackend as _};
use fake_databricks::{AlreadyExists, Fault, FaultBody, FaultTime, Switch};
use http::Method;
use testkit::faults::Strikes;
use unity_catalog::error::ApiErrorKind;
use unity_catalog::shares::ShareUpdate;
use unity_catalog::transport::{Patience, Workspace, WorkspaceUrl};

use crate::world::{World, whole};

fn refused(status: u16, code: &str, message: &str, times: u32) -> Fault {
    Fault {
        status,
        times,
        body: FaultBody::Json { code: code.to_owned(), message: message.to_owned() },
        ..Fault::throttled("/api/", None)
    }
}

#[tokio::test]
async fn one_token_serves_until_its_last_minute() {
    let world = World::with(|options| options.token_life_seconds = 600).await;
    for _ in 0..3 {
        world.workspace.share("nobody").await.unwrap();
    }
    assert_eq!((world.token_requests(), world.credentials.faults.calls().len()), (1, 1));
    world.clock.advance(539);
    world.workspace.share("nobody").await.unwrap();
    assert_eq!(world.token_requests(), 1);
    world.clock.advance(1);
    world.workspace.share("nobody").await.unwrap();
    assert_eq!((world.token_requests(), world.credentials.faults.calls().len()), (2, 2));
}

#[tokio::test]
async fn callers_at_the_same_time_share_a_token() {
    let world = World::new().await;
    let (a, b, c) =
        tokio::join!(world.workspace.share("a"), world.workspace.share("b"), world.workspace.recipient("c"));
    assert!(a.unwrap().is_none() && b.unwrap().is_none() && c.unwrap().is_none());
    assert_eq!(world.token_requests(), 1);
}

#[tokio::test]
async fn a_token_that_lives_shorter_than_its_reserve_is_used_for_half_its_life() {
    let world = World::with(|options| options.token_life_seconds = 20).await;
    world.workspace.share("nobody").await.unwrap();
    world.clock.advance(9);
    world.workspace.share("nobody").await.unwrap();
    assert_eq!(world.token_requests(), 1);
    world.clock.advance(1);
    world.workspace.share("nobody").await.unwrap();
    assert_eq!(world.token_requests(), 2);
}

#[tokio::test]
async fn a_token_that_ended_early_is_replaced_once() {
    let world = World::new().await;
    world.workspace.create_share("a", "x").await.unwrap();
    world.fake.end_tokens();
    world.workspace.create_share("b", "x").await.unwrap();
    assert_eq!(world.token_requests(), 2);
    world.requests();
    world.fake.add_fault(refused(401, "UNAUTHENTICATED", "no", 2));
    let error = world.workspace.share("a").await.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Unauthenticated);
    assert_eq!(world.requests().len(), 2, "a refusal is believed the second time");
}

#[tokio::test]
async fn a_changed_secret_needs_no_restart_and_a_wrong_one_is_denied() {
    let world = World::new().await;
    *world.credentials.secret.lock().unwrap() = "a-wrong-secret".to_owned();
    let error = world.workspace.share("a").await.unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ApiErrorKind::Denied, Some("invalid_client")));
    assert_eq!(world.pauses(), Vec::<u64>::new(), "asking again would be of no use");
    let text = whole(&PortError::from(error));
    assert!(!text.contains("a-wrong-secret") && !text.contains("refused the request"), "{text}");
    *world.credentials.secret.lock().unwrap() = "secret-1".to_owned();
    world.workspace.share("a").await.unwrap();
}

#[tokio::test]
async fn a_credential_store_that_does_not_answer_is_no_denial() {
    let world = World::new().await;
    world.credentials.faults.fail_call(0, PortErrorKind::Unavailable, Strikes::Before);
    let error = world.workspace.share("a").await.unwrap_err();
    assert_eq!(error.port_kind(), PortErrorKind::Unavailable);
    world.workspace.share("a").await.unwrap();
}

#[tokio::test]
async fn a_busy_workspace_is_asked_again_when_it_says() {
    let world = World::new().await;
    world.fake.add_fault(Fault { times: 2, ..Fault::throttled("/shares", Some("7")) });
    world.fake.add_fault(Fault { status: 503, ..Fault::throttled("/shares", None) });
    world.fake.add_fault(Fault::throttled("/oidc/v1/token", Some("3")));
    world.workspace.create_share("a", "x").await.unwrap();
    assert_eq!(world.pauses(), [3, 7, 7, 4]);
    assert_eq!(world.fake.faults_left(), 0);
}

#[tokio::test]
async fn patience_ends() {
    let world = World::new().await;
    world.fake.add_fault(Fault { times: 5, ..Fault::throttled("/shares", Some("1")) });
    let error = world.workspace.share("a").await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (ApiErrorKind::Throttled, 5));
    assert_eq!(error.status, Some(429));
    assert_eq!(world.pauses(), [1, 1, 1, 1]);
    world.fake.add_fault(Fault::throttled("/shares", Some("3600")));
    assert_eq!(world.workspace.share("a").await.unwrap_err().port_kind(), PortErrorKind::Throttled);
    assert_eq!(world.pauses(), Vec::<u64>::new(), "an hour is not waited for");
}

#[tokio::test]
async fn a_workspace_is_waited_for_as_long_as_the_caller_can_still_say_what_came_of_it() {
    let world = World::new().await;
    world.workspace.share("a").await.unwrap();
    for (left, waits, kind) in [
        (30, vec![20], None),
        (24, vec![20], None),
        (23, vec![], Some((ApiErrorKind::Throttled, 1))),
        (3, vec![], Some((ApiErrorKind::Unavailable, 0))),
    ] {
        world.leave(left);
        world.requests();
        world.fake.add_fault(Fault::throttled("/shares", Some("20")));
        let failed = world.workspace.share("a").await.err();
        assert_eq!(failed.map(|error| (error.kind, error.attempts)), kind, "{left} seconds");
        assert_eq!(world.pauses(), waits, "{left} seconds");
        let sent = world.requests().len();
        assert_eq!(sent, if left > 23 { 2 } else { usize::from(left == 23) }, "{left} seconds");
    }
    assert_eq!(world.fake.faults_left(), 1, "nothing was sent that nobody would have seen the end of");
}

#[tokio::test]
async fn a_workspace_that_does_not_answer_is_given_up_before_the_caller_ends() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::new().await;
    let url = format!("http://{}", silent.local_addr().unwrap());
    let reserve = std::time::Duration::from_millis(100);
    let patience = Patience { reserve, ..Patience::default() };
    let (url, pauses) = (WorkspaceUrl::new(&url).unwrap(), world.pauses.clone());
    let workspace = Workspace::new(url, world.credentials.clone(), world.clock.clone(), pauses, patience).unwrap();
    // Long enough for a first attempt and no wait; a request may take a minute by itself.
    *world.pauses.left.lock().unwrap() = Some(std::time::Duration::from_millis(700));
    let begun = std::time::Instant::now();
    let error = workspace.share("a").await.unwrap_err();
    assert_eq!((error.kind, error.attempts), (ApiErrorKind::Unavailable, 1));
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(world.pauses(), Vec::<u64>::new());
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let world = World::new().await;
    world.workspace.create_share("a", "x").await.unwrap();
    for body in [FaultBody::Cut, FaultBody::Text("<html>504 Gateway Timeout</html>".to_owned())] {
        let status = if body == FaultBody::Cut { 200 } else { 504 };
        world.fake.add_fault(Fault { status, body, ..Fault::throttled("/shares", None) });
        assert!(world.workspace.share("a").await.unwrap().is_some());
        assert_eq!(world.pauses(), [1]);
    }
}

#[tokio::test]
async fn a_workspace_that_is_not_there_is_unavailable() {
    let world = World::new().await;
    world.workspace.share("a").await.unwrap();
    let World { fake, workspace, pauses, .. } = world;
    drop(fake);
    // The listener closes with the server's task; until then a request may still get through.
    let error = loop {
        match workspace.share("a").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind, error.status, error.attempts), (ApiErrorKind::Unavailable, None, 5));
    assert!(pauses.noted.lock().unwrap().len() >= 4);
    let text = whole(&error);
    assert!(!text.contains("fake-oauth-token") && !text.contains("secret-1"), "{text}");
}

#[tokio::test]
async fn messages_that_mean_later_are_retried_whatever_their_status() {
    let world = World::new().await;
    for message in ["RPC token bucket limit has been exceeded", "Unexpected error"] {
        world.fake.add_fault(refused(400, "BAD_REQUEST", message, 1));
        world.workspace.share("a").await.unwrap();
        assert_eq!(world.pauses(), [1], "{message}");
    }
}

#[tokio::test]
async fn errors_are_typed_whichever_shape_and_status_they_come_with() {
    for already_exists in [AlreadyExists::Conflict, AlreadyExists::BadRequest] {
        let world = World::with(|options| options.already_exists = already_exists).await;
        world.workspace.create_share("a", "x").await.unwrap();
        let error = world.workspace.create_share("A", "x").await.unwrap_err();
        assert_eq!(error.kind, ApiErrorKind::Exists);
        let id = world.fake.requests().last().unwrap().id.clone();
        assert_eq!(error.request_id, Some(id));
        world.fake.add_fault(Fault {
            status: 409,
            body: FaultBody::Text("RESOURCE_ALREADY_EXISTS: Share 'a' already exists".to_owned()),
            ..Fault::throttled("/shares", None)
        });
        assert_eq!(world.workspace.create_share("a", "x").await.unwrap_err().kind, ApiErrorKind::Exists);
    }
}

#[tokio::test]
async fn a_proxy_that_knows_nothing_does_not_make_a_share_missing() {
    let world = World::new().await;
    world.fake.add_fault(Fault {
        status: 404,
        body: FaultBody::Text("<html><title>Not Found</title></html>".to_owned()),
        ..Fault::throttled("/shares", None)
    });
    let error = world.workspace.share("a").await.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Unreadable);
    world.fake.add_fault(Fault {
        status: 200,
        body: FaultBody::Text(r#"{"secret-body": "#.to_owned()),
        ..Fault::throttled("/shares", None)
    });
    let error = world.workspace.share("a").await.unwrap_err();
    assert_eq!(error.kind, ApiErrorKind::Unreadable);
    assert!(!whole(&error).contains("secret-body"));
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    for (page_items, empty_pages) in [(2, Switch::Off), (2, Switch::On), (100, Switch::On)] {
        let world = World::with(|options| (options.page_items, options.empty_pages) = (page_items, empty_pages)).await;
        let reader = unity_catalog::backend::Reader::Databricks(
            delivery::connector::SharingIdentifier::new("aws:us-east-1:19a84bee-54bc-43a2-87de-023d0ec16016").unwrap(),
        );
        let backend = world.backend();
        let mut recipient = String::new();
        for n in 0..5 {
            let connector = testkit::builders::connector(&format!("c{n}"), "team");
            let _ = delivery::ports::SharingBackend::provision(&backend, &connector).await.unwrap();
            recipient = backend.adopt(&connector.id, &reader).await.unwrap().recipient;
            world.workspace.grant_share(&format!("c{n}"), &recipient).await.unwrap();
        }
        let shares = world.workspace.recipient_shares(&recipient).await.unwrap();
        let names: Vec<_> = shares.iter().map(|access| access.share.as_str()).collect();
        assert_eq!(names, ["c0", "c1", "c2", "c3", "c4"], "{page_items} {empty_pages:?}");
        assert!(shares.iter().all(|access| access.privileges == ["SELECT"]));
        let shares = world.workspace.shares().await.unwrap();
        assert_eq!(shares.iter().map(|share| share.name.as_str()).collect::<Vec<_>>(), names);
    }
}

#[tokio::test]
async fn nothing_to_change_makes_no_request() {
    let world = World::new().await;
    world.workspace.create_share("a", "x").await.unwrap();
    world.requests();
    world.workspace.update_share("a", &[]).await.unwrap();
    assert_eq!(world.requests(), []);
    let update = ShareUpdate::RemoveTable { name: "main.a.t".to_owned() };
    assert_eq!(world.workspace.update_share("a", &[update]).await.unwrap_err().kind, ApiErrorKind::Missing);
}

#[tokio::test]
async fn a_rotation_whose_answer_is_lost_is_not_repeated() {
    let world = World::new().await;
    let connector = testkit::builders::connector("acme", "team");
    let backend = world.backend();
    let _ = backend.provision(&connector).await.unwrap();
    let _ = backend.connect(&connector).await.unwrap();
    world.requests();
    let lost = Fault {
        method: Some(Method::POST),
        time: FaultTime::Afterwards,
        status: 504,
        body: FaultBody::Text(String::new()),
        ..Fault::throttled("/rotate-token", None)
    };
    world.fake.add_fault(lost);
    let now = testkit::builders::instant(0);
    let waiting = backend.waiting(&connector, now).await.unwrap();
    backend.sent(&connector, &waiting.token).await.unwrap();
    let rotation = delivery::connector::Rotation { number: 1, began_at: now, tokens_end_at: now.plus_seconds(3_600) };
    let connector = delivery::connector::Connector { rotation: Some(rotation), ..connector };
    assert_eq!(backend.waiting(&connector, now).await.unwrap_err().kind, PortErrorKind::Unavailable);
    let waiting = backend.waiting(&connector, now).await.unwrap();
    backend.sent(&connector, &waiting.token).await.unwrap();
    backend.expire_tokens(&connector, 3_600, now).await.unwrap();
    let rotations = world.requests().iter().filter(|request| request.path.ends_with("/rotate-token")).count();
    assert_eq!(rotations, 1, "the next attempt finds the token that was made");
    world.fake.add_fault(Fault::throttled("/rotate-token", Some("1")));
    backend.revoke(&connector, now).await.unwrap();
    assert_eq!(world.pauses(), [1], "a throttled one was not done");
}
