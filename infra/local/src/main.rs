//! `cargo xtask`: the project's own commands.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use local_stack::{
    Error, Existing, LocalStack, Outcome, Progress, Project, Result, Targets, interrupt::or_interrupted, process::MARK,
    progress,
};

mod bench;
mod demo;
mod lint;
mod serve;
mod test;

const HELP: &str = "\
The commands of this project.

  cargo xtask demo            deliver real data from nothing, and read it as a recipient does
  cargo xtask test [-- ARGS]  run every test on a local stack of their own; ARGS go to cargo test
  cargo xtask serve WHAT      share a directory of Delta tables, or what a share file says, from this machine
  cargo xtask up              start the local stack, or bring the running one up to date
  cargo xtask down            end the local stack and remove its data
  cargo xtask lint            check the template and the state machines as AWS would, without AWS
  cargo xtask bench [WHAT]    measure: `stage`, `delivery`, `share` or `start`; `bench` alone lists their options
  cargo xtask help            show this

`up` leaves the stack running and writes target/local/stack.json. Logs lie in
target/local/<instance>. Needs Linux, Rust, a C compiler and Python 3.10 or newer.";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match or_interrupted(run(&arguments)).await {
        Ok(code) => code,
        Err(error) => {
            Progress::new().say(&format!("error: {error}"));
            if matches!(error, Error::Interrupted) { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(arguments: &[String]) -> Result<ExitCode> {
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", arguments),
    };
    match command {
        "up" => {
            no_more(rest)?;
            up().await
        }
        "down" => {
            no_more(rest)?;
            down().await
        }
        "demo" => Box::pin(demo::run(rest)).await,
        "test" => Box::pin(test::run(rest)).await,
        "serve" => Box::pin(serve::run(rest)).await,
        "lint" => {
            no_more(rest)?;
            lint::run().await
        }
        "bench" => Box::pin(bench::run(rest)).await,
        "gateway" => gateway(rest).await,
        "help" | "--help" | "-h" => {
            progress::result(HELP);
            Ok(ExitCode::SUCCESS)
        }
        other => Err(Error::Usage(format!("there is no command `{other}`"))),
    }
}

fn no_more(rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(argument) => Err(Error::Usage(format!("`{argument}` is not understood here"))),
    }
}

async fn up() -> Result<ExitCode> {
    let project = Project::find()?;
    let progress = Progress::new();
    let start = LocalStack::start(&project, "up", Existing::Reuse, Targets::Binaries, &progress);
    let stack = Box::pin(start).await?;
    let said = match stack.outcome() {
        Outcome::AlreadyUp => "already up",
        Outcome::Updated => "up, and now up to date",
        Outcome::Started => "up",
    };
    let file = stack.file().clone();
    let path = stack.leave_running()?;
    progress::result(&format!(
        "The local stack is {said}.\n  AWS      {}\n  sharing  {}\n  mailbox  {}\n  details  {}\n\
         End it with `cargo xtask down`.",
        file.aws_endpoint,
        file.sharing_endpoint,
        file.mailbox,
        path.display(),
    ));
    Ok(ExitCode::SUCCESS)
}

async fn down() -> Result<ExitCode> {
    let ended = local_stack::down(&Project::find()?).await?;
    progress::result(match ended.is_empty() {
        true => "No local stack was running.",
        false => "The local stack has ended.",
    });
    Ok(ExitCode::SUCCESS)
}

/// The gateway's own process. Only `up` and its kin start it.
async fn gateway(rest: &[String]) -> Result<ExitCode> {
    let usage = || Error::Usage("`gateway` belongs to `up`".to_owned());
    let [first, emulator, second, ports_file] = rest else { return Err(usage()) };
    if first != "--emulator" || second != "--ports-file" {
        return Err(usage());
    }
    let emulator: SocketAddr = emulator.parse().map_err(|_| usage())?;
    let mark = std::env::var(MARK).map_err(|_| usage())?;
    local_stack::gateway::run(emulator, format!("{MARK}={mark}"), &PathBuf::from(ports_file)).await?;
    Ok(ExitCode::SUCCESS)
}
