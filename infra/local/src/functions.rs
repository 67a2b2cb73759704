//! Builds the functions as the tests do, and lays their binaries out for the deployment.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    error::{Error, Result},
    files::{self, Project},
    process::Group,
    progress::{Progress, Stage, without_colours},
};

/// What else is compiled in the same go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// The functions only.
    Binaries,
    /// The tests too, so that `cargo test` finds everything compiled with the same features.
    BinariesAndTests,
}

/// The built functions.
#[derive(Debug, Clone)]
pub struct Functions {
    /// One folder per function, each holding `bootstrap`.
    pub directory: PathBuf,
    /// The fake Databricks workspace.
    pub databricks: PathBuf,
    /// Changes when a binary does.
    pub fingerprint: u64,
}

/// The program of the fake Databricks workspace.
const WORKSPACE: &str = "fake-databricks";

/// Room for a first build and the stack's data.
const FREE_MEBIBYTES_MIN: u64 = 2048;

/// Builds every function below `functions/` and lays the binaries out below `target/local/bin`.
///
/// # Errors
///
/// Returns [`Error`] if a tool or room is missing, or the code does not compile.
pub async fn build(project: &Project, targets: Targets, progress: &Progress) -> Result<Functions> {
    check_machine(project)?;
    let stage = progress.stage("building the functions");
    // The whole workspace at once: a choice of packages would change features and compile twice.
    let mut arguments = vec!["--workspace", "--bins"];
    if targets == Targets::BinariesAndTests {
        arguments.push("--tests");
    }
    let executables = compile(project, &arguments, progress.is_live(), &stage).await?;
    stage.detail("laying out");
    let directory = project.target().join("bin");
    let _turn = files::lock_wait(&project.target().join("bin.lock")).await?;
    let mut hasher = DefaultHasher::new();
    let names = names(project)?;
    for name in &names {
        let source = executables.get(name).ok_or_else(|| {
            Error::Project(format!("functions/{name} builds no binary `{name}`; name the package as its folder"))
        })?;
        lay_out(source, &directory.join(name)).await?.hash(&mut hasher);
        name.hash(&mut hasher);
    }
    let fake =
        executables.get(WORKSPACE).ok_or_else(|| Error::Project(format!("there is no program `{WORKSPACE}`")))?;
    lay_out(fake, &directory.join(WORKSPACE)).await?;
    stage.done_with(&format!("{} functions", names.len()));
    let databricks = directory.join(WORKSPACE).join("bootstrap");
    Ok(Functions { directory, databricks, fingerprint: hasher.finish() })
}

/// The functions: the folders below `functions/` that are packages.
///
/// # Errors
///
/// Returns [`Error::File`] if they cannot be listed.
pub fn names(project: &Project) -> Result<Vec<String>> {
    let directory = project.root().join("functions");
    let entries = fs::read_dir(&directory).map_err(Error::file("list", &directory))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// Says what this machine lacks for a build.
///
/// # Errors
///
/// Returns [`Error::Missing`] or [`Error::DiskFull`].
pub fn check_machine(project: &Project) -> Result<()> {
    if !cfg!(target_os = "linux") {
        let advice = "the local stack runs on Linux (a virtual machine will do)".to_owned();
        return Err(Error::Missing { program: "Linux", advice });
    }
    if !["cc", "gcc", "clang"].into_iter().any(on_path) {
        let advice = "install gcc or clang (Debian, Ubuntu: `build-essential`)".to_owned();
        return Err(Error::Missing { program: "a C compiler", advice });
    }
    files::require_free(&project.target(), FREE_MEBIBYTES_MIN)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// A `cargo` command that behaves as if it were typed: without what `cargo run` left around.
#[must_use]
pub fn cargo(project: &Project) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" || name.starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    command.current_dir(project.root());
    command
}

/// What cargo says of each thing it made; only what is read here.
#[derive(Deserialize)]
struct Artifact {
    reason: String,
    target: Option<ArtifactTarget>,
    profile: Option<ArtifactProfile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct ArtifactTarget {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct ArtifactProfile {
    test: bool,
}

/// The executable of a message of cargo's, if it is about a binary or an example and no test.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    let artifact: Artifact = serde_json::from_str(line).ok()?;
    let target = artifact.target?;
    let binary = artifact.reason == "compiler-artifact"
        && target.kind.iter().any(|kind| kind == "bin" || kind == "example")
        && artifact.profile.is_some_and(|profile| !profile.test);
    binary.then_some(())?;
    Some((target.name, artifact.executable?))
}

/// Runs `cargo build` with these arguments and returns the binaries and examples that it made, by name.
///
/// # Errors
///
/// Returns [`Error`] if there is no cargo or the code does not compile.
pub async fn compile(
    project: &Project,
    arguments: &[&str],
    colours: bool,
    stage: &Stage,
) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = cargo(project);
    command.args(["build", "--locked"]).args(arguments);
    command
        .args(["--message-format", "json-render-diagnostics"])
        .env("CARGO_TERM_COLOR", if colours { "always" } else { "never" })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = Group::spawn(&mut command)
        .map_err(|_| Error::Missing { program: "cargo", advice: "install Rust with rustup".to_owned() })?;
    let (out, err) = (group.child().stdout.take(), group.child().stderr.take());
    let read_out = async {
        let mut found = BTreeMap::new();
        if let Some(out) = out {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                found.extend(executable(&line));
            }
        }
        found
    };
    let read_err = async {
        let mut kept = String::new();
        if let Some(err) = err {
            let mut lines = BufReader::new(err).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match activity(&without_colours(&line)) {
                    Some(activity) => stage.detail(&activity),
                    None => kept = kept + &line + "\n",
                }
            }
        }
        kept
    };
    let (found, kept, status) = tokio::join!(read_out, read_err, group.wait());
    let status = status.map_err(|source| Error::Spawn { program: "cargo".to_owned(), source })?;
    if status.success() {
        return Ok(found);
    }
    Err(Error::Failed { what: "building".to_owned(), status: status.to_string(), output: kept })
}

/// What cargo is at, if the line is one of its status lines and not a diagnostic.
fn activity(line: &str) -> Option<String> {
    let (verb, rest) = line.trim_start().split_once(' ')?;
    let verbs = [
        "Compiling",
        "Downloading",
        "Downloaded",
        "Updating",
        "Blocking",
        "Finished",
        "Locking",
        "Fresh",
        "Dirty",
        "Adding",
    ];
    let status = line.starts_with(' ') && verbs.contains(&verb);
    let rest = rest.trim_start().split(" (").next().unwrap_or_default();
    status.then(|| format!("{} {rest}", verb.to_lowercase()))
}

/// Puts a binary in its place, without what only a debugger needs: the upload is then a third.
///
/// Returns what tells this binary from another.
async fn lay_out(source: &Path, folder: &Path) -> Result<String> {
    let metadata = fs::metadata(source).map_err(Error::file("find", source))?;
    let stamp = stamp(&metadata);
    let stamp_file = folder.with_extension("stamp");
    let bootstrap = folder.join("bootstrap");
    if bootstrap.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(stamp);
    }
    files::remove(&stamp_file)?;
    files::create_directory(folder)?;
    let new = folder.with_extension("new");
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg("-o").arg(&new).arg(source);
    strip.stdout(Stdio::null()).stderr(Stdio::null());
    let stripped = match Group::spawn(&mut strip) {
        Ok(mut group) => group.wait().await.is_ok_and(|status| status.success()),
        Err(_) => false,
    };
    if !stripped {
        fs::copy(source, &new).map_err(Error::file("copy", source))?;
    }
    // Renamed, not overwritten: a running function may still be executing the old file.
    fs::rename(&new, &bootstrap).map_err(Error::file("write", &bootstrap))?;
    files::write(&stamp_file, &stamp)?;
    Ok(stamp)
}

fn stamp(metadata: &Metadata) -> String {
    format!("{} {}.{}", metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_status_lines_are_told_from_its_diagnostics() {
        let rows = [
            ("   Compiling serde v1.0.0 (/x)", Some("compiling serde v1.0.0")),
            ("    Finished `dev` profile in 1s", Some("finished `dev` profile in 1s")),
            ("error: could not compile", None),
            ("  --> src/lib.rs:1:1", None),
            ("Compiling is what cargo does", None),
        ];
        for (line, expected) in rows {
            assert_eq!(activity(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_binary_is_found_in_cargos_messages_and_a_test_is_not() {
        let message = |kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"stage-run","kind":["{kind}"]}},
                    "profile":{{"test":{test}}},"executable":"/t/stage-run"}}"#
            )
        };
        let found = Some(("stage-run".to_owned(), PathBuf::from("/t/stage-run")));
        assert_eq!(executable(&message("bin", false)), found);
        assert_eq!(executable(&message("bin", true)), None);
        assert_eq!(executable(&message("lib", false)), None);
        assert_eq!(executable("{}"), None);
    }
}
