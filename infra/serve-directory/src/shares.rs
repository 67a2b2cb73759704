//! Who may read what: from a share file, or from the tables that a directory holds.
//!
//! The share file is the reference server's `shares` section, and beside it the recipients. Names compare without case.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use delivery::ids::ConnectorId;
use delivery::ports::PortError;
use delivery::table::TableName;
use delivery::timestamp::Timestamp;
use serde::Deserialize;
use sharing::allow_list::Cidr;
use sharing::ports::{Grant, History, Holder, SecretHash, ShareCatalog, SharedTable, Standing};

/// Folders that are looked into for tables below a directory: its own tables, and those of its folders.
const DEPTH_MAX: usize = 2;

/// The longest name of the protocol, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// The schema of tables that lie in the directory itself.
const DEFAULT_SCHEMA: &str = "default";

/// The share of a directory without a share file, and the recipient that reads it.
const DIRECTORY_SHARE: &str = "local";

/// Why there is nothing to serve: a sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misconfigured(pub String);

impl fmt::Display for Misconfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misconfigured {}

fn wrong(text: impl Into<String>) -> Misconfigured {
    Misconfigured(text.into())
}

/// The share file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShareFile {
    /// As in the reference server's file; not asked.
    #[serde(default, rename = "version")]
    _version: Option<u32>,
    shares: Vec<ShareEntry>,
    #[serde(default)]
    recipients: Vec<RecipientEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShareEntry {
    name: String,
    #[serde(default)]
    schemas: Vec<SchemaEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SchemaEntry {
    name: String,
    #[serde(default)]
    tables: Vec<TableEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TableEntry {
    name: String,
    location: PathBuf,
    #[serde(default = "yes")]
    history_shared: bool,
    #[serde(default)]
    start_version: u64,
}

fn yes() -> bool {
    true
}

/// Who may read one share. Has no `Debug` of its token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RecipientEntry {
    name: String,
    share: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    expiration_time: Option<String>,
    #[serde(default)]
    allowed_ips: Vec<String>,
    #[serde(default)]
    revoked: bool,
}

impl fmt::Debug for RecipientEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientEntry").field("name", &self.name).field("share", &self.share).finish_non_exhaustive()
    }
}

/// A recipient that a profile is written for.
pub struct Recipient {
    /// Its name: the profile's file name.
    pub name: String,
    /// Its token as the share file has it; `None` if one is to be made.
    pub token: Option<String>,
    /// What the token opens.
    pub grant: Grant,
    /// Whether the token is told that it was revoked.
    revoked: bool,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipient").field("name", &self.name).field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// The shares, and who may read them.
#[derive(Debug, Default)]
pub struct Shares {
    /// Folders of a directory that are not shared, each with the reason.
    pub skipped: Vec<String>,
    /// By the share's name in lower case.
    shares: BTreeMap<String, Share>,
    /// By the token's hash.
    tokens: BTreeMap<String, Standing>,
}

#[derive(Debug, Default)]
struct Share {
    /// By the schema's name in lower case: its name as written.
    schemas: BTreeMap<String, String>,
    /// By schema and table in lower case.
    tables: BTreeMap<(String, String), SharedTable>,
}

impl Shares {
    /// Reads a share file, or finds the tables of a directory: those in it are in the schema `default`, those in a
    /// folder of it in a schema of the folder's name, all in the share `local`. `token_ends_at` is for recipients
    /// without an end of their own.
    ///
    /// # Errors
    ///
    /// Says what of the file is wrong, or that there is no table.
    pub fn read(path: &Path, token_ends_at: Timestamp) -> Result<(Self, Vec<Recipient>), Misconfigured> {
        let path = path.canonicalize().map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        if path.is_dir() {
            return Self::of_directory(&path, token_ends_at);
        }
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        Self::of_file(&text, folder, token_ends_at)
            .map_err(|Misconfigured(text)| wrong(format!("{}: {text}", path.display())))
    }

    /// Makes a token open what a recipient may read.
    pub fn admit(&mut self, token: &SecretHash, recipient: &Recipient) {
        let standing = if recipient.revoked { Standing::Revoked } else { Standing::Granted(recipient.grant.clone()) };
        self.tokens.insert(token.as_str().to_owned(), standing);
    }

    /// Where the tables lie: nothing outside of these folders is handed out.
    #[must_use]
    pub fn locations(&self) -> Vec<String> {
        self.shares.values().flat_map(|share| share.tables.values().map(|table| table.path.clone())).collect()
    }

    /// What is shared, one line for each table: `share.schema.table`.
    #[must_use]
    pub fn table_names(&self) -> Vec<String> {
        let line = |share: &str, table: &SharedTable| format!("{share}.{}.{}", table.schema, table.name);
        self.shares.iter().flat_map(|(name, share)| share.tables.values().map(move |table| line(name, table))).collect()
    }

    fn of_directory(path: &Path, token_ends_at: Timestamp) -> Result<(Self, Vec<Recipient>), Misconfigured> {
        let mut found = Found::default();
        found.tables_of(path, DEPTH_MAX);
        let mut share = Share::default();
        for location in std::mem::take(&mut found.tables) {
            let folder = location.parent().filter(|folder| *folder != path);
            let schema = match folder.and_then(Path::file_name) {
                Some(name) => name.to_string_lossy().into_owned(),
                None => DEFAULT_SCHEMA.to_owned(),
            };
            let name = location.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Err(Misconfigured(why)) = share.add(&schema, &name, &location, History::From(0)) {
                found.skipped.push(format!("{}: {why}", location.display()));
            }
        }
        if share.tables.is_empty() {
            let what = "a table is a folder with a _delta_log, in the directory or one level deeper";
            let skipped: String = found.skipped.iter().map(|skipped| format!("\n  {skipped}")).collect();
            return Err(wrong(format!("{} holds no Delta table that can be shared: {what}{skipped}", path.display())));
        }
        let recipient = Recipient {
            name: DIRECTORY_SHARE.to_owned(),
            token: None,
            grant: grant(DIRECTORY_SHARE, token_ends_at, Vec::new())?,
            revoked: false,
        };
        let shares = BTreeMap::from([(DIRECTORY_SHARE.to_owned(), share)]);
        Ok((Self { skipped: found.skipped, shares, tokens: BTreeMap::new() }, vec![recipient]))
    }

    fn of_file(text: &str, folder: &Path, token_ends_at: Timestamp) -> Result<(Self, Vec<Recipient>), Misconfigured> {
        let file: ShareFile = serde_yaml_ng::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let mut read = Self::default();
        for entry in &file.shares {
            let mut share = Share::default();
            for schema in &entry.schemas {
                share.add_schema(&schema.name)?;
                for table in &schema.tables {
                    let location = folder.join(&table.location);
                    let location = location
                        .canonicalize()
                        .map_err(|error| wrong(format!("the table {}: {}: {error}", table.name, location.display())))?;
                    let history =
                        if table.history_shared { History::From(table.start_version) } else { History::NotShared };
                    share.add(&schema.name, &table.name, &location, history)?;
                }
            }
            share_name(&entry.name)?;
            if read.shares.insert(entry.name.to_lowercase(), share).is_some() {
                return Err(wrong(format!("there are two shares `{}`", entry.name)));
            }
        }
        let recipients = file.recipients.iter().map(|entry| read.recipient(entry, token_ends_at));
        let mut recipients = recipients.collect::<Result<Vec<_>, _>>()?;
        if file.recipients.is_empty() {
            for entry in &file.shares {
                let grant = grant(&entry.name, token_ends_at, Vec::new())?;
                recipients.push(Recipient { name: entry.name.clone(), token: None, grant, revoked: false });
            }
        }
        if recipients.is_empty() {
            return Err(wrong("it has no share"));
        }
        let (mut names, mut tokens) = (BTreeSet::new(), BTreeSet::new());
        for recipient in &recipients {
            if !names.insert(recipient.name.to_lowercase()) {
                return Err(wrong(format!("there are two recipients `{}`", recipient.name)));
            }
            if recipient.token.as_ref().is_some_and(|token| !tokens.insert(token)) {
                return Err(wrong(format!("the recipient {} has another one's token", recipient.name)));
            }
        }
        Ok((read, recipients))
    }

    fn recipient(&self, entry: &RecipientEntry, token_ends_at: Timestamp) -> Result<Recipient, Misconfigured> {
        if !self.shares.contains_key(&entry.share.to_lowercase()) {
            return Err(wrong(format!(
                "the recipient {} reads a share that is not there: {}",
                entry.name, entry.share
            )));
        }
        // The name becomes a file's.
        ConnectorId::new(entry.name.as_str())
            .map_err(|_| wrong(format!("the recipient's name `{}` cannot name a file", entry.name)))?;
        let expires_at = match &entry.expiration_time {
            Some(text) => Timestamp::parse(text)
                .ok_or_else(|| wrong(format!("the recipient {}: `{text}` is no ISO-8601 instant", entry.name)))?,
            None => token_ends_at,
        };
        for listed in &entry.allowed_ips {
            let what = format!("the recipient {}: `{listed}` is no address and no block of addresses", entry.name);
            Cidr::parse(listed).ok_or_else(|| wrong(what))?;
        }
        let grant = grant(&entry.share, expires_at, entry.allowed_ips.clone())?;
        Ok(Recipient { name: entry.name.clone(), token: entry.token.clone(), grant, revoked: entry.revoked })
    }
}

fn share_name(name: &str) -> Result<ConnectorId, Misconfigured> {
    ConnectorId::new(name).map_err(|_| wrong(format!("`{name}` cannot name a share: use letters, digits, . _ and -")))
}

fn grant(share: &str, expires_at: Timestamp, allowed_ips: Vec<String>) -> Result<Grant, Misconfigured> {
    Ok(Grant { connector: share_name(share)?, holder: Holder::Recipient, expires_at, allowed_ips, rotation: 0 })
}

impl Share {
    fn add_schema(&mut self, name: &str) -> Result<(), Misconfigured> {
        protocol_name(name)?;
        self.schemas.entry(name.to_lowercase()).or_insert_with(|| name.to_owned());
        Ok(())
    }

    fn add(&mut self, schema: &str, name: &str, location: &Path, history: History) -> Result<(), Misconfigured> {
        protocol_name(name)?;
        if !location.join("_delta_log").is_dir() {
            return Err(wrong(format!("the table {name}: {} has no _delta_log", location.display())));
        }
        let path = location.to_str().ok_or_else(|| wrong(format!("{} is not UTF-8", location.display())))?;
        let table = SharedTable {
            schema: schema.to_owned(),
            name: TableName::from_stored(name),
            path: path.trim_matches('/').to_owned(),
            history,
        };
        self.add_schema(schema)?;
        match self.tables.entry((schema.to_lowercase(), name.to_lowercase())) {
            Entry::Vacant(place) => {
                place.insert(table);
                Ok(())
            }
            Entry::Occupied(_) => Err(wrong(format!("there are two tables `{schema}.{name}`"))),
        }
    }
}

/// A name of a schema or table as the protocol allows it.
fn protocol_name(name: &str) -> Result<(), Misconfigured> {
    let forbidden = |c: char| c.is_ascii_control() || matches!(c, ' ' | '/' | '.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(forbidden) {
        return Err(wrong(format!("`{name}` cannot name a schema or a table: no spaces, dots or slashes")));
    }
    Ok(())
}

/// What a directory holds.
#[derive(Debug, Default)]
struct Found {
    tables: Vec<PathBuf>,
    skipped: Vec<String>,
}

impl Found {
    /// Takes folders with a `_delta_log`, in the order of their names; a table's own folders are not looked into, and what
    /// cannot be looked into is skipped.
    fn tables_of(&mut self, folder: &Path, depth_left: usize) {
        let entries = std::fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut folders: Vec<_> = match entries {
            Ok(entries) => entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_dir()).collect(),
            Err(error) => {
                self.skipped.push(format!("{}: {error}", folder.display()));
                return;
            }
        };
        folders.sort();
        for path in folders {
            if path.join("_delta_log").is_dir() {
                self.tables.push(path);
            } else if let Some(depth_left) = depth_left.checked_sub(1).filter(|left| *left > 0) {
                self.tables_of(&path, depth_left);
            }
        }
    }
}

#[async_trait]
impl ShareCatalog for Shares {
    async fn grant(&self, token: &SecretHash) -> Result<Option<Standing>, PortError> {
        Ok(self.tokens.get(token.as_str()).cloned())
    }

    async fn grant_and_table(
        &self,
        token: &SecretHash,
        share: &str,
        schema: &str,
        table: &str,
    ) -> Result<(Option<Standing>, Option<SharedTable>), PortError> {
        let key = (schema.to_lowercase(), table.to_lowercase());
        let table = self.shares.get(&share.to_lowercase()).and_then(|share| share.tables.get(&key));
        Ok((self.tokens.get(token.as_str()).cloned(), table.cloned()))
    }

    async fn schemas(&self, connector: &ConnectorId) -> Result<Vec<String>, PortError> {
        let share = self.shares.get(&connector.as_str().to_lowercase());
        Ok(share.map(|share| share.schemas.values().cloned().collect()).unwrap_or_default())
    }

    async fn tables(&self, connector: &ConnectorId) -> Result<Vec<SharedTable>, PortError> {
        let share = self.shares.get(&connector.as_str().to_lowercase());
        Ok(share.map(|share| share.tables.values().cloned().collect()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that ends with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn with_tables(name: &str, tables: &[&str]) -> Self {
            let path = std::env::temp_dir().join(format!("serve-directory-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            for table in tables {
                std::fs::create_dir_all(path.join(table).join("_delta_log")).unwrap();
            }
            Self(path.canonicalize().unwrap())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn refused(text: &str, folder: &Folder) -> String {
        Shares::of_file(text, &folder.0, Timestamp::EPOCH).unwrap_err().to_string()
    }

    #[test]
    fn a_directory_is_one_share_with_a_schema_for_each_folder() {
        let folder = Folder::with_tables("directory", &["orders", "sales/eu", "sales/us", "deep/er/hidden"]);
        let (shares, recipients) = Shares::read(&folder.0, Timestamp::EPOCH).unwrap();
        assert_eq!(shares.table_names(), ["local.default.orders", "local.sales.eu", "local.sales.us"]);
        assert_eq!((recipients.len(), shares.skipped.len()), (1, 0));
        let mixed = Folder::with_tables("mixed", &["orders", "my table", "sales/x.delta", "ÄHNLICH"]);
        let (shares, _) = Shares::read(&mixed.0, Timestamp::EPOCH).unwrap();
        assert_eq!(shares.table_names(), ["local.default.orders", "local.default.ÄHNLICH"]);
        assert_eq!(shares.skipped.len(), 2, "{:?}", shares.skipped);
        assert!(shares.skipped[0].contains("my table: `my table` cannot name"), "{:?}", shares.skipped);
        let named = Folder::with_tables("named", &["my table"]);
        assert!(Shares::read(&named.0, Timestamp::EPOCH).unwrap_err().to_string().contains("`my table` cannot name"));
        let empty = Folder::with_tables("empty", &["deep/er/hidden"]);
        assert!(Shares::read(&empty.0, Timestamp::EPOCH).unwrap_err().to_string().contains("no Delta table"));
    }

    #[tokio::test]
    async fn a_share_file_says_who_reads_what() {
        let folder = Folder::with_tables("file", &["a", "b"]);
        let text = "
version: 1
shares:
- name: Acme
  schemas:
  - name: Sales
    tables:
    - {name: Orders, location: a, historyShared: false}
    - {name: items, location: ./b, startVersion: 3}
  - name: none
- name: other
recipients:
- {name: ann, share: acme, token: secret, expirationTime: '2030-01-01T00:00:00Z', allowedIps: [127.0.0.1]}
- {name: bob, share: other}
";
        let (mut shares, recipients) = Shares::of_file(text, &folder.0, Timestamp::EPOCH).unwrap();
        let [ann, bob] = &recipients[..] else { panic!("{recipients:?}") };
        assert_eq!((ann.token.as_deref(), ann.grant.allowed_ips.len()), (Some("secret"), 1));
        assert_eq!((bob.token.as_deref(), bob.grant.expires_at), (None, Timestamp::EPOCH));
        assert!(!format!("{recipients:?}").contains("secret"));

        let token = SecretHash::of("secret");
        shares.admit(&token, ann);
        let (standing, table) = shares.grant_and_table(&token, "ACME", "sales", "ORDERS").await.unwrap();
        assert_eq!(standing, Some(Standing::Granted(ann.grant.clone())));
        assert_eq!(table.map(|table| table.history), Some(History::NotShared));
        let (_, items) = shares.grant_and_table(&token, "acme", "sales", "items").await.unwrap();
        assert_eq!(items.map(|table| table.history), Some(History::From(3)));
        assert_eq!(shares.schemas(&ann.grant.connector).await.unwrap(), ["none", "Sales"]);
        assert!(shares.schemas(&bob.grant.connector).await.unwrap().is_empty());
        assert_eq!(shares.grant_and_table(&SecretHash::of("x"), "acme", "none", "a").await.unwrap(), (None, None));
    }

    #[test]
    fn what_is_wrong_with_a_share_file_is_said() {
        let folder = Folder::with_tables("wrong", &["a"]);
        for (text, part) in [
            ("shares: []", "no share"),
            ("shares: [{name: 'a b'}]", "cannot name a share"),
            ("shares: [{name: a}, {name: A}]", "two shares"),
            ("shares: [{name: s, schemas: [{name: x.y}]}]", "cannot name a schema"),
            ("shares: [{name: s, schemas: [{name: x, tables: [{name: t, location: nowhere}]}]}]", "nowhere"),
            ("shares: [{name: s, schemas: [{name: x, tables: [{name: t, location: .}]}]}]", "no _delta_log"),
            (
                "shares: [{name: s, schemas: [{name: x, tables: [{name: t, location: a}, {name: T, location: a}]}]}]",
                "two tables",
            ),
            ("shares: [{name: s}]\nrecipients: [{name: r, share: q}]", "not there"),
            ("shares: [{name: s}]\nrecipients: [{name: r/x, share: s}]", "cannot name a file"),
            ("shares: [{name: s}]\nrecipients: [{name: r, share: s, expirationTime: soon}]", "ISO-8601"),
            ("shares: [{name: s}]\nrecipients: [{name: r, share: s}, {name: R, share: s}]", "two recipients"),
            (
                "shares: [{name: s}]\nrecipients: [{name: r, share: s, token: t}, {name: q, share: s, token: t}]",
                "another one's token",
            ),
            ("shares: [{name: s}]\nrecipients: [{name: r, share: s, allowedIps: [300.1.1.1]}]", "300.1.1.1"),
            ("shares: [{name: s, tabels: []}]", "unknown field"),
        ] {
            let said = refused(text, &folder);
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
