//! What one node holds of one eventual keyspace.

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Its name.
    pub keyspace: String,
    /// Keys with a value, those included that have expired and are not swept yet.
    pub keys: u64,
    /// Bytes of keys and values, and of the keys that deletes are remembered of.
    pub bytes: u64,
    /// Conflicts that the node remembers.
    pub conflicts: u64,
}

impl Holding {
    /// In the order of its fields.
    pub fn into_parts(self) -> (String, u64, u64, u64) {
        (self.keyspace, self.keys, self.bytes, self.conflicts)
    }
}
