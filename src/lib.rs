//! kvstore: a distributed key-value store whose nodes live inside your process.
//!
//! Every node answers reads from its own memory and takes writes alone; it replicates them to all peers over gRPC
//! without waiting for any. This file is the map. Imports point down only; `tests/tidy.rs` is the judge.
//!
//! ```text
//! L6  python            pyo3 bindings, Cargo feature "python": translate, nothing else
//! L5  node    client    composition and lifecycle | a caller that survives failures
//! L4  rpc               the only folder that names tonic services; plain HTTP on the same port
//! L3  replication       eventual: a pure core, handle(now, event) -> actions, under a thin tokio driver
//!                       strong: one order of all writes, agreed on by a majority (Raft)
//! L2  storage           records in memory, one RwLock a partition; log and snapshots on disk
//!     cluster           who belongs to the cluster, and who of them is alive (SWIM)
//! L1  env, wire         the doors to the world (clock, randomness, network, disk) | generated protobuf and conversions
//! L0  types, error, limits, config, sync, faults    data, order, bounds, locks: no I/O, no async
//! ```
//!
//! Reading order: [`types`] for the words, [`storage`] for where records live, [`replication`] for how nodes agree,
//! [`rpc`] for what goes over the wire, [`node`] for how it all is put together.

#![forbid(unsafe_code)]

pub mod client;
pub mod cluster;
pub mod config;
pub mod env;
pub mod error;
pub mod faults;
pub mod limits;
pub mod node;
pub mod replication;
pub mod rpc;
pub mod storage;
pub mod sync;
pub mod types;
pub mod wire;

#[cfg(feature = "python")]
mod python;

pub use error::{Error, ErrorCode, ErrorKind, Result};

/// The version of this software.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
