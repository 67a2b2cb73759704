//! The edges between crates, and rules for files that no compiler knows.

#[cfg(test)]
mod edges;
#[cfg(test)]
mod files;
#[cfg(test)]
mod packages;
