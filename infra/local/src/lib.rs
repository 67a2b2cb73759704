//! The local AWS stack, without containers: the production template on an emulator.
//!
//! [`LocalStack::start`] installs the tools, builds the functions, starts the emulator and a gateway
//! in front of it, and deploys the template as it stands. [`gateway`] counts what the functions ask
//! of AWS and carries out the faults that tests order. Everything that is written lies below
//! `target/local/<instance>`; nothing listens on anything but the loopback interface.
//!
//! This crate knows no rule of the product: it knows the template's outputs by name and nothing of
//! what they are for.

mod deploy;
mod emulator;
pub mod error;
pub mod files;
pub mod functions;
pub mod gateway;
pub mod http;
pub mod interrupt;
pub mod process;
pub mod progress;
pub mod stack;
mod stack_file;
pub mod tools;
mod workspace;

pub use deploy::{SENDER, STACK};
pub use emulator::REGION;
pub use error::{Error, Result};
pub use files::Project;
pub use functions::Targets;
pub use progress::Progress;
pub use stack::{Existing, LocalStack, Outcome, down};
pub use stack_file::StackFile;
pub use tools::{Requirements, Tools};
