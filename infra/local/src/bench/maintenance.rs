//! `bench maintenance`: what a table of many small commits costs to open, raw and cared for, and what the next
//! delivery's commit costs as a table grows old.

use std::{collections::BTreeMap, path::PathBuf};

use local_stack::{Error, Progress, Project, Requirements, Result, Tools, files, functions, progress};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{
    directory,
    options::Options,
    process::ask,
    table::{Table, grouped, verdict},
};

/// A table that is cared for is opened with so many requests: hint, listing, checkpoint, and a commit for its time or
/// the commits behind the checkpoint.
const REQUESTS_MAX: u64 = 13;

/// The table's names in the report, in the order in which they are shown, and in words.
const TABLES: [(&str, &str); 4] = [
    ("raw", "as it was committed"),
    ("checkpointed", "checkpoint only"),
    ("merged", "checkpoint and merged files"),
    ("atOnce", "written at once"),
];

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    tables: BTreeMap<String, Opened>,
    maintenance: Maintenance,
    next_commit: BTreeMap<u64, Next>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    path: PathBuf,
    open: Cost,
    /// What official clients took to open the table and read all rows, in seconds.
    #[serde(default)]
    clients: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Cost {
    files: u64,
    requests: u64,
    milliseconds: f64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Maintenance {
    milliseconds: f64,
    requests: u64,
    files_merged: u64,
    files_made: u64,
    bytes_merged: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Next {
    commit_requests: u64,
    newest_version_requests: u64,
    open: Cost,
}

#[derive(Debug, Deserialize)]
struct Verdict {
    clients: BTreeMap<String, Client>,
    agree: bool,
}

#[derive(Debug, Deserialize)]
struct Client {
    seconds: Option<f64>,
    digest: Option<String>,
}

/// Makes the tables, and opens each with our reader and with official clients.
pub(super) async fn run(options: &Options) -> Result<()> {
    let commits = options.number("commits", 2_000, 20..=20_000)?.to_string();
    let rows = options.number("rows", 50, 1..=10_000)?.to_string();
    let project = Project::find()?;
    let progress = Progress::new();
    let tools = Tools::install(&project, Requirements::Bench, &progress).await?;
    functions::check_machine(&project)?;
    let stage = progress.stage("building aged_tables for release");
    let arguments = ["--release", "--package", "tables", "--example", "aged_tables"];
    let mut built = functions::compile(&project, &arguments, progress.is_live(), &stage).await?;
    let program = built.remove("aged_tables").ok_or_else(|| Error::Project("nothing builds `aged_tables`".into()))?;
    stage.done();

    let folder = directory(&project).join("maintenance");
    files::remove(&folder)?;
    files::create_directory(&folder)?;
    let stage = progress.stage("making tables of 10,000 commits and less");
    let mut command = Command::new(program);
    let mut report: Report = ask(command.arg(&folder).args([&commits, &rows]), "making tables").await?;
    stage.done();

    let stage = progress.stage("opening them with official clients");
    let mut digests = Vec::new();
    for (name, table) in &mut report.tables {
        stage.detail(name);
        let judge = project.root().join("tests/clients/open_tables.py");
        let mut command = Command::new(tools.python());
        command.arg(judge).arg(folder.join(&table.path)).arg("--skip-files");
        let verdict: Verdict = ask(&mut command, "opening a table").await?;
        if !verdict.agree {
            return Err(Error::Project(format!("the clients do not read the same rows of the table `{name}`")));
        }
        digests.extend(verdict.clients.values().filter_map(|client| client.digest.clone()));
        let seconds = verdict.clients.into_iter().filter_map(|(name, client)| Some((name, client.seconds?)));
        table.clients = seconds.collect();
    }
    stage.done();
    digests.dedup();
    if digests.len() != 1 {
        return Err(Error::Project("the tables do not have the same rows".into()));
    }
    show(&report, &commits);
    files::write_json(&directory(&project).join("maintenance.json"), &report)
}

fn show(report: &Report, commits: &str) {
    let clients: Vec<&String> =
        report.tables.values().next().map(|table| table.clients.keys().collect()).unwrap_or_default();
    let headings: Vec<String> = ["", "files", "requests", "open ms"].into_iter().map(str::to_owned).collect();
    let headings: Vec<String> =
        headings.into_iter().chain(clients.iter().map(|client| format!("{client}, open and read s"))).collect();
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, words) in TABLES {
        let Some(opened) = report.tables.get(name) else { continue };
        let cost = &opened.open;
        let ours = [words.to_owned(), grouped(cost.files), grouped(cost.requests), format!("{:.1}", cost.milliseconds)];
        let theirs = opened.clients.values().map(|seconds| format!("{seconds:.3}"));
        table.row(ours.into_iter().chain(theirs));
    }
    progress::result(&format!("A table of {commits} small commits, opened for the first time\n\n{table}"));
    let done = &report.maintenance;
    progress::result(&format!(
        "Its maintenance: {:.0} ms and {} requests for {} files of {} bytes\n",
        done.milliseconds,
        grouped(done.requests),
        grouped(done.files_merged),
        grouped(done.bytes_merged)
    ));
    let mut table = Table::new(&["commits before", "next commit", "newest version", "first look", "files"]);
    for (age, next) in &report.next_commit {
        table.row([
            grouped(*age),
            grouped(next.commit_requests),
            grouped(next.newest_version_requests),
            grouped(next.open.requests),
            grouped(next.open.files),
        ]);
    }
    progress::result(&format!("Requests as a table grows old\n\n{table}"));
    let cared = report.tables.iter().filter(|(name, _)| *name != "raw").map(|(_, table)| table.open.requests);
    let aged = report.next_commit.values().map(|next| next.open.requests);
    let most = cared.chain(aged).max().unwrap_or(u64::MAX);
    progress::result(&verdict(
        most <= REQUESTS_MAX,
        &format!("a first look costs at most {REQUESTS_MAX} requests: {most}"),
    ));
}
