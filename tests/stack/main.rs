//! Whole deliveries: the production template on the local stack, with IAM enforced, read by official clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

mod activity;
mod bad_input;
mod cast_policy;
mod contracts;
mod databricks;
mod exactly_once;
mod formats;
mod latest;
mod maintenance;
mod metadata_tables;
mod real_data;
mod schema_versions;
mod set_up;
