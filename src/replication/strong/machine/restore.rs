//! A machine from the chunks of a snapshot. Any bytes are read or refused; what is read without an error is the state that
//! was written, to the last answer.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::{
    codec::{bad, take_option},
    history::Past,
    ids::{ClientId, KeyspaceId, LeaseId, Revision},
    item::{Place, Space, Until, Version},
    leases::LeaseState,
    locks::Waiter,
    snapshot::{chunk_check, Head, Piece, FORMAT_VERSION, MAGIC},
    state::State,
    Machine,
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::STRONG_CHUNK_BYTES_MAX,
    storage::{
        codec::{CodecError, Decoded, Fault, Reader, Stored},
        envelope::{self, EnvelopeFault},
    },
    types::Key,
};

/// A machine that is being put together. After an error nothing is promised of the rest.
#[derive(Default)]
pub struct Restore {
    /// Of the last chunk; `None` before the header.
    check: Option<u32>,
    state: State,
    rank: Option<Rank>,
    keyspace: KeyspaceId,
    client: ClientId,
    /// A transaction whose places are being read.
    past: Option<(Revision, Past, Vec<Place>)>,
    pieces: u64,
    hasher: Xxh3,
    is_ended: bool,
}

/// Where a piece stands. Pieces come in growing order: stage, owner, stage within, keyspace, space, key, number.
type Rank = (u8, u64, u8, u64, u8, Option<Key>, u64);

impl Restore {
    /// Before the first chunk.
    pub fn new() -> Restore {
        Restore::default()
    }

    /// Reads the next chunk.
    ///
    /// # Errors
    /// `CORRUPT`: this is not the next chunk. `FORMAT_TOO_NEW`: the snapshot is of a later version.
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        match self.check {
            None => self.push_header(chunk),
            Some(check) => self.push_pieces(check, chunk).map_err(damaged),
        }
    }

    /// The machine, once all chunks are read.
    ///
    /// # Errors
    /// `CORRUPT`: chunks are missing.
    pub fn finish(mut self) -> Result<Machine> {
        if !self.is_ended {
            return Err(Error::new(ErrorCode::Corrupt, "snapshot of a group: it ends too early"));
        }
        self.index();
        Ok(Machine { state: self.state })
    }

    fn push_header(&mut self, chunk: &[u8]) -> Result<()> {
        let (body, check) = envelope::unseal(MAGIC, FORMAT_VERSION, chunk).map_err(|fault| match fault {
            EnvelopeFault::Damaged(error) => damaged(error),
            EnvelopeFault::Version(found) => {
                let text = format!("snapshot of a group: version {found}, this software knows {FORMAT_VERSION}");
                Error::new(ErrorCode::FormatTooNew, text)
            }
        })?;
        let mut reader = Reader::new(body);
        self.state.applied = take_option(&mut reader, "header.applied").map_err(damaged)?;
        reader.finish("header").map_err(damaged)?;
        self.check = Some(check);
        Ok(())
    }

    fn push_pieces(&mut self, before: u32, chunk: &[u8]) -> Decoded<()> {
        if chunk.len() > STRONG_CHUNK_BYTES_MAX {
            let fault = Fault::TooLarge { found: chunk.len() as u64, limit: STRONG_CHUNK_BYTES_MAX as u64 };
            return bad("chunk", fault);
        }
        let mut reader = Reader::new(chunk);
        let length = reader.take_u32("chunk.length")?;
        let pieces = reader.take_u32("chunk.pieces")?;
        let check = reader.take_u32("chunk.check")?;
        if length as usize != reader.remaining() || chunk_check(before, chunk) != check {
            return bad("chunk.check", Fault::Check);
        }
        for _ in 0..pieces {
            let start = chunk.len() - reader.remaining();
            let piece = Piece::take(&mut reader)?;
            self.push_piece(piece, &chunk[start..chunk.len() - reader.remaining()])?;
        }
        self.check = Some(check);
        reader.finish("chunk")
    }

    fn push_piece(&mut self, piece: Piece, bytes: &[u8]) -> Decoded<()> {
        if self.is_ended || self.rank.is_none() != matches!(piece, Piece::Head(_)) {
            return bad("piece", Fault::Order);
        }
        if let Piece::End { pieces, hash } = piece {
            return self.end(pieces, hash);
        }
        self.pieces += 1;
        self.hasher.update(bytes);
        let rank = self.rank_of(&piece);
        if self.rank.as_ref().is_some_and(|before| *before >= rank) {
            return bad("piece", Fault::Order);
        }
        self.rank = Some(rank);
        self.load(piece)
    }

    fn rank_of(&self, piece: &Piece) -> Rank {
        let past = self.past.as_ref().map_or(0, |(revision, ..)| revision.0);
        let (keyspace, client) = (self.keyspace.0, self.client.0);
        match piece {
            Piece::Head(_) => (0, 0, 0, 0, 0, None, 0),
            Piece::Spaces { .. } => (0, 1, 0, 0, 0, None, 0),
            Piece::Lease { lease, .. } => (1, lease.0, 0, 0, 0, None, 0),
            Piece::Keyspace { keyspace, .. } | Piece::Eventual { keyspace, .. } => (2, keyspace.0, 0, 0, 0, None, 0),
            Piece::Version { space, key, version } => {
                (2, keyspace, 1, 0, *space as u8, Some(key.clone()), version.revision.0)
            }
            Piece::Waiter { name, ticket, .. } => (2, keyspace, 2, 0, 0, Some(name.clone()), *ticket),
            Piece::Client { client, .. } => (3, client.0, 0, 0, 0, None, 0),
            Piece::Answer { number, .. } => (3, client, 1, 0, 0, None, *number),
            Piece::Past { revision, .. } => (4, revision.0, 0, 0, 0, None, 0),
            Piece::Place(place) => (4, past, 1, place.keyspace.0, place.space as u8, Some(place.key.clone()), 0),
            Piece::End { .. } => (5, 0, 0, 0, 0, None, 0),
        }
    }

    fn load(&mut self, piece: Piece) -> Decoded<()> {
        match piece {
            Piece::Head(head) => return self.load_head(head),
            Piece::Lease { lease, ttl_ms, deadline_ms, generation } => {
                self.check_id("lease", lease.0, self.state.last_ids.lease)?;
                let state = LeaseState { ttl_ms, deadline_ms, generation, ..LeaseState::default() };
                self.state.restore_lease(lease, state);
            }
            Piece::Spaces { group } => self.state.spaces = Some(group),
            Piece::Keyspace { keyspace, name } => return self.load_keyspace(keyspace, name, None),
            Piece::Eventual { keyspace, name, keep_conflicts } => {
                if self.state.spaces.is_none() || keyspace.0 > u64::from(u32::MAX) {
                    return bad("keyspace", Fault::Invalid(keyspace.0));
                }
                return self.load_keyspace(keyspace, name, Some(keep_conflicts));
            }
            Piece::Version { space, key, version } => return self.load_version(space, key, version),
            Piece::Waiter { name, ticket, lease, value } => {
                self.check_id("waiter", ticket, self.state.last_ids.ticket)?;
                self.check_keyspace()?;
                self.check_lease(lease)?;
                self.state.restore_waiter(self.keyspace, &name, ticket, Waiter { lease, value });
            }
            Piece::Client { client, floor, active } => {
                self.check_id("client", client.0, self.state.clients.last_id)?;
                self.check_id("client.active", active, self.state.clients.requests)?;
                self.client = client;
                if !self.state.clients.restore_client(client, floor, active) {
                    return bad("client.active", Fault::Invalid(active));
                }
            }
            Piece::Answer { number, answer } => {
                if !self.state.clients.restore_answer(self.client, number, answer) {
                    return bad("answer", Fault::Order);
                }
            }
            Piece::Past { revision, time_ms, elapsed_ms, bytes } => {
                self.check_id("past", revision.0, self.state.revision.0)?;
                self.flush_past();
                let past = Past { time_ms, elapsed_ms, bytes, places: Arc::from([]) };
                self.past = Some((revision, past, Vec::new()));
            }
            Piece::Place(place) => match &mut self.past {
                Some((_, _, places)) => places.push(place),
                None => return bad("place", Fault::Order),
            },
            Piece::End { .. } => return bad("end", Fault::Order),
        }
        Ok(())
    }

    fn load_head(&mut self, head: Head) -> Decoded<()> {
        let Head { bounds, applied, log_hash, clock, revision, compacted, last_ids, last_client, client_requests } =
            head;
        if applied != self.state.applied || compacted > revision {
            return bad("head", Fault::Order);
        }
        self.state = State { bounds, applied, log_hash, clock, revision, compacted, last_ids, ..State::default() };
        self.state.clients.last_id = last_client;
        self.state.clients.requests = client_requests;
        Ok(())
    }

    fn load_keyspace(&mut self, keyspace: KeyspaceId, name: String, keep_conflicts: Option<u64>) -> Decoded<()> {
        self.check_id("keyspace", keyspace.0, self.state.last_ids.keyspace)?;
        if name.is_empty() || self.state.names.contains_key(&name) {
            return bad("keyspace.name", Fault::Text);
        }
        self.keyspace = keyspace;
        self.state.restore_keyspace(keyspace, name, keep_conflicts);
        Ok(())
    }

    fn load_version(&mut self, space: Space, key: Key, version: Version) -> Decoded<()> {
        self.check_id("version", version.revision.0, self.state.revision.0)?;
        self.check_keyspace()?;
        self.state.push_version(&Place { keyspace: self.keyspace, space, key }, version);
        Ok(())
    }

    /// An id that was given: counted from 1 to the last.
    fn check_id(&self, field: &'static str, id: u64, last: u64) -> Decoded<()> {
        match id {
            0 => bad(field, Fault::Invalid(0)),
            found if found > last => bad(field, Fault::TooLarge { found, limit: last }),
            _ => Ok(()),
        }
    }

    /// What is in a keyspace comes after it.
    fn check_keyspace(&self) -> Decoded<()> {
        match self.state.keyspaces.get(&self.keyspace) {
            Some(keyspace) if keyspace.keep_conflicts.is_none() => Ok(()),
            Some(_) | None => bad("keyspace", Fault::Order),
        }
    }

    fn check_lease(&self, lease: LeaseId) -> Decoded<()> {
        match self.state.leases.contains_key(&lease) {
            true => Ok(()),
            false => bad("lease", Fault::Invalid(lease.0)),
        }
    }

    fn flush_past(&mut self) {
        if let Some((revision, past, places)) = self.past.take() {
            self.state.history.push(revision, Past { places: places.into(), ..past });
        }
    }

    fn end(&mut self, pieces: u64, hash: u64) -> Decoded<()> {
        self.flush_past();
        if pieces != self.pieces || hash != self.hasher.digest() {
            return bad("end", Fault::Check);
        }
        for (_, keyspace) in &self.state.keyspaces {
            let live = [Space::Data, Space::Locks].into_iter().flat_map(|space| keyspace.chains(space).values());
            for item in live.filter_map(|chain| chain.live()) {
                if let Until::Lease(lease) = item.until {
                    self.check_lease(lease)?;
                }
            }
        }
        self.is_ended = true;
        Ok(())
    }

    /// Makes what follows from the rest.
    fn index(&mut self) {
        let keyspaces = self.state.keyspaces.clone();
        for (keyspace, found) in &keyspaces {
            for space in [Space::Data, Space::Locks] {
                for (key, chain) in found.chains(space) {
                    let Some(item) = chain.live() else { continue };
                    self.state.index(&Place { keyspace: *keyspace, space, key: key.clone() }, item);
                }
            }
        }
    }
}

fn damaged(error: CodecError) -> Error {
    Error::new(ErrorCode::Corrupt, format!("snapshot of a group: {error}"))
}
