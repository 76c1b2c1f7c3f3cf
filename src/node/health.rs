//! Whether a node does what it should, and what a person should look at.

use crate::types::{
    Consistency, DefaultKeyspace, GroupStatus, Health, LogState, MemberState, MemberStatus, NodeStatus, PeerStatus,
    StorageStatus,
};

/// The health of a node that says this of itself, that knows these members, whose setting says this of `default`, and that
/// holds so many keys of an eventual `default` which is shown to nobody.
pub(super) fn health(status: &NodeStatus, members: &[MemberStatus], (wanted, hidden): (Consistency, u64)) -> Health {
    let mut problems = Vec::new();
    if status.removed {
        problems.push("the cluster removed this node: it refuses writes; start it again as a new, empty member".into());
    }
    problems.extend(status.storage.iter().flat_map(problems_of_storage));
    problems.extend(problem_of_memory(status));
    problems.extend(status.group.iter().filter_map(problem_of_group));
    problems.extend(problem_of_setting(status.default_keyspace, wanted));
    problems.extend(problem_of_hidden_keys(hidden));
    problems.extend(members.iter().filter_map(problem_of_member));
    problems.extend(status.peers.iter().flat_map(problems_of_peer));
    let has_failed = status.storage.as_ref().is_some_and(|storage| storage.state == LogState::Failed);
    Health { serving: !status.removed && !has_failed, problems }
}

fn problems_of_storage(storage: &StorageStatus) -> Vec<String> {
    let StorageStatus { state, problem, damage, .. } = storage;
    let trouble = match state {
        LogState::Ok if problem.is_empty() => None,
        LogState::Ok => Some(format!("no snapshot could be written, so the log goes on growing: {problem}")),
        LogState::Full => Some(format!("the disk is full: writes are refused until there is room again: {problem}")),
        LogState::Failed => {
            Some(format!("the log has failed: writes are refused until the node is started again: {problem}"))
        }
    };
    let damage = damage.as_ref().map(|damage| format!("data were damaged when this node started: {damage}"));
    trouble.into_iter().chain(damage).collect()
}

/// Said a little before the bound, because a value that does not fit any more is refused while smaller ones do.
fn problem_of_memory(status: &NodeStatus) -> Option<String> {
    let (memory, max) = (status.memory, status.max_memory?);
    let is_reached = memory >= max - max / 100;
    is_reached.then(|| format!("max_memory: {memory} of {max} bytes are taken: writes beyond are refused"))
}

/// A group that is only looked for is none: a cluster that has no strong keyspaces does not need it.
fn problem_of_group(group: &GroupStatus) -> Option<String> {
    let text = || {
        let why = &group.problem;
        format!("this node takes no part in the strong group any more until it is started again: {why}")
    };
    group.failed.then(text)
}

/// The cluster decides once; a node that was told something else may serve `default` in the wrong way before it knows.
fn problem_of_setting(default: DefaultKeyspace, wanted: Consistency) -> Option<String> {
    let formed = match default {
        DefaultKeyspace::Undecided => return None,
        DefaultKeyspace::Eventual => Consistency::Eventual,
        DefaultKeyspace::Strong => Consistency::Strong,
    };
    let text = || {
        let (wanted, formed) = (wanted.as_str(), formed.as_str());
        format!(
            "default_consistency: the setting is {wanted:?}, but the cluster was formed with {formed:?}, which holds; \
             start this node with default_consistency={formed:?}"
        )
    };
    (wanted != formed).then(text)
}

/// What was written before the node knew better, and came to it from such a node.
fn problem_of_hidden_keys(hidden: u64) -> Option<String> {
    let text = || {
        format!(
            "default_consistency: an eventual `default` of this node is shown to nobody (keys: {hidden}): a node took writes before \
             it knew that `default` is strong; a snapshot of this node has them"
        )
    };
    (hidden > 0).then(text)
}

fn problem_of_member(member: &MemberStatus) -> Option<String> {
    let id = member.node.map_or_else(String::new, |node| node.to_string());
    let text = || {
        format!(
            "member {id} at {} is dead: deletes are remembered until it is back, or removed for good",
            member.address
        )
    };
    (member.state == MemberState::Dead).then(text)
}

fn problems_of_peer(peer: &PeerStatus) -> Vec<String> {
    let (address, refuses, refused) = (&peer.address, peer.refuses_ms, peer.refused_ms);
    let mut problems = Vec::new();
    if refuses > 0 {
        problems.push(format!("clock_skew: {address} is {refuses} ms ahead of this node, which refuses its writes"));
    }
    if refused > 0 {
        problems.push(format!("clock_skew: {address} refuses the writes of this node, which is {refused} ms ahead"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Address, NodeId};

    fn status(storage: Option<StorageStatus>) -> NodeStatus {
        let address = Address::new("h", 1).unwrap();
        NodeStatus { storage, ..NodeStatus::of_nothing(NodeId(1), address) }
    }

    fn stored(state: LogState, problem: &str) -> NodeStatus {
        status(Some(StorageStatus { state, problem: problem.into(), ..StorageStatus::default() }))
    }

    #[test]
    fn only_a_failed_log_ends_serving_and_each_trouble_is_said() {
        let cases = [
            (status(None), true, ""),
            (stored(LogState::Ok, ""), true, ""),
            (
                stored(LogState::Ok, "no room"),
                true,
                "no snapshot could be written, so the log goes on growing: no room",
            ),
            (stored(LogState::Full, "x"), true, "the disk is full: writes are refused until there is room again: x"),
            (stored(LogState::Failed, "x"), false, "the log has failed: writes are refused until the node is"),
            (NodeStatus { removed: true, ..status(None) }, false, "the cluster removed this node"),
        ];
        for (status, serving, problem) in cases {
            let health = health(&status, &[], (Consistency::Eventual, 0));
            assert_eq!(health.serving, serving, "{problem}");
            assert_eq!(health.problems.len(), usize::from(!problem.is_empty()), "{:?}", health.problems);
            assert!(health.problems.concat().starts_with(problem), "{:?}", health.problems);
        }
    }

    #[test]
    fn damage_at_the_start_stays_visible() {
        let damage = Some("log/1.log: byte 7".to_string());
        let storage = StorageStatus { damage, ..StorageStatus::default() };
        let health = health(&status(Some(storage)), &[], (Consistency::Eventual, 0));
        assert!(health.serving);
        assert_eq!(health.problems, ["data were damaged when this node started: log/1.log: byte 7"]);
    }

    #[test]
    fn the_bound_on_memory_is_said_when_it_is_reached() {
        for (memory, is_said) in [(0, false), (989, false), (990, true), (1500, true)] {
            let status = NodeStatus { memory, max_memory: Some(1000), ..status(None) };
            let health = health(&status, &[], (Consistency::Eventual, 0));
            assert_eq!(health.problems.len(), usize::from(is_said), "{memory}");
            assert!(health.serving);
        }
    }

    #[test]
    fn a_setting_that_the_cluster_does_not_go_by_is_said_and_so_are_keys_that_nobody_sees() {
        let (eventual, strong) = (Consistency::Eventual, Consistency::Strong);
        let cases = [
            (DefaultKeyspace::Eventual, eventual, 0, 0),
            (DefaultKeyspace::Undecided, strong, 0, 0),
            (DefaultKeyspace::Strong, strong, 0, 0),
            (DefaultKeyspace::Strong, strong, 5, 1),
            (DefaultKeyspace::Eventual, strong, 0, 1),
            (DefaultKeyspace::Strong, eventual, 0, 1),
            (DefaultKeyspace::Strong, eventual, 5, 2),
        ];
        for (default_keyspace, wanted, hidden, count) in cases {
            let health = health(&NodeStatus { default_keyspace, ..status(None) }, &[], (wanted, hidden));
            assert_eq!(health.problems.len(), count, "{default_keyspace:?} {wanted:?} {hidden}: {:?}", health.problems);
            assert!(health.problems.iter().all(|problem| problem.starts_with("default_consistency: ")));
            assert!(health.serving);
        }
    }
}
