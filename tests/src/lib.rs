//! Tests of the whole. Each concern is a test target of its own; here is only where the workspace lies.

use std::path::Path;

/// The workspace's root folder.
#[must_use]
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}
