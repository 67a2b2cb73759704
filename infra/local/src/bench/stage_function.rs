//! The memory of the staging function's own process, as it is deployed, between the buckets of a local stack.
//!
//! Speed is not measured here: the emulator's storage is slower than the function.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use local_stack::{
    Error, Existing, LocalStack, Progress, Project, Result, StackFile, Targets, Tools, files,
    progress::{self, Stage},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    directory,
    process::{follow, script},
    runtime_api::{Event, Served},
    stage::{Input, PEAK_MEBIBYTES_MAX},
    table::{Table, grouped, verdict},
};

/// How long the function may take: as long as in Lambda.
const PATIENCE: Duration = Duration::from_secs(900);

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    rows: u64,
    input_bytes: u64,
    peak_mebibytes: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    peak_mebibytes_max: f64,
    runs: Vec<Memory>,
}

/// What the function answers; only what is read here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Staged {
    rows: u64,
    rejected_rows: u64,
}

/// Stages each input once, each in a process of its own.
pub(super) async fn run(
    project: &Project,
    tools: &Tools,
    binary: &Path,
    inputs: &[Input],
    progress: &Progress,
) -> Result<()> {
    let start = LocalStack::start(project, "bench", Existing::Replace, Targets::Binaries, progress);
    let stack = Box::pin(start).await?;
    let mut report = Report { peak_mebibytes_max: PEAK_MEBIBYTES_MAX, runs: Vec::new() };
    for input in inputs {
        let stage = progress.stage(&format!("the function on {} rows", grouped(input.rows)));
        let mut command = script(project, tools, "announce.py");
        command.arg(stack.path()).arg(&input.path).arg(input.rows.to_string());
        let invocation: Value = follow(&mut command, "announcing a run", &stage).await?;
        let log = directory(project).join("stage-run.log");
        let peak_mebibytes = peak(binary, stack.file(), &invocation, input, &log, &stage).await?;
        stage.done();
        report.runs.push(Memory { rows: input.rows, input_bytes: input.bytes, peak_mebibytes });
    }
    stack.stop().await?;
    let path = directory(project).join("stage-function.json");
    files::write_json(&path, &report)?;
    show(&report, &path);
    Ok(())
}

/// Invokes the function once and returns the largest resident set of its life so far.
async fn peak(
    binary: &Path,
    stack: &StackFile,
    invocation: &Value,
    input: &Input,
    log: &Path,
    stage: &Stage,
) -> Result<f64> {
    stage.detail("staging");
    let mut settings: BTreeMap<&str, &str> = BTreeMap::from([
        ("AWS_ENDPOINT_URL", stack.aws_endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", stack.access_key_id.as_str()),
        ("AWS_SECRET_ACCESS_KEY", stack.secret_access_key.as_str()),
    ]);
    for (setting, output) in [
        ("STATE_TABLE_NAME", "StateTableName"),
        ("TABLES_BUCKET", "TablesBucketName"),
        ("RUN_OUTPUT_BUCKET", "RunOutputBucketName"),
    ] {
        let value = stack.outputs.get(output);
        settings.insert(setting, value.ok_or_else(|| Error::Project(format!("the stack has no output `{output}`")))?);
    }
    let payload = invocation.to_string().into();
    let (mut served, _) = Served::start(binary, settings, Some(payload), log).await?;
    let failed = |status: String, output: &[u8]| Error::Failed {
        what: "staging in the function".to_owned(),
        status,
        output: format!("{}\nsee {}", String::from_utf8_lossy(output), log.display()),
    };
    loop {
        match served.next(PATIENCE, log).await? {
            Event::Asked(_) => {}
            Event::Failed(body) => return Err(failed("it reported an error".to_owned(), &body)),
            Event::Answered(body) => {
                let staged: Staged = serde_json::from_slice(&body).map_err(|error| failed(error.to_string(), &body))?;
                if (staged.rows, staged.rejected_rows) != (input.rows, 0) {
                    return Err(failed("it staged other rows".to_owned(), &body));
                }
                let status = served.pid().map(|pid| fs::read_to_string(format!("/proc/{pid}/status")));
                let peak = status.and_then(|status| peak_of(&status.ok()?));
                return peak.ok_or_else(|| failed("it ended before its memory was read".to_owned(), &[]));
            }
        }
    }
}

/// The peak in a process's `status`, in MiB.
fn peak_of(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

fn show(report: &Report, path: &Path) {
    let mut table = Table::new(&["rows", "input MB", "peak MiB"]);
    for run in &report.runs {
        table.row([
            grouped(run.rows),
            format!("{:.0}", run.input_bytes as f64 / 1e6),
            format!("{:.0}", run.peak_mebibytes),
        ]);
    }
    let peak = report.runs.iter().map(|run| run.peak_mebibytes).fold(0.0, f64::max);
    progress::result(&format!(
        "\nMemory of the function's process, from bucket to bucket on a local stack\n\n{table}\n{}\n\n{}",
        verdict(
            peak <= PEAK_MEBIBYTES_MAX,
            &format!("{peak:.0} MiB at most; aimed for: {PEAK_MEBIBYTES_MAX:.0} at most, whatever the rows")
        ),
        path.display(),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_read() {
        let status = "Name:\tstage-run\nVmPeak:\t  900000 kB\nVmHWM:\t  204800 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(peak_of(status), Some(200.0));
        assert_eq!(peak_of("Name:\tzombie\n"), None);
    }

    #[test]
    fn this_process_has_a_peak() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        assert!(peak_of(&status).is_some_and(|peak| peak > 0.0));
    }
}
