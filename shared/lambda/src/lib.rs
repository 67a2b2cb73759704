//! The shell of every function: cold start, settings, one log line per failure, and how an error reaches the state
//! machine or the queue.
//!
//! Knows the Lambda runtime and the process environment; nobody else does. Knows no step and no adapter: a function
//! implements [`Task`], [`BatchTask`] or [`GroupTask`], and its `main` calls [`serve`], [`serve_batch`] or
//! [`serve_groups`].

mod batch;
mod clock;
mod deadline;
mod failure;
mod group;
mod log;
mod metrics;
mod settings;
mod task;

pub use batch::{BatchTask, serve_batch};
pub use clock::SystemClock;
pub use deadline::time_left;
pub use failure::{Reported, log_failed_runs};
pub use group::{GroupTask, serve_groups};
pub use log::start_logging;
pub use metrics::{Metric, Unit, emit_metrics};
pub use settings::{Environment, SettingsError};
pub use task::{Subject, Task, serve};

/// What a function's `main` returns if it cannot start.
pub type Error = lambda_runtime::Error;
