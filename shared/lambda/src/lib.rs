//! The shell of every function: cold start, settings, one log line per failure, and how an error reaches the state
//! machine or the queue.
//!
//! Knows the Lambda runtime and the process environment; nobody else does. Knows no step and no adapter: a function
//! implements [`Task`] or [`BatchTask`], and its `main` calls [`serve`] or [`serve_batch`].

mod batch;
mod clock;
mod failure;
mod log;
mod settings;
mod task;

pub use batch::{BatchTask, serve_batch};
pub use clock::SystemClock;
pub use failure::Reported;
pub use log::start_logging;
pub use settings::{Environment, SettingsError};
pub use task::{Subject, Task, serve};

/// What a function's `main` returns if it cannot start.
pub type Error = lambda_runtime::Error;
