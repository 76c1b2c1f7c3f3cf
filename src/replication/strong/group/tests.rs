//! What holds of a member as a whole is tested with whole nodes (`src/node/tests/strong.rs`); here, what holds of its parts.

mod alone;
mod forming;
mod messages;
mod notices;
mod storage;
