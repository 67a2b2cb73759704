//! `cargo xtask bench`: what the product costs, measured on this machine and printed beside what is aimed for.
//!
//! Figures are medians; speeds are compared in turns, whole processes, with the input in the page cache. Everything
//! measured goes into `target/local/bench/*.json`.

mod delivery;
mod maintenance;
mod options;
mod process;
mod runtime_api;
mod share;
mod stage;
mod stage_function;
mod start;
mod table;

use std::{path::PathBuf, process::ExitCode};

use local_stack::{Error, Project, Result, progress};

use options::Options;

const HELP: &str = "\
Measures; the figures also go into target/local/bench/*.json.

  cargo xtask bench stage     staging against DuckDB, Polars and pyarrow, and the function's memory
      --rows 1000000,4000000    rows of each input
      --rounds 5                how often each is run, in turns
      --only files|function     the comparison only, or the memory only
  cargo xtask bench delivery  what a delivery asks of AWS, on a local stack
      --deliveries 20           how many are counted at each age
      --ages 10,1000,10000      commits of the tables before
      --connectors 10           of the team that has many
  cargo xtask bench maintenance  a table of small commits, raw and cared for
      --commits 2000            of the table
      --rows 50                 of each commit
  cargo xtask bench share     queries of the sharing server, beside a plain reader
      --files 10,1000,10000,100000    of each table
      --rounds 5                how often it is started anew
  cargo xtask bench start     size of each function, and its time to the first poll
      --starts 15               of each function

They build in the release profile, which takes minutes the first time. Let the machine rest meanwhile.";

/// Runs one of the benches.
///
/// # Errors
///
/// Returns [`Error`] if something could not be measured. A missed target is printed and is no error.
pub(crate) async fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((what, rest)) = arguments.split_first() else {
        progress::result(HELP);
        return Ok(ExitCode::SUCCESS);
    };
    match what.as_str() {
        "stage" => stage::run(&Options::parse(rest, &["rows", "rounds", "only"])?).await?,
        "delivery" => delivery::run(&Options::parse(rest, &["deliveries", "ages", "connectors"])?).await?,
        "maintenance" => maintenance::run(&Options::parse(rest, &["commits", "rows"])?).await?,
        "share" => share::run(&Options::parse(rest, &["files", "rounds"])?).await?,
        "start" => start::run(&Options::parse(rest, &["starts"])?).await?,
        "help" | "--help" | "-h" => progress::result(HELP),
        other => return Err(Error::Usage(format!("there is no bench `{other}`; `cargo xtask bench` lists them"))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where benches write.
fn directory(project: &Project) -> PathBuf {
    project.target().join("bench")
}
