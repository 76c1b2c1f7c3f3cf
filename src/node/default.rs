//! What the keyspace `default` is: the setting says it to the founder of the strong group, and the group to everybody.

use std::sync::Arc;

use crate::{
    config::NodeConfig,
    error::{Error, ErrorCode, Result},
    replication::{eventual::Eventual, strong::Group},
    types::{Consistency, DefaultKeyspace, KeyRange, Space},
};

/// What `default` is to be in a group that this node founds. Who has keys of an eventual one founds none that would hide them.
pub(super) fn forms(config: &NodeConfig, keyspace: &Eventual) -> Consistency {
    match keyspace.has_default() {
        false => config.default_consistency,
        true => Consistency::Eventual,
    }
}

/// What clients are told before anybody has asked the group: what its log says, or else the setting.
pub(super) fn begin(keyspace: &Eventual, decided: Option<Consistency>, wanted: Consistency) {
    keyspace.set_default_keyspace(match (decided, wanted) {
        (Some(decided), _) => decided.into(),
        (None, Consistency::Strong) => DefaultKeyspace::Undecided,
        (None, Consistency::Eventual) => DefaultKeyspace::Eventual,
    });
}

/// Goes by what the group has decided, from when this node knows it.
pub(super) async fn learn(keyspace: Arc<Eventual>, group: Group, wanted: Consistency) {
    // A node that is stopped before has nothing more to learn.
    let Ok(decided) = group.decided_default().await else { return };
    keyspace.set_default_keyspace(decided.into());
    let (formed, setting) = (decided.as_str(), wanted.as_str());
    if decided == wanted {
        tracing::info!(formed, "what the keyspace `default` is was decided when the cluster was formed");
    } else {
        tracing::warn!(formed, setting, "the setting default_consistency is not what the cluster was formed with");
    }
}

/// Refuses a snapshot of nothing: it holds eventual keyspaces alone, and must not be taken for a copy of a strong one.
///
/// # Errors
/// `DEFAULT_IS_STRONG`.
pub(super) fn check_snapshot(keyspace: &Eventual) -> Result<()> {
    if !keyspace.serves_clients() && keyspace.stats().keys == 0 {
        let text = "snapshot: it holds eventual keyspaces alone; `default` is strong in this cluster, and there are no keys of others";
        return Err(Error::new(ErrorCode::DefaultIsStrong, text));
    }
    Ok(())
}

/// How many keys of an eventual `default` are shown to nobody, because it is strong.
pub(super) fn hidden(keyspace: &Eventual) -> u64 {
    let is_strong = keyspace.default_keyspace() == DefaultKeyspace::Strong;
    match is_strong && keyspace.has_default() {
        true => keyspace.count(&Space::Default.range(&KeyRange::default())),
        false => 0,
    }
}
