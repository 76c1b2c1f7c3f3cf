//! Who belongs to the cluster, and who of them is alive (L2). Pure: time is an argument, messages come back as values.
//!
//! * [`Members`] is the table: who counts, who left, who was removed for good, and in which [`MemberState`] each is.
//! * [`Detector`] is the failure detector, SWIM (Das, Gupta, Motivala, "SWIM", DSN 2002) by the library `foca`.
//!
//! The two answer different questions. *Who counts* is agreed by union: a member counts from the moment that anybody was
//! linked with it until it leaves or is removed, however dead it is, because tombstones wait for it. *Who is alive* is
//! an opinion that each node forms with the help of the others, and that may be wrong for a while.
//!
//! [`MemberState`]: crate::types::MemberState

mod members;
mod removed;
mod swim;

pub use members::{Entry, Evidence, Gone, Members};
pub use swim::{Detector, DetectorError, Verdict};
