//! The wall clocks of the simulated nodes: each is off by as much as its port says.

use super::{Simulation, BAD_OFFSET_MS, WALL_MS};

impl Simulation {
    /// Sets all clocks right, up to half a second.
    pub(in super::super) fn correct_clocks(&mut self) {
        for offset_ms in self.offsets_ms.values_mut() {
            *offset_ms = (*offset_ms).clamp(-500, 500);
        }
        for (port, node) in &self.nodes {
            node.clock.set_wall_ms(self.wall_ms(*port));
        }
    }

    pub(super) fn wall_ms(&self, port: u16) -> u64 {
        (WALL_MS + self.now_ms).saturating_add_signed(self.offsets_ms.get(&port).copied().unwrap_or(0))
    }

    /// What no wall clock has shown yet.
    pub(in super::super) fn highest_wall_ms(&self) -> u64 {
        WALL_MS + self.now_ms + BAD_OFFSET_MS as u64
    }

    /// Sets the wall clock of a port off, or right.
    pub(in super::super) fn set_offset_ms(&mut self, port: u16, offset_ms: i64) {
        self.offsets_ms.insert(port, offset_ms);
        if let Some(node) = self.nodes.get(&port) {
            node.clock.set_wall_ms(self.wall_ms(port));
        }
    }
}
