//! What can go wrong with the local stack, each with what to do about it.
//!
//! Errors are coarse: a new variant exists only where the reader would act differently.

use std::path::PathBuf;

/// A failure of the local stack or of one of the project's commands.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that the local stack needs is not installed, or too old.
    #[error("{program} is missing: {advice}")]
    Missing {
        /// The program, as the reader knows it.
        program: &'static str,
        /// What to install.
        advice: String,
    },
    /// A file or directory could not be read or written.
    #[error("could not {operation} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("could not start {program}: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A program ran and failed.
    #[error("{what} failed ({status})\n{output}")]
    Failed {
        /// What was being done.
        what: String,
        /// Exit code or signal.
        status: String,
        /// The end of its output, and where the rest is.
        output: String,
    },
    /// Something did not become ready in time.
    #[error("{what} was not ready after {seconds} s; see {}", log.display())]
    Slow {
        /// What was waited for.
        what: &'static str,
        /// How long.
        seconds: u64,
        /// Where to look.
        log: PathBuf,
    },
    /// A port on the loopback interface could not be had.
    #[error("could not listen on 127.0.0.1: {source}; free a port or raise the limit of open files")]
    Port {
        /// The cause.
        source: std::io::Error,
    },
    /// A request to a part of the local stack failed.
    #[error("{request} failed: {reason}")]
    Http {
        /// Method and address.
        request: String,
        /// Status and text, or the transport's error.
        reason: String,
    },
    /// Another command holds the same instance.
    #[error("another command is using the local stack `{instance}`; wait for it, or end it and try again")]
    Busy {
        /// The instance.
        instance: String,
    },
    /// The disk has too little room.
    #[error("only {free_mebibytes} MiB are free below {}: free at least {needed_mebibytes} MiB, for example with `cargo clean`", path.display())]
    DiskFull {
        /// Where room is needed.
        path: PathBuf,
        /// What is free.
        free_mebibytes: u64,
        /// What is needed.
        needed_mebibytes: u64,
    },
    /// The command was ended by Ctrl-C or a termination signal.
    #[error("interrupted; what this command had started is ended")]
    Interrupted,
    /// The project is not in the shape that the local stack expects.
    #[error("{0}")]
    Project(String),
    /// A part of the command line is not understood.
    #[error("{0}; `cargo xtask help` lists the commands")]
    Usage(String),
}

impl Error {
    /// Returns the adapter that gives an I/O error its operation and path.
    pub(crate) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }
}

/// The result of anything in this crate.
pub type Result<T> = std::result::Result<T, Error>;
