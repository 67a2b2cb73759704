//! Who may read what, who reads, and reading as a recipient does.

use std::fmt;

use async_trait::async_trait;

use super::PortError;
use crate::connector::Connector;
use crate::ids::ConnectorId;
use crate::table::TableName;
use crate::timestamp::Timestamp;

/// The sharing backend: who may read what.
#[async_trait]
pub trait SharingBackend: Send + Sync {
    /// Makes the connector's share, empty, if it is not there.
    async fn provision(&self, connector: &Connector) -> Result<Provisioned, PortError>;

    /// Puts a table into the connector's share, and reads back that it is there.
    async fn add_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError>;

    /// Puts tables into the connector's share, and reads back that they are there. An attempt that ends half leaves its
    /// work to the next.
    async fn add_tables(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<(), PortError> {
        for table in tables {
            self.add_table(connector, table).await?;
        }
        Ok(())
    }

    /// Those of these tables that are in the connector's share, in the order in which they are given.
    async fn present(&self, connector: &ConnectorId, tables: &[TableName]) -> Result<Vec<TableName>, PortError>;

    /// Takes a table out of the connector's share.
    async fn remove_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError>;

    /// Makes what the backend knows of a table's columns agree with its log, after a commit that changed them. A
    /// backend that reads the log itself has nothing to do.
    async fn refresh_table(&self, connector: &ConnectorId, table: &TableName) -> Result<(), PortError>;
}

/// The recipient's side of a sharing backend. What is said of a connector's recipient holds for its own share only.
#[async_trait]
pub trait RecipientBackend: Send + Sync {
    /// Adopts or makes the connector's recipient and lets it read the connector's share. Doing it again changes nothing
    /// that works.
    async fn connect(&self, connector: &Connector) -> Result<Connected, PortError>;

    /// Reads everything back: the share, these tables in it, and the recipient's right to read them. Problems that
    /// somebody has to mend are in the report.
    async fn verify(&self, connector: &Connector, tables: &[TableName]) -> Result<ShareReport, PortError>;

    /// Has the recipient's tokens of before its newest rotation ([`Connector::rotation`]) end, `overlap_seconds` from
    /// `now` at the latest; none lives longer than before. A token that came by the rotation's own link stays.
    async fn expire_tokens(&self, connector: &Connector, overlap_seconds: u32, now: Timestamp)
    -> Result<(), PortError>;

    /// Takes the recipient's access away at once: the grant, every token, every unused link. The next request is
    /// refused. Deletes no data. Doing it again does nothing. What it took away stays so when the recipient is connected
    /// anew.
    async fn revoke(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError>;
}

/// Whether a recipient can be the connector's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Connected {
    /// It is there and may read the share.
    Ready,
    /// The backend has a recipient for this reader that is somebody else's.
    Foreign,
}

/// What reading a share back came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShareReport {
    /// Tables that should be in the share and are not.
    pub missing: Vec<String>,
    /// Tables in the share that the recipient could not read, because the share's owner may not.
    pub denied: Vec<String>,
    /// Whether the grant does not read back from both ends.
    pub ungranted: bool,
}

impl ShareReport {
    /// Whether the recipient can read all that it should.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.denied.is_empty() && !self.ungranted
    }
}

/// Whether a share is the connector's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Provisioned {
    /// The share is there and belongs to this connector.
    Ready,
    /// A share of that name belongs to another connector.
    Taken,
}

/// One file of a shared table, as a recipient sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// The short-lived URL. Never logged.
    pub url: String,
    /// The file's size, as stated.
    pub size_bytes: u64,
    /// The file's rows, as stated by its statistics.
    pub rows: Option<u64>,
    /// The run that all rows of the file belong to, as stated by its statistics.
    pub run_id: Option<String>,
}

/// A shared table version, as a recipient sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedView {
    /// The table version that the server answered with.
    pub table_version: u64,
    /// The columns in order, each as `name type` with nested types written out.
    pub columns: Vec<String>,
    /// Every name in the schema, nested ones included.
    pub names: Vec<String>,
    /// The files.
    pub files: Vec<SharedFile>,
}

/// What the tail of a fetched Parquet file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedFile {
    /// The object's whole size.
    pub size_bytes: u64,
    /// The row count in the Parquet footer.
    pub rows: u64,
    /// The leaf column names in the Parquet footer.
    pub columns: Vec<String>,
}

/// Reads a share the way the recipient does: over HTTP, with a bearer token.
#[async_trait]
pub trait ShareReader: Send + Sync {
    /// Reads what a table version holds: schema and files.
    async fn read(
        &self,
        connector: &ConnectorId,
        table: &TableName,
        scope: ReadScope<'_>,
    ) -> Result<SharedView, PortError>;

    /// Fetches the footer of one file by its URL.
    async fn fetch_footer(&self, file: &SharedFile) -> Result<FetchedFile, PortError>;

    /// Fetches the footers of several files; what became of each, in order.
    async fn fetch_footer_each(&self, files: &[SharedFile]) -> Vec<Result<FetchedFile, PortError>> {
        let mut each = Vec::with_capacity(files.len());
        for file in files {
            each.push(self.fetch_footer(file).await);
        }
        each
    }
}

/// What a proof reads of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadScope<'a> {
    /// The newest table version, all files.
    Newest,
    /// Some runs in one table version: a run's files are those whose statistics hold its id.
    Runs {
        /// The table version.
        table_version: u64,
        /// The runs' ids.
        run_ids: &'a [&'a str],
    },
}

/// Whether the secure contact has a link to the credential, of the connector's newest rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invitation {
    /// A link was sent and can be used.
    Open,
    /// The link was used.
    Used,
    /// No link was sent, nobody knows whether it was, it has expired, or the connector's settings are others since.
    Unsent,
}

/// Invites the recipient: link, e-mail, and nothing kept but a hash.
#[async_trait]
pub trait Inviter: Send + Sync {
    /// Whether the connector's recipient has a link of the connector's newest rotation.
    async fn invitation(&self, connector: &Connector) -> Result<Invitation, PortError>;

    /// Makes a new link in place of any earlier unused one, sends it to the secure contact, and notes that it was
    /// sent. The link exists nowhere else. It belongs to the connector's newest rotation.
    async fn invite(&self, connector: &Connector, now: Timestamp) -> Result<(), PortError>;
}

/// What watches over tokens: it knows them by an id that is not the token, and opens nothing.
#[async_trait]
pub trait TokenWatch: Send + Sync {
    /// The tokens of a connector's recipient.
    async fn tokens(&self, connector: &ConnectorId) -> Result<Vec<WatchedToken>, PortError>;

    /// Notes that the recipient was warned that this token ends within so many days, unless a later warning is noted
    /// or the token is gone.
    async fn warned(&self, connector: &ConnectorId, token: &WatchedToken, days: u16) -> Result<(), PortError>;
}

/// A recipient's token, as far as its end is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedToken {
    /// The store's name for it.
    pub id: String,
    /// When it was made, if that is known.
    pub made_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The rotation that it came by.
    pub rotation: u32,
    /// Within how many days of its end the recipient was warned last.
    pub warned_days: Option<u16>,
}

/// Tells a recipient that its token ends.
#[async_trait]
pub trait ExpiryNotice: Send + Sync {
    /// Sends the secure contact a warning without secrets.
    async fn warn(&self, connector: &Connector, expires_at: Timestamp, next: NextToken) -> Result<(), PortError>;
}

/// How a recipient whose token ends comes to the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextToken {
    /// By the link of a rotation, which was sent and can be used.
    LinkSent,
    /// By asking for a link.
    OnRequest,
}

/// The credentials of token recipients whose backend makes them itself, and hands each out once behind a URL.
#[async_trait]
pub trait HostedCredentials: Send + Sync {
    /// Whether the URL of the recipient's newest token was sent to the secure contact, by the connector's newest
    /// rotation.
    async fn invitation(&self, connector: &Connector) -> Result<Invitation, PortError>;

    /// The newest token's URL. If its credential was downloaded, its time is over, it is older than the connector's
    /// newest rotation, or it was sent to another contact, there is a new token, and the ones of before end: when the
    /// rotation says, else at once.
    async fn waiting(&self, connector: &Connector, now: Timestamp) -> Result<WaitingCredential, PortError>;

    /// Notes that the URL of a token was sent, and a hash of the contact. Nothing else of it is kept.
    async fn sent(&self, connector: &Connector, token: &str) -> Result<(), PortError>;
}

/// A credential that can be downloaded once.
#[derive(Debug)]
pub struct WaitingCredential {
    /// The token's id. No secret.
    pub token: String,
    /// Where it is downloaded.
    pub url: CredentialUrl,
    /// When the token ends, if the backend says so.
    pub expires_at: Option<Timestamp>,
}

/// Where a backend's own credential can be downloaded, once. It can be handed out once, and never printed, copied or
/// stored. Nobody but the secure contact opens it.
pub struct CredentialUrl(String);

impl CredentialUrl {
    /// A URL as the backend gave it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Gives up the URL. The caller sends it to the secure contact, untouched, and drops it.
    #[must_use]
    pub fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for CredentialUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialUrl(redacted)")
    }
}
