//! The open sharing server from outside: every endpoint over in-memory ports, and the reader against the server.

#[cfg(test)]
mod access;
#[cfg(test)]
mod activation;
#[cfg(test)]
mod anything;
#[cfg(test)]
mod changes;
mod directory;
#[cfg(test)]
mod features;
#[cfg(test)]
mod history;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod paging;
#[cfg(test)]
mod query;
#[cfg(test)]
mod reader;
#[cfg(test)]
mod world;
