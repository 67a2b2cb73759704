//! Staging from the outside: JSON lines in, Parquet read back with the field's own reader.

mod borders;
mod policy;
mod privacy;
mod rejects;
mod statistics;
mod support;
