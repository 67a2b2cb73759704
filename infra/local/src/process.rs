//! Processes that the local stack starts, watches and ends.
//!
//! Every process is started in a group of its own and with the stack's mark in its environment.
//! A process is ended only if its start time or its mark shows that this stack started it: process
//! ids are reused, and the neighbours' processes are none of our business.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

use crate::error::{Error, Result};

/// The variable that marks every process of a stack; its value names instance and start.
pub const MARK: &str = "SPILLWAY_LOCAL_STACK";

/// A process, and when it started: together they name one process for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// The start, in clock ticks since boot.
    pub started_at: u64,
}

impl ProcessId {
    /// Names a running process.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let started_at = started_at(&PathBuf::from(format!("/proc/{pid}")))?;
        Some(Self { pid, started_at })
    }

    /// Says whether the process still runs; a zombie does not.
    #[must_use]
    pub fn is_alive(self) -> bool {
        let directory = PathBuf::from(format!("/proc/{}", self.pid));
        stat(&directory).is_some_and(|stat| stat.started_at == self.started_at && !matches!(stat.state, 'Z' | 'X'))
    }

    /// Ends this one process at once, if it is still the same.
    ///
    /// Returns whether it was ended.
    pub fn kill(self) -> bool {
        self.is_alive() && signal_one(self.pid, Signal::KILL)
    }
}

struct Stat {
    state: char,
    started_at: u64,
}

/// Reads `stat` below a process's directory. The name in it may hold spaces and brackets.
fn stat(directory: &Path) -> Option<Stat> {
    let text = fs::read_to_string(directory.join("stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started_at = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, started_at })
}

/// The start of the process whose `/proc` directory this is.
pub(crate) fn started_at(directory: &Path) -> Option<u64> {
    stat(directory).map(|stat| stat.started_at)
}

fn signal_one(pid: u32, signal: Signal) -> bool {
    i32::try_from(pid).ok().and_then(Pid::from_raw).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn signal_group(group: u32, signal: Signal) -> bool {
    i32::try_from(group).ok().and_then(Pid::from_raw).is_some_and(|group| kill_process_group(group, signal).is_ok())
}

/// Every living process that carries a stack's mark.
#[must_use]
pub fn marked(value: &str) -> Vec<ProcessId> {
    let wanted = format!("{MARK}={value}");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|pair| pair == wanted.as_bytes())
        })
        .filter_map(ProcessId::of)
        .filter(|process| process.is_alive())
        .collect()
}

/// Ends every process that carries a stack's mark: asks first, then insists.
pub async fn end_marked(value: &str) {
    for process in marked(value) {
        signal_one(process.pid, Signal::TERM);
    }
    for round in 0..100_u32 {
        let left = marked(value);
        if left.is_empty() {
            return;
        }
        if round >= 20 {
            for process in left {
                process.kill();
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Ends every process that carries a stack's mark, at once and without waiting: for destructors.
pub fn kill_marked(value: &str) {
    // A process may start another while we look, so look until none is left.
    for _ in 0..20 {
        let left = marked(value);
        if left.is_empty() {
            return;
        }
        for process in left {
            process.kill();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program in a process group of its own, which ends with this value.
#[derive(Debug)]
pub struct Group {
    child: Child,
    group: Option<u32>,
}

impl Group {
    /// Starts a program in a new group, without standard input.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Spawn`] if the program cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        command.process_group(0).stdin(Stdio::null()).kill_on_drop(true);
        let child = command.spawn().map_err(|source| Error::Spawn {
            program: command.as_std().get_program().to_string_lossy().into_owned(),
            source,
        })?;
        let group = child.id();
        Ok(Self { child, group })
    }

    /// The started process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits for the program.
    ///
    /// # Errors
    ///
    /// Returns the operating system's error.
    pub async fn wait(&mut self) -> io::Result<std::process::ExitStatus> {
        let status = self.child.wait().await?;
        // From here on the group's number may be given to somebody else.
        self.group = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // While the leader is not waited for, its id cannot be reused, so neither can the group's.
        if let Some(group) = self.group {
            signal_group(group, Signal::KILL);
        }
    }
}

/// Runs a program to its end and returns what it wrote. If this is dropped before, the program ends.
///
/// # Errors
///
/// Returns [`Error::Spawn`] if the program cannot be started. That it failed is in the status.
pub async fn output(command: &mut Command) -> Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command)?;
    let (out, err) = (group.child().stdout.take(), group.child().stderr.take());
    let (stdout, stderr, status) = tokio::join!(read_all(out), read_all(err), group.wait());
    let program = || command.as_std().get_program().to_string_lossy().into_owned();
    let status = status.map_err(|source| Error::Spawn { program: program(), source })?;
    Ok(Output { status, stdout, stderr })
}

async fn read_all(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut read = Vec::new();
    if let Some(mut pipe) = pipe {
        // A pipe that breaks has said what it had to say.
        let _ = pipe.read_to_end(&mut read).await;
    }
    read
}

/// Starts a program that outlives this one, in a group of its own.
///
/// # Errors
///
/// Returns [`Error::Spawn`] if the program cannot be started, or ends before it can be named.
pub fn spawn_detached(command: &mut Command) -> Result<(Child, ProcessId)> {
    command.process_group(0).stdin(Stdio::null()).kill_on_drop(false);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let failed = |source| Error::Spawn { program: program.clone(), source };
    let child = command.spawn().map_err(failed)?;
    let process = child.id().and_then(ProcessId::of);
    let process = process.ok_or_else(|| failed(io::Error::other("it ended at once")))?;
    Ok((child, process))
}

/// The last lines of a file, for an error message.
#[must_use]
pub fn tail(path: &Path, lines_max: usize) -> String {
    tail_of(&fs::read(path).unwrap_or_default(), lines_max)
}

/// The last lines of a program's output.
#[must_use]
pub fn tail_of(text: &[u8], lines_max: usize) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(lines_max);
    lines.get(from..).unwrap_or_default().join("\n")
}
