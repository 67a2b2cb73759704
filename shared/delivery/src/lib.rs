//! The rules and the steps of a delivery.
//!
//! Knows the product's words: ids and names, public fields and their columns, states, failure codes, the ports
//! and one module per step. Knows no SDK, no Arrow, no serde and no clock: times and random ids are passed in.

pub mod accept;
pub mod activity;
pub mod backfill;
pub mod batch;
pub mod catalogue;
pub mod change;
pub mod connector;
pub mod failure;
pub mod ids;
pub mod lifecycle;
pub mod metadata;
pub mod metadata_writer;
pub mod outcome;
pub mod outgoing;
pub mod ports;
pub mod promote;
pub mod prove;
pub mod provision;
pub mod publish;
pub mod reads;
pub mod redrive;
pub mod rotate;
pub mod run;
pub mod schema;
mod scope;
pub mod share;
pub mod stage;
pub mod staged;
pub mod state;
pub mod table;
pub mod team;
pub mod timestamp;
pub mod watch;
