//! How replicas agree (L3). One engine serves today: [`eventual`]. [`execute`] is how clients reach it. Of the other, [`strong`],
//! the state machine and the log are there.

pub mod eventual;
mod execute;
pub mod strong;

pub use execute::{execute, execute_seen};
