//! Answers after which an operation is asked of another node.

use crate::error::{ErrorCode, Result};

/// Whether the node is being stopped and has done nothing; or was removed, when there are others to turn to.
pub(super) fn is_refusal_of_a_node<T>(answer: &Result<T>, may_turn: bool) -> bool {
    answer.as_ref().is_err_and(|error| {
        let is_refusal = match error.code() {
            ErrorCode::NotRunning => true,
            ErrorCode::MemberRemoved => may_turn,
            _ => false,
        };
        is_refusal && !error.is_maybe_applied()
    })
}
