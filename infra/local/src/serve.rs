//! `cargo xtask serve`: the sharing server as a local process, over a directory of Delta tables.

use std::{path::PathBuf, process::ExitCode};

use local_stack::{Error, Progress, Project, Result, functions, process::Group};
use tokio::process::Command;

const HELP: &str = "\
`serve` needs something to share:

  cargo xtask serve DIRECTORY     every Delta table in it, and one level deeper
  cargo xtask serve SHARES.yaml   shares, schemas, tables and recipients: see docs/serve.md
      --port 8080                 else a free one
      --listen 127.0.0.1          the address
      --url http://host:8080      what clients on other machines reach it by
      --requests-per-second 20    of each token
      --profiles DIRECTORY        where profiles are written; target/local/serve unless told otherwise";

/// The program's package and name.
pub(crate) const PROGRAM: &str = "serve-directory";

/// Builds the server and runs it until it ends or is interrupted.
///
/// # Errors
///
/// Returns [`Error`] if it cannot be built or started. What it says of its shares is in the exit code.
pub(crate) async fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((source, rest)) = arguments.split_first().filter(|(source, _)| !source.starts_with('-')) else {
        return Err(Error::Usage(HELP.to_owned()));
    };
    let project = Project::find()?;
    let program = build(&project, &[]).await?;
    let mut command = Command::new(program);
    command.arg(source);
    if !rest.iter().any(|argument| argument == "--profiles") {
        command.arg("--profiles").arg(project.instance("serve"));
    }
    let status = Group::spawn(command.args(rest))?.wait().await;
    let status = status.map_err(|source| Error::Spawn { program: PROGRAM.to_owned(), source })?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the server's program, with these arguments for cargo beside its own.
pub(crate) async fn build(project: &Project, arguments: &[&str]) -> Result<PathBuf> {
    functions::check_machine(project)?;
    let progress = Progress::new();
    let stage = progress.stage("building the sharing server");
    // The whole workspace's features: what the functions are built from is compiled already.
    let arguments = [&["--workspace", "--bin", PROGRAM], arguments].concat();
    let mut made = functions::compile(project, &arguments, progress.is_live(), &stage).await?;
    stage.done();
    made.remove(PROGRAM).ok_or_else(|| Error::Project(format!("{PROGRAM} builds no binary")))
}
