//! The stream between two replicas, from dial to end, over both transports.

use super::*;
use crate::{
    limits::{REPLICATION_BATCH_BYTES_TARGET, VALUE_BYTES_MAX},
    replication::eventual::Dialer,
    types::{Change, Key, PartitionChanges, PartitionId, PeerMessage, Sequence, Timestamp, TransferId, Value},
};

fn message(transfer: u64) -> PeerMessage {
    PeerMessage::StateChunkReceived { transfer: TransferId(transfer) }
}

#[tokio::test]
async fn messages_flow_both_ways_in_order() {
    for transport in transports() {
        let mut fixture = Fixture::new(transport.clone()).await;
        let mut ours = RpcDialer::new(Access::plain(transport)).dial(fixture.address.clone()).await.unwrap();
        let mut theirs = within(fixture.accepted.recv()).await.unwrap();
        for i in 0..100 {
            ours.outbound.send(message(i)).await.unwrap();
            theirs.outbound.send(message(1000 + i)).await.unwrap();
        }
        for i in 0..100 {
            assert_eq!(within(theirs.inbound.recv()).await, Some(Ok(message(i))));
            assert_eq!(within(ours.inbound.recv()).await, Some(Ok(message(1000 + i))));
        }
    }
}

#[tokio::test]
async fn the_largest_batch_passes() {
    let mut fixture = Fixture::new(simulated()).await;
    let ours = RpcDialer::new(Access::plain(fixture.transport.clone())).dial(fixture.address.clone()).await.unwrap();
    let mut theirs = within(fixture.accepted.recv()).await.unwrap();
    let change = |length| Change {
        key: Key::new(b"k").unwrap(),
        value: Some(Value::new(&bytes(length)).unwrap()),
        flags: 0,
        timestamp: Timestamp(1),
        expires_ms: None,
    };
    let batch = PeerMessage::Changes(vec![PartitionChanges {
        partition: PartitionId(0),
        first_sequence: Sequence(1),
        seen: Vec::new(),
        changes: vec![change(REPLICATION_BATCH_BYTES_TARGET - 1), change(VALUE_BYTES_MAX)],
    }]);
    ours.outbound.send(batch.clone()).await.unwrap();
    assert_eq!(within(theirs.inbound.recv()).await, Some(Ok(batch)));
}

#[tokio::test]
async fn dropping_either_end_ends_the_other() {
    for drop_dialler in [true, false] {
        let mut fixture = Fixture::new(simulated()).await;
        let ours =
            RpcDialer::new(Access::plain(fixture.transport.clone())).dial(fixture.address.clone()).await.unwrap();
        let theirs = within(fixture.accepted.recv()).await.unwrap();
        let (dropped, mut left) = if drop_dialler { (ours, theirs) } else { (theirs, ours) };
        // What was sent before the end still arrives, from the side that answers: its stream ends in order.
        dropped.outbound.send(message(1)).await.unwrap();
        drop(dropped);
        let first = within(left.inbound.recv()).await;
        if !drop_dialler {
            assert_eq!(first, Some(Ok(message(1))));
        }
        within(async { while left.inbound.recv().await.is_some() {} }).await;
        within(left.outbound.closed()).await;
    }
}

#[tokio::test]
async fn a_refusal_reaches_the_dialler_with_its_code() {
    let refusal = Error::new(ErrorCode::WrongCluster, "this is cluster 'b'");
    let fixture = Fixture::with_refusal(simulated(), Some(refusal.clone())).await;
    let refused = RpcDialer::new(Access::plain(fixture.transport.clone())).dial(fixture.address.clone()).await;
    assert_eq!(refused.map(|_| ()), Err(refusal));
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    for transport in transports() {
        let listener = transport.listen("127.0.0.1", 0).await.unwrap();
        let address = Address::new("127.0.0.1", listener.port()).unwrap();
        drop(listener);
        let refused = RpcDialer::new(Access::plain(transport)).dial(address.clone()).await.map(|_| ());
        assert_eq!(refused.as_ref().unwrap_err().code(), ErrorCode::Unreachable);
        assert!(refused.unwrap_err().message().contains(&address.to_string()));
    }
}

#[tokio::test]
async fn a_message_that_breaks_the_protocol_ends_the_stream_with_the_name_of_the_field() {
    let mut fixture = Fixture::new(simulated()).await;
    let mut client = crate::wire::v1::peer_client::PeerClient::new(fixture.channel().await);
    let empty = crate::wire::v1::PeerMessage { body: None };
    let _response = client.replicate(tokio_stream::iter([empty])).await.unwrap();
    let mut theirs = within(fixture.accepted.recv()).await.unwrap();
    let error = within(theirs.inbound.recv()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedMessage);
    assert!(error.message().starts_with("body"), "{error}");
    assert_eq!(within(theirs.inbound.recv()).await, None);
}
