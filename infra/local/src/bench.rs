//! `cargo xtask bench`.

use std::process::ExitCode;

use local_stack::{Error, Result};

/// Runs the command.
///
/// # Errors
///
/// Returns [`Error::Usage`]: the command is still to come.
pub(crate) async fn run(_arguments: &[String]) -> Result<ExitCode> {
    Err(Error::Usage("`bench` is still to come".to_owned()))
}
