//! One direction of a connection: pieces that are on their way.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Bytes on their way in one direction; whoever sends waits beyond it, as for the buffers of the system.
const LANE_BYTES_MAX: usize = 1024 * 1024;

/// Pieces, each with the moment at which it arrives. An empty one is the end.
#[derive(Default)]
pub(super) struct Lane {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// How much of the first is gone.
    taken: usize,
    bytes: usize,
}

impl Lane {
    /// Whether another piece may be sent on its way.
    pub(super) fn is_open(&self) -> bool {
        let has_end = self.pieces.back().is_some_and(|(_, piece)| piece.is_empty());
        self.bytes < LANE_BYTES_MAX && !has_end
    }

    /// Sends a piece on its way. It does not overtake.
    pub(super) fn push(&mut self, piece: &[u8], later: Duration) {
        let arrives = Instant::now() + later;
        let arrives = self.pieces.back().map_or(arrives, |(before, _)| arrives.max(*before));
        self.bytes += piece.len();
        self.pieces.push_back((arrives, piece.to_vec()));
    }

    /// When the first piece arrives; `None`: there is none.
    pub(super) fn next(&self) -> Option<Instant> {
        self.pieces.front().map(|(arrives, _)| *arrives)
    }

    /// What is left of the first piece.
    pub(super) fn first(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |(_, piece)| &piece[self.taken..])
    }

    /// So many bytes of the first piece are gone.
    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        self.bytes -= bytes;
        if self.pieces.front().is_some_and(|(_, piece)| piece.len() <= self.taken) {
            self.pieces.pop_front();
            self.taken = 0;
        }
    }
}
