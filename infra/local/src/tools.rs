//! The Python tools of the local stack, in a virtual environment below `target/local`.
//!
//! The stamp names the requirements that are installed and is written last, so an interrupted
//! installation is redone.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    error::{Error, Result},
    files::{self, Project},
    process::Group,
    progress::{Progress, Stage},
};

/// The oldest Python that the pinned requirements run on.
const PYTHON_MINOR_MIN: u32 = 10;

/// Which requirements are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirements {
    /// What the local stack and the tests need.
    Stack,
    /// The peers that benches compare with, on top.
    Bench,
}

/// The installed tools.
#[derive(Debug, Clone)]
pub struct Tools {
    venv: PathBuf,
}

impl Tools {
    /// Installs what is missing and returns the tools.
    ///
    /// # Errors
    ///
    /// Returns [`Error`] if there is no suitable Python or the installation fails.
    pub async fn install(project: &Project, wanted: Requirements, progress: &Progress) -> Result<Self> {
        let tools = Self { venv: project.target().join("venv") };
        let _turn = files::lock_wait(&project.target().join("venv.lock")).await?;
        tools.install_from(&project.local("requirements.txt"), "stamp", true, progress).await?;
        if wanted == Requirements::Bench {
            let file = project.local("requirements-bench.txt");
            tools.install_from(&file, "stamp-bench", false, progress).await?;
        }
        Ok(tools)
    }

    /// The environment's Python.
    #[must_use]
    pub fn python(&self) -> PathBuf {
        self.program("python")
    }

    /// A program of the environment.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.venv.join("bin").join(name)
    }

    async fn install_from(&self, requirements: &Path, stamp: &str, anew: bool, progress: &Progress) -> Result<()> {
        let text = fs::read_to_string(requirements).map_err(Error::file("read", requirements))?;
        let stamp = self.venv.join(stamp);
        let key = self.key(&text);
        // The environment's Python is a link to the machine's, which may have gone meanwhile.
        if self.python().is_file() && fs::read_to_string(&stamp).is_ok_and(|found| found == key) {
            return Ok(());
        }
        let stage = progress.stage("installing the Python tools (once)");
        if anew {
            stage.detail("looking for Python");
            let python = find_python().await?;
            files::remove(&self.venv)?;
            files::create_directory(&self.venv)?;
            let mut make = Command::new(python);
            make.args(["-m", "venv"]).arg(&self.venv);
            run(&mut make, "creating the virtual environment", &stage).await?;
        }
        let mut install = Command::new(self.python());
        install
            .args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"])
            .args(["--progress-bar", "off", "--requirement"])
            .arg(requirements);
        run(&mut install, "installing the Python tools", &stage).await?;
        files::write(&stamp, &key)?;
        stage.done();
        Ok(())
    }

    /// The environment holds absolute paths, so its place is part of what is stamped.
    fn key(&self, requirements: &str) -> String {
        let mut hasher = DefaultHasher::new();
        requirements.hash(&mut hasher);
        self.venv.hash(&mut hasher);
        format!("{:016x}\n", hasher.finish())
    }
}

/// Finds a Python that is new enough and can make virtual environments.
async fn find_python() -> Result<PathBuf> {
    let mut too_old = None;
    let mut without_venv = None;
    for name in ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10", "python"] {
        let check = "import sys; print(*sys.version_info[:2]); import venv, ensurepip";
        let mut command = Command::new(name);
        command.args(["-c", check]).stdin(Stdio::null()).kill_on_drop(true);
        let Ok(output) = command.output().await else { continue };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match version(&text) {
            Some((3, minor)) if minor >= PYTHON_MINOR_MIN && output.status.success() => {
                return Ok(PathBuf::from(name));
            }
            Some((3, minor)) if minor >= PYTHON_MINOR_MIN => without_venv = Some(name),
            Some((major, minor)) => too_old = Some(format!("{name} is {major}.{minor}")),
            None => {}
        }
    }
    let advice = match (without_venv, too_old) {
        (Some(name), _) => {
            format!("{name} has no `venv` module; install it (Debian, Ubuntu: `python3-venv`)")
        }
        (None, Some(found)) => {
            format!("{found}; install Python 3.{PYTHON_MINOR_MIN} or newer with its `venv` module")
        }
        (None, None) => {
            format!("install Python 3.{PYTHON_MINOR_MIN} or newer with its `venv` module")
        }
    };
    Err(Error::Missing { program: "Python", advice })
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Runs a program, shows its last line as the stage's detail and keeps the end for the error.
async fn run(command: &mut Command, what: &str, stage: &Stage) -> Result<()> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command)?;
    let out = group.child().stdout.take();
    let err = group.child().stderr.take();
    let read_out = async {
        let mut kept = Vec::new();
        if let Some(out) = out {
            let mut lines = BufReader::new(out).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                stage.detail(shorten(&line));
                kept.push(line);
            }
        }
        kept
    };
    let read_err = async {
        let mut kept = Vec::new();
        if let Some(err) = err {
            let mut lines = BufReader::new(err).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                kept.push(line);
            }
        }
        kept
    };
    let (out, err, status) = tokio::join!(read_out, read_err, group.wait());
    let status = status.map_err(|source| Error::Spawn { program: what.to_owned(), source })?;
    if status.success() {
        return Ok(());
    }
    let kept = if err.is_empty() { out } else { err };
    let from = kept.len().saturating_sub(15);
    Err(Error::Failed {
        what: what.to_owned(),
        status: status.to_string(),
        output: kept.get(from..).unwrap_or_default().join("\n"),
    })
}

/// The part of pip's line that says which package it is at.
fn shorten(line: &str) -> &str {
    let line = line.trim();
    line.split(" (from ").next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read() {
        assert_eq!(version("3 11\n"), Some((3, 11)));
        assert_eq!(version(""), None);
    }

    #[test]
    fn another_place_or_other_requirements_are_another_stamp() {
        let here = Tools { venv: PathBuf::from("/a") };
        let there = Tools { venv: PathBuf::from("/b") };
        assert_eq!(here.key("x==1"), here.key("x==1"));
        assert_ne!(here.key("x==1"), here.key("x==2"));
        assert_ne!(here.key("x==1"), there.key("x==1"));
    }

    #[tokio::test]
    async fn this_machine_has_a_python() {
        assert!(find_python().await.is_ok());
    }
}
