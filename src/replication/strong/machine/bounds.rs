//! The bounds that decide what the machine forgets and refuses. They are part of its state, because replicas that
//! forget at different entries would give different answers.

use crate::limits;

/// See the constants of the same names in [`crate::limits`]. All replicas of a group have the same: those that the group
/// began with, which snapshots carry on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// [`limits::HISTORY_CHANGES_MAX`].
    pub history_changes: u64,
    /// [`limits::HISTORY_BYTES_MAX`].
    pub history_bytes: u64,
    /// [`limits::HISTORY_AGE_MS_MAX`].
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
        Bounds {
            history_changes: limits::HISTORY_CHANGES_MAX,
            history_bytes: limits::HISTORY_BYTES_MAX,
            history_age_ms: limits::HISTORY_AGE_MS_MAX,
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
