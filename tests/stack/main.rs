//! Whole deliveries: the production template on the local stack, with IAM enforced, read by official clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests end at the first surprise"
)]

mod bad_input;
mod contracts;
mod exactly_once;
mod real_data;
mod set_up;
