//! Bytes in, validated columns out: a run's output (JSON lines, JSON, CSV or Parquet) becomes Parquet files with their
//! Delta statistics.
//!
//! Every format is read into rows of JSON, which lanes parse and cast: one cast policy, one privacy rule. Knows the
//! formats, the JSON grammar, the cast policy, Parquet and the statistics of a Delta `add` action. Knows no network, no
//! storage and no clock: bytes come from a [`BlockSource`] and go to [`FileSink`]s.
//!
//! Private values are never built: the parser checks their grammar and passes over them.

mod blocks;
mod bounds;
mod cast;
mod chunk;
mod column;
mod csv;
mod dictionary;
mod encode;
mod file;
mod input;
mod json;
mod lane;
mod levels;
mod number;
mod parquet_input;
mod reject;
mod row;
mod scan;
mod stage;
mod statistics;
mod text;
mod texts;

pub use file::{FileSink, StagedPart};
pub use input::{BlockSource, Chunk, InputError, inflate};
pub use parquet_input::{SeekableObject, SeekableSource};
pub use stage::{FileFactory, Input, Limits, RunColumns, StageError, Staged, arrow_schema, stage};
pub use statistics::SCHEMA_LEAVES_MAX;
