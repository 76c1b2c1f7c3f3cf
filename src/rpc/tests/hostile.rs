//! What strangers send: the server stays, and a good client beside them does not notice.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    limits::{CONNECTIONS_MAX, FIRST_BYTES_TIMEOUT},
    wire::v1,
};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn ping(fixture: &Fixture) {
    within(fixture.client().await.count(v1::CountRequest::default())).await.unwrap();
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    // A frame header that promises 16 MiB, after a good preface.
    let oversized: Vec<u8> = [&PREFACE[..], &[0xff, 0xff, 0xff, 0x00, 0x00, 0, 0, 0, 1]].concat();
    let garbage: [&[u8]; 4] = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0xff; 4096], &oversized, &[0; 64]];
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let mut good = fixture.client().await;
        for bytes in garbage {
            let mut connection = fixture.transport.connect(&fixture.address).await.unwrap();
            connection.write_all(bytes).await.unwrap();
            let mut answer = Vec::new();
            // Closed in order or reset: both are an end.
            let _end = within(connection.read_to_end(&mut answer)).await;
            within(good.count(v1::CountRequest::default())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_connection_goes_on() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let heavy = v1::PutRequest { key: "k".into(), value: bytes(MESSAGE_BYTES_MAX), ..v1::PutRequest::default() };
    assert_eq!(code(within(client.put(heavy)).await), ErrorCode::MalformedMessage);
    within(client.count(v1::CountRequest::default())).await.unwrap();
}

#[tokio::test]
async fn hundreds_of_half_prefaces_block_nobody_and_lose_their_places() {
    let fixture = Fixture::new(simulated()).await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut connection = fixture.transport.connect(&fixture.address).await.unwrap();
        connection.write_all(&PREFACE[..10]).await.unwrap();
        slow.push(connection);
    }
    ping(&fixture).await;
    let all_closed = async {
        for mut connection in slow {
            // The server's own greeting, then the end.
            let mut answer = Vec::new();
            let _end = connection.read_to_end(&mut answer).await;
        }
    };
    tokio::time::timeout(FIRST_BYTES_TIMEOUT * 2, all_closed).await.expect("the deadline closes them");
}

#[tokio::test]
async fn beyond_the_bound_connections_are_closed_at_once_and_places_come_back() {
    let fixture = Fixture::new(simulated()).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        held.push(fixture.transport.connect(&fixture.address).await.unwrap());
    }
    let mut refused = fixture.transport.connect(&fixture.address).await.unwrap();
    assert_eq!(within(refused.read(&mut [0; 1])).await.unwrap(), 0);
    drop(held);
    let comes_back = async {
        loop {
            // The places come back as the server notices; until then a new connection is closed.
            let channel = connect(&*fixture.transport, &fixture.address).await;
            if let Ok(channel) = channel {
                if node_status(channel, false).await.is_ok() {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    within(comes_back).await;
}
