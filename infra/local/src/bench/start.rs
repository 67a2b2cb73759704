//! `bench start`: how large the functions are, and how long each takes from its process's start to its first poll.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use local_stack::{Error, Progress, Project, Requirements, Result, Tools, files, functions, progress};
use serde::Serialize;
use tokio::process::Command;

use super::{
    directory,
    options::Options,
    process::complete,
    runtime_api::{Event, Served},
    table::{Table, median, verdict},
};

const ZIP_BYTES_MAX: u64 = 10_000_000;
const START_MILLISECONDS_MAX: f64 = 50.0;
/// How long a function may take to ask for work.
const PATIENCE: Duration = Duration::from_secs(20);

/// Settings as the template gives them; a function reads only its own.
const SETTINGS: [(&str, &str); 12] = [
    ("STATE_TABLE_NAME", "spillway-StateTable-1ABCDEFGHIJKL"),
    ("TABLES_BUCKET", "spillway-tablesbucket-abcdefghijkl"),
    ("RUN_OUTPUT_BUCKET", "spillway-runoutputbucket-abcdefghijkl"),
    ("DELIVER_RUN_ARN", "arn:aws:states:us-east-1:123456789012:stateMachine:DeliverRun-abcdefghijkl"),
    ("BACKFILL_ARN", "arn:aws:states:us-east-1:123456789012:stateMachine:spillway-backfill"),
    (
        "REFUSED_MESSAGES_QUEUE_URL",
        "https://sqs.us-east-1.amazonaws.com/123456789012/spillway-RunCompletedDeadLetterQueue",
    ),
    ("SHARING_ENDPOINT", "https://abcdefghijklmnopqrstuvwxyz.lambda-url.us-east-1.on.aws/delta-sharing"),
    ("HISTORY_DAYS", "30"),
    ("MAINTENANCE_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/spillway-MaintenanceQueue"),
    ("METADATA_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/spillway-MetadataQueue.fifo"),
    ("METADATA_BATCH_SECONDS", "60"),
    ("SENDER_ADDRESS", "spillway@vendor.test"),
];

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Function {
    name: String,
    binary_bytes: u64,
    zip_bytes: u64,
    start_milliseconds: Vec<f64>,
    median_start_milliseconds: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    zip_bytes_max: u64,
    start_milliseconds_max: f64,
    functions: Vec<Function>,
}

/// Builds the functions as they are deployed and measures each.
pub(super) async fn run(options: &Options) -> Result<()> {
    let starts = options.number("starts", 15, 1..=1000)?;
    let project = Project::find()?;
    let progress = Progress::new();
    let tools = Tools::install(&project, Requirements::Stack, &progress).await?;
    let folder = directory(&project).join("start");
    files::create_directory(&folder)?;
    let binaries = build(&project, &progress).await?;

    let stage = progress.stage("zipping");
    let mut functions = Vec::new();
    for (name, binary) in &binaries {
        stage.detail(name);
        functions.push(Function {
            name: name.clone(),
            binary_bytes: size(binary)?,
            zip_bytes: zip(&tools, name, binary, &folder).await?,
            start_milliseconds: Vec::new(),
            median_start_milliseconds: 0.0,
        });
    }
    stage.done();

    let stage = progress.stage("starting each function");
    // The first start of each fills the page cache and is not counted.
    for round in 0..=starts {
        for ((name, binary), function) in binaries.iter().zip(&mut functions) {
            stage.detail(&format!("{name}, start {round} of {starts}"));
            let milliseconds = first_poll(binary, &folder.join(name).with_extension("log")).await?;
            if round > 0 {
                function.start_milliseconds.push(milliseconds);
            }
        }
    }
    stage.done();
    for function in &mut functions {
        function.median_start_milliseconds = median(function.start_milliseconds.iter().copied());
    }
    let report = Report { zip_bytes_max: ZIP_BYTES_MAX, start_milliseconds_max: START_MILLISECONDS_MAX, functions };
    let path = directory(&project).join("start.json");
    files::write_json(&path, &report)?;
    show(&report, starts, &path);
    Ok(())
}

async fn build(project: &Project, progress: &Progress) -> Result<Vec<(String, PathBuf)>> {
    functions::check_machine(project)?;
    let stage = progress.stage("building the functions for release");
    let names = functions::names(project)?;
    let mut arguments = vec!["--release", "--bins"];
    for name in &names {
        arguments.extend(["--package", name]);
    }
    let mut made = functions::compile(project, &arguments, progress.is_live(), &stage).await?;
    stage.done_with(&format!("{} functions", names.len()));
    let find = |name: String| {
        let binary = made.remove(&name);
        binary.map(|binary| (name.clone(), binary)).ok_or_else(|| Error::Project(format!("{name} builds no binary")))
    };
    names.into_iter().map(find).collect()
}

fn size(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).map_err(|source| Error::File { operation: "find", path: path.into(), source })?;
    Ok(metadata.len())
}

/// Packs a binary as it is uploaded, under its name there, and returns the size.
async fn zip(tools: &Tools, name: &str, binary: &Path, folder: &Path) -> Result<u64> {
    let packed = folder.join(name);
    files::create_directory(&packed)?;
    let bootstrap = packed.join("bootstrap");
    fs::copy(binary, &bootstrap).map_err(|source| Error::File { operation: "copy", path: binary.into(), source })?;
    let archive = packed.join("bootstrap.zip");
    let mut command = Command::new(tools.python());
    command.args(["-m", "zipfile", "-c"]).arg(&archive).arg(&bootstrap);
    complete(&mut command, "zipping a function").await?;
    let bytes = size(&archive)?;
    files::remove(&packed)?;
    Ok(bytes)
}

/// Starts a function and returns how many milliseconds pass until it asks for work.
async fn first_poll(binary: &Path, log: &Path) -> Result<f64> {
    let (mut served, began) = Served::start(binary, SETTINGS, None, log).await?;
    match served.next(PATIENCE, log).await? {
        Event::Asked(asked_at) => Ok((asked_at - began).as_secs_f64() * 1000.0),
        Event::Answered(body) | Event::Failed(body) => Err(Error::Failed {
            what: "starting a function".to_owned(),
            status: "it reported an error".to_owned(),
            output: String::from_utf8_lossy(&body).into_owned(),
        }),
    }
}

fn show(report: &Report, starts: u64, path: &Path) {
    let mut table = Table::new(&["function", "binary MB", "zip MB", "start ms", "fastest", "slowest"]);
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    for function in &report.functions {
        let starts = &function.start_milliseconds;
        table.row([
            function.name.clone(),
            megabytes(function.binary_bytes),
            megabytes(function.zip_bytes),
            format!("{:.1}", function.median_start_milliseconds),
            format!("{:.1}", starts.iter().copied().fold(f64::INFINITY, f64::min)),
            format!("{:.1}", starts.iter().copied().fold(0.0, f64::max)),
        ]);
    }
    let largest = report.functions.iter().map(|function| function.zip_bytes).max().unwrap_or_default();
    let slowest = report.functions.iter().map(|function| function.median_start_milliseconds).fold(0.0, f64::max);
    progress::result(&format!(
        "\nFunctions in the release profile; from process start to the first poll, median of {starts} warm starts\n\n\
         {table}\n{}\n{}\n\n{}",
        verdict(
            largest <= ZIP_BYTES_MAX,
            &format!("the largest zip has {} MB; aimed for: {} at most", megabytes(largest), megabytes(ZIP_BYTES_MAX))
        ),
        verdict(
            slowest <= START_MILLISECONDS_MAX,
            &format!("the slowest start takes {slowest:.1} ms; aimed for: {START_MILLISECONDS_MAX:.0} at most")
        ),
        path.display(),
    ));
}
