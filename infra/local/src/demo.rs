//! `cargo xtask demo`: the main job on real data, from nothing to rows that an official client reads.

use std::{process::ExitCode, process::Stdio};

use local_stack::{Error, Existing, LocalStack, Progress, Project, Result, Targets, process::Group, progress};
use tokio::process::Command;

/// Starts a fresh stack, delivers the runs in `data/`, shows what a recipient reads, and ends the stack.
///
/// # Errors
///
/// Returns [`Error`] if the stack could not be started; a delivery that fails is in the exit code.
pub(crate) async fn run(arguments: &[String]) -> Result<ExitCode> {
    let keep = match arguments {
        [] => false,
        [flag] if flag == "--keep" => true,
        [other, ..] => return Err(Error::Usage(format!("`{other}` is not understood; `demo` takes --keep only"))),
    };
    let project = Project::find()?;
    let progress = Progress::new();
    let start = LocalStack::start(&project, "demo", Existing::Replace, Targets::Binaries, &progress);
    let stack = Box::pin(start).await?;
    let work = project.instance("demo");
    let mut command = Command::new(stack.tools().python());
    command
        .arg(project.root().join("infra/local/demo.py"))
        .arg(stack.path())
        .arg(project.root().join("data"))
        .arg(&work)
        .stdin(Stdio::null());
    let status = Group::spawn(&mut command)?
        .wait()
        .await
        .map_err(|source| Error::Spawn { program: "the demo".to_owned(), source })?;
    if !status.success() {
        stack.stop().await?;
        return Ok(ExitCode::FAILURE);
    }
    if keep {
        let python = stack.tools().python().display().to_string();
        let path = stack.leave_running()?;
        progress::result(&format!(
            "\nThe stack is still running ({}). Go on from here:\n\
             \x20 {python} -c \"import delta_sharing; print(delta_sharing.load_as_pandas(open('{}').read()))\"\n\
             \x20 cargo xtask down      ends it",
            path.display(),
            work.join("table-url").display(),
        ));
    } else {
        stack.stop().await?;
        progress::result(
            "\nThe stack has ended. Go on from here:\n\
             \x20 cargo xtask demo --keep   leaves it running, with a profile to read it with\n\
             \x20 cargo xtask up            starts a stack to play with: see target/local/stack.json\n\
             \x20 README.md                 sets connectors up, sends runs, deploys to AWS",
        );
    }
    Ok(ExitCode::SUCCESS)
}
