//! `cargo xtask lint`: whether AWS would take the template, asked without AWS.

use std::{ffi::OsStr, fs, path::PathBuf, process::ExitCode};

use local_stack::{
    Error, Progress, Project, REGION, Requirements, Result, Tools, files,
    process::{output, tail_of},
    progress,
};
use serde::de::IgnoredAny;
use tokio::process::Command;

/// The last lines that are shown of one tool.
const LINES_MAX: usize = 200;

/// What one check said; nothing when it had nothing to say.
struct Finding {
    check: &'static str,
    text: String,
}

/// Validates the template with SAM and cfn-lint, and reads the state machines.
///
/// # Errors
///
/// Returns [`Error`] if a tool could not be run; findings are in the exit code.
pub(crate) async fn run() -> Result<ExitCode> {
    let project = Project::find()?;
    let progress = Progress::new();
    let tools = Tools::install(&project, Requirements::Stack, &progress).await?;
    let stage = progress.stage("checking the template and the state machines");
    stage.detail("sam validate --lint, cfn-lint");
    let machines = state_machines(&project)?;
    let template = project.template();
    let mut sam = Command::new(tools.program("sam"));
    sam.args(["validate", "--lint", "--region", REGION, "--template"]).arg(&template);
    let mut cfn_lint = Command::new(tools.program("cfn-lint"));
    cfn_lint.arg(&template);
    let (validated, linted) =
        tokio::try_join!(check(&project, "sam validate --lint", &mut sam), check(&project, "cfn-lint", &mut cfn_lint))?;
    let findings: Vec<Finding> = machines.findings.into_iter().chain(validated).chain(linted).collect();
    if findings.is_empty() {
        stage.done_with(&format!("no findings; {} state machines", machines.count));
        return Ok(ExitCode::SUCCESS);
    }
    drop(stage);
    for finding in findings {
        progress::result(&format!("\n{}\n{}", finding.check, finding.text));
    }
    Ok(ExitCode::FAILURE)
}

struct StateMachines {
    count: usize,
    findings: Vec<Finding>,
}

/// Reads every state machine as JSON.
fn state_machines(project: &Project) -> Result<StateMachines> {
    let directory = project.root().join("infra/state-machines");
    let failed = |operation, path: &PathBuf| {
        let path = path.clone();
        move |source| Error::File { operation, path, source }
    };
    let entries = fs::read_dir(&directory).map_err(failed("list", &directory))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension() == Some(OsStr::new("json")));
    paths.sort();
    let mut findings = Vec::new();
    for path in &paths {
        let text = fs::read_to_string(path).map_err(failed("read", path))?;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&with_numbers(&text)) {
            let shown = path.strip_prefix(project.root()).unwrap_or(path).display();
            findings.push(Finding { check: "state machines", text: format!("{shown}: {error}") });
        }
    }
    Ok(StateMachines { count: paths.len(), findings })
}

/// A definition whose placeholders of numbers, which stand without quotes, are numbers.
fn with_numbers(definition: &str) -> String {
    let mut parts = definition.split(": ${");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once('}') {
        Some((_, rest)) => format!("{text}: 1{rest}"),
        None => format!("{text}: ${{{part}"),
    })
}

/// Runs a tool without what this machine knows of AWS: no profile, no credentials.
async fn check(project: &Project, check: &'static str, command: &mut Command) -> Result<Option<Finding>> {
    let home = project.target().join("lint/home");
    files::create_directory(&home)?;
    command
        .current_dir(project.root())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LANG", "C.UTF-8")
        .env("HOME", home)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("SAM_CLI_TELEMETRY", "0")
        .env("COLUMNS", "160");
    let said = output(command).await?;
    if said.status.success() {
        return Ok(None);
    }
    let text = [said.stdout, said.stderr].concat();
    Ok(Some(Finding { check, text: tail_of(&text, LINES_MAX) }))
}
