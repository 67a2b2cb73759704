//! What the tests of the whole share. Each concern is a test target of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code that happens to live outside of a test module: it ends at the first surprise"
)]

pub mod inbox;
pub mod kills;
pub mod lifecycle;
pub mod place;
pub mod recipient;
pub mod runs;
pub mod stack;
pub mod workspace;

use std::path::Path;

pub use inbox::{Inbox, Told};
pub use place::Place;
pub use recipient::{Read, sorted};
pub use runs::{Run, contact_of, set_up_input, table_name, unique};
pub use stack::{DeliveryRecord, Execution, Stack, StackFile, until};

/// The workspace's root folder.
#[must_use]
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}
