//! The open sharing backend in memory, and the rules that a store of it keeps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use delivery::connector::{Connector, SHARE_SCHEMA};
use delivery::ids::ConnectorId;
use delivery::ports::{
    Clock, Connected, PortError, PortErrorKind, Provisioned, RecipientBackend, ShareReport, SharingBackend, TokenWatch,
    WatchedToken,
};
use delivery::table::TableName;
use delivery::timestamp::Timestamp;
use sharing::ports::{
    Activation, ActivationState, ActivationStore, Consumed, Folder, Grant, Holder, Mail, Mailed, Mailer, Secret,
    SecretHash, SecretSource, ShareCatalog, SharedTable, Standing, TemporaryCredential, TemporaryCredentials, TokenKey,
    TokenStore, UrlSigner,
};

use crate::builders::{connector, connector_id, instant};
use crate::faults::Faults;

/// Shares, tokens and activation links in memory.
#[derive(Debug, Default)]
pub struct InMemorySharing {
    inner: Mutex<Inner>,
    /// The calls so far, and faults on demand.
    pub faults: Faults,
}

#[derive(Debug, Default)]
struct Inner {
    /// By the share's name in lower case.
    shares: BTreeMap<String, Share>,
    tokens: BTreeMap<String, Token>,
    links: BTreeMap<String, Activation>,
    newest: BTreeMap<ConnectorId, (String, Mailed)>,
}

#[derive(Debug)]
struct Share {
    holder: ConnectorId,
    tables: BTreeSet<TableName>,
    revoked: bool,
}

#[derive(Debug, Clone)]
struct Token {
    grant: Grant,
    made_at: Option<Timestamp>,
    warned_days: Option<u16>,
    /// A rotation set its end.
    replaced: bool,
    revoked: bool,
}

impl Inner {
    /// The connector's own share.
    fn share(&mut self, connector: &ConnectorId) -> Option<&mut Share> {
        let share = self.shares.get_mut(&connector.as_str().to_ascii_lowercase());
        share.filter(|share| share.holder == *connector)
    }

    fn standing(&self, token: &SecretHash) -> Option<Standing> {
        let token = self.tokens.get(token.as_str())?;
        let share = self.shares.get(&token.grant.connector.as_str().to_ascii_lowercase());
        let shut = share.is_some_and(|share| share.holder == token.grant.connector && share.revoked);
        Some(if shut || token.revoked {
            Standing::Revoked
        } else if token.replaced {
            Standing::Replaced(token.grant.clone())
        } else {
            Standing::Granted(token.grant.clone())
        })
    }

    /// The tokens of a connector's recipient.
    fn recipient_tokens(&mut self, connector: &ConnectorId) -> impl Iterator<Item = (&String, &mut Token)> {
        self.tokens.iter_mut().filter(move |(_, token)| {
            token.grant.connector == *connector && token.grant.holder == Holder::Recipient && !token.revoked
        })
    }

    fn revoke_secrets(&mut self, connector: &ConnectorId) {
        let newest = self.newest.get(connector).map(|(link, _)| link.clone());
        if let Some(activation) = newest.and_then(|link| self.links.get_mut(&link)) {
            activation.state = ActivationState::Revoked;
        }
        self.recipient_tokens(connector).for_each(|(_, token)| token.revoked = true);
    }
}

impl InMemorySharing {
    fn call<T>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut Inner) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        self.faults.call(name, || act(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }

    /// The grants of all tokens, in no order that means anything.
    #[must_use]
    pub fn grants(&self) -> Vec<Grant> {
        let inner = self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        inner.tokens.values().map(|token| token.grant.clone()).collect()
    }
}

#[async_trait]
impl ShareCatalog for InMemorySharing {
    async fn grant(&self, token: &SecretHash) -> Result<Option<Standing>, PortError> {
        self.call("grant", |inner| Ok(inner.standing(token)))
    }

    async fn grant_and_table(
        &self,
        token: &SecretHash,
        share: &str,
        schema: &str,
        table: &str,
    ) -> Result<(Option<Standing>, Option<SharedTable>), PortError> {
        self.call("grant and table", |inner| {
            let named = |name: &&TableName| name.as_str().eq_ignore_ascii_case(table);
            let share = inner.shares.get(&share.to_ascii_lowercase());
            let share = share.filter(|_| schema.eq_ignore_ascii_case(SHARE_SCHEMA));
            let found = share.and_then(|share| {
                let name = share.tables.iter().find(named)?;
                Some(SharedTable::of_connector(&share.holder, name.clone()))
            });
            Ok((inner.standing(token), found))
        })
    }

    async fn tables(&self, connector: &ConnectorId) -> Result<Vec<SharedTable>, PortError> {
        self.call("tables", |inner| {
            let tables = inner.share(connector).map(|share| share.tables.clone()).unwrap_or_default();
            Ok(tables.into_iter().map(|name| SharedTable::of_connector(connector, name)).collect())
        })
    }
}

#[async_trait]
impl TokenStore for InMemorySharing {
    async fn put_token(&self, token: &SecretHash, grant: &Grant) -> Result<(), PortError> {
        self.call("put token", |inner| {
            let kept =
                Token { grant: grant.clone(), made_at: None, warned_days: None, replaced: false, revoked: false };
            inner.tokens.insert(token.as_str().to_owned(), kept);
            Ok(())
        })
    }
}

#[async_trait]
impl ActivationStore for InMemorySharing {
    async fn newest(&self, connector: &ConnectorId) -> Result<Option<(Activation, Mailed)>, PortError> {
        self.call("newest activation", |inner| {
            let newest = inner.newest.get(connector);
            Ok(newest.and_then(|(link, mailed)| Some((inner.links.get(link)?.clone(), *mailed))))
        })
    }

    async fn put(&self, link: &SecretHash, activation: &Activation) -> Result<(), PortError> {
        self.call("put activation", |inner| {
            let before = inner.newest.insert(activation.connector.clone(), (link.as_str().to_owned(), Mailed::Unknown));
            if let Some(earlier) = before.and_then(|(link, _)| inner.links.get_mut(&link))
                && earlier.state == ActivationState::Unused
            {
                earlier.state = ActivationState::Replaced;
            }
            inner.links.insert(link.as_str().to_owned(), activation.clone());
            Ok(())
        })
    }

    async fn mailed(&self, connector: &ConnectorId, link: &SecretHash) -> Result<(), PortError> {
        self.call("note an activation as mailed", |inner| {
            if let Some((newest, mailed)) = inner.newest.get_mut(connector)
                && newest == link.as_str()
            {
                *mailed = Mailed::Yes;
            }
            Ok(())
        })
    }

    async fn activation(&self, link: &SecretHash) -> Result<Option<Activation>, PortError> {
        self.call("activation", |inner| Ok(inner.links.get(link.as_str()).cloned()))
    }

    async fn consume(
        &self,
        link: &SecretHash,
        token: &SecretHash,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Consumed, PortError> {
        self.call("consume activation", |inner| {
            if inner.share(&grant.connector).is_some_and(|share| share.revoked) {
                return Ok(Consumed::TooLate);
            }
            let usable = |activation: &&mut Activation| {
                activation.state == ActivationState::Unused && now < activation.expires_at
            };
            let Some(activation) = inner.links.get_mut(link.as_str()).filter(usable) else {
                return Ok(Consumed::TooLate);
            };
            activation.state = ActivationState::Used;
            let kept =
                Token { grant: grant.clone(), made_at: Some(now), warned_days: None, replaced: false, revoked: false };
            inner.tokens.insert(token.as_str().to_owned(), kept);
            Ok(Consumed::Now)
        })
    }
}

#[async_trait]
impl SharingBackend for InMemorySharing {
    async fn provision(&self, connector: &Connector) -> Result<Provisioned, PortError> {
        self.call("provision", |inner| {
            let key = connector.id.as_str().to_ascii_lowercase();
            let new = || Share { holder: connector.id.clone(), tables: BTreeSet::new(), revoked: false };
            let share = inner.shares.entry(key).or_insert_with(new);
            Ok(if share.holder == connector.id { Provisioned::Ready } else { Provisioned::Taken })
        })
    }

    async fn add_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        self.call("add table", |inner| {
            let missing = || PortError::new(PortErrorKind::NotFound, "add a table", "the share is not there");
            inner.share(connector).ok_or_else(missing)?.tables.insert(table.clone());
            Ok(())
        })
    }

    async fn present(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<Vec<TableName>, PortError> {
        self.call("look into a share", |inner| {
            let missing = || PortError::new(PortErrorKind::NotFound, "look into a share", "the share is not there");
            let share = inner.share(connector).ok_or_else(missing)?;
            Ok(tables.iter().filter(|table| share.tables.contains(table)).cloned().collect())
        })
    }

    async fn remove_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError> {
        self.call("remove table", |inner| {
            if let Some(share) = inner.share(connector) {
                share.tables.remove(table);
            }
            Ok(())
        })
    }

    async fn refresh_table(&self, _: &ConnectorId, _: &TableName) -> Result<(), PortError> {
        Ok(())
    }
}

#[async_trait]
impl RecipientBackend for InMemorySharing {
    async fn connect(&self, connector: &Connector) -> Result<Connected, PortError> {
        self.call("connect", |inner| {
            if inner.share(&connector.id).is_some_and(|share| share.revoked) {
                inner.revoke_secrets(&connector.id);
            }
            Ok(match inner.share(&connector.id) {
                Some(share) => {
                    share.revoked = false;
                    Connected::Ready
                }
                None => Connected::Foreign,
            })
        })
    }

    async fn verify(&self, connector: &Connector, tables: &[TableName]) -> Result<ShareReport, PortError> {
        self.call("verify", |inner| {
            let missing = || PortError::new(PortErrorKind::NotFound, "verify a share", "the share is not there");
            let share = inner.share(&connector.id).ok_or_else(missing)?;
            let missing =
                tables.iter().filter(|table| !share.tables.contains(table)).map(ToString::to_string).collect();
            Ok(ShareReport { missing, denied: Vec::new(), ungranted: share.revoked })
        })
    }

    async fn expire_tokens(
        &self,
        connector: &Connector,
        overlap_seconds: u32,
        now: Timestamp,
    ) -> Result<(), PortError> {
        self.call("expire tokens", |inner| {
            let ends = now.plus_seconds(overlap_seconds.into());
            let newest = connector.rotation.map(|rotation| rotation.number);
            let of_before = |token: &Token| newest.is_none_or(|newest| token.grant.rotation < newest);
            for (_, token) in inner.recipient_tokens(&connector.id).filter(|(_, token)| of_before(token)) {
                token.replaced |= ends < token.grant.expires_at;
                token.grant.expires_at = token.grant.expires_at.min(ends);
            }
            Ok(())
        })
    }

    async fn revoke(&self, connector: &Connector, _: Timestamp) -> Result<(), PortError> {
        self.call("revoke", |inner| {
            if let Some(share) = inner.share(&connector.id) {
                share.revoked = true;
            }
            inner.revoke_secrets(&connector.id);
            Ok(())
        })
    }
}

#[async_trait]
impl TokenWatch for InMemorySharing {
    async fn tokens(&self, connector: &ConnectorId) -> Result<Vec<WatchedToken>, PortError> {
        self.call("list tokens", |inner| {
            let watched = |(id, token): (&String, &mut Token)| WatchedToken {
                id: id.clone(),
                made_at: token.made_at,
                expires_at: token.grant.expires_at,
                rotation: token.grant.rotation,
                warned_days: token.warned_days,
            };
            Ok(inner.recipient_tokens(connector).map(watched).collect())
        })
    }

    async fn warned(&self, connector: &ConnectorId, token: &WatchedToken, days: u16) -> Result<(), PortError> {
        self.call("note a warning", |inner| {
            for (id, kept) in inner.recipient_tokens(connector) {
                if *id == token.id && kept.warned_days.is_none_or(|warned| warned > days) {
                    kept.warned_days = Some(days);
                }
            }
            Ok(())
        })
    }
}

/// A clock that stands until it is set.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows [`instant`] of so many seconds.
    #[must_use]
    pub fn at_seconds(seconds: i64) -> Self {
        Self(Mutex::new(instant(seconds)))
    }

    /// Moves the clock on.
    pub fn advance(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.plus_seconds(seconds);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Secrets that a test can tell beforehand: 1, 2, 3, …
#[derive(Debug, Default)]
pub struct CountedSecrets(AtomicU64);

impl CountedSecrets {
    /// Secrets that are counted from another number on.
    #[must_use]
    pub fn starting_at(n: u64) -> Self {
        Self(AtomicU64::new(n))
    }

    /// The n-th secret, counted from 1.
    #[must_use]
    pub fn nth(n: u64) -> Secret {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Secret::from_random(bytes)
    }
}

impl SecretSource for CountedSecrets {
    fn secret(&self) -> Result<Secret, PortError> {
        Ok(Self::nth(self.0.fetch_add(1, Ordering::Relaxed) + 1))
    }
}

/// The key of page and refresh tokens in tests.
///
/// # Panics
///
/// Never: the key is long enough.
#[must_use]
pub fn token_key() -> TokenKey {
    TokenKey::new([7; 32]).expect("a key of 32 bytes")
}

/// URLs that look presigned and say what they are for.
#[derive(Debug, Default)]
pub struct FakeSigner {
    /// The URL that keys are put behind, without a slash at its end.
    pub base_url: String,
    /// When the credential ends.
    pub credential_expires_at: Option<Timestamp>,
    /// The calls so far, and faults on demand.
    pub faults: Faults,
}

#[async_trait]
impl UrlSigner for FakeSigner {
    async fn signed_url(&self, key: &str, life_seconds: u32) -> Result<String, PortError> {
        self.faults.call("sign a URL", || {
            let (key, base_url) = (key.replace('%', "%25").replace(' ', "%20"), &self.base_url);
            Ok(format!("{base_url}/{key}?X-Amz-Expires={life_seconds}&X-Amz-Signature=fake"))
        })
    }

    async fn credential_expires_at(&self) -> Result<Option<Timestamp>, PortError> {
        Ok(self.credential_expires_at)
    }
}

/// Credentials that say what they are for, for one connector's recipient.
#[derive(Debug)]
pub struct FakeCredentials {
    connector: ConnectorId,
    /// The calls so far, and faults on demand.
    pub faults: Faults,
}

impl FakeCredentials {
    /// Credentials for the recipient of a connector.
    #[must_use]
    pub fn of(connector: &str) -> Self {
        Self { connector: connector_id(connector), faults: Faults::default() }
    }
}

#[async_trait]
impl TemporaryCredentials for FakeCredentials {
    fn serves(&self, connector: &ConnectorId) -> bool {
        *connector == self.connector
    }

    fn location(&self, path: &str) -> String {
        format!("s3://tables/{path}")
    }

    async fn reading(&self, folder: Folder<'_>) -> Result<TemporaryCredential, PortError> {
        self.faults.call("make a folder's credential", || {
            Ok(TemporaryCredential {
                access_key_id: format!("key of {}", folder.path),
                secret_access_key: format!("secret for {}", folder.allowed_ips.join(" ")),
                session_token: "session".to_owned(),
                expires_at: instant(i64::from(folder.life_seconds)),
            })
        })
    }
}

/// A sent e-mail, kept whole so that a test can press its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentMail {
    /// The recipient's address.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// The body.
    pub body: String,
}

/// Keeps e-mails instead of sending them.
#[derive(Debug, Default)]
pub struct RecordingMailer {
    sent: Mutex<VecDeque<SentMail>>,
    /// The calls so far, and faults on demand.
    pub faults: Faults,
}

impl RecordingMailer {
    /// Takes the oldest e-mail that was not taken yet.
    #[must_use]
    pub fn take(&self) -> Option<SentMail> {
        self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
    }
}

#[async_trait]
impl Mailer for RecordingMailer {
    async fn send(&self, mail: Mail<'_>) -> Result<(), PortError> {
        let sent =
            SentMail { to: mail.to.reveal().to_owned(), subject: mail.subject.to_owned(), body: mail.body.clone() };
        self.faults.call("send an e-mail", || {
            self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push_back(sent);
            Ok(())
        })
    }
}

/// The rules of [`ShareCatalog`] and [`TokenStore`] over one store. Everything that it writes has `prefix` in its
/// name, so that it can run against a store that others use.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn share_catalog_contract(
    catalog: &dyn ShareCatalog,
    tokens: &dyn TokenStore,
    backend: &dyn SharingBackend,
    prefix: &str,
) {
    let (mine, other) = (format!("{prefix}-Mine"), format!("{prefix}-other"));
    for share in [&mine, &other] {
        let made = backend.provision(&connector(share, &format!("{prefix}-team"))).await.expect("provision");
        assert_eq!(made, Provisioned::Ready);
    }
    let table = |name: &str| TableName::from_stored(name);
    for name in ["WF_B__V1", "WF_A__V1", "WF_A__LATEST"] {
        backend.add_table(&connector_id(&mine), &table(name)).await.expect("add table");
    }
    backend.add_table(&connector_id(&other), &table("WF_OTHER__V1")).await.expect("add table");

    let token = SecretHash::of(&format!("{prefix}-token"));
    assert_eq!(catalog.grant(&token).await.expect("grant"), None);
    assert_eq!(catalog.grant_and_table(&token, &mine, SHARE_SCHEMA, "WF_A__V1").await.expect("look up").0, None);
    let grant = Grant {
        connector: connector_id(&mine),
        holder: Holder::Recipient,
        expires_at: instant(1_000),
        allowed_ips: vec!["198.51.100.0/24".to_owned(), "2001:db8::/32".to_owned()],
        rotation: 0,
    };
    let granted = Some(Standing::Granted(grant.clone()));
    tokens.put_token(&token, &grant).await.expect("put token");
    assert_eq!(catalog.grant(&token).await.expect("grant"), granted, "expired or not");

    for (share, name, expected) in [
        (mine.clone(), "WF_A__V1", Some("WF_A__V1")),
        (mine.to_ascii_uppercase(), "wf_a__v1", Some("WF_A__V1")),
        (mine.clone(), "WF_OTHER__V1", None),
        (other.clone(), "WF_OTHER__V1", Some("WF_OTHER__V1")),
        (format!("{prefix}-nobody"), "WF_A__V1", None),
        (mine.clone(), "WF_A__V2", None),
        (mine.clone(), "", None),
        (String::new(), "WF_A__V1", None),
        (format!("{mine}#{name}", name = "WF_A__V1"), "WF_A__V1", None),
    ] {
        let found = catalog.grant_and_table(&token, &share, SHARE_SCHEMA, name).await.expect("look up");
        let holder = if share == other { connector_id(&other) } else { connector_id(&mine) };
        let expected = expected.map(|name| SharedTable::of_connector(&holder, table(name)));
        assert_eq!(found, (granted.clone(), expected), "{share} {name}");
        let elsewhere = catalog.grant_and_table(&token, &share, "elsewhere", name).await.expect("look up");
        assert_eq!(elsewhere, (granted.clone(), None), "{share} {name}");
    }
    assert_eq!(catalog.schemas(&connector_id(&mine)).await.expect("schemas"), [SHARE_SCHEMA]);
    let names = |tables: Vec<SharedTable>| tables.iter().map(|table| table.name.to_string()).collect::<Vec<_>>();
    let listed = catalog.tables(&connector_id(&mine)).await.expect("tables");
    assert_eq!(names(listed), ["WF_A__LATEST", "WF_A__V1", "WF_B__V1"]);
    assert!(catalog.tables(&connector_id(&format!("{prefix}-nobody"))).await.expect("tables").is_empty());

    backend.remove_table(&connector_id(&mine), &table("WF_A__V1")).await.expect("remove table");
    assert_eq!(
        catalog.grant_and_table(&token, &mine, SHARE_SCHEMA, "WF_A__V1").await.expect("look up"),
        (granted, None)
    );
}

/// The rules of [`ActivationStore`], whose tokens a [`ShareCatalog`] of the same store knows.
///
/// # Panics
///
/// Panics if a rule is broken.
pub async fn activation_store_contract(activations: &dyn ActivationStore, catalog: &dyn ShareCatalog, prefix: &str) {
    let holder = connector_id(&format!("{prefix}-activated"));
    let hash = |name: &str| SecretHash::of(&format!("{prefix}-{name}"));
    let activation = |expires_at: i64| Activation {
        connector: holder.clone(),
        endpoint: "https://sharing.test/delta-sharing".to_owned(),
        expires_at: instant(expires_at),
        token_lifetime_days: 30,
        allowed_ips: vec!["198.51.100.7".to_owned()],
        state: ActivationState::Unused,
        rotation: 3,
        contact: Some(hash("contact")),
    };
    let grant = Grant {
        connector: holder.clone(),
        holder: Holder::Recipient,
        expires_at: instant(5_000),
        allowed_ips: vec!["198.51.100.7".to_owned()],
        rotation: 3,
    };
    let granted = Some(Standing::Granted(grant.clone()));
    let state_of = async |link: &SecretHash| {
        activations.activation(link).await.expect("activation").map(|activation| activation.state)
    };
    let (first, second, third) = (hash("link-1"), hash("link-2"), hash("link-3"));

    assert_eq!(activations.newest(&holder).await.expect("newest"), None);
    assert_eq!(activations.activation(&first).await.expect("activation"), None);
    activations.put(&first, &activation(1_000)).await.expect("put");
    assert_eq!(activations.newest(&holder).await.expect("newest"), Some((activation(1_000), Mailed::Unknown)));
    assert_eq!(activations.activation(&first).await.expect("activation"), Some(activation(1_000)));
    activations.mailed(&holder, &first).await.expect("mailed");
    assert_eq!(activations.newest(&holder).await.expect("newest"), Some((activation(1_000), Mailed::Yes)));

    activations.put(&second, &activation(2_000)).await.expect("put");
    assert_eq!(state_of(&first).await, Some(ActivationState::Replaced));
    assert_eq!(activations.newest(&holder).await.expect("newest"), Some((activation(2_000), Mailed::Unknown)));
    activations.mailed(&holder, &first).await.expect("a late note about an earlier link");
    assert_eq!(activations.newest(&holder).await.expect("newest"), Some((activation(2_000), Mailed::Unknown)));

    let token = hash("token-1");
    for (link, now, why) in [(&first, 10, "replaced"), (&second, 2_000, "expired"), (&hash("nobody's"), 10, "unknown")]
    {
        let consumed = activations.consume(link, &token, &grant, instant(now)).await.expect("consume");
        assert_eq!(consumed, Consumed::TooLate, "{why}");
    }
    assert_eq!(catalog.grant(&token).await.expect("grant"), None);
    assert_eq!(state_of(&second).await, Some(ActivationState::Unused));

    let consumed = activations.consume(&second, &token, &grant, instant(1_999)).await.expect("consume");
    assert_eq!(consumed, Consumed::Now);
    assert_eq!(catalog.grant(&token).await.expect("grant"), granted);
    assert_eq!(state_of(&second).await, Some(ActivationState::Used));
    let again = activations.consume(&second, &hash("token-2"), &grant, instant(1_999)).await.expect("consume");
    assert_eq!(again, Consumed::TooLate, "once");
    assert_eq!(catalog.grant(&hash("token-2")).await.expect("grant"), None);

    activations.put(&third, &activation(3_000)).await.expect("put");
    assert_eq!(state_of(&second).await, Some(ActivationState::Used), "a used link is not replaced");
    assert_eq!(catalog.grant(&token).await.expect("grant"), granted, "an earlier token goes on");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_catalog_in_memory_keeps_the_contract() {
        let store = InMemorySharing::default();
        share_catalog_contract(&store, &store, &store, "c").await;
    }

    #[tokio::test]
    async fn the_activations_in_memory_keep_the_contract() {
        let store = InMemorySharing::default();
        activation_store_contract(&store, &store, "a").await;
    }

    #[tokio::test]
    async fn the_backend_in_memory_keeps_the_contract() {
        crate::state_contract::sharing_backend_contract(&InMemorySharing::default(), "b").await;
    }
}
