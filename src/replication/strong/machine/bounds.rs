//! The bounds that decide what the machine forgets and refuses. They are part of its state, because replicas that
//! forget at different entries would give different answers.

use crate::{config::HistoryBounds, limits};

/// See the constants of the same names in [`crate::limits`]. All replicas of a group have the same: those that the group
/// began with, but for what entries have changed since, which snapshots carry on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// [`HistoryBounds::changes`], until a leader says otherwise, as with the next two.
    pub history_changes: u64,
    /// [`HistoryBounds::bytes`].
    pub history_bytes: u64,
    /// [`HistoryBounds::age_ms`].
    pub history_age_ms: u64,
    /// [`limits::CLIENTS_MAX`].
    pub clients: u64,
    /// [`limits::CLIENT_ANSWERS_MAX`].
    pub client_answers: u64,
    /// [`limits::ANSWERS_BYTES_MAX`].
    pub answers_bytes: u64,
    /// [`limits::LEASES_MAX`].
    pub leases: u64,
    /// [`limits::LEASE_KEYS_MAX`].
    pub lease_keys: u64,
    /// [`limits::LOCK_WAITERS_MAX`].
    pub lock_waiters: u64,
    /// [`limits::KEYSPACES_MAX`].
    pub keyspaces: u64,
}

impl Default for Bounds {
    fn default() -> Bounds {
        let history = HistoryBounds::default();
        Bounds {
            history_changes: history.changes,
            history_bytes: history.bytes,
            history_age_ms: history.age_ms,
            clients: limits::CLIENTS_MAX,
            client_answers: limits::CLIENT_ANSWERS_MAX,
            answers_bytes: limits::ANSWERS_BYTES_MAX,
            leases: limits::LEASES_MAX,
            lease_keys: limits::LEASE_KEYS_MAX,
            lock_waiters: limits::LOCK_WAITERS_MAX,
            keyspaces: limits::KEYSPACES_MAX,
        }
    }
}

impl Bounds {
    /// Those of the history.
    pub fn history(&self) -> HistoryBounds {
        HistoryBounds { changes: self.history_changes, bytes: self.history_bytes, age_ms: self.history_age_ms }
    }

    pub(super) fn set_history(&mut self, history: HistoryBounds) {
        let HistoryBounds { changes, bytes, age_ms } = history;
        (self.history_changes, self.history_bytes, self.history_age_ms) = (changes, bytes, age_ms);
    }
}
