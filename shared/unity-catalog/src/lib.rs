//! Databricks Unity Catalog from a data provider's side: recipients, shares, schemas, external tables, grants.
//!
//! Three layers: [`transport`] knows HTTP, OAuth (machine to machine), retries and errors; the modules beside it have
//! one typed call for each endpoint; [`backend`] is [`delivery::ports::SharingBackend`] on top of them, and what a
//! recipient needs beyond that port. Knows no AWS: the secret, the time and the tables' schemas are [`ports`].
//!
//! Sources: the REST reference and the official SDKs (databricks-sdk 0.156 for Python), the vendor's documents on
//! external tables, and issues of the Terraform provider where the documents are silent.

pub mod backend;
pub mod columns;
pub mod error;
pub mod names;
mod paging;
pub mod ports;
pub mod recipients;
mod retry;
pub mod schemas;
pub mod shares;
pub mod statements;
pub mod tables;
pub mod transport;
