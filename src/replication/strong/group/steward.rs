//! Who belongs to the group: a leader admits, promotes, replaces and dismisses members, by joint consensus (Ongaro & Ousterhout, "In
//! Search of an Understandable Consensus Algorithm", 2014, section 6), and hands its leadership over.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openraft::{
    error::{ChangeMembershipError, ClientWriteError, RaftError},
    BasicNode, ChangeMembers, RaftMetrics, ServerState,
};

use super::{
    core::{stopped, Core},
    message::{Acquaintance, Message, Reply},
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{GROUP_CALL_TIMEOUT, GROUP_HEARTBEAT, GROUP_PROMOTION_LAG_MAX, GROUP_VOTERS_MAX},
    types::NodeId,
};

type Metrics = RaftMetrics<u64, BasicNode>;

/// How long a hand-over may take before the leader goes on: the lease of the old leader has to pass.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(3);

/// What became of a change of members.
#[derive(PartialEq, Eq)]
enum Change {
    Made,
    /// Nothing: another change is under way.
    Busy,
}

/// The next change that the members need, if there is one: to end a change that a former leader began, or to give a vote
/// to a member that has caught up, in place of the one that was at its address before.
fn next_voters(metrics: &Metrics) -> Option<BTreeSet<u64>> {
    let membership = metrics.membership_config.membership();
    let configurations = membership.get_joint_config();
    let last = configurations.last()?;
    if configurations.len() > 1 {
        return Some(last.clone());
    }
    let replication = metrics.replication.as_ref()?;
    let newest = metrics.last_log_index.unwrap_or_default();
    let has_caught_up = |learner: &u64| {
        let matching = replication.get(learner).copied().flatten();
        matching.is_some_and(|matching| matching.index + GROUP_PROMOTION_LAG_MAX >= newest)
    };
    membership.learner_ids().filter(has_caught_up).find_map(|learner| {
        let address = &membership.get_node(&learner)?.addr;
        let is_another = |voter: &u64| membership.get_node(voter).is_none_or(|node| node.addr != *address);
        let mut voters: BTreeSet<u64> = last.iter().copied().filter(is_another).collect();
        voters.insert(learner);
        (voters.len() <= GROUP_VOTERS_MAX).then_some(voters)
    })
}

/// Learners at an address that now belongs to somebody else: they will never be back.
fn replaced_learners(metrics: &Metrics, joiner: &Acquaintance) -> BTreeSet<u64> {
    let membership = metrics.membership_config.membership();
    let is_replaced = |learner: &u64| {
        *learner != joiner.member && membership.get_node(learner).is_some_and(|node| node.addr == joiner.address)
    };
    membership.learner_ids().filter(is_replaced).collect()
}

impl Core {
    /// Gives votes where they are due. Fails where another change is under way, and is tried again.
    pub(super) async fn see_to_members(&self) {
        let metrics = self.raft.metrics().borrow().clone();
        if metrics.state != ServerState::Leader || self.silence.is_kept() {
            return;
        }
        let Some(voters) = next_voters(&metrics) else { return };
        let changing = self.raft.change_membership(voters.clone(), false);
        match tokio::time::timeout(GROUP_CALL_TIMEOUT, changing).await {
            Ok(Ok(_)) => tracing::info!(?voters, "the voters of the strong group changed"),
            Ok(Err(error)) => tracing::debug!(%error, "the voters of the strong group could not be changed yet"),
            Err(_) => tracing::debug!("a change of the voters of the strong group takes its time"),
        }
    }

    /// Lets a node follow the group; it gets a vote when it has caught up.
    ///
    /// # Errors
    /// `CONFLICT` while another change is under way; `NOT_RUNNING`.
    pub(super) async fn admit(&self, joiner: Acquaintance) -> Result<Reply> {
        if !self.leadership().is_mine {
            return self.pass_on(Message::Join(joiner)).await;
        }
        let metrics = self.raft.metrics().borrow().clone();
        if metrics.membership_config.membership().get_node(&joiner.member).is_some() {
            return Ok(Reply::Done);
        }
        if !self.is_formed() {
            // In a moment, and the joiner asks again.
            return Ok(Reply::NotLeader(None));
        }
        let replaced = replaced_learners(&metrics, &joiner);
        let node = BTreeMap::from([(joiner.member, BasicNode::new(&joiner.address))]);
        let mut changes = vec![ChangeMembers::AddNodes(node)];
        if !replaced.is_empty() {
            changes.insert(0, ChangeMembers::RemoveNodes(replaced));
        }
        for change in changes {
            if self.change(change).await? == Change::Busy {
                let text = "the members of the strong group are being changed already";
                return Err(Error::new(ErrorCode::Conflict, text));
            }
        }
        tracing::info!(member = %NodeId(joiner.member), address = %joiner.address, "a node joins the strong group");
        Ok(Reply::Done)
    }

    /// Takes a member out of the group, once a change that is under way has ended. One that is not in it is no error.
    ///
    /// # Errors
    /// `CONFLICT` for the last voter, `DEADLINE_EXCEEDED`, `NOT_RUNNING`.
    pub(super) async fn dismiss(&self, member: u64) -> Result<Reply> {
        let deadline = self.now() + GROUP_CALL_TIMEOUT;
        loop {
            if !self.leadership().is_mine {
                return self.pass_on(Message::Leave { member }).await;
            }
            match self.dismiss_now(member).await? {
                Change::Made => break,
                Change::Busy if self.now() < deadline => tokio::time::sleep(GROUP_HEARTBEAT / 10).await,
                Change::Busy => {
                    return Err(Error::deadline("the change of members that is under way", GROUP_CALL_TIMEOUT))
                }
            }
        }
        tracing::info!(member = %NodeId(member), "a member left the strong group");
        Ok(Reply::Done)
    }

    async fn dismiss_now(&self, member: u64) -> Result<Change> {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let mut voters: BTreeSet<u64> = membership.voter_ids().collect();
        if voters.remove(&member) {
            if voters.is_empty() {
                let text = format!("member {member:x} is the last voter of the strong group");
                return Err(Error::new(ErrorCode::Conflict, text));
            }
            return self.change(ChangeMembers::ReplaceAllVoters(voters)).await;
        }
        match membership.get_node(&member) {
            Some(_) => self.change(ChangeMembers::RemoveNodes(BTreeSet::from([member]))).await,
            None => Ok(Change::Made),
        }
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>) -> Result<Change> {
        let changing = self.raft.change_membership(change, false);
        let changed = tokio::time::timeout(GROUP_CALL_TIMEOUT, changing).await;
        match changed.map_err(|_| Error::deadline("a change of members", GROUP_CALL_TIMEOUT).maybe_applied())? {
            Ok(_) => Ok(Change::Made),
            Err(RaftError::Fatal(_)) => Err(stopped()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(self.no_leader()),
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)))) => {
                Ok(Change::Busy)
            }
            Err(error) => Err(Error::new(ErrorCode::Conflict, format!("members of the strong group: {error}"))),
        }
    }

    /// Asks the leader in the name of another.
    async fn pass_on(&self, message: Message) -> Result<Reply> {
        let leadership = self.leadership();
        let Some(leader) = leadership.leader.filter(|leader| leader.member != self.me.member) else {
            return Ok(Reply::NotLeader(None));
        };
        self.network.ask((leader.member, &leader.address), &message, 2 * GROUP_CALL_TIMEOUT).await
    }

    /// Has another member lead: `to`, or for 0 whoever is best at it. Returns once another leads.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER` when `to` has no vote; `NO_LEADER` when nobody took over in time: this member goes on then.
    pub(super) async fn move_leader_here(&self, to: u64) -> Result<Reply> {
        let before = self.leadership();
        if !before.is_mine {
            return self.pass_on(Message::MoveLeader { to }).await;
        }
        if to == self.me.member {
            return Ok(Reply::Done);
        }
        let _handing_over = self.silence.begin_hand_over();
        self.hand_over(to).await.map(|()| Reply::Done)
    }

    async fn hand_over(&self, to: u64) -> Result<()> {
        let deadline = self.now() + HAND_OVER_PATIENCE;
        let heir = loop {
            let metrics = self.raft.metrics().borrow().clone();
            let candidates = heirs(&metrics, self.me.member, to)?;
            if let Some(heir) = candidates.into_iter().find(|heir| heir.has_all) {
                break heir;
            }
            if self.now() > deadline {
                return Err(Error::new(ErrorCode::NoLeader, "no follower has caught up; this member goes on leading"));
            }
            tokio::time::sleep(GROUP_HEARTBEAT / 10).await;
        };
        self.silence.hand_over(true);
        self.ask_to_lead(&heir).await?;
        let mut metrics = self.raft.metrics();
        let is_other = |now: &Metrics| now.current_leader.is_some_and(|leader| leader != self.me.member);
        let elected = async { metrics.wait_for(is_other).await.is_ok() };
        let left = deadline.saturating_sub(self.now());
        match tokio::time::timeout(left, elected).await {
            Ok(true) => Ok(()),
            _ => Err(Error::new(ErrorCode::NoLeader, "nobody took the leadership over; this member goes on leading")),
        }
    }

    /// Has a follower stand for election until it leads.
    async fn ask_to_lead(&self, heir: &Heir) -> Result<()> {
        self.network.ask((heir.member, &heir.address), &Message::Campaign, GROUP_CALL_TIMEOUT).await.map(|_| ())
    }

    /// A member without a vote, to which nobody speaks, may have been passed over by a change that it never heard of: it asks to
    /// join again, which changes nothing where it belongs to the group.
    pub(super) fn see_to_own_membership(self: &Arc<Core>) {
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let is_voter = membership.voter_ids().any(|voter| voter == self.me.member);
        if is_voter || membership.get_node(&self.me.member).is_none() {
            return;
        }
        let voters: Vec<(u64, String)> = membership
            .voter_ids()
            .filter_map(|voter| Some((voter, membership.get_node(&voter)?.addr.clone())))
            .collect();
        let core = self.clone();
        self.spawn_until_stopped(async move {
            for (member, address) in voters {
                let join = Message::Join(core.me.clone());
                match core.network.ask((member, &address), &join, GROUP_CALL_TIMEOUT).await {
                    Ok(Reply::Done) => return,
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "a member could not be asked about the group"),
                }
            }
        });
    }

    /// Leaves the others in good order: with a leader who has everything, and without a member that will never be back.
    ///
    /// # Errors
    /// When nobody can take over, or take note.
    pub(super) async fn say_goodbye(&self) -> Result<()> {
        let metrics = self.raft.metrics().borrow().clone();
        let has_others = metrics.membership_config.membership().voter_ids().any(|voter| voter != self.me.member);
        if !self.is_member() || !has_others {
            return Ok(());
        }
        let leads = self.leadership().is_mine;
        self.silence.pause(leads && self.is_durable);
        if !self.is_durable {
            // It will never be back under this id. A leader goes on until that is settled.
            while self.dismiss(self.me.member).await.map_or(true, |reply| !matches!(reply, Reply::Done)) {
                tokio::time::sleep(GROUP_HEARTBEAT).await;
            }
        }
        if !leads {
            return Ok(());
        }
        let heir = self.best_heir(&metrics).await?;
        self.silence.hand_over(true);
        self.ask_to_lead(&heir).await
    }

    /// The follower that has everything, once there is one.
    async fn best_heir(&self, before: &Metrics) -> Result<Heir> {
        loop {
            let metrics = self.raft.metrics().borrow().clone();
            // A leader that has left the group knows nothing of the others any more.
            let metrics = if metrics.replication.is_some() { metrics } else { before.clone() };
            let heirs = heirs(&metrics, self.me.member, 0)?;
            if let Some(heir) = heirs.into_iter().find(|heir| heir.has_all) {
                return Ok(heir);
            }
            tokio::time::sleep(GROUP_HEARTBEAT / 10).await;
        }
    }
}

/// Who could lead next.
struct Heir {
    member: u64,
    address: String,
    /// It has the whole log.
    has_all: bool,
}

fn heirs(metrics: &Metrics, me: u64, wanted: u64) -> Result<Vec<Heir>> {
    let membership = metrics.membership_config.membership();
    let replication = metrics.replication.clone().unwrap_or_default();
    let heir = |member: u64| {
        let address = membership.get_node(&member)?.addr.clone();
        let matching = replication.get(&member).copied().flatten().map(|matching| matching.index);
        Some(Heir { member, address, has_all: matching >= metrics.last_log_index })
    };
    let is_wanted = |member: &u64| *member != me && (wanted == 0 || *member == wanted);
    let heirs: Vec<Heir> = membership.voter_ids().filter(is_wanted).filter_map(heir).collect();
    if heirs.is_empty() {
        let text = match wanted {
            0 => "the strong group has no other voter".to_string(),
            wanted => format!("member {wanted:x} has no vote in the strong group"),
        };
        return Err(Error::new(ErrorCode::UnknownMember, text));
    }
    Ok(heirs)
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, LogId, Membership, StoredMembership};

    use super::*;

    /// A leader of these configurations and nodes, all of which but those named are up to the last entry, 1,000.
    fn leader(configurations: &[&[u64]], nodes: &[(u64, &str)], behind: &[(u64, u64)]) -> Metrics {
        let voters = configurations.iter().map(|voters| voters.iter().copied().collect()).collect();
        let known: BTreeMap<u64, BasicNode> =
            nodes.iter().map(|(member, address)| (*member, BasicNode::new(address))).collect();
        let log_id = |index| Some(LogId::new(CommittedLeaderId::new(1, 0), index));
        let index_of = |member: u64| behind.iter().find(|(late, _)| *late == member).map_or(1000, |(_, index)| *index);
        let replication = known.keys().map(|member| (*member, log_id(index_of(*member)))).collect();
        let mut metrics = Metrics::new_initial(1);
        metrics.last_log_index = Some(1000);
        metrics.replication = Some(replication);
        metrics.membership_config =
            std::sync::Arc::new(StoredMembership::new(log_id(1), Membership::new(voters, known)));
        metrics
    }

    fn set(members: &[u64]) -> Option<BTreeSet<u64>> {
        Some(members.iter().copied().collect())
    }

    #[test]
    fn a_learner_gets_a_vote_once_it_has_caught_up_and_takes_the_place_at_its_address() {
        let nodes = [(1, "a"), (2, "b"), (3, "c")];
        assert_eq!(next_voters(&leader(&[&[1, 2, 3]], &nodes, &[])), None);
        assert_eq!(next_voters(&leader(&[&[1, 2]], &nodes, &[])), set(&[1, 2, 3]));
        assert_eq!(next_voters(&leader(&[&[1, 2]], &nodes, &[(3, 1000 - GROUP_PROMOTION_LAG_MAX)])), set(&[1, 2, 3]));
        assert_eq!(next_voters(&leader(&[&[1, 2]], &nodes, &[(3, 999 - GROUP_PROMOTION_LAG_MAX)])), None);
        let back = [(1, "a"), (2, "b"), (3, "c"), (4, "b")];
        assert_eq!(next_voters(&leader(&[&[1, 2, 3]], &back, &[])), set(&[1, 3, 4]));
    }

    #[test]
    fn a_change_that_was_begun_is_ended_first() {
        let nodes = [(1, "a"), (2, "b"), (3, "c"), (4, "d")];
        assert_eq!(next_voters(&leader(&[&[1, 2], &[1, 2, 3]], &nodes, &[])), set(&[1, 2, 3]));
    }

    #[test]
    fn beyond_the_bound_members_follow_without_a_vote_but_for_one_that_is_replaced() {
        let voters: Vec<u64> = (1..=GROUP_VOTERS_MAX as u64).collect();
        let names: Vec<String> = (0..=GROUP_VOTERS_MAX).map(|number| format!("n{number}")).collect();
        let mut nodes: Vec<(u64, &str)> =
            voters.iter().map(|voter| (*voter, names[*voter as usize].as_str())).collect();
        nodes.push((100, "elsewhere"));
        assert_eq!(next_voters(&leader(&[&voters], &nodes, &[])), None);
        nodes.push((101, "n2"));
        let replaced: BTreeSet<u64> = voters.iter().copied().filter(|voter| *voter != 2).chain([101]).collect();
        assert_eq!(next_voters(&leader(&[&voters], &nodes, &[])), Some(replaced));
    }

    #[test]
    fn learners_whose_address_has_a_new_owner_go() {
        let joiner = Acquaintance { member: 5, address: "c".to_string() };
        let metrics = leader(&[&[1, 2]], &[(1, "a"), (2, "c"), (3, "c"), (4, "d")], &[]);
        assert_eq!(
            replaced_learners(&metrics, &joiner),
            BTreeSet::from([3]),
            "a voter stays until the new one has its vote"
        );
    }
}
