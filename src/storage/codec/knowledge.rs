//! The stored forms of what nodes know of each other: vectors, steps, members, conflicts.

use super::{bad, put_list, put_number, put_sized, CodecError, Decoded, Fault, Reader, Stored};
use crate::types::{Address, Conflict, Dot, Key, Member, NodeId, Record, SeenStep, Sequence, StateEnd, VersionVector};

impl Stored for VersionVector {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        put_number(buf, self.len() as u64);
        for (node, sequence) in self.iter() {
            Dot { node, sequence }.put(buf);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<VersionVector> {
        let mut vector = VersionVector::new();
        let mut last = NodeId(0);
        for _ in 0..reader.take_count::<Dot>("vector")? {
            let Dot { node, sequence } = Dot::take(reader)?;
            if node <= last {
                return bad("vector", Fault::Order);
            }
            last = node;
            vector.raise(node, sequence);
        }
        Ok(vector)
    }
}

impl Stored for SeenStep {
    const BYTES_LEAST: usize = 2 * NodeId::BYTES_LEAST + 2 * Sequence::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        self.writer.put(buf);
        self.of.put(buf);
        self.from.put(buf);
        self.seen.put(buf);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<SeenStep> {
        Ok(SeenStep {
            writer: NodeId::take(reader)?,
            of: NodeId::take(reader)?,
            from: Sequence::take(reader)?,
            seen: Sequence::take(reader)?,
        })
    }
}

impl Stored for StateEnd {
    const BYTES_LEAST: usize = 3;

    fn put(&self, buf: &mut Vec<u8>) {
        self.vector.put(buf);
        put_list(buf, &self.seen);
        self.dropped.put(buf);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<StateEnd> {
        Ok(StateEnd {
            vector: VersionVector::take(reader)?,
            seen: reader.take_list("seen")?,
            dropped: VersionVector::take(reader)?,
        })
    }
}

/// More than any host name has (RFC 1035, 2.3.4).
const HOST_BYTES_MAX: usize = 255;

impl Stored for Address {
    const BYTES_LEAST: usize = 1 + 1 + 2;

    fn put(&self, buf: &mut Vec<u8>) {
        put_sized(buf, self.host().as_bytes());
        buf.extend_from_slice(&self.port().to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Address> {
        let host = reader.take_text("address.host", HOST_BYTES_MAX)?;
        let port = reader.take_u16("address.port")?;
        // A host that is kept in another spelling than it was read in would have two forms.
        let address = Address::new(host, port).ok().filter(|address| address.host() == host);
        address.ok_or(CodecError { field: "address", fault: Fault::Text })
    }
}

impl Stored for Member {
    const BYTES_LEAST: usize = NodeId::BYTES_LEAST + Address::BYTES_LEAST + 8;

    fn put(&self, buf: &mut Vec<u8>) {
        self.node.put(buf);
        self.address.put(buf);
        buf.extend_from_slice(&self.born_ms.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Member> {
        Ok(Member {
            node: NodeId::take(reader)?,
            address: Address::take(reader)?,
            born_ms: reader.take_u64("member.born_ms")?,
        })
    }
}

impl Stored for Conflict {
    const BYTES_LEAST: usize = Key::BYTES_LEAST + 2 * Record::BYTES_LEAST + 8 + NodeId::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        self.key.put(buf);
        self.lost.put(buf);
        self.won.put(buf);
        buf.extend_from_slice(&self.noticed_ms.to_le_bytes());
        self.node.put(buf);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Conflict> {
        Ok(Conflict {
            key: Key::take(reader)?,
            lost: Record::take(reader)?,
            won: Record::take(reader)?,
            noticed_ms: reader.take_u64("conflict.noticed_ms")?,
            node: NodeId::take(reader)?,
        })
    }
}
