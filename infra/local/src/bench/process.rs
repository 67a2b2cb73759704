//! Runs the bench's programs: each within a time, each ended with the bench.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufReader},
    path::Path,
    process::Stdio,
    time::Duration,
};

use local_stack::{
    Error, Project, Result, Tools,
    process::{Group, output, tail_of},
    progress::Stage,
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt},
    process::Command,
};

/// How long one program may take, in seconds.
const SECONDS_MAX: u64 = 3600;

const WARMING_BYTES: usize = 1 << 20;

/// The lines of a program's errors that are shown.
const LINES_MAX: usize = 20;

/// What a whole process took, and its last word.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured<T> {
    /// From before its start to after its end.
    pub(super) wall_seconds: f64,
    /// User and system time.
    pub(super) cpu_seconds: f64,
    /// The largest resident set.
    pub(super) peak_mebibytes: f64,
    /// Its last line, decoded.
    pub(super) said: T,
}

/// A command of the bench's own scripts.
pub(super) fn script(project: &Project, tools: &Tools, name: &str) -> Command {
    let mut command = Command::new(tools.python());
    command
        .arg(project.local("bench").join(name))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // Warnings of a library's log are not the bench's.
        .env("RUST_LOG", "error");
    command
}

/// Measures one run of a program.
pub(super) async fn measure<T: DeserializeOwned>(
    project: &Project,
    tools: &Tools,
    program: &[OsString],
) -> Result<Measured<T>> {
    ask(script(project, tools, "measure.py").args(program), "measuring a program").await
}

/// Runs a program and decodes its last line.
pub(super) async fn ask<T: DeserializeOwned>(command: &mut Command, what: &str) -> Result<T> {
    let text = complete(command, what).await?;
    decode(what, text.lines().last().unwrap_or_default())
}

/// Runs a program and returns what it printed.
pub(super) async fn complete(command: &mut Command, what: &str) -> Result<String> {
    let said = within_time(what, output(command)).await??;
    if !said.status.success() {
        return Err(failed(what, &said.status.to_string(), &said.stderr));
    }
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

/// Runs a program whose lines say what it is at, and decodes the last one.
pub(super) async fn follow<T: DeserializeOwned>(command: &mut Command, what: &str, stage: &Stage) -> Result<T> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command)?;
    let (out, err) = (group.child().stdout.take(), group.child().stderr.take());
    let read_out = async {
        let mut last = String::new();
        if let Some(out) = out {
            let mut lines = tokio::io::BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if !line.starts_with('{') {
                    stage.detail(&line);
                }
                last = line;
            }
        }
        last
    };
    let read_err = async {
        let mut kept = Vec::new();
        if let Some(mut err) = err {
            // What cannot be read of an error is missing from its report only.
            let _ = err.read_to_end(&mut kept).await;
        }
        kept
    };
    let all = async { tokio::join!(read_out, read_err, group.wait()) };
    let (last, err, status) = within_time(what, all).await?;
    let status = status.map_err(|source| Error::Spawn { program: what.to_owned(), source })?;
    if !status.success() {
        return Err(failed(what, &status.to_string(), &err));
    }
    decode(what, &last)
}

/// Reads a file from end to end, so that the next reader finds it in the page cache.
pub(super) async fn warm(path: &Path) -> Result<()> {
    let path = path.to_owned();
    let failed = {
        let path = path.clone();
        |source| Error::File { operation: "read", path, source }
    };
    let read = move || {
        let mut file = BufReader::with_capacity(WARMING_BYTES, File::open(path)?);
        io::copy(&mut file, &mut io::sink()).map(drop)
    };
    let done = tokio::task::spawn_blocking(read).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed)
}

async fn within_time<T>(what: &str, work: impl Future<Output = T>) -> Result<T> {
    let done = tokio::time::timeout(Duration::from_secs(SECONDS_MAX), work).await;
    done.map_err(|_| failed(what, &format!("it took longer than {SECONDS_MAX} s"), b""))
}

fn decode<T: DeserializeOwned>(what: &str, line: &str) -> Result<T> {
    serde_json::from_str(line)
        .map_err(|error| failed(what, &format!("its last line is not understood: {error}"), line.as_bytes()))
}

fn failed(what: &str, status: &str, output: &[u8]) -> Error {
    let output = tail_of(output, LINES_MAX);
    Error::Failed { what: what.to_owned(), status: status.to_owned(), output }
}
