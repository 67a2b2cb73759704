//! The template, the state machines and the runbook, read as files: what one of them names exists in the others, and
//! in the code. Knows no AWS; whole deployments are another test's.

#[cfg(test)]
mod document;
#[cfg(test)]
mod functions;
#[cfg(test)]
mod runbook;
#[cfg(test)]
mod state_machines;
#[cfg(test)]
mod template;
