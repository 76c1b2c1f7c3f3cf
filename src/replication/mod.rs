//! How replicas agree (L3). Today one engine: [`eventual`]. [`execute`] is how clients reach it.

pub mod eventual;
mod execute;

pub use execute::{execute, execute_seen};
