//! How the values of `delivery` are written as JSON strings.

use delivery::batch::Origin;
use delivery::connector::{Backend, ConnectorState};
use delivery::failure::FailureCode;
use delivery::ids::{ConnectorId, RunId, RunKey, TeamId, WorkflowId};
use delivery::schema::Fingerprint;
use delivery::table::{Membership, TableName, WorkflowLabel};
use delivery::timestamp::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A value with one stable text.
pub(crate) trait Text: Sized {
    /// What is expected, for a failure.
    const EXPECTED: &'static str;
    fn read(text: String) -> Option<Self>;
    fn write(&self) -> String;
}

macro_rules! text {
    ($type:ty, $expected:literal, $read:expr, $write:expr) => {
        impl Text for $type {
            const EXPECTED: &'static str = $expected;
            fn read(text: String) -> Option<Self> {
                ($read)(text)
            }
            fn write(&self) -> String {
                ($write)(self)
            }
        }
    };
}

text!(TeamId, "a team id", |text: String| Self::new(text).ok(), |id: &Self| id.as_str().to_owned());
text!(WorkflowId, "a workflow id", |text: String| Self::new(text).ok(), |id: &Self| id.as_str().to_owned());
text!(RunId, "a run id", |text: String| Self::new(text).ok(), |id: &Self| id.as_str().to_owned());
text!(ConnectorId, "a connector id", |text: String| Self::new(text).ok(), |id: &Self| id.as_str().to_owned());
text!(Timestamp, "an RFC 3339 time", |text: String| Self::parse(&text), Self::to_string);
text!(Fingerprint, "a fingerprint", |text: String| Some(Self::from_stored(text)), |fingerprint: &Self| {
    fingerprint.as_str().to_owned()
});
text!(TableName, "a table name", |text: String| Some(Self::from_stored(text)), |name: &Self| name.as_str().to_owned());
text!(WorkflowLabel, "a label", |text: String| Some(Self::from_stored(text)), |label: &Self| {
    label.as_str().to_owned()
});
text!(FailureCode, "a failure code", |text: String| Self::parse(&text), |code: &Self| code.as_str().to_owned());
text!(Origin, "live or backfill", |text: String| Self::parse(&text), |origin: &Self| origin.as_str().to_owned());
text!(Backend, "open or databricks", |text: String| Self::parse(&text), |backend: &Self| backend.as_str().to_owned());
text!(ConnectorState, "a connector state", |text: String| Self::parse(&text), |state: &Self| {
    state.as_str().to_owned()
});
text!(
    Membership,
    "shared or unshared",
    |text: String| match text.as_str() {
        "shared" => Some(Self::Shared),
        "unshared" => Some(Self::Unshared),
        _ => None,
    },
    |membership: &Self| match membership {
        Self::Shared => "shared".to_owned(),
        Self::Unshared => "unshared".to_owned(),
    }
);

fn read<T: Text, E: de::Error>(text: String) -> Result<T, E> {
    T::read(text).ok_or_else(|| E::custom(format_args!("expected {}", T::EXPECTED)))
}

/// `#[serde(with = "text::one")]`.
pub(crate) mod one {
    use super::*;

    pub(crate) fn serialize<T: Text, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.write())
    }

    pub(crate) fn deserialize<'de, T: Text, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        read(String::deserialize(deserializer)?)
    }
}

/// `#[serde(with = "text::optional")]`, together with `default`.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn serialize<T: Text, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Text::write).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Text, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(read).transpose()
    }
}

/// `#[serde(with = "text::list")]`.
pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<T: Text, S: Serializer>(values: &[T], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(Text::write))
    }

    pub(crate) fn deserialize<'de, T: Text, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        Vec::<String>::deserialize(deserializer)?.into_iter().map(read).collect()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RunKeyForm {
    #[serde(with = "one")]
    team_id: TeamId,
    #[serde(with = "one")]
    workflow_id: WorkflowId,
    #[serde(with = "one")]
    run_id: RunId,
}

/// `#[serde(with = "text::run_key")]`: an object of the three ids.
pub(crate) mod run_key {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(key: &RunKey, serializer: S) -> Result<S::Ok, S::Error> {
        RunKeyForm { team_id: key.team.clone(), workflow_id: key.workflow.clone(), run_id: key.run.clone() }
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RunKey, D::Error> {
        let form = RunKeyForm::deserialize(deserializer)?;
        Ok(RunKey { team: form.team_id, workflow: form.workflow_id, run: form.run_id })
    }
}
