//! Which keyspaces there are: the group says it, and the data of the node goes by what this node has heard.

use std::{sync::Arc, time::Duration};

use super::heard::Heard;
use crate::{
    env::BoxFuture,
    error::Result,
    limits::SPACE_QUESTION_TIMEOUT,
    replication::{
        eventual::Eventual,
        strong::{Call, Command, Group, GroupWatch, Reply, Submission},
    },
    rpc::{call_each, StrongBackend, StrongPages},
    types::{NodeId, Space},
};

/// The strong keyspaces of a node. Whoever has made or dropped a keyspace through it finds that the node knows.
pub(super) struct Backend {
    group: Group,
    keyspace: Arc<Eventual>,
}

impl Backend {
    /// Of a node whose data this is.
    pub(super) fn new(group: Group, keyspace: Arc<Eventual>) -> Arc<Backend> {
        Arc::new(Backend { group, keyspace })
    }

    async fn ask(&self, call: Call, timeout: Duration) -> Result<Reply> {
        let heard = self.hear(&call);
        let reply = self.perform(call, timeout).await;
        heard.into_iter().for_each(|heard| heard.tell(&reply));
        reply
    }

    /// Who is to be told of the operations of a call, while anybody listens.
    fn hear<'a>(&'a self, call: &Call) -> Option<Heard<'a>> {
        let tap = self.keyspace.tap();
        tap.is_on().then(|| Heard::of(tap, call))
    }

    /// While operators listen.
    async fn ask_many_heard(&self, calls: Vec<Call>, timeout: Duration) -> Vec<Result<Reply>> {
        let heard: Vec<Option<Heard<'_>>> = calls.iter().map(|call| self.hear(call)).collect();
        let replies = StrongBackend::call_many(&self.group, calls, timeout).await;
        for (heard, reply) in heard.into_iter().zip(&replies) {
            heard.into_iter().for_each(|heard| heard.tell(reply));
        }
        replies
    }

    async fn perform(&self, call: Call, timeout: Duration) -> Result<Reply> {
        let is_about_names = is_about_names(&call);
        let reply = self.group.call(call, timeout).await?;
        if is_about_names {
            // The group has done it; this node hears of it a little later where it cannot ask just now.
            if let Err(error) = refresh(&self.keyspace, &self.group).await {
                tracing::debug!(%error, "the node has not heard of a change of keyspaces yet");
            }
        }
        Ok(reply)
    }
}

fn is_about_names(call: &Call) -> bool {
    matches!(
        call,
        Call::Submit(Submission {
            command: Command::CreateKeyspace { .. } | Command::CreateEventual { .. } | Command::DropKeyspace { .. },
            ..
        })
    )
}

impl StrongBackend for Backend {
    fn call(&self, call: Call, timeout: Duration) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(self.ask(call, timeout))
    }

    fn call_many(&self, calls: Vec<Call>, timeout: Duration) -> BoxFuture<'_, Vec<Result<Reply>>> {
        match calls.iter().any(is_about_names) {
            true => call_each(self, calls, timeout),
            false if self.keyspace.tap().is_on() => Box::pin(self.ask_many_heard(calls, timeout)),
            false => StrongBackend::call_many(&self.group, calls, timeout),
        }
    }

    fn leader(&self) -> Option<NodeId> {
        self.group.leader()
    }

    fn watch(&self, watch: GroupWatch, timeout: Duration) -> BoxFuture<'_, Result<Box<dyn StrongPages>>> {
        StrongBackend::watch(&self.group, watch, timeout)
    }
}

/// Goes by what the group says, for as long as the node runs.
pub(super) async fn learn(keyspace: Arc<Eventual>, group: Group) {
    let mut catalogue = group.catalogue();
    loop {
        let edition = catalogue.edition;
        keyspace.take_catalogue(catalogue);
        // A node that is stopped has nothing more to learn.
        let Ok(next) = group.catalogue_after(edition).await else { return };
        catalogue = next;
    }
}

/// The eventual keyspace of a name. Of one that the node has not heard of the group is asked.
///
/// # Errors
/// Those of [`Eventual::space_settled`], and of [`refresh`].
pub(super) async fn find(keyspace: &Eventual, group: &Group, name: &str) -> Result<Space> {
    if let Some(space) = keyspace.space_named(name)? {
        return Ok(space);
    }
    refresh(keyspace, group).await?;
    keyspace.space_settled(name)
}

/// Asks the group for all that were made before the call.
///
/// # Errors
/// `NO_LEADER`, `DEADLINE_EXCEEDED`, `NOT_RUNNING`.
pub(super) async fn refresh(keyspace: &Eventual, group: &Group) -> Result<()> {
    keyspace.take_catalogue(group.fresh_catalogue(SPACE_QUESTION_TIMEOUT).await?);
    Ok(())
}
