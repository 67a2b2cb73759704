//! Staging from the outside: every format in, Parquet read back with the field's own reader.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a failing test panics"
)]

mod borders;
mod csv;
mod encodings;
mod formats;
mod gzip;
mod json;
mod parquet_files;
mod policy;
mod privacy;
mod rejects;
mod statistics;
mod support;
