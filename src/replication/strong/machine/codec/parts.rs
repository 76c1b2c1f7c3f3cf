//! The stored forms of what the state is made of: the pieces of a snapshot.

use std::sync::Arc;

use super::{bad, entries::take_name, invalid, put_option, take_option};
use crate::{
    limits::SEQUENCE_MAX,
    replication::strong::machine::{
        clock::Clock,
        item::Version,
        snapshot::{Head, Piece},
        state::LastIds,
        Answer, Bounds, ClientId, Item, KeyspaceId, LeaseId, Place, Revision, Space, Until, VersionState,
    },
    storage::codec::{put_number, put_sized, Decoded, Fault, Reader, Stored},
    types::{Key, Value},
};

/// A number that is counted up, far from where that would overflow.
fn take_counter(reader: &mut Reader<'_>, field: &'static str) -> Decoded<u64> {
    match reader.take_number(field)? {
        number if number <= SEQUENCE_MAX => Ok(number),
        found => bad(field, Fault::TooLarge { found, limit: SEQUENCE_MAX }),
    }
}

fn put_all(buf: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| put_number(buf, *number));
}

impl Stored for Bounds {
    const BYTES_LEAST: usize = 10;

    fn put(&self, buf: &mut Vec<u8>) {
        let Bounds { history_changes, history_bytes, history_age_ms, clients, client_answers, .. } = *self;
        put_all(buf, &[history_changes, history_bytes, history_age_ms, clients, client_answers]);
        let Bounds { answers_bytes, leases, lease_keys, lock_waiters, keyspaces, .. } = *self;
        put_all(buf, &[answers_bytes, leases, lease_keys, lock_waiters, keyspaces]);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Bounds> {
        let mut number = || reader.take_number("bounds");
        Ok(Bounds {
            history_changes: number()?,
            history_bytes: number()?,
            history_age_ms: number()?,
            clients: number()?,
            client_answers: number()?,
            answers_bytes: number()?,
            leases: number()?,
            lease_keys: number()?,
            lock_waiters: number()?,
            keyspaces: number()?,
        })
    }
}

impl Stored for Head {
    const BYTES_LEAST: usize = Bounds::BYTES_LEAST + 1 + 8 + 10;

    fn put(&self, buf: &mut Vec<u8>) {
        self.bounds.put(buf);
        put_option(buf, self.applied.as_ref());
        buf.extend_from_slice(&self.log_hash.to_le_bytes());
        put_all(buf, &[self.clock.term, self.clock.shown_ms, self.clock.elapsed_ms]);
        put_all(buf, &[self.revision.0, self.compacted.0]);
        put_all(buf, &[self.last_ids.keyspace, self.last_ids.lease, self.last_ids.ticket]);
        put_all(buf, &[self.last_client, self.client_requests]);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Head> {
        let bounds = Bounds::take(reader)?;
        let applied = take_option(reader, "head.applied")?;
        let log_hash = reader.take_u64("head.log_hash")?;
        let mut number = || reader.take_number("head.clock");
        let clock = Clock { term: number()?, shown_ms: number()?, elapsed_ms: number()? };
        let mut counter = || take_counter(reader, "head.counter");
        Ok(Head {
            bounds,
            applied,
            log_hash,
            clock,
            revision: Revision(counter()?),
            compacted: Revision(counter()?),
            last_ids: LastIds { keyspace: counter()?, lease: counter()?, ticket: counter()? },
            last_client: counter()?,
            client_requests: counter()?,
        })
    }
}

impl Stored for Space {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        buf.push(match self {
            Space::Data => 1,
            Space::Locks => 2,
        });
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Space> {
        match reader.take_u8("space")? {
            1 => Ok(Space::Data),
            2 => Ok(Space::Locks),
            other => invalid("space", other),
        }
    }
}

impl Stored for Place {
    const BYTES_LEAST: usize = 2 + Key::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        self.keyspace.put(buf);
        self.space.put(buf);
        self.key.put(buf);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Place> {
        Ok(Place { keyspace: KeyspaceId::take(reader)?, space: Space::take(reader)?, key: Key::take(reader)? })
    }
}

impl Stored for Until {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        match self {
            Until::Deleted => buf.push(0),
            Until::Elapsed(deadline_ms) => put_all_tagged(buf, 1, *deadline_ms),
            Until::Lease(lease) => put_all_tagged(buf, 2, lease.0),
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Until> {
        match reader.take_u8("until")? {
            0 => Ok(Until::Deleted),
            1 => reader.take_number("until.elapsed_ms").map(Until::Elapsed),
            2 => LeaseId::take(reader).map(Until::Lease),
            other => invalid("until", other),
        }
    }
}

fn put_all_tagged(buf: &mut Vec<u8>, tag: u8, number: u64) {
    buf.push(tag);
    put_number(buf, number);
}

/// The revision that wrote an item is that of its version.
impl Stored for Version {
    const BYTES_LEAST: usize = 2;

    fn put(&self, buf: &mut Vec<u8>) {
        self.revision.put(buf);
        match &self.state {
            VersionState::Live(item) => {
                buf.push(1);
                item.value.put(buf);
                put_all(buf, &[item.flags.into(), item.created.0, item.writes]);
                buf.extend_from_slice(&item.modified_ms.to_le_bytes());
                item.until.put(buf);
            }
            VersionState::Deleted => buf.push(2),
            VersionState::Expired => buf.push(3),
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Version> {
        let revision = Revision(take_counter(reader, "version.revision")?);
        let state = match reader.take_u8("version")? {
            1 => VersionState::Live(Arc::new(Item {
                value: Value::take(reader)?,
                flags: reader.take_number_u32("item.flags")?,
                created: Revision(take_counter(reader, "item.created")?),
                modified: revision,
                writes: take_counter(reader, "item.writes")?,
                modified_ms: reader.take_u64("item.modified_ms")?,
                until: Until::take(reader)?,
            })),
            2 => VersionState::Deleted,
            3 => VersionState::Expired,
            other => return invalid("version", other),
        };
        Ok(Version { revision, state })
    }
}

impl Stored for Piece {
    const BYTES_LEAST: usize = 3;

    fn put(&self, buf: &mut Vec<u8>) {
        buf.push(self.kind());
        match self {
            Piece::Head(head) => head.put(buf),
            Piece::Lease { lease, ttl_ms, deadline_ms, generation } => {
                put_all(buf, &[lease.0, *ttl_ms, *deadline_ms, *generation]);
            }
            Piece::Keyspace { keyspace, name } => {
                keyspace.put(buf);
                put_sized(buf, name.as_bytes());
            }
            Piece::Version { space, key, version } => {
                space.put(buf);
                key.put(buf);
                version.put(buf);
            }
            Piece::Waiter { name, ticket, lease, value } => {
                name.put(buf);
                put_all(buf, &[*ticket, lease.0]);
                value.put(buf);
            }
            Piece::Client { client, floor, active } => put_all(buf, &[client.0, *floor, *active]),
            Piece::Answer { number, answer } => {
                put_number(buf, *number);
                answer.put(buf);
            }
            Piece::Past { revision, time_ms, elapsed_ms, bytes } => {
                revision.put(buf);
                buf.extend_from_slice(&time_ms.to_le_bytes());
                put_all(buf, &[*elapsed_ms, *bytes]);
            }
            Piece::Place(place) => place.put(buf),
            Piece::End { pieces, hash } => {
                put_number(buf, *pieces);
                buf.extend_from_slice(&hash.to_le_bytes());
            }
            Piece::Spaces { group } => buf.extend_from_slice(&group.to_le_bytes()),
            Piece::Eventual { keyspace, name, keep_conflicts } => {
                keyspace.put(buf);
                put_sized(buf, name.as_bytes());
                put_number(buf, *keep_conflicts);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Piece> {
        Ok(match reader.take_u8("piece")? {
            1 => Piece::Head(Head::take(reader)?),
            2 => Piece::Lease {
                lease: LeaseId::take(reader)?,
                ttl_ms: reader.take_number("lease.ttl_ms")?,
                deadline_ms: reader.take_number("lease.deadline_ms")?,
                generation: take_counter(reader, "lease.generation")?,
            },
            3 => Piece::Keyspace { keyspace: KeyspaceId::take(reader)?, name: take_name(reader)? },
            4 => {
                Piece::Version { space: Space::take(reader)?, key: Key::take(reader)?, version: Version::take(reader)? }
            }
            5 => Piece::Waiter {
                name: Key::take(reader)?,
                ticket: take_counter(reader, "waiter.ticket")?,
                lease: LeaseId::take(reader)?,
                value: Value::take(reader)?,
            },
            6 => Piece::Client {
                client: ClientId::take(reader)?,
                floor: reader.take_number("client.floor")?,
                active: take_counter(reader, "client.active")?,
            },
            7 => Piece::Answer { number: reader.take_number("answer.number")?, answer: Answer::take(reader)? },
            8 => Piece::Past {
                revision: Revision(take_counter(reader, "past.revision")?),
                time_ms: reader.take_u64("past.time_ms")?,
                elapsed_ms: reader.take_number("past.elapsed_ms")?,
                bytes: take_counter(reader, "past.bytes")?,
            },
            9 => Piece::Place(Place::take(reader)?),
            10 => Piece::End { pieces: reader.take_number("end.pieces")?, hash: reader.take_u64("end.hash")? },
            11 => Piece::Spaces { group: reader.take_u64("spaces.group")? },
            12 => Piece::Eventual {
                keyspace: KeyspaceId::take(reader)?,
                name: take_name(reader)?,
                keep_conflicts: reader.take_number("keyspace.keep_conflicts")?,
            },
            other => return invalid("piece", other),
        })
    }
}
