//! Bytes in, validated columns out: a run's JSON lines become Parquet files with their Delta statistics.
//!
//! Knows the JSON grammar, the cast policy, Parquet and the statistics of a Delta `add` action. Knows no network, no
//! storage and no clock: bytes come from a [`BlockSource`] and go to [`FileSink`]s.
//!
//! Private values are never built: the parser checks their grammar and passes over them.

mod blocks;
mod bounds;
mod cast;
mod chunk;
mod column;
mod dictionary;
mod encode;
mod file;
mod lane;
mod levels;
mod number;
mod reject;
mod row;
mod scan;
mod stage;
mod statistics;
mod text;

pub use blocks::{BlockSource, Chunk};
pub use file::{FileSink, StagedPart};
pub use stage::{FileFactory, Limits, RunColumns, StageError, Staged, arrow_schema, stage};
pub use statistics::SCHEMA_LEAVES_MAX;
