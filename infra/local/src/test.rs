//! `cargo xtask test`: every test, on a local stack of their own.

use std::path::Path;
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
    find_browser()?;
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

/// The activation page is tested in a real browser. What is missing is said before anything is built.
fn find_browser() -> Result<()> {
    const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |folder: &Path| NAMES.iter().any(|name| folder.join(name).is_file());
    if std::env::split_paths(&path).any(|folder| is_there(&folder)) {
        return Ok(());
    }
    let advice = "the tests open the activation page in it; install it, on Debian with `apt-get install chromium`";
    Err(Error::Missing { program: "Chromium", advice: advice.to_owned() })
}
