//! EV-6 A node's versions strictly grow, also while its wall clock goes back; and none is ahead of the greatest wall time
//! that any host ever read (Kulkarni et al., "Logical Physical Clocks", OPODIS 2014, theorem 3).

use std::{collections::BTreeMap, sync::Arc};

use kvstore::types::{NodeId, Timestamp};

use super::{Invariant, Verdict};
use crate::{
    cluster::Hosts,
    history::{History, Outcome, Write},
};

pub struct BoundedClock {
    hosts: Arc<Hosts>,
    /// The last version each client got from each node; it waits for the answer before it sends again.
    latest: BTreeMap<(usize, NodeId), u64>,
}

impl BoundedClock {
    pub fn new(hosts: Arc<Hosts>) -> BoundedClock {
        BoundedClock { hosts, latest: BTreeMap::new() }
    }
}

impl Invariant for BoundedClock {
    fn name(&self) -> &'static str {
        "EV-6 bounded clock"
    }

    fn on_write(&mut self, write: &Write, _history: &History) -> Verdict {
        let Outcome::Acked { version, by: Some(by) } = write.outcome else { return Ok(()) };
        let before = self.latest.insert((write.client, by), version).unwrap_or(0);
        if version <= before {
            return Err(format!("{by} gave {} after {}", Timestamp(version), Timestamp(before)));
        }
        let bound_ms = self.hosts.nodes.iter().map(|host| host.clock.highest_wall_ms()).max().unwrap_or(0);
        if Timestamp(version).millis() > bound_ms {
            return Err(format!("{by} gave {}, no clock ever showed more than {bound_ms} ms", Timestamp(version)));
        }
        Ok(())
    }
}
