//! Staging from the outside: JSON lines in, Parquet read back with the field's own reader.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a failing test panics"
)]

mod borders;
mod encodings;
mod policy;
mod privacy;
mod rejects;
mod statistics;
mod support;
