//! How replicas agree (L3), in two engines that know nothing of each other: [`eventual`], which [`execute`] is the way to, and
//! [`strong`], which is called through its [`strong::Group`]. A [`Tap`] lets operators listen.

pub mod eventual;
mod execute;
pub mod strong;
mod tap;

pub use execute::{execute, execute_in, execute_seen};
pub use tap::{called_by, Listening, Picked, Tap};
