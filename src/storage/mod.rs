//! Where records live (L2): in memory, by key and in key order, one `RwLock` a partition.
//!
//! [`Records`] is one set of records that merges by last writer wins and counts what it holds. [`Partitions`] is an array of
//! them, chosen by the hash of the key, each behind its own lock together with a sidecar: what the replication engine
//! must change in the same breath as the records (its sequences and outbox).
//!
//! [`DataDir`] is the directory of a node that outlives its process, [`log`] what it remembers, in one append-only log for
//! everything, [`snapshot`] the state in one file, [`codec`] how what is stored looks as bytes.

pub mod codec;
pub mod data_dir;
pub mod doctor;
pub(crate) mod envelope;
mod files;
pub mod log;
mod page;
mod partitions;
mod records;
pub mod snapshot;
#[cfg(test)]
mod tests;

pub use data_dir::DataDir;
pub use partitions::{partition_of, Partition, Partitions};
pub use records::{KeyBounds, Merged, Records, RecordsStats};
