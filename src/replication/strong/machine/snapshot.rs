//! The state at one entry, as chunks for whoever is too far behind for the log.
//!
//! A [`Snapshot`] shares everything with the machine that it was taken of. It is written as pieces in one order that follows
//! from the state alone, so equal states have equal pieces, and the hash over them is [`Snapshot::state_hash`]. Pieces travel
//! in chunks: a header, then chunks whose check is the CRC32C of everything up to their end, so that one that is lost,
//! repeated, exchanged or changed is noticed. The last piece counts them and has the hash.

use crc32c::crc32c_append;
use xxhash_rust::xxh3::Xxh3;

use super::{
    clock::Clock,
    codec::put_option,
    ids::{ClientId, KeyspaceId, LeaseId, LogPosition, Revision},
    item::{Place, Space, Version},
    state::{Keyspace, LastIds, State},
    Answer, Bounds,
};
use crate::{
    faults,
    limits::STRONG_CHUNK_BYTES_TARGET,
    storage::{
        codec::Stored,
        envelope::{self, Magic},
    },
    types::{Key, Value},
};

pub(super) const MAGIC: Magic = *b"kvstrg\r\n";

/// The version of the format that this software writes. It reads this one and no other.
pub(super) const FORMAT_VERSION: u32 = 1;

/// What comes before the payload of a chunk: its length, the count of its pieces, the check.
pub(super) const CHUNK_HEAD_BYTES: usize = 12;

/// The state of a machine at one entry.
#[derive(Clone, Debug)]
pub struct Snapshot {
    state: State,
}

/// The chunks of a snapshot, in order. See [`Snapshot::chunks`].
pub struct Chunks<'a> {
    pieces: Box<dyn Iterator<Item = Piece> + Send + 'a>,
    header: Option<(Vec<u8>, u32)>,
    check: u32,
    count: u64,
    hasher: Xxh3,
    is_ended: bool,
}

/// What stands alone in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) bounds: Bounds,
    pub(super) applied: Option<LogPosition>,
    pub(super) log_hash: u64,
    pub(super) clock: Clock,
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) last_ids: LastIds,
    pub(super) last_client: u64,
    pub(super) client_requests: u64,
}

/// The smallest part of a snapshot, in the order in which the kinds appear: the head; leases; keyspaces, each with its
/// versions and waiters; clients, each with its answers; transactions, each with its places; the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Head(Head),
    Lease {
        lease: LeaseId,
        ttl_ms: u64,
        deadline_ms: u64,
        generation: u64,
    },
    Keyspace {
        keyspace: KeyspaceId,
        name: String,
    },
    Version {
        space: Space,
        key: Key,
        version: Version,
    },
    Waiter {
        name: Key,
        ticket: u64,
        lease: LeaseId,
        value: Value,
    },
    Client {
        client: ClientId,
        floor: u64,
        active: u64,
    },
    Answer {
        number: u64,
        answer: Answer,
    },
    Past {
        revision: Revision,
        time_ms: u64,
        elapsed_ms: u64,
        bytes: u64,
    },
    Place(Place),
    End {
        pieces: u64,
        hash: u64,
    },
    /// Behind the head, of a group that has made an eventual keyspace.
    Spaces {
        group: u64,
    },
    /// A keyspace of which nothing else is here.
    Eventual {
        keyspace: KeyspaceId,
        name: String,
        keep_conflicts: u64,
    },
}

impl Piece {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Piece::Head(_) => 1,
            Piece::Lease { .. } => 2,
            Piece::Keyspace { .. } => 3,
            Piece::Version { .. } => 4,
            Piece::Waiter { .. } => 5,
            Piece::Client { .. } => 6,
            Piece::Answer { .. } => 7,
            Piece::Past { .. } => 8,
            Piece::Place(_) => 9,
            Piece::End { .. } => 10,
            Piece::Spaces { .. } => 11,
            Piece::Eventual { .. } => 12,
        }
    }
}

impl Snapshot {
    pub(super) fn new(state: State) -> Snapshot {
        Snapshot { state }
    }

    pub(super) fn into_state(self) -> State {
        self.state
    }

    /// The last entry that is in it.
    pub fn applied(&self) -> Option<LogPosition> {
        self.state.applied
    }

    /// The hash of the whole state: see [`super::Machine::state_hash`].
    pub fn state_hash(&self) -> u64 {
        let (mut hasher, mut bytes) = (Xxh3::new(), Vec::new());
        for piece in self.pieces() {
            bytes.clear();
            piece.put(&mut bytes);
            hasher.update(&bytes);
        }
        hasher.digest()
    }

    /// The chunks, each of about [`STRONG_CHUNK_BYTES_TARGET`] and made when it is asked for.
    pub fn chunks(&self) -> Chunks<'_> {
        let mut body = Vec::new();
        put_option(&mut body, self.state.applied.as_ref());
        let header = envelope::seal(MAGIC, FORMAT_VERSION, &body);
        Chunks {
            pieces: Box::new(self.pieces()),
            check: header.1,
            header: Some(header),
            count: 0,
            hasher: Xxh3::new(),
            is_ended: false,
        }
    }

    fn pieces(&self) -> impl Iterator<Item = Piece> + Send + '_ {
        let state = &self.state;
        let leases = state.leases.iter().map(|(lease, found)| Piece::Lease {
            lease: *lease,
            ttl_ms: found.ttl_ms,
            deadline_ms: found.deadline_ms,
            generation: found.generation,
        });
        let keyspaces = state.keyspaces.iter().flat_map(|(id, keyspace)| keyspace_pieces(*id, keyspace));
        std::iter::once(Piece::Head(head(state)))
            .chain(state.spaces.map(|group| Piece::Spaces { group }))
            .chain(leases)
            .chain(keyspaces)
            .chain(client_pieces(state))
            .chain(history_pieces(state))
    }
}

fn head(state: &State) -> Head {
    Head {
        bounds: state.bounds,
        applied: state.applied,
        log_hash: state.log_hash,
        clock: state.clock,
        revision: state.revision,
        compacted: state.compacted,
        last_ids: state.last_ids,
        last_client: state.clients.last_id,
        client_requests: state.clients.requests,
    }
}

fn keyspace_pieces(id: KeyspaceId, keyspace: &Keyspace) -> impl Iterator<Item = Piece> + Send + '_ {
    let versions = |space| {
        keyspace.chains(space).iter().flat_map(move |(key, chain)| {
            chain.versions().map(move |version| Piece::Version { space, key: key.clone(), version: version.clone() })
        })
    };
    let waiters = keyspace.queues.iter().flat_map(|(name, queue)| {
        queue.iter().map(|(ticket, waiter)| Piece::Waiter {
            name: name.clone(),
            ticket: *ticket,
            lease: waiter.lease,
            value: waiter.value.clone(),
        })
    });
    let name = keyspace.name.clone();
    let first = match keyspace.keep_conflicts {
        None => Piece::Keyspace { keyspace: id, name },
        Some(keep_conflicts) => Piece::Eventual { keyspace: id, name, keep_conflicts },
    };
    std::iter::once(first).chain(versions(Space::Data)).chain(versions(Space::Locks)).chain(waiters)
}

fn client_pieces(state: &State) -> impl Iterator<Item = Piece> + Send + '_ {
    let is_forgetful = faults::is_mutant("strong_snapshot_without_answers");
    let answers = move |session: &super::clients::Session| match is_forgetful {
        true => imbl::OrdMap::new(),
        false => session.answers.clone(),
    };
    state.clients.iter().flat_map(move |(client, session)| {
        let kept = answers(session).into_iter();
        let answers = kept.map(|(number, answer)| Piece::Answer { number, answer });
        std::iter::once(Piece::Client { client, floor: session.floor, active: session.active }).chain(answers)
    })
}

fn history_pieces(state: &State) -> impl Iterator<Item = Piece> + Send + '_ {
    state.history.iter().flat_map(|(revision, past)| {
        let (time_ms, elapsed_ms, bytes) = (past.time_ms, past.elapsed_ms, past.bytes);
        let places = past.places.iter().cloned().map(Piece::Place);
        std::iter::once(Piece::Past { revision, time_ms, elapsed_ms, bytes }).chain(places)
    })
}

impl Iterator for Chunks<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some((header, _)) = self.header.take() {
            return Some(header);
        }
        if self.is_ended {
            return None;
        }
        let mut chunk = vec![0; CHUNK_HEAD_BYTES];
        let mut pieces = 0;
        while chunk.len() < STRONG_CHUNK_BYTES_TARGET && !self.is_ended {
            self.put_next(&mut chunk);
            pieces += 1;
        }
        Some(self.seal(chunk, pieces))
    }
}

impl Chunks<'_> {
    fn put_next(&mut self, chunk: &mut Vec<u8>) {
        let start = chunk.len();
        match self.pieces.next() {
            Some(piece) => {
                piece.put(chunk);
                self.hasher.update(&chunk[start..]);
                self.count += 1;
            }
            None => {
                self.is_ended = true;
                Piece::End { pieces: self.count, hash: self.hasher.digest() }.put(chunk);
            }
        }
    }

    fn seal(&mut self, mut chunk: Vec<u8>, pieces: u32) -> Vec<u8> {
        let length = (chunk.len() - CHUNK_HEAD_BYTES) as u32;
        chunk[..4].copy_from_slice(&length.to_le_bytes());
        chunk[4..8].copy_from_slice(&pieces.to_le_bytes());
        self.check = chunk_check(self.check, &chunk);
        chunk[8..CHUNK_HEAD_BYTES].copy_from_slice(&self.check.to_le_bytes());
        chunk
    }
}

/// The check of a chunk that goes on from the check `before`: of all but the check itself.
pub(super) fn chunk_check(before: u32, chunk: &[u8]) -> u32 {
    crc32c_append(crc32c_append(before, &chunk[..8]), &chunk[CHUNK_HEAD_BYTES..])
}
