//! Whether a node does what it should, and what a person should look at.

use crate::types::{Health, MemberState, MemberStatus};

/// The health of a node that knows these members. `is_removed`: the cluster removed it.
pub(super) fn health(is_removed: bool, members: &[MemberStatus]) -> Health {
    let mut problems = Vec::new();
    if is_removed {
        problems.push("the cluster removed this node: it refuses writes; start it again as a new, empty member".into());
    }
    for member in members.iter().filter(|member| member.state == MemberState::Dead) {
        let id = member.node.map_or_else(String::new, |node| node.to_string());
        problems.push(format!(
            "member {id} at {} is dead: deletes are remembered until it is back, or removed for good",
            member.address
        ));
    }
    Health { serving: !is_removed, problems }
}
