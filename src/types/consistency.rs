//! What a keyspace promises, and what the keyspace `default` is to the clients of one node.

/// The keyspace that is there from the start.
pub const DEFAULT_KEYSPACE: &str = "default";

/// What a keyspace promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Every node takes writes by itself, and all come to the same in the end.
    #[default]
    Eventual,
    /// Linearizable: a majority agrees on every write.
    Strong,
}

impl Consistency {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Consistency::Eventual => "eventual",
            Consistency::Strong => "strong",
        }
    }

    /// The one of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Consistency> {
        [Consistency::Eventual, Consistency::Strong].into_iter().find(|consistency| consistency.as_str() == name)
    }
}

/// What the keyspace `default` is, as far as a node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultKeyspace {
    /// Eventual: each node serves it by itself.
    #[default]
    Eventual,
    /// The node was told that it is to be strong, and has not found the group of its cluster, which decides. Nobody is served
    /// meanwhile.
    Undecided,
    /// Strong: the group of the cluster has it.
    Strong,
}

impl DefaultKeyspace {
    /// Every state, for tables.
    pub const ALL: [DefaultKeyspace; 3] =
        [DefaultKeyspace::Eventual, DefaultKeyspace::Undecided, DefaultKeyspace::Strong];

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            DefaultKeyspace::Eventual => "eventual",
            DefaultKeyspace::Undecided => "undecided",
            DefaultKeyspace::Strong => "strong",
        }
    }
}

impl From<Consistency> for DefaultKeyspace {
    fn from(consistency: Consistency) -> DefaultKeyspace {
        match consistency {
            Consistency::Eventual => DefaultKeyspace::Eventual,
            Consistency::Strong => DefaultKeyspace::Strong,
        }
    }
}
