//! `cargo xtask test`: every test, on a local stack of their own.

use std::process::ExitCode;

use local_stack::{Error, Existing, LocalStack, Progress, Project, Result, Targets, functions::cargo, process::Group};

/// Starts a fresh stack, runs `cargo test` against it and ends it.
///
/// # Errors
///
/// Returns [`Error`] if the tests could not be run; that they failed is in the exit code.
pub(crate) async fn run(arguments: &[String]) -> Result<ExitCode> {
    let extra = match arguments.split_first() {
        None => arguments,
        Some((dashes, rest)) if dashes == "--" => rest,
        Some((other, _)) => {
            return Err(Error::Usage(format!("put `--` before `{other}` to pass it to cargo test")));
        }
    };
    let project = Project::find()?;
    let progress = Progress::new();
    let start = LocalStack::start(&project, "test", Existing::Replace, Targets::BinariesAndTests, &progress);
    let stack = Box::pin(start).await?;
    progress.say("running the tests");
    let mut command = cargo(&project);
    command
        .args(["test", "--workspace", "--locked"])
        .args(extra)
        .env("SPILLWAY_STACK_FILE", stack.path())
        .env("SPILLWAY_PYTHON", stack.tools().python())
        .env("SPILLWAY_GATEWAY_ADMIN", &stack.file().gateway_admin);
    let status = Group::spawn(&mut command)?.wait().await;
    stack.stop().await?;
    let status = status.map_err(|source| Error::Spawn { program: "cargo test".to_owned(), source })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
