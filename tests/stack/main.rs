//! Whole deliveries: the production template on the local stack, with IAM enforced, read by official clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

mod activation_page;
mod activity;
mod backfill;
mod bad_input;
mod batches;
mod cast_policy;
mod conformance;
mod contracts;
mod databricks;
mod events;
mod exactly_once;
mod formats;
mod latest;
mod lifecycle;
mod maintenance;
mod metadata_tables;
mod reads;
mod real_data;
mod redrive;
mod schema_versions;
mod set_up;
mod story;
