//! PE-6 A full disk refuses writes before they change anything, with `DISK_FULL`, and takes them again when there is room; reads
//! go on. (That a refused write is never seen is EV-9, and that writes are taken again is part of EV-1.)

use std::sync::Arc;

use kvstore::error::ErrorCode;

use super::{Invariant, Verdict};
use crate::{
    cluster::Hosts,
    history::{History, Write},
};

pub struct FullDisk {
    hosts: Arc<Hosts>,
    refused: u64,
}

impl FullDisk {
    pub fn new(hosts: Arc<Hosts>) -> FullDisk {
        FullDisk { hosts, refused: 0 }
    }
}

impl Invariant for FullDisk {
    fn name(&self) -> &'static str {
        "PE-6 a full disk refuses writes"
    }

    fn on_write(&mut self, write: &Write, _history: &History) -> Verdict {
        if write.why != Some(ErrorCode::DiskFull) {
            return Ok(());
        }
        self.refused += 1;
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let may_be = self.hosts.nodes.iter().filter_map(|host| host.disk()).any(|disk| disk.may_be_full(now));
        match may_be {
            true => Ok(()),
            false => Err(format!("{write:?}, and no disk was full")),
        }
    }

    fn on_read_failed(&mut self, why: ErrorCode, _history: &History) -> Verdict {
        match why {
            ErrorCode::DiskFull => Err("a read failed because of a full disk".to_string()),
            _ => Ok(()),
        }
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![("writes refused by full disks", self.refused)]
    }
}
