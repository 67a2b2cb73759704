//! The open Delta Sharing protocol: who may read what, what a query answers, and how a recipient gets a credential.
//!
//! Knows the protocol (delta-io/delta-sharing `PROTOCOL.md`) from both ends: [`server`] answers it, [`reader`] asks
//! it as a recipient would. Knows no AWS: catalog, tokens, links, mail and signed URLs are [`ports`].

pub mod activation;
pub mod allow_list;
pub mod expiry;
pub mod invite;
pub mod ports;
pub mod reader;
pub mod secrets;
pub mod server;
