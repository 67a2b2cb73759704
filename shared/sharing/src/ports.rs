//! What the open sharing backend needs of the world, beyond the ports of `delivery`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use delivery::connector::{SHARE_SCHEMA, SecureContact};
use delivery::ids::{ConnectorId, hex};
use delivery::ports::PortError;
use delivery::table::{TableName, table_path};
use delivery::timestamp::Timestamp;
use sha2::{Digest, Sha256};

/// A secret of 256 random bits in URL-safe base64: a bearer token, or the code in an activation link. It can be
/// handed out once, and never printed or stored.
pub struct Secret(String);

impl Secret {
    /// Makes a secret of random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 32]) -> Self {
        use base64::Engine as _;
        Self(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What is stored and compared in its place.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.0)
    }

    /// Gives up the secret. The caller sends it and drops it.
    #[must_use]
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The SHA-256 of a secret's text, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretHash(String);

impl SecretHash {
    /// The hash of a text that somebody presents as a secret.
    #[must_use]
    pub fn of(presented: &str) -> Self {
        Self(hex(&Sha256::digest(presented.as_bytes())))
    }

    /// A hash that was stored before.
    #[must_use]
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The hash in hex, for a store's key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a bearer token opens: exactly one share, for a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The connector whose share it opens.
    pub connector: ConnectorId,
    /// Who holds the token.
    pub holder: Holder,
    /// The instant from which the token is refused.
    pub expires_at: Timestamp,
    /// CIDR blocks that may read; empty means any.
    pub allowed_ips: Vec<String>,
    /// The connector's rotation whose link the token came by; 0 for a proof's.
    pub rotation: u32,
}

/// What a known token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It opens this, expired or not.
    Granted(Grant),
    /// The same, and its end is a rotation's: a newer token takes its place.
    Replaced(Grant),
    /// The recipient's access was revoked, with this token or with the whole share.
    Revoked,
}

/// Who holds a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The connector's recipient.
    Recipient,
    /// Our own proof, which reads as the recipient would, with a token of minutes.
    Proof,
}

impl Holder {
    /// The holder's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::Proof => "proof",
        }
    }

    /// Reads a holder's text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Recipient, Self::Proof].into_iter().find(|holder| holder.as_str() == text)
    }
}

/// A table in a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedTable {
    /// The schema of the share that it is in.
    pub schema: String,
    /// Its name in the schema.
    pub name: TableName,
    /// Where it lies in the store of tables, without a slash at the end.
    pub path: String,
    /// What of its past may be read.
    pub history: History,
}

impl SharedTable {
    /// A connector's table: in its one schema, at its own storage path, with all of its past.
    #[must_use]
    pub fn of_connector(connector: &ConnectorId, name: TableName) -> Self {
        let path = table_path(connector, &name);
        Self { schema: SHARE_SCHEMA.to_owned(), name, path, history: History::From(0) }
    }
}

/// What of a table's past may be read, as versions and as changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Every version from this one on.
    From(u64),
    /// The newest version only.
    NotShared,
}

/// Answers who may read what. Names compare without case. A share is named as its connector.
#[async_trait]
pub trait ShareCatalog: Send + Sync {
    /// What a token is good for; `None` if it is nobody's. A token that was revoked, or whose share is, stays so.
    async fn grant(&self, token: &SecretHash) -> Result<Option<Standing>, PortError>;

    /// What a token is good for, and one table of a share if it is there, in one request. The caller compares the
    /// grant's connector with the share before it uses the table: only then is the share's own revocation in the answer.
    async fn grant_and_table(
        &self,
        token: &SecretHash,
        share: &str,
        schema: &str,
        table: &str,
    ) -> Result<(Option<Standing>, Option<SharedTable>), PortError>;

    /// The schemas of a connector's share, in the order of their names: one, unless told otherwise.
    async fn schemas(&self, _connector: &ConnectorId) -> Result<Vec<String>, PortError> {
        Ok(vec![SHARE_SCHEMA.to_owned()])
    }

    /// The tables of a connector's share, in the order of their schemas and names.
    async fn tables(&self, connector: &ConnectorId) -> Result<Vec<SharedTable>, PortError>;
}

/// Makes tokens valid.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Stores a token's hash with what it opens.
    async fn put_token(&self, token: &SecretHash, grant: &Grant) -> Result<(), PortError>;
}

/// An activation link's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The connector whose credential it hands out.
    pub connector: ConnectorId,
    /// The sharing endpoint that goes into the profile.
    pub endpoint: String,
    /// Until when the button works.
    pub expires_at: Timestamp,
    /// Life of the token in days, from the download.
    pub token_lifetime_days: u16,
    /// CIDR blocks that go onto the token.
    pub allowed_ips: Vec<String>,
    /// Where the link is in its life.
    pub state: ActivationState,
    /// The connector's rotation that the link belongs to.
    pub rotation: u32,
    /// The SHA-256 of the secure contact that the link was made for; links of before that was kept have none.
    pub contact: Option<SecretHash>,
}

/// Where an activation link is in its life (its expiry aside).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivationState {
    /// The credential was not handed out.
    Unused,
    /// The credential was handed out.
    Used,
    /// A newer link took its place.
    Replaced,
    /// The recipient's access was revoked before the link was used.
    Revoked,
}

/// What pressing the button came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Consumed {
    /// The link was good; the token is valid from now on.
    Now,
    /// The link was used, replaced or revoked in the meantime, or it expired; the token was not stored.
    TooLate,
}

/// Keeps activation links by the hash of their code.
#[async_trait]
pub trait ActivationStore: Send + Sync {
    /// The newest activation of a connector, and whether its e-mail is known to be sent.
    async fn newest(&self, connector: &ConnectorId) -> Result<Option<(Activation, Mailed)>, PortError>;

    /// Stores a new activation and marks the connector's earlier unused one as replaced, in one write.
    async fn put(&self, link: &SecretHash, activation: &Activation) -> Result<(), PortError>;

    /// Notes that the link's e-mail was taken over by the mail service.
    async fn mailed(&self, connector: &ConnectorId, link: &SecretHash) -> Result<(), PortError>;

    /// The activation of a link.
    async fn activation(&self, link: &SecretHash) -> Result<Option<Activation>, PortError>;

    /// Uses a link, if it is unused and not expired and its share is not revoked, and makes the token valid, in one
    /// write.
    async fn consume(
        &self,
        link: &SecretHash,
        token: &SecretHash,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<Consumed, PortError>;
}

/// Whether an activation's e-mail left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mailed {
    /// The mail service took it over.
    Yes,
    /// Not sent, or nobody knows.
    Unknown,
}

/// One e-mail, plain text. Its body may hold an activation link, so it has no `Debug` of its fields.
pub struct Mail<'a> {
    /// The recipient's address.
    pub to: &'a SecureContact,
    /// The subject.
    pub subject: &'a str,
    /// The body. May hold an activation link: dropped after sending.
    pub body: String,
}

impl fmt::Debug for Mail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mail(redacted)")
    }
}

/// Sends e-mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands one e-mail to the mail service. `Denied` means that the service refuses sender or address.
    async fn send(&self, mail: Mail<'_>) -> Result<(), PortError>;
}

/// Makes URLs by which anybody may fetch one object of the tables bucket for a while.
#[async_trait]
pub trait UrlSigner: Send + Sync {
    /// A URL that fetches the object at `key` for so many seconds. Must look presigned (a query key
    /// `X-Amz-Signature`), or clients that read in delta format refuse it. Never logged.
    async fn signed_url(&self, key: &str, life_seconds: u32) -> Result<String, PortError>;

    /// When the credential that signs ends, and every URL with it; none if it never does.
    async fn credential_expires_at(&self) -> Result<Option<Timestamp>, PortError> {
        Ok(None)
    }
}

/// Makes fresh secrets. Passed in, as the clock is, so that tests can tell secrets apart.
pub trait SecretSource: Send + Sync {
    /// A secret that nobody had before.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the system has no randomness to give.
    fn secret(&self) -> Result<Secret, PortError>;
}

/// The shortest key that tokens are signed with, in bytes: as long as the hash.
pub const TOKEN_KEY_BYTES_MIN: usize = 32;

/// The key of page and refresh tokens. Never printed.
#[derive(Clone)]
pub struct TokenKey(Arc<[u8]>);

impl TokenKey {
    /// A key of so many bytes; `None` if it is shorter than [`TOKEN_KEY_BYTES_MIN`].
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() >= TOKEN_KEY_BYTES_MIN).then_some(Self(bytes))
    }

    /// The key's bytes, for the signature.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(redacted)")
    }
}

/// Knows the key of page and refresh tokens. One key for all processes of a deployment: a client's next page may be
/// answered by another process.
#[async_trait]
pub trait SigningKey: Send + Sync {
    /// The key. Asked for whenever a token is made or read: whoever has to fetch it keeps it.
    async fn key(&self) -> Result<TokenKey, PortError>;
}

/// A fixed key, for tests and single processes.
#[async_trait]
impl SigningKey for TokenKey {
    async fn key(&self) -> Result<TokenKey, PortError> {
        Ok(self.clone())
    }
}

/// How often one token may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests at once; at least 1.
    pub burst: u32,
    /// Requests a second after that; at least 1.
    pub per_second: u32,
}

/// Counts what each token asks for over all processes of a deployment.
#[async_trait]
pub trait RequestBudget: Send + Sync {
    /// Takes permits of a token's budget, all or none: if they are not there, says in how many whole seconds they are.
    async fn take(
        &self,
        token: &SecretHash,
        permits: u32,
        limit: RateLimit,
        now: Timestamp,
    ) -> Result<Result<(), u32>, PortError>;
}

/// A folder of the tables bucket that somebody is to read by itself.
#[derive(Debug, Clone, Copy)]
pub struct Folder<'a> {
    /// The folder, without a slash at its end.
    pub path: &'a str,
    /// CIDR blocks that may read; empty means any.
    pub allowed_ips: &'a [String],
    /// How long, in seconds, at most.
    pub life_seconds: u32,
}

/// A credential of AWS that ends. Never printed.
pub struct TemporaryCredential {
    /// The access key's id.
    pub access_key_id: String,
    /// The access key.
    pub secret_access_key: String,
    /// What goes with them.
    pub session_token: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl fmt::Debug for TemporaryCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporaryCredential").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Makes credentials for reading a table's folder, for clients that read logs themselves (directory-based access). Such
/// a client sees all that the folder holds: every version that is kept.
#[async_trait]
pub trait TemporaryCredentials: Send + Sync {
    /// Whether a connector's recipient may have them.
    fn serves(&self, connector: &ConnectorId) -> bool;

    /// The URL of a folder, such as `s3://bucket/path`.
    fn location(&self, path: &str) -> String;

    /// A credential that lists and reads one folder, and nothing else.
    async fn reading(&self, folder: Folder<'_>) -> Result<TemporaryCredential, PortError>;
}
