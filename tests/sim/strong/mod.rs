//! The strong group of whole nodes, under the same network, clocks and disks as the eventual engine: `cargo sim --strong`.
//!
//! Every node of a simulation is a member. Clients write, read, take leases and locks and watch; the log, as the members apply
//! it, is the truth that everything is compared with (`truth`, `leases`), and `judge` compares it. docs/testing.md has the
//! list of what must hold.

mod history;
mod holders;
mod judge;
mod leases;
mod nemesis;
pub mod plan;
pub mod run;
mod truth;
mod watchers;
mod workload;
