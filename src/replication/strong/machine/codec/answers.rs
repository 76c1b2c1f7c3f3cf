//! The stored forms of answers.

use super::{invalid, put_option, put_signed, take_option, take_signed};
use crate::{
    replication::strong::machine::{Answer, ClientId, KeyspaceId, LeaseId, Outcome, Refusal, Revision},
    storage::codec::{put_list, put_number, Decoded, Reader, Stored},
};

impl Stored for Answer {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        match self {
            Answer::Registered(client) => put_numbers(buf, 1, &[client.0]),
            Answer::Written { revision, outcomes } => {
                buf.push(2);
                put_option(buf, revision.as_ref());
                put_list(buf, outcomes);
            }
            Answer::Leased { lease, generation, ttl_ms } => put_numbers(buf, 3, &[lease.0, *generation, *ttl_ms]),
            Answer::Revoked => buf.push(4),
            Answer::Expired(count) => put_numbers(buf, 5, &[*count]),
            Answer::Held { token } => put_numbers(buf, 6, &[token.0]),
            Answer::Queued { ahead } => put_numbers(buf, 7, &[*ahead]),
            Answer::Released => buf.push(8),
            Answer::Proclaimed { revision } => put_numbers(buf, 9, &[revision.0]),
            Answer::Created(keyspace) => put_numbers(buf, 10, &[keyspace.0]),
            Answer::Dropped => buf.push(11),
            Answer::Compacted => buf.push(12),
            Answer::Refused(refusal) => {
                buf.push(13);
                refusal.put(buf);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Answer> {
        Ok(match reader.take_u8("answer")? {
            1 => Answer::Registered(ClientId::take(reader)?),
            2 => Answer::Written {
                revision: take_option(reader, "answer.revision")?,
                outcomes: reader.take_list("answer.outcomes")?,
            },
            3 => Answer::Leased {
                lease: LeaseId::take(reader)?,
                generation: reader.take_number("answer.generation")?,
                ttl_ms: reader.take_number("answer.ttl_ms")?,
            },
            4 => Answer::Revoked,
            5 => Answer::Expired(reader.take_number("answer.expired")?),
            6 => Answer::Held { token: Revision::take(reader)? },
            7 => Answer::Queued { ahead: reader.take_number("answer.ahead")? },
            8 => Answer::Released,
            9 => Answer::Proclaimed { revision: Revision::take(reader)? },
            10 => Answer::Created(KeyspaceId::take(reader)?),
            11 => Answer::Dropped,
            12 => Answer::Compacted,
            13 => Answer::Refused(Refusal::take(reader)?),
            other => return invalid("answer", other),
        })
    }
}

fn put_numbers(buf: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    buf.push(tag);
    numbers.iter().for_each(|number| put_number(buf, *number));
}

/// Bits of an outcome.
mod outcome {
    pub(super) const EXISTED: u8 = 1;
    pub(super) const NUMBER: u8 = 2;
}

impl Stored for Outcome {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        buf.push(bit(self.existed, outcome::EXISTED) | bit(self.number.is_some(), outcome::NUMBER));
        if let Some(number) = self.number {
            put_signed(buf, number);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Outcome> {
        let bits = reader.take_u8("outcome")?;
        if bits & !(outcome::EXISTED | outcome::NUMBER) != 0 {
            return invalid("outcome", bits);
        }
        let number = match bits & outcome::NUMBER {
            0 => None,
            _ => Some(take_signed(reader, "outcome.number")?),
        };
        Ok(Outcome { existed: bits & outcome::EXISTED != 0, number })
    }
}

impl Stored for Refusal {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        match self {
            Refusal::Guard { guard, found } => put_numbers(buf, 1, &[*guard, found.0]),
            Refusal::NotAnInteger { operation } => put_numbers(buf, 2, &[*operation]),
            Refusal::Overflow { operation } => put_numbers(buf, 3, &[*operation]),
            Refusal::UnknownLease { lease } => put_numbers(buf, 4, &[lease.0]),
            Refusal::LeaseFull { lease } => put_numbers(buf, 5, &[lease.0]),
            Refusal::BadTtl => buf.push(6),
            Refusal::LockHeld { lease, token } => put_numbers(buf, 7, &[lease.0, token.0]),
            Refusal::NotHolder { token } => put_numbers(buf, 8, &[token.0]),
            Refusal::FormerLeader { term } => put_numbers(buf, 9, &[*term]),
            Refusal::UnknownKeyspace { keyspace } => put_numbers(buf, 10, &[keyspace.0]),
            Refusal::KeyspaceExists { keyspace } => put_numbers(buf, 11, &[keyspace.0]),
            Refusal::BadName => buf.push(12),
            Refusal::TooLarge => buf.push(13),
            Refusal::Full => buf.push(14),
            Refusal::FutureRevision { revision } => put_numbers(buf, 15, &[revision.0]),
            Refusal::UnknownClient { client } => put_numbers(buf, 16, &[client.0]),
            Refusal::AnswerForgotten { floor } => put_numbers(buf, 17, &[*floor]),
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Refusal> {
        let kind = reader.take_u8("refusal")?;
        let mut number = || reader.take_number("refusal.number");
        Ok(match kind {
            1 => Refusal::Guard { guard: number()?, found: Revision(number()?) },
            2 => Refusal::NotAnInteger { operation: number()? },
            3 => Refusal::Overflow { operation: number()? },
            4 => Refusal::UnknownLease { lease: LeaseId(number()?) },
            5 => Refusal::LeaseFull { lease: LeaseId(number()?) },
            6 => Refusal::BadTtl,
            7 => Refusal::LockHeld { lease: LeaseId(number()?), token: Revision(number()?) },
            8 => Refusal::NotHolder { token: Revision(number()?) },
            9 => Refusal::FormerLeader { term: number()? },
            10 => Refusal::UnknownKeyspace { keyspace: KeyspaceId(number()?) },
            11 => Refusal::KeyspaceExists { keyspace: KeyspaceId(number()?) },
            12 => Refusal::BadName,
            13 => Refusal::TooLarge,
            14 => Refusal::Full,
            15 => Refusal::FutureRevision { revision: Revision(number()?) },
            16 => Refusal::UnknownClient { client: ClientId(number()?) },
            17 => Refusal::AnswerForgotten { floor: number()? },
            other => return invalid("refusal", other),
        })
    }
}
