//! Every way in which the product fails: a closed list of codes, each with a phase, a retry class and a runbook page.

use std::fmt;

/// What a failure is reported as (the steps' names are the state machine's own).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A message could not be accepted: no delivery exists for it.
    Accept,
    /// The run's output could not be read or staged.
    Staging,
    /// The run's schema or values do not fit the stated rules.
    Schema,
    /// Staged files could not be committed to the version table.
    Load,
    /// The delivered tables could not be brought into agreement (`__LATEST` included).
    Publish,
    /// The table is not in the share, or the grant is not in place.
    Share,
    /// The delivered table does not read back as it was loaded.
    Proof,
    /// A connector could not be set up.
    Setup,
    /// A connector that was set up could not be changed, or its tokens not be watched.
    Lifecycle,
    /// History could not be planned. Deliveries that it was planned for have their own failures.
    Backfill,
    /// A table could not be checkpointed, merged or cleaned up, or the audit of reads not be published. No delivery
    /// waits for it.
    Maintenance,
    /// The vendor's other systems could not be told. No delivery waits for it.
    Events,
    /// Failed deliveries or dead-letter messages could not be started again.
    Redrive,
}

impl Phase {
    /// The phase's stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Staging => "staging",
            Self::Schema => "schema",
            Self::Load => "load",
            Self::Publish => "publish",
            Self::Share => "share",
            Self::Proof => "proof",
            Self::Setup => "setup",
            Self::Lifecycle => "lifecycle",
            Self::Backfill => "backfill",
            Self::Maintenance => "maintenance",
            Self::Events => "events",
            Self::Redrive => "redrive",
        }
    }

    /// Reads a phase's text: each has codes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        FailureCode::ALL.iter().map(|code| code.phase()).find(|phase| phase.as_str() == text)
    }
}

/// How the state machine answers a failure. The names are the only ones that `Retry` and `Catch` of our tasks use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetryClass {
    /// A dependency is slow, throttled or away: retried with back-off.
    Transient,
    /// Somebody else was first: retried soon, against the new state.
    Conflict,
    /// The input will never pass: not retried.
    Rejected,
    /// Our own mistake or a damaged state: not retried, somebody has to look.
    Defect,
}

impl RetryClass {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Transient, Self::Conflict, Self::Rejected, Self::Defect];

    /// The error name that the state machines match. This is the only place that knows it.
    #[must_use]
    pub fn error_type(self) -> &'static str {
        match self {
            Self::Transient => "Delivery.Transient",
            Self::Conflict => "Delivery.Conflict",
            Self::Rejected => "Delivery.Rejected",
            Self::Defect => "Delivery.Defect",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $phase:ident, $class:ident;)+) => {
        /// A stable failure code. Its text is never reused; `infra/runbook/<CODE>.md` says what to do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FailureCode {
            $($(#[$doc])* $variant,)+
        }

        impl FailureCode {
            /// Every code, in the order of the phases.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code's stable text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The phase that the failure belongs to.
            #[must_use]
            pub fn phase(self) -> Phase {
                match self { $(Self::$variant => Phase::$phase,)+ }
            }

            /// How the state machine answers it.
            #[must_use]
            pub fn class(self) -> RetryClass {
                match self { $(Self::$variant => RetryClass::$class,)+ }
            }

            /// Reads a code's text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }
    };
}

codes! {
    /// The message is not JSON.
    MessageNotJson = "MESSAGE_NOT_JSON", Accept, Rejected;
    /// A required property of the message is missing or has the wrong type.
    MessageInvalid = "MESSAGE_INVALID", Accept, Rejected;
    /// An id of the message has characters or a length that are not allowed.
    MessageIdInvalid = "MESSAGE_ID_INVALID", Accept, Rejected;
    /// The message is larger than what can be recorded.
    MessageTooLarge = "MESSAGE_TOO_LARGE", Accept, Rejected;
    /// The state table or the queue did not answer while a message was accepted.
    AcceptUnavailable = "ACCEPT_UNAVAILABLE", Accept, Transient;
    /// The state table or the queue did not answer while activity was recorded.
    ActivityUnavailable = "ACTIVITY_UNAVAILABLE", Accept, Transient;

    /// The run's record is not in the state table.
    RunNotRecorded = "RUN_NOT_RECORDED", Staging, Defect;
    /// An announced output object is not there (yet).
    OutputNotFound = "OUTPUT_NOT_FOUND", Staging, Transient;
    /// An announced output object may not be read.
    OutputDenied = "OUTPUT_DENIED", Staging, Rejected;
    /// The output's format is not one that can be staged.
    OutputFormatUnsupported = "OUTPUT_FORMAT_UNSUPPORTED", Staging, Rejected;
    /// The output ends in the middle of a row, of a document or of a gzip stream.
    OutputTruncated = "OUTPUT_TRUNCATED", Staging, Rejected;
    /// An output object is not in the announced format.
    OutputInvalid = "OUTPUT_INVALID", Staging, Rejected;
    /// An output object, or a part of it that has to be held at once, is over a limit.
    OutputTooLarge = "OUTPUT_TOO_LARGE", Staging, Rejected;
    /// The output has another number of rows than announced.
    RowCountMismatch = "ROW_COUNT_MISMATCH", Staging, Rejected;
    /// A row is not JSON.
    RowNotJson = "ROW_NOT_JSON", Staging, Rejected;
    /// A row is JSON but not an object.
    RowNotObject = "ROW_NOT_OBJECT", Staging, Rejected;
    /// A record has another number of cells than its header.
    RowCellsMismatch = "ROW_CELLS_MISMATCH", Staging, Rejected;
    /// A row is over the size limit.
    RowTooLarge = "ROW_TOO_LARGE", Staging, Rejected;
    /// A row is nested deeper than the limit.
    RowTooDeep = "ROW_TOO_DEEP", Staging, Rejected;
    /// Storage did not answer while a run was staged.
    StagingUnavailable = "STAGING_UNAVAILABLE", Staging, Transient;
    /// The staging prefix may not be read or written.
    StagingDenied = "STAGING_DENIED", Staging, Defect;
    /// A staging manifest cannot be read.
    StagingCorrupt = "STAGING_CORRUPT", Staging, Defect;
    /// The staging function ended without an answer, several times.
    StagingInterrupted = "STAGING_INTERRUPTED", Staging, Transient;

    /// The run's schema has no public field.
    NoPublicFields = "NO_PUBLIC_FIELDS", Schema, Rejected;
    /// Two public fields, or two keys of a shape, have the same name.
    FieldNamesClash = "FIELD_NAMES_CLASH", Schema, Rejected;
    /// The schema has more columns, or is nested deeper, than allowed.
    SchemaTooLarge = "SCHEMA_TOO_LARGE", Schema, Rejected;
    /// A run of a batch has another public schema than the batch.
    SchemaNotOfBatch = "SCHEMA_NOT_OF_BATCH", Schema, Rejected;
    /// A value does not fit its column's cast policy.
    ValueNotCastable = "VALUE_NOT_CASTABLE", Schema, Rejected;
    /// A public string holds a NUL, a lone surrogate or invalid UTF-8.
    TextInvalid = "TEXT_INVALID", Schema, Rejected;

    /// Storage or the state table did not answer while a run was loaded.
    LoadUnavailable = "LOAD_UNAVAILABLE", Load, Transient;
    /// The table's path may not be written.
    LoadDenied = "LOAD_DENIED", Load, Defect;
    /// Other writers were first too many times.
    LoadConflict = "LOAD_CONFLICT", Load, Conflict;
    /// The table's log does not agree with the state table.
    LoadTableCorrupt = "LOAD_TABLE_CORRUPT", Load, Defect;
    /// A staged file or its manifest has expired.
    LoadStagingExpired = "LOAD_STAGING_EXPIRED", Load, Defect;
    /// The loading function ended without an answer, several times.
    LoadInterrupted = "LOAD_INTERRUPTED", Load, Transient;

    /// Storage or the state table did not answer while a table was published.
    PublishUnavailable = "PUBLISH_UNAVAILABLE", Publish, Transient;
    /// The `__LATEST` table's path may not be written.
    PublishDenied = "PUBLISH_DENIED", Publish, Defect;
    /// Other writers of `__LATEST` were first too many times.
    PublishConflict = "PUBLISH_CONFLICT", Publish, Conflict;
    /// The log of `__LATEST` or of its source cannot be read.
    PublishTableCorrupt = "PUBLISH_TABLE_CORRUPT", Publish, Defect;
    /// The publishing function ended without an answer, several times.
    PublishInterrupted = "PUBLISH_INTERRUPTED", Publish, Transient;
    /// Storage or the state table did not answer while metadata tables were written.
    MetadataUnavailable = "METADATA_UNAVAILABLE", Publish, Transient;
    /// The metadata tables' path may not be written.
    MetadataDenied = "METADATA_DENIED", Publish, Defect;
    /// Other writers of a metadata table were first too many times.
    MetadataConflict = "METADATA_CONFLICT", Publish, Conflict;
    /// The log of a metadata table, or what is known of it, cannot be read.
    MetadataCorrupt = "METADATA_CORRUPT", Publish, Defect;

    /// The connector does not exist.
    ConnectorNotFound = "CONNECTOR_NOT_FOUND", Share, Rejected;
    /// The connector is not ready to take data.
    ConnectorNotReady = "CONNECTOR_NOT_READY", Share, Rejected;
    /// The connector is disabled, and takes no history.
    ConnectorDisabled = "CONNECTOR_DISABLED", Share, Rejected;
    /// The connector's recipient was revoked.
    ConnectorRevoked = "CONNECTOR_REVOKED", Share, Rejected;
    /// The sharing backend did not answer.
    ShareUnavailable = "SHARE_UNAVAILABLE", Share, Transient;
    /// A share does not read back as it was made: a table or the grant is not there.
    ShareIncomplete = "SHARE_INCOMPLETE", Share, Transient;
    /// The sharing backend's principal lacks a privilege.
    ShareDenied = "SHARE_DENIED", Share, Defect;
    /// Recipients cannot read a table of the share, because the share's owner may not.
    ShareNotReadable = "SHARE_NOT_READABLE", Share, Defect;
    /// The share takes no more tables.
    ShareFull = "SHARE_FULL", Share, Rejected;
    /// A table's path, or its name, is taken in the metastore.
    TablePathTaken = "TABLE_PATH_TAKEN", Share, Defect;
    /// The sharing backend does not take a request, or answers with what cannot be understood.
    ShareInvalid = "SHARE_INVALID", Share, Defect;
    /// The sharing function ended without an answer, several times.
    ShareInterrupted = "SHARE_INTERRUPTED", Share, Transient;

    /// The sharing endpoint did not answer.
    ProofUnavailable = "PROOF_UNAVAILABLE", Proof, Transient;
    /// The sharing endpoint refused the recipient, or does not know the table.
    ProofRefused = "PROOF_REFUSED", Proof, Defect;
    /// The shared schema is not the one that was loaded.
    ProofSchemaMismatch = "PROOF_SCHEMA_MISMATCH", Proof, Defect;
    /// The shared schema shows a private column.
    ProofPrivateColumn = "PROOF_PRIVATE_COLUMN", Proof, Defect;
    /// The shared table does not hold the run's rows.
    ProofRowsMismatch = "PROOF_ROWS_MISMATCH", Proof, Defect;
    /// A shared file cannot be fetched by its URL, or is not the file that was loaded.
    ProofFileUnreadable = "PROOF_FILE_UNREADABLE", Proof, Defect;
    /// The proving function ended without an answer, several times.
    ProofInterrupted = "PROOF_INTERRUPTED", Proof, Transient;

    /// The set-up input is missing a property or has one that is not allowed.
    ConnectorInvalid = "CONNECTOR_INVALID", Setup, Rejected;
    /// The connector id is taken by another team, recipient or storage path.
    ConnectorTaken = "CONNECTOR_TAKEN", Setup, Rejected;
    /// The team has as many connectors as it may have.
    TeamFull = "TEAM_FULL", Setup, Rejected;
    /// The deployment has no sharing backend for this type of recipient.
    RecipientUnsupported = "RECIPIENT_UNSUPPORTED", Setup, Rejected;
    /// The backend has a recipient for this reader that belongs to somebody else.
    RecipientForeign = "RECIPIENT_FOREIGN", Setup, Rejected;
    /// A connector was changed by somebody else at the same moment.
    SetupConflict = "SETUP_CONFLICT", Setup, Conflict;
    /// Storage or the state table did not answer while a connector was set up.
    SetupUnavailable = "SETUP_UNAVAILABLE", Setup, Transient;
    /// The connector's prefix may not be written.
    SetupDenied = "SETUP_DENIED", Setup, Defect;
    /// The activation e-mail was refused: the sender is not verified, or the address is not deliverable.
    InvitationRefused = "INVITATION_REFUSED", Setup, Defect;
    /// A set-up function ended without an answer, several times.
    SetupInterrupted = "SETUP_INTERRUPTED", Setup, Transient;

    /// The command is not possible before the connector was set up.
    ChangeRefused = "CHANGE_REFUSED", Lifecycle, Rejected;
    /// The recipient reads without a token: there is nothing to rotate.
    RotationUnsupported = "ROTATION_UNSUPPORTED", Lifecycle, Rejected;
    /// A connector was changed by others at the same moment, every time.
    ChangeConflict = "CHANGE_CONFLICT", Lifecycle, Conflict;
    /// The state table or the sharing backend did not answer while a connector was changed.
    ChangeUnavailable = "CHANGE_UNAVAILABLE", Lifecycle, Transient;
    /// The function that changes connectors lacks a permission.
    ChangeDenied = "CHANGE_DENIED", Lifecycle, Defect;
    /// A function that changes connectors ended without an answer, several times.
    ChangeInterrupted = "CHANGE_INTERRUPTED", Lifecycle, Transient;
    /// A connector takes data again, and what it missed could not all be delivered.
    CatchUpFailed = "CATCH_UP_FAILED", Lifecycle, Defect;
    /// The state table or the mail service did not answer while tokens were watched.
    WatchUnavailable = "WATCH_UNAVAILABLE", Lifecycle, Transient;

    /// The backfill's input has a property that is not allowed.
    BackfillInvalid = "BACKFILL_INVALID", Backfill, Rejected;
    /// The connector's live deliveries fail: history waits until one is proven.
    BackfillNotProven = "BACKFILL_NOT_PROVEN", Backfill, Rejected;
    /// The connector was changed by somebody else at the same moment.
    BackfillConflict = "BACKFILL_CONFLICT", Backfill, Conflict;
    /// Storage, the state table or a queue did not answer while history was planned.
    BackfillUnavailable = "BACKFILL_UNAVAILABLE", Backfill, Transient;
    /// History may not be read, or the plan's prefix not be written.
    BackfillDenied = "BACKFILL_DENIED", Backfill, Defect;
    /// A page of the plan, or what is known of a run, cannot be read.
    BackfillCorrupt = "BACKFILL_CORRUPT", Backfill, Defect;
    /// The planning function, or a batch's execution, ended without an answer.
    BackfillInterrupted = "BACKFILL_INTERRUPTED", Backfill, Transient;
    /// What lies in a place of the history is of another team, workflow or run, or is not there.
    HistoryMismatch = "HISTORY_MISMATCH", Backfill, Rejected;

    /// Storage or the queue did not answer while a table was maintained.
    MaintenanceUnavailable = "MAINTENANCE_UNAVAILABLE", Maintenance, Transient;
    /// The maintenance may not read, write or delete below the connectors' prefix.
    MaintenanceDenied = "MAINTENANCE_DENIED", Maintenance, Defect;
    /// A table's log or one of its data files cannot be read.
    MaintenanceTableCorrupt = "MAINTENANCE_TABLE_CORRUPT", Maintenance, Defect;
    /// The sharing server's log or the storage did not answer while the audit of reads was published.
    ReadsUnavailable = "READS_UNAVAILABLE", Maintenance, Transient;
    /// The audit's function may not read the log or write its table.
    ReadsDenied = "READS_DENIED", Maintenance, Defect;
    /// The audit's table cannot be read, or not be added to.
    ReadsCorrupt = "READS_CORRUPT", Maintenance, Defect;

    /// The bus did not take events.
    EventsUnavailable = "EVENTS_UNAVAILABLE", Events, Transient;
    /// The bus refuses events.
    EventsDenied = "EVENTS_DENIED", Events, Defect;
    /// A change in the state table is not what an event can be made of.
    EventsChangeUnreadable = "EVENTS_CHANGE_UNREADABLE", Events, Rejected;

    /// The redrive's input is missing a property or has one that is not allowed.
    RedriveInvalid = "REDRIVE_INVALID", Redrive, Rejected;
    /// The state table, Step Functions or a queue did not answer while something was redriven.
    RedriveUnavailable = "REDRIVE_UNAVAILABLE", Redrive, Transient;
    /// The redriving function may not do what it was asked for.
    RedriveDenied = "REDRIVE_DENIED", Redrive, Defect;
    /// A redriving function ended without an answer, several times.
    RedriveInterrupted = "REDRIVE_INTERRUPTED", Redrive, Transient;
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A step's failure: what happened, said for the operator, and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct StepError {
    /// The stable code.
    pub code: FailureCode,
    /// What happened and what to do, without row values, private names or secrets.
    pub message: String,
    /// The cause, for the one log line.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StepError {
    /// A failure without an underlying cause.
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None }
    }

    /// A failure that an underlying error caused.
    #[must_use]
    pub fn caused(
        code: FailureCode,
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self { code, message: message.into(), source: Some(Box::new(source)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_read_back() {
        let texts: BTreeSet<_> = FailureCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), FailureCode::ALL.len());
        for code in FailureCode::ALL {
            assert_eq!(FailureCode::parse(code.as_str()), Some(*code));
        }
        assert_eq!(FailureCode::parse("NO_SUCH_CODE"), None);
    }
}
