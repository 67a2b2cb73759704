//! `bench stage`: generated rows become typed Parquet, by this project and by its peers, in turns.
//!
//! Each run is a whole process. In the first round the written tables are compared by a digest of each column: the
//! candidates do the same work or there is no figure.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use local_stack::{
    Error, Progress, Project, Requirements, Result, Tools, files, functions,
    progress::{self, Stage},
};
use serde::{Deserialize, Serialize};

use super::{
    directory,
    options::Options,
    process::{Measured, ask, follow, measure, script, warm},
    stage_function,
    table::{Table, grouped, median, verdict},
};

pub(super) const PEAK_MEBIBYTES_MAX: f64 = 256.0;
const PEERS: [&str; 3] = ["duckdb", "polars", "pyarrow"];
const OURS: &str = "spillway";
/// Room for each generated row and for what candidates write of it, in bytes.
const ROW_BYTES: u64 = 1000;

/// Generated rows.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) path: PathBuf,
}

/// What one candidate wrote.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Digest {
    rows: u64,
    bytes: u64,
    columns: BTreeMap<String, Option<String>>,
}

/// What a candidate says of its run: the time of the work without that of its process's start.
#[derive(Debug, Deserialize)]
struct Said {
    seconds: f64,
}

/// The runs of one candidate, in the order of the rounds.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    name: String,
    version: String,
    wall_seconds: Vec<f64>,
    cpu_seconds: Vec<f64>,
    peak_mebibytes: Vec<f64>,
    work_seconds: Vec<f64>,
    bytes_written: u64,
    median_wall_seconds: f64,
    median_cpu_seconds: f64,
    median_peak_mebibytes: f64,
    megabytes_per_second: f64,
    /// The median over the rounds of our wall time divided by this one's.
    our_ratio: f64,
    /// The same of the work, without the start of either process.
    our_work_ratio: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Comparison {
    rows: u64,
    input_bytes: u64,
    rounds: u64,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    cores: usize,
    peak_mebibytes_max: f64,
    comparisons: Vec<Comparison>,
}

/// What a bench of staging needs.
#[derive(Debug)]
struct Bench {
    project: Project,
    tools: Tools,
    program: PathBuf,
    versions: BTreeMap<String, String>,
}

/// Compares, and measures the function's memory.
pub(super) async fn run(options: &Options) -> Result<()> {
    let rows = options.numbers("rows", &[1_000_000, 4_000_000], 1_000..=20_000_000)?;
    let rounds = options.number("rounds", 5, 1..=100)?;
    let only = options.word("only", &["files", "function"])?;
    let project = Project::find()?;
    let progress = Progress::new();
    let tools = Tools::install(&project, Requirements::Bench, &progress).await?;
    let mut inputs = Vec::new();
    for rows in rows {
        inputs.push(generate(&project, &tools, rows, &progress).await?);
    }
    if only != Some("function") {
        let program = build(&project, &["--package", "rows", "--example"], "stage_file", &progress).await?;
        let versions = ask(script(&project, &tools, "peers.py").arg("versions"), "looking at the peers").await?;
        let bench = Bench { project: project.clone(), tools: tools.clone(), program, versions };
        bench.compare_all(&inputs, rounds, &progress).await?;
    }
    if only != Some("files") {
        let function = build(&project, &["--package", "stage-run", "--bin"], "stage-run", &progress).await?;
        stage_function::run(&project, &tools, &function, &inputs, &progress).await?;
    }
    Ok(())
}

/// Writes the rows of an input, unless they are there.
async fn generate(project: &Project, tools: &Tools, rows: u64, progress: &Progress) -> Result<Input> {
    let folder = directory(project);
    let path = folder.join(format!("rows-{rows}.jsonl"));
    let stamp_path = folder.join(format!("rows-{rows}.stamp"));
    let generator = project.local("bench/generate.py");
    let text = fs::read(&generator).map_err(|source| Error::File { operation: "read", path: generator, source })?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let stamp = format!("{:016x}\n", hasher.finish());
    if !path.is_file() || fs::read_to_string(&stamp_path).ok().as_deref() != Some(&stamp) {
        let stage = progress.stage(&format!("generating {} rows", grouped(rows)));
        files::require_free(&folder, rows * ROW_BYTES / (1 << 20) + 1024)?;
        files::remove(&stamp_path)?;
        let mut command = script(project, tools, "generate.py");
        let _: serde_json::Value = follow(command.arg(rows.to_string()).arg(&path), "generating rows", &stage).await?;
        files::write(&stamp_path, &stamp)?;
        stage.done();
    }
    let metadata =
        fs::metadata(&path).map_err(|source| Error::File { operation: "find", path: path.clone(), source })?;
    Ok(Input { rows, bytes: metadata.len(), path })
}

/// Builds one program as it is deployed.
async fn build(project: &Project, choice: &[&str], name: &str, progress: &Progress) -> Result<PathBuf> {
    functions::check_machine(project)?;
    let stage = progress.stage(&format!("building {name} for release"));
    let arguments: Vec<&str> = ["--release"].iter().chain(choice).chain([&name]).copied().collect();
    let mut built = functions::compile(project, &arguments, progress.is_live(), &stage).await?;
    stage.done();
    built.remove(name).ok_or_else(|| Error::Project(format!("nothing builds `{name}`")))
}

impl Bench {
    async fn compare_all(&self, inputs: &[Input], rounds: u64, progress: &Progress) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut report = Report { cores, peak_mebibytes_max: PEAK_MEBIBYTES_MAX, comparisons: Vec::new() };
        let path = directory(&self.project).join("stage.json");
        for input in inputs {
            let stage = progress.stage(&format!("staging {} rows", grouped(input.rows)));
            let comparison = self.compare(input, rounds, &stage).await?;
            stage.done();
            show(&comparison, cores);
            report.comparisons.push(comparison);
            files::write_json(&path, &report)?;
        }
        progress::result(&format!("\n{}", path.display()));
        Ok(())
    }

    async fn compare(&self, input: &Input, rounds: u64, stage: &Stage) -> Result<Comparison> {
        let mut candidates: Vec<Candidate> = [OURS].into_iter().chain(PEERS).map(|name| self.candidate(name)).collect();
        let mut first: Option<Digest> = None;
        for round in 1..=rounds {
            for candidate in &mut candidates {
                stage.detail(&format!("round {round} of {rounds}: {}", candidate.name));
                let digest = self.run_once(input, candidate, round == 1).await?;
                if let Some(digest) = digest {
                    candidate.bytes_written = digest.bytes;
                    check(input, &candidate.name, &digest, first.get_or_insert_with(|| digest.clone()))?;
                }
            }
        }
        let times = |of: fn(&Candidate) -> &Vec<f64>| candidates.first().map(of).cloned().unwrap_or_default();
        let (wall, work) = (times(|ours| &ours.wall_seconds), times(|ours| &ours.work_seconds));
        for candidate in &mut candidates {
            candidate.conclude(input, &wall, &work);
        }
        Ok(Comparison { rows: input.rows, input_bytes: input.bytes, rounds, candidates })
    }

    fn candidate(&self, name: &str) -> Candidate {
        let version = self.versions.get(name).cloned().unwrap_or_default();
        Candidate { name: name.to_owned(), version, ..Candidate::default() }
    }

    /// Runs a candidate on its own output folder, which does not outlive the run.
    async fn run_once(&self, input: &Input, candidate: &mut Candidate, digest: bool) -> Result<Option<Digest>> {
        let folder = directory(&self.project).join("out");
        files::remove(&folder)?;
        files::create_directory(&folder)?;
        warm(&input.path).await?;
        let command = self.command(&candidate.name, &input.path, &folder);
        let Measured { wall_seconds, cpu_seconds, peak_mebibytes, said } =
            measure::<Said>(&self.project, &self.tools, &command).await?;
        candidate.wall_seconds.push(wall_seconds);
        candidate.cpu_seconds.push(cpu_seconds);
        candidate.peak_mebibytes.push(peak_mebibytes);
        candidate.work_seconds.push(said.seconds);
        let mut look = script(&self.project, &self.tools, "peers.py");
        look.arg("digest").arg(&folder);
        let digest = if digest { Some(ask(&mut look, "reading a table back").await?) } else { None };
        files::remove(&folder)?;
        Ok(digest)
    }

    fn command(&self, name: &str, input: &Path, folder: &Path) -> Vec<OsString> {
        if name == OURS {
            return vec![self.program.clone().into(), input.into(), folder.into()];
        }
        let peers = self.project.local("bench/peers.py");
        vec![self.tools.python().into(), peers.into(), name.into(), input.into(), folder.into()]
    }
}

impl Candidate {
    /// Works the medians out; `wall` and `work` are our own times, round by round.
    fn conclude(&mut self, input: &Input, wall: &[f64], work: &[f64]) {
        let ratio = |ours: &[f64], theirs: &[f64]| median(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs));
        self.median_wall_seconds = median(self.wall_seconds.iter().copied());
        self.median_cpu_seconds = median(self.cpu_seconds.iter().copied());
        self.median_peak_mebibytes = median(self.peak_mebibytes.iter().copied());
        self.megabytes_per_second = input.bytes as f64 / 1e6 / self.median_wall_seconds;
        self.our_ratio = ratio(wall, &self.wall_seconds);
        self.our_work_ratio = ratio(work, &self.work_seconds);
    }
}

/// Says so if a candidate did not write the rows that the first one wrote.
fn check(input: &Input, name: &str, digest: &Digest, first: &Digest) -> Result<()> {
    let refuse = |what: String| Err(Error::Project(format!("{name} wrote something else than {OURS}: {what}")));
    if digest.rows != input.rows {
        return refuse(format!("{} rows of {}", digest.rows, input.rows));
    }
    let other = digest.columns.iter().find(|(column, sum)| first.columns.get(*column) != Some(*sum));
    other.map_or(Ok(()), |(column, _)| refuse(format!("the values of `{column}`")))
}

fn show(comparison: &Comparison, cores: usize) {
    let mut table =
        Table::new(&["", "wall s", "CPU s", "peak MiB", "MB/s", "written MB", "ours / it", "work s", "ours / it"]);
    for candidate in &comparison.candidates {
        table.row([
            format!("{} {}", candidate.name, candidate.version),
            format!("{:.2}", candidate.median_wall_seconds),
            format!("{:.2}", candidate.median_cpu_seconds),
            format!("{:.0}", candidate.median_peak_mebibytes),
            format!("{:.0}", candidate.megabytes_per_second),
            format!("{:.0}", candidate.bytes_written as f64 / 1e6),
            format!("{:.2}", candidate.our_ratio),
            format!("{:.2}", median(candidate.work_seconds.iter().copied())),
            format!("{:.2}", candidate.our_work_ratio),
        ]);
    }
    let find = |name: &str| comparison.candidates.iter().find(|candidate| candidate.name == name);
    let (ratio, work) = find("duckdb").map_or((f64::NAN, f64::NAN), |duckdb| (duckdb.our_ratio, duckdb.our_work_ratio));
    let peak = find(OURS).map_or(f64::NAN, |ours| ours.median_peak_mebibytes);
    progress::result(&format!(
        "\n{} rows, {:.0} MB, {cores} cores; medians of {} rounds in turns, whole processes, same columns written\n\
         `work s` is without the start of the process and the loading of libraries. The peers' work ends with the commit \
         of a Delta table; ours without: it stages, and a load commits one small object.\n\n{table}\n{}\n{}",
        grouped(comparison.rows),
        comparison.input_bytes as f64 / 1e6,
        comparison.rounds,
        verdict(
            ratio <= 1.0 && work <= 1.0,
            &format!("{ratio:.2} of DuckDB's time, {work:.2} of its work's; aimed for: not slower")
        ),
        verdict(
            peak <= PEAK_MEBIBYTES_MAX,
            &format!("{peak:.0} MiB at most; aimed for: {PEAK_MEBIBYTES_MAX:.0} at most")
        ),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(rows: u64, title: &str) -> Digest {
        Digest { rows, bytes: 1, columns: BTreeMap::from([("title".to_owned(), Some(title.to_owned()))]) }
    }

    #[test]
    fn a_candidate_that_writes_other_rows_is_refused() {
        let input = Input { rows: 2, bytes: 1, path: PathBuf::new() };
        let first = digest(2, "7");
        assert!(check(&input, "polars", &digest(2, "7"), &first).is_ok());
        assert!(check(&input, "polars", &digest(1, "7"), &first).is_err());
        assert!(check(&input, "polars", &digest(2, "8"), &first).is_err());
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        let input = Input { rows: 2, bytes: 4_000_000, path: PathBuf::new() };
        let times = || vec![2.0, 4.0, 2.0];
        let mut candidate = Candidate { wall_seconds: times(), work_seconds: times(), ..Candidate::default() };
        candidate.conclude(&input, &[1.0, 4.0, 1.0], &[2.0, 4.0, 4.0]);
        assert!((candidate.our_ratio - 0.5).abs() < f64::EPSILON);
        assert!((candidate.our_work_ratio - 1.0).abs() < f64::EPSILON);
        assert!((candidate.megabytes_per_second - 2.0).abs() < f64::EPSILON);
    }
}
