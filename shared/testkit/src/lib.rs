//! In-memory ports, the contract suites that a fake and its real adapter both pass, and builders of values.
//!
//! Code for tests only: it fails by panicking, which is why it may.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "suites and builders are test code that happens to live outside of a test module"
)]

pub mod backfill_contract;
pub mod budget;
pub mod builders;
pub mod faults;
pub mod lake;
pub mod metadata_contract;
pub mod outgoing;
pub mod recipient_contract;
pub mod redrive;
pub mod sharing;
pub mod state;
pub mod state_contract;
pub mod token_contract;
