//! How the messages of the failure detector look: integers, big-endian, the sender's node id first of all. A member is
//! 12 bytes of identity; where it is reached the nodes tell each other elsewhere.

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};

use super::{DetectorError, Peer};
use crate::types::NodeId;

/// Identity, incarnation, state.
const MEMBER_BYTES: usize = 12 + 2 + 1;

/// The longest header: three identities, incarnation, kind, probe number.
const HEADER_BYTES_MAX: usize = 3 * 12 + 2 + 1 + 1;

#[derive(Clone, Copy, Debug)]
pub(super) struct WireCodec;

/// Why something could not be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CodecError {
    #[error("it is too short")]
    Short,
    #[error("{0} is no kind of message")]
    Kind(u8),
    #[error("{0} is no state of a member")]
    State(u8),
    #[error("there is no room")]
    Full,
}

/// Whom a message is from, by its own account.
pub(super) fn sender(mut message: &[u8]) -> Result<NodeId, DetectorError> {
    peer(&mut message).map(|peer| peer.node).map_err(|error| DetectorError::Malformed(error.to_string()))
}

fn peer(buf: &mut impl Buf) -> Result<Peer, CodecError> {
    let node = NodeId(buf.try_get_u64().map_err(|_| CodecError::Short)?);
    let life = buf.try_get_u32().map_err(|_| CodecError::Short)?;
    Ok(Peer { node, life })
}

fn put_peer(peer: Peer, buf: &mut impl BufMut) {
    buf.put_u64(peer.node.0);
    buf.put_u32(peer.life);
}

fn byte(buf: &mut impl Buf) -> Result<u8, CodecError> {
    buf.try_get_u8().map_err(|_| CodecError::Short)
}

fn message(buf: &mut impl Buf) -> Result<Message<Peer>, CodecError> {
    Ok(match byte(buf)? {
        1 => Message::Ping(byte(buf)?),
        2 => Message::Ack(byte(buf)?),
        3 => Message::PingReq { target: peer(buf)?, probe_number: byte(buf)? },
        4 => Message::IndirectPing { origin: peer(buf)?, probe_number: byte(buf)? },
        5 => Message::IndirectAck { target: peer(buf)?, probe_number: byte(buf)? },
        6 => Message::ForwardedAck { origin: peer(buf)?, probe_number: byte(buf)? },
        7 => Message::Announce,
        8 => Message::Feed,
        9 => Message::Gossip,
        10 => Message::Broadcast,
        11 => Message::TurnUndead,
        other => return Err(CodecError::Kind(other)),
    })
}

fn put_message(message: &Message<Peer>, buf: &mut impl BufMut) {
    let (kind, about, number) = match *message {
        Message::Ping(number) => (1, None, Some(number)),
        Message::Ack(number) => (2, None, Some(number)),
        Message::PingReq { target, probe_number } => (3, Some(target), Some(probe_number)),
        Message::IndirectPing { origin, probe_number } => (4, Some(origin), Some(probe_number)),
        Message::IndirectAck { target, probe_number } => (5, Some(target), Some(probe_number)),
        Message::ForwardedAck { origin, probe_number } => (6, Some(origin), Some(probe_number)),
        Message::Announce => (7, None, None),
        Message::Feed => (8, None, None),
        Message::Gossip => (9, None, None),
        Message::Broadcast => (10, None, None),
        Message::TurnUndead => (11, None, None),
    };
    buf.put_u8(kind);
    if let Some(about) = about {
        put_peer(about, buf);
    }
    if let Some(number) = number {
        buf.put_u8(number);
    }
}

impl Codec<Peer> for WireCodec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &Header<Peer>, mut buf: impl BufMut) -> Result<(), CodecError> {
        if buf.remaining_mut() < HEADER_BYTES_MAX {
            return Err(CodecError::Full);
        }
        put_peer(header.src, &mut buf);
        put_peer(header.dst, &mut buf);
        buf.put_u16(header.src_incarnation);
        put_message(&header.message, &mut buf);
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Peer>, CodecError> {
        let (src, dst) = (peer(&mut buf)?, peer(&mut buf)?);
        let src_incarnation = buf.try_get_u16().map_err(|_| CodecError::Short)?;
        Ok(Header { src, src_incarnation, dst, message: message(&mut buf)? })
    }

    fn encode_member(&mut self, member: &Member<Peer>, mut buf: impl BufMut) -> Result<(), CodecError> {
        if buf.remaining_mut() < MEMBER_BYTES {
            return Err(CodecError::Full);
        }
        put_peer(*member.id(), &mut buf);
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 1,
            State::Suspect => 2,
            State::Down => 3,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Peer>, CodecError> {
        let peer = peer(&mut buf)?;
        let incarnation = buf.try_get_u16().map_err(|_| CodecError::Short)?;
        let state = match byte(&mut buf)? {
            1 => State::Alive,
            2 => State::Suspect,
            3 => State::Down,
            other => return Err(CodecError::State(other)),
        };
        Ok(Member::new(peer, incarnation, state))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peers() -> impl Strategy<Value = Peer> {
        (any::<u64>(), any::<u32>()).prop_map(|(node, life)| Peer { node: NodeId(node), life })
    }

    fn messages() -> impl Strategy<Value = Message<Peer>> {
        let about = || (peers(), any::<u8>());
        prop_oneof![
            any::<u8>().prop_map(Message::Ping),
            any::<u8>().prop_map(Message::Ack),
            about().prop_map(|(target, probe_number)| Message::PingReq { target, probe_number }),
            about().prop_map(|(origin, probe_number)| Message::IndirectPing { origin, probe_number }),
            about().prop_map(|(target, probe_number)| Message::IndirectAck { target, probe_number }),
            about().prop_map(|(origin, probe_number)| Message::ForwardedAck { origin, probe_number }),
            Just(Message::Announce),
            Just(Message::Feed),
            Just(Message::Gossip),
            Just(Message::Broadcast),
            Just(Message::TurnUndead),
        ]
    }

    proptest! {
        #[test]
        fn headers_come_back_as_they_went_in(
            src in peers(), dst in peers(), src_incarnation: u16, message in messages(),
        ) {
            let header = Header { src, src_incarnation, dst, message };
            let mut bytes = Vec::new();
            WireCodec.encode_header(&header, &mut bytes).unwrap();
            prop_assert!(bytes.len() <= HEADER_BYTES_MAX);
            prop_assert_eq!(sender(&bytes).unwrap(), src.node);
            for length in 0..bytes.len() {
                prop_assert_eq!(WireCodec.decode_header(&bytes[..length]).unwrap_err(), CodecError::Short);
            }
            prop_assert_eq!(WireCodec.decode_header(&bytes[..]).unwrap(), header);
        }

        #[test]
        fn members_come_back_as_they_went_in(id in peers(), incarnation: u16, state in 0usize..3) {
            let member = Member::new(id, incarnation, [State::Alive, State::Suspect, State::Down][state]);
            let mut bytes = Vec::new();
            WireCodec.encode_member(&member, &mut bytes).unwrap();
            prop_assert_eq!(bytes.len(), MEMBER_BYTES);
            prop_assert_eq!(WireCodec.decode_member(&bytes[..]).unwrap(), member.clone());
            prop_assert_eq!(WireCodec.encode_member(&member, &mut [0; MEMBER_BYTES - 1][..]), Err(CodecError::Full));
        }

        #[test]
        fn whatever_arrives_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            // Only that it returns is promised.
            let _ = (WireCodec.decode_header(&bytes[..]), WireCodec.decode_member(&bytes[..]), sender(&bytes));
        }
    }
}
