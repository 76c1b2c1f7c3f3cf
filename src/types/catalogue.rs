//! The keyspaces of a cluster, as one node knows them from the strong group.

use std::collections::{BTreeMap, BTreeSet};

use super::SpaceId;

/// All keyspaces that were made, at one moment of the group's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Which of two is the later one.
    pub edition: Edition,
    /// What the group's eventual keyspaces have in common; `None`: it has never made one.
    pub group: Option<u64>,
    /// By name.
    pub keyspaces: BTreeMap<String, Listed>,
    /// Follows from the keyspaces.
    pub spaces: BTreeSet<SpaceId>,
}

/// Grows with each keyspace that is made or dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition {
    /// How many were ever made.
    pub made: u64,
    /// How many of them are gone.
    pub dropped: u64,
}

/// A keyspace in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The group has it.
    Strong,
    /// Every node has it.
    Eventual {
        /// Under which id.
        space: SpaceId,
        /// How many conflicts of it a node remembers.
        keep_conflicts: u64,
    },
}

impl Catalogue {
    /// Adds a keyspace.
    pub fn list(&mut self, name: &str, listed: Listed) {
        if let Listed::Eventual { space, .. } = listed {
            self.spaces.insert(space);
        }
        self.keyspaces.insert(name.to_string(), listed);
    }

    /// How many conflicts of a keyspace are to be remembered; `None`: it is not known.
    pub fn keep_conflicts(&self, space: SpaceId) -> Option<u64> {
        self.keyspaces.values().find_map(|listed| match listed {
            Listed::Eventual { space: found, keep_conflicts } if *found == space => Some(*keep_conflicts),
            Listed::Eventual { .. } | Listed::Strong => None,
        })
    }

    /// Whether a keyspace was dropped. One that was made later than this is not, and of those of another group nobody here
    /// knows anything.
    pub fn has_dropped(&self, space: SpaceId) -> bool {
        self.group == Some(space.group)
            && u64::from(space.keyspace) <= self.edition.made
            && !self.spaces.contains(&space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_group_made_and_has_no_more_is_dropped() {
        let space = |group, keyspace| SpaceId { group, keyspace };
        let mut catalogue = Catalogue::default();
        assert!(!catalogue.has_dropped(space(7, 1)), "it has never made one");
        (catalogue.group, catalogue.edition) = (Some(7), Edition { made: 3, dropped: 2 });
        catalogue.list("jobs", Listed::Eventual { space: space(7, 2), keep_conflicts: 1 });
        let dropped: Vec<u32> = (0..6).filter(|&id| catalogue.has_dropped(space(7, id))).collect();
        assert_eq!(dropped, [0, 1, 3]);
        assert!(!catalogue.has_dropped(space(8, 1)));
    }
}
