//! The life of a recipient's tokens and links, as one store keeps it for its owner, for the sharing server and for the
//! watch.

use delivery::connector::{Connector, Rotation, SHARE_SCHEMA};
use delivery::ports::{Connected, Provisioned, RecipientBackend, SharingBackend, TokenWatch, WatchedToken};
use delivery::table::TableName;
use sharing::ports::{
    Activation, ActivationState, ActivationStore, Consumed, Grant, Holder, SecretHash, ShareCatalog, Standing,
    TokenStore,
};

use crate::builders::{connector, instant};

/// Everything that a store of the open backend is.
pub trait OpenStore:
    SharingBackend + RecipientBackend + ShareCatalog + TokenStore + ActivationStore + TokenWatch
{
}

impl<T: SharingBackend + RecipientBackend + ShareCatalog + TokenStore + ActivationStore + TokenWatch> OpenStore for T {}

struct Story<'a, S> {
    store: &'a S,
    prefix: &'a str,
    connector: Connector,
}

impl<S: OpenStore> Story<'_, S> {
    fn hash(&self, name: &str) -> SecretHash {
        SecretHash::of(&format!("{}-{name}", self.prefix))
    }

    /// The connector after so many rotations.
    fn rotated(&self, number: u32) -> Connector {
        let rotation = Rotation { number, began_at: instant(0), tokens_end_at: instant(0) };
        Connector { rotation: Some(rotation), ..self.connector.clone() }
    }

    async fn put_link(&self, link: &str, rotation: u32) {
        let activation = Activation {
            connector: self.connector.id.clone(),
            endpoint: "https://sharing.test/delta-sharing".to_owned(),
            expires_at: instant(9_000),
            token_lifetime_days: 30,
            allowed_ips: Vec::new(),
            state: ActivationState::Unused,
            rotation,
            contact: None,
        };
        self.store.put(&self.hash(link), &activation).await.expect("put");
    }

    async fn consume(&self, link: &str, token: &str, rotation: u32) -> Consumed {
        let grant = self.grant(rotation, Holder::Recipient, 8_000);
        let (link, token) = (self.hash(link), self.hash(token));
        self.store.consume(&link, &token, &grant, instant(10)).await.expect("consume")
    }

    fn grant(&self, rotation: u32, holder: Holder, expires_at: i64) -> Grant {
        let (connector, expires_at) = (self.connector.id.clone(), instant(expires_at));
        Grant { connector, holder, expires_at, allowed_ips: Vec::new(), rotation }
    }

    /// What a token is good for, however it is asked.
    async fn standing(&self, token: &str) -> Option<Standing> {
        let hash = self.hash(token);
        let alone = self.store.grant(&hash).await.expect("grant");
        let share = self.connector.share_name();
        let (with_table, _) =
            self.store.grant_and_table(&hash, share, SHARE_SCHEMA, "WF_A__V1").await.expect("look up");
        assert_eq!(alone, with_table, "{token}");
        alone
    }

    async fn ends_at(&self, token: &str, seconds: i64) {
        let standing = self.standing(token).await;
        let Some(Standing::Granted(grant) | Standing::Replaced(grant)) = standing else {
            unreachable!("{token}: {standing:?}")
        };
        assert_eq!(grant.expires_at, instant(seconds), "{token}");
    }

    async fn watched(&self) -> Vec<WatchedToken> {
        let mut tokens = TokenWatch::tokens(self.store, &self.connector.id).await.expect("tokens");
        tokens.sort_by_key(|token| token.rotation);
        tokens
    }

    async fn link_state(&self, link: &str) -> ActivationState {
        self.store.activation(&self.hash(link)).await.expect("activation").expect("the link is known").state
    }
}

/// The rules of a recipient's tokens over one store: rotation ends those of before, warnings are noted once, and what
/// was revoked stays so whatever comes after.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn recipient_token_contract(store: &impl OpenStore, prefix: &str) {
    let story = Story { store, prefix, connector: connector(&format!("{prefix}-Held"), &format!("{prefix}-team")) };
    let acme = &story.connector;
    let now = instant(20);
    for made in [acme, &connector(&format!("{prefix}-other"), &format!("{prefix}-team"))] {
        assert_eq!(store.provision(made).await.expect("provision"), Provisioned::Ready);
        assert_eq!(store.connect(made).await.expect("connect"), Connected::Ready);
    }
    store.add_table(&acme.id, &TableName::from_stored("WF_A__V1")).await.expect("add");
    story.put_link("link-0", 0).await;
    assert_eq!(story.consume("link-0", "token-0", 0).await, Consumed::Now);
    let other =
        Grant { connector: connector(&format!("{prefix}-other"), "t").id, ..story.grant(0, Holder::Recipient, 8_000) };
    store.put_token(&story.hash("theirs"), &other).await.expect("put token");

    // Warnings: the nearest stays.
    let watched = story.watched().await;
    assert_eq!(watched.len(), 1);
    let seen = (watched[0].made_at, watched[0].expires_at, watched[0].rotation, watched[0].warned_days);
    assert_eq!(seen, (Some(instant(10)), instant(8_000), 0, None));
    for (days, noted) in [(30, 30), (7, 7), (30, 7)] {
        store.warned(&acme.id, &watched[0], days).await.expect("note");
        assert_eq!(story.watched().await[0].warned_days, Some(noted));
    }
    let gone = WatchedToken { id: story.hash("nobody's").as_str().to_owned(), ..watched[0].clone() };
    store.warned(&acme.id, &gone, 30).await.expect("a token that is gone is no error");
    assert_eq!(story.watched().await.len(), 1, "and none comes of it");

    // A rotation ends what was before it, never later than before, and not its own.
    story.put_link("link-1", 1).await;
    assert_eq!(story.consume("link-1", "token-1", 1).await, Consumed::Now);
    for (overlap, ends) in [(100, 120), (200, 120), (0, 20)] {
        store.expire_tokens(&story.rotated(1), overlap, now).await.expect("expire");
        story.ends_at("token-0", ends).await;
        story.ends_at("token-1", 8_000).await;
        assert!(matches!(story.standing("token-0").await, Some(Standing::Replaced(_))), "another took its place");
        assert!(matches!(story.standing("token-1").await, Some(Standing::Granted(_))));
    }
    assert_eq!(story.watched().await[0].expires_at, instant(20), "the watch sees it, too");

    // Revoked: every token, the link, and whatever comes while the share is shut.
    let proof = story.grant(0, Holder::Proof, 8_000);
    store.put_token(&story.hash("proof"), &proof).await.expect("put token");
    assert_eq!(story.standing("proof").await, Some(Standing::Granted(proof)));
    story.put_link("link-2", 1).await;
    for _ in 0..2 {
        store.revoke(acme, now).await.expect("revoke");
        for token in ["token-0", "token-1", "proof"] {
            assert_eq!(story.standing(token).await, Some(Standing::Revoked), "{token}");
        }
        assert_eq!(story.watched().await, []);
        assert_eq!(story.link_state("link-2").await, ActivationState::Revoked);
        assert_eq!(story.consume("link-2", "token-2", 1).await, Consumed::TooLate);
    }
    story.put_link("link-3", 1).await;
    assert_eq!(
        story.consume("link-3", "token-3", 1).await,
        Consumed::TooLate,
        "a share that is shut hands nothing out"
    );
    assert_eq!(story.standing("token-3").await, None);
    let theirs = store.grant(&story.hash("theirs")).await.expect("grant");
    assert_eq!(theirs, Some(Standing::Granted(other)), "another connector's stay");

    // Connected anew: nothing of before works, and a new link does.
    for _ in 0..2 {
        assert_eq!(store.connect(acme).await.expect("connect"), Connected::Ready);
        for token in ["token-0", "token-1"] {
            assert_eq!(story.standing(token).await, Some(Standing::Revoked), "{token}");
        }
        assert_eq!(story.link_state("link-3").await, ActivationState::Revoked, "also what came while it was shut");
    }
    story.put_link("link-4", 1).await;
    assert_eq!(story.consume("link-4", "token-4", 1).await, Consumed::Now);
    story.ends_at("token-4", 8_000).await;
    assert_eq!(story.watched().await.len(), 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::InMemorySharing;

    #[tokio::test]
    async fn the_tokens_in_memory_keep_the_contract() {
        recipient_token_contract(&InMemorySharing::default(), "t").await;
    }
}
