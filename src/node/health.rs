//! Whether a node does what it should, and what a person should look at.

use crate::types::{Health, MemberState, MemberStatus, PeerStatus};

/// The health of a node that knows these members and peers. `is_removed`: the cluster removed it.
pub(super) fn health(is_removed: bool, members: &[MemberStatus], peers: &[PeerStatus]) -> Health {
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
    for peer in peers {
        let (address, refuses, refused) = (&peer.address, peer.refuses_ms, peer.refused_ms);
        if refuses > 0 {
            problems
                .push(format!("clock_skew: {address} is {refuses} ms ahead of this node, which refuses its writes"));
        }
        if refused > 0 {
            problems
                .push(format!("clock_skew: {address} refuses the writes of this node, which is {refused} ms ahead"));
        }
    }
    Health { serving: !is_removed, problems }
}
