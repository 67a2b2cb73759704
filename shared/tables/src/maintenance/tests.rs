//! Maintenance against a model: whatever the history, every promised version reads the same.

mod compaction;
mod faults;
mod histories;
mod requests;
pub(super) mod support;
