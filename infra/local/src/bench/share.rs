//! `bench share`: what a query of the sharing server takes, by the number of files of the table, cold and warm, with
//! and without a predicate; beside it, what a plain reader takes to open and list the same table.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use local_stack::{Error, Progress, Project, Requirements, Result, Tools, files, process::Group, progress};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::{
    directory,
    options::Options,
    process::{ask, script},
    table::{Table, grouped, median, verdict},
};
use crate::serve;

const SIZES: [u64; 4] = [10, 1_000, 10_000, 100_000];
/// Files in a table, and the milliseconds that a warm query of it may take in the middle.
const WARM_MILLISECONDS_MAX: [(u64, f64); 2] = [(10, 5.0), (10_000, 60.0)];
/// Files in a table, and the memory that the server may have taken after all queries of it.
const MEBIBYTES_MAX: (u64, f64) = (100_000, 128.0);
/// Warm queries of a table of `FILES_MEASURED / files` files, within limits: what is small is asked for more often.
const FILES_MEASURED: u64 = 200_000;
/// Queries under way at once when the rate is measured.
const CLIENTS: usize = 4;
/// The bench asks as often as it can.
const UNTHROTTLED: [&str; 2] = ["--requests-per-second", "1000000"];
/// How long the server may take to say where it listens, and how long one query may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    tables: Vec<Measured>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    files: u64,
    has_checkpoint: bool,
    answer_bytes: usize,
    /// The first query of a fresh process, each time.
    cold_milliseconds: Vec<f64>,
    warm: Latency,
    warm_gzip: Latency,
    warm_predicate: Latency,
    queries_per_second: f64,
    /// The server's largest resident set after all of these.
    peak_mebibytes: f64,
    /// `deltalake` opens the table and lists its files.
    plain_milliseconds: Vec<f64>,
}

impl Measured {
    fn shape(&self) -> Shape {
        Shape { files: self.files, has_checkpoint: self.has_checkpoint }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Latency {
    p50_milliseconds: f64,
    p99_milliseconds: f64,
    queries: usize,
    files: usize,
}

/// What `share_tables.py open` says.
#[derive(Debug, Deserialize)]
struct Opened {
    seconds: Vec<f64>,
    files: u64,
}

#[derive(Debug, Deserialize)]
struct Empty {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    endpoint: String,
    bearer_token: String,
}

/// Builds the server as it is deployed, makes the tables, and measures each with a process of its own.
pub(super) async fn run(options: &Options) -> Result<()> {
    let sizes = options.numbers("files", &SIZES, 2..=1_000_000)?;
    let rounds = options.number("rounds", 5, 1..=100)?;
    let project = Project::find()?;
    let progress = Progress::new();
    let tools = Tools::install(&project, Requirements::Stack, &progress).await?;
    let program = serve::build(&project, &["--release"]).await?;
    let folder = directory(&project).join("share");
    files::remove(&folder)?;
    files::create_directory(&folder)?;
    let stage = progress.stage("making the tables");
    let mut make = script(&project, &tools, "share_tables.py");
    make.arg("make").arg(&folder).args(sizes.iter().map(u64::to_string));
    let Empty {} = ask(&mut make, "making tables").await?;
    stage.done();

    let mut tables = Vec::new();
    let without = sizes.iter().max().map(|files| Shape { files: *files, has_checkpoint: false });
    for shape in sizes.iter().map(|files| Shape { files: *files, has_checkpoint: true }).chain(without) {
        let stage = progress.stage(&format!("querying a table of {}", shape.described()));
        let table = folder.join(shape.name());
        let measured = measure(&program, &folder, shape, rounds).await?;
        stage.detail("opening it with deltalake");
        let mut open = script(&project, &tools, "share_tables.py");
        open.arg("open").arg(&table).arg(rounds.to_string());
        let opened: Opened = ask(&mut open, "opening a table").await?;
        if opened.files != shape.files {
            return Err(Error::Project(format!("deltalake finds {} files of {}", opened.files, shape.files)));
        }
        let plain_milliseconds = opened.seconds.iter().map(|seconds| seconds * 1e3).collect();
        tables.push(Measured { plain_milliseconds, ..measured });
        stage.done();
    }
    let report = Report { tables };
    let path = directory(&project).join("share.json");
    files::write_json(&path, &report)?;
    show(&report, &path);
    files::remove(&folder)
}

/// What a table of the bench is like.
#[derive(Debug, Clone, Copy)]
struct Shape {
    files: u64,
    /// Whether all but its last commit lie before a checkpoint.
    has_checkpoint: bool,
}

impl Shape {
    fn name(self) -> String {
        format!("{}_{}", if self.has_checkpoint { "files" } else { "commits" }, self.files)
    }

    fn described(self) -> String {
        format!("{} files{}", grouped(self.files), if self.has_checkpoint { "" } else { ", no checkpoint" })
    }
}

async fn measure(program: &Path, folder: &Path, shape: Shape, rounds: u64) -> Result<Measured> {
    let (size, name) = (shape.files, &shape.name());
    let mut cold_milliseconds = Vec::new();
    for _ in 1..rounds {
        let server = Server::start(program, folder).await?;
        cold_milliseconds.push(server.query(name, "{}", false).await?.milliseconds);
    }
    let server = Server::start(program, folder).await?;
    let first = server.query(name, "{}", false).await?;
    cold_milliseconds.push(first.milliseconds);
    let count = usize::try_from((FILES_MEASURED / size).clamp(20, 500)).unwrap_or(20);
    let warm = server.latency(name, "{}", false, count).await?;
    let warm_gzip = server.latency(name, "{}", true, count).await?;
    // One file of the table: the one in its middle.
    let id = size / 2 * 1_000 + 500;
    let hint = format!(
        r#"{{"op":"equal","children":[{{"op":"column","name":"id","valueType":"long"}},{{"op":"literal","value":"{id}","valueType":"long"}}]}}"#
    );
    let predicate = serde_json::json!({"jsonPredicateHints": hint}).to_string();
    let warm_predicate = server.latency(name, &predicate, false, count).await?;
    let expected = usize::try_from(size).unwrap_or(usize::MAX);
    if (warm.files, warm_predicate.files) != (expected, 1) {
        let said = format!("{} files, and {} with a predicate", warm.files, warm_predicate.files);
        return Err(Error::Project(format!("a table of {size} files was answered with {said}")));
    }
    let queries_per_second = server.rate(name, count).await?;
    Ok(Measured {
        files: size,
        has_checkpoint: shape.has_checkpoint,
        answer_bytes: first.bytes,
        cold_milliseconds,
        warm,
        warm_gzip,
        warm_predicate,
        queries_per_second,
        peak_mebibytes: server.peak_mebibytes()?,
        plain_milliseconds: Vec::new(),
    })
}

/// A running server, which ends with this value.
struct Server {
    _process: Group,
    pid: u32,
    profile: Profile,
    client: Client<HttpConnector, Full<Bytes>>,
}

struct Answer {
    milliseconds: f64,
    bytes: usize,
    files: usize,
}

impl Server {
    async fn start(program: &Path, folder: &Path) -> Result<Self> {
        let profiles = folder.join("profiles");
        let file = profiles.join("local.share");
        files::remove(&profiles)?;
        let mut command = Command::new(program);
        command
            .arg(folder)
            .arg("--profiles")
            .arg(&profiles)
            .args(UNTHROTTLED)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Group::spawn(&mut command)?;
        let pid = process.child().id().unwrap_or_default();
        let began = Instant::now();
        // The profile is written when the server listens.
        let profile = loop {
            if let Some(profile) = files::read_json::<Profile>(&file) {
                break profile;
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::Slow { what: "the sharing server", seconds: PATIENCE.as_secs(), log: file });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Ok(Self { _process: process, pid, profile, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    async fn query(&self, table: &str, body: &str, gzip: bool) -> Result<Answer> {
        let url = format!("{}/shares/local/schemas/default/tables/{table}/query", self.profile.endpoint);
        let fail = |reason: String| Error::Http { request: format!("POST {url}"), reason };
        let encoding = if gzip { "gzip" } else { "identity" };
        let request = Request::post(&url)
            .header("authorization", format!("Bearer {}", self.profile.bearer_token))
            .header("content-type", "application/json")
            .header("accept-encoding", encoding)
            .body(Full::new(Bytes::from(body.to_owned())))
            .map_err(|error| fail(error.to_string()))?;
        let began = Instant::now();
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| fail(error.to_string()))?;
            let status = answer.status();
            let mut read = (0, 0);
            let mut body = answer.into_body();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| fail(error.to_string()))?;
                if let Some(data) = frame.data_ref() {
                    read.0 += data.len();
                    read.1 += data.iter().filter(|byte| **byte == b'\n').count();
                }
            }
            if status.is_success() { Ok(read) } else { Err(fail(status.to_string())) }
        };
        let (bytes, lines) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| fail(format!("no answer after {} s", PATIENCE.as_secs())))??;
        // Behind the protocol's and the metadata's line there is one for each file.
        Ok(Answer { milliseconds: began.elapsed().as_secs_f64() * 1e3, bytes, files: lines.saturating_sub(2) })
    }

    async fn latency(&self, table: &str, body: &str, gzip: bool, count: usize) -> Result<Latency> {
        let mut milliseconds = Vec::with_capacity(count);
        let mut files = 0;
        for _ in 0..count {
            let answer = self.query(table, body, gzip).await?;
            milliseconds.push(answer.milliseconds);
            files = answer.files;
        }
        milliseconds.sort_by(f64::total_cmp);
        let p99 = milliseconds.get((milliseconds.len() * 99).div_ceil(100).saturating_sub(1)).copied();
        Ok(Latency {
            p50_milliseconds: median(milliseconds.iter().copied()),
            p99_milliseconds: p99.unwrap_or(f64::NAN),
            queries: count,
            files,
        })
    }

    /// Queries a second with some clients at once.
    async fn rate(&self, table: &str, count: usize) -> Result<f64> {
        let each = count.div_ceil(CLIENTS);
        let ask = async || {
            for _ in 0..each {
                self.query(table, "{}", false).await?;
            }
            Ok::<_, Error>(())
        };
        let began = Instant::now();
        tokio::try_join!(ask(), ask(), ask(), ask())?;
        Ok((each * CLIENTS) as f64 / began.elapsed().as_secs_f64())
    }

    /// The largest resident set so far.
    fn peak_mebibytes(&self) -> Result<f64> {
        let path = PathBuf::from(format!("/proc/{}/status", self.pid));
        let text = fs::read_to_string(&path).map_err(|source| Error::File { operation: "read", path, source })?;
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak.map(|kibibytes: f64| kibibytes / 1024.0)
            .ok_or_else(|| Error::Project("the system does not tell a process's memory".to_owned()))
    }
}

fn show(report: &Report, path: &Path) {
    let mut table = Table::new(&[
        "table",
        "answer MB",
        "cold ms",
        "warm p50",
        "p99",
        "gzip p50",
        "predicate p50",
        "queries/s",
        "peak MiB",
        "deltalake ms",
    ]);
    for measured in &report.tables {
        let warm = |latency: &Latency| format!("{:.1}", latency.p50_milliseconds);
        table.row([
            measured.shape().described(),
            format!("{:.2}", measured.answer_bytes as f64 / 1e6),
            format!("{:.1}", median(measured.cold_milliseconds.iter().copied())),
            warm(&measured.warm),
            format!("{:.1}", measured.warm.p99_milliseconds),
            warm(&measured.warm_gzip),
            warm(&measured.warm_predicate),
            format!("{:.0}", measured.queries_per_second),
            format!("{:.0}", measured.peak_mebibytes),
            format!("{:.1}", median(measured.plain_milliseconds.iter().copied())),
        ]);
    }
    progress::result(&format!(
        "Queries of a shared table, whole answers over the loopback interface, in milliseconds\n\n{table}"
    ));
    for measured in &report.tables {
        let (shape, p50) = (measured.shape(), measured.warm.p50_milliseconds);
        let limits = WARM_MILLISECONDS_MAX.iter().filter(|(limited, _)| *limited == shape.files);
        for (_, most) in limits.filter(|_| shape.has_checkpoint) {
            let text = format!("a warm query of {}: {p50:.1} ms; aimed for: {most:.0} at most", shape.described());
            progress::result(&verdict(p50 <= *most, &text));
        }
        if shape.files == MEBIBYTES_MAX.0 {
            let (peak, most) = (measured.peak_mebibytes, MEBIBYTES_MAX.1);
            let text = format!("memory at {}: {peak:.0} MiB; aimed for: {most:.0} at most", shape.described());
            progress::result(&verdict(peak <= most, &text));
        }
    }
    progress::result(&format!("\n  details  {}", path.display()));
}
