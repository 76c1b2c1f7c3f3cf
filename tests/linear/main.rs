//! The judges of strong histories, judged.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "nobody uses a test from outside")]

mod brute;
mod examples;
mod large;
#[path = "../support/linear/mod.rs"]
mod linear;
mod small;
mod store;
