//! What strangers send: the server stays, and a good client beside them does not notice.

use std::{future::Future, io, pin::Pin};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Request;

use super::*;
use crate::{
    env::{Connection, Listener},
    limits::{CALL_TIMEOUT, CONNECTIONS_MAX, FIRST_BYTES_TIMEOUT, HEADER_LIST_BYTES_MAX, NODE_CONNECTIONS_RESERVED},
    wire::{
        kv::decode_failure,
        v1::{self, group_client::GroupClient},
    },
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
    for _ in 0..CONNECTIONS_MAX + NODE_CONNECTIONS_RESERVED {
        held.push(fixture.transport.connect(&fixture.address).await.unwrap());
    }
    let mut refused = fixture.transport.connect(&fixture.address).await.unwrap();
    assert_eq!(within(refused.read(&mut [0; 1])).await.unwrap(), 0);
    drop(held);
    let comes_back = async {
        loop {
            // The places come back as the server notices; until then a new connection is closed.
            let channel = connect(&fixture.transport, &fixture.address).await;
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

/// What a member of the group is told that says something of no meaning.
async fn greet(node: &mut GroupClient<Channel>) -> ErrorCode {
    let patience_ms = u64::try_from(CALL_TIMEOUT.as_millis()).unwrap();
    let greeting = v1::GroupMessage { cluster: "default".to_string(), patience_ms, ..v1::GroupMessage::default() };
    let mut answers = node.converse(tokio_stream::iter([greeting])).await.unwrap().into_inner();
    match answers.message().await.unwrap().unwrap().answer {
        Some(v1::group_answer::Answer::Failure(failure)) => decode_failure(failure).code(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_places_are_for_other_nodes() {
    let fixture = Fixture::new(simulated()).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut client = fixture.client().await;
        client.count(v1::CountRequest::default()).await.unwrap();
        clients.push(client);
    }
    let mut one_more = fixture.client().await;
    let refused = one_more.count(v1::CountRequest::default()).await.unwrap_err();
    assert_eq!(code(Err::<(), _>(refused)), ErrorCode::Overloaded);
    let channel = || async { connect(&fixture.transport, &fixture.address).await.unwrap() };
    let mut node = GroupClient::new(channel().await);
    // This node has no group, and says so: the message was heard.
    assert_eq!(greet(&mut node).await, ErrorCode::Unsupported);
    tokio::time::sleep(FIRST_BYTES_TIMEOUT * 2).await;
    assert_eq!(greet(&mut node).await, ErrorCode::Unsupported, "a node keeps its place");
    let gone = one_more.count(v1::CountRequest::default()).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::Unavailable, "a client does not: {gone}");
    clients[0].count(v1::CountRequest::default()).await.unwrap();
}

#[tokio::test]
async fn headers_over_the_limit_are_refused_and_the_connection_goes_on() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let mut request = Request::new(v1::CountRequest::default());
    let long = "x".repeat(HEADER_LIST_BYTES_MAX as usize);
    request.metadata_mut().insert("long", long.parse().unwrap());
    assert!(within(client.count(request)).await.is_err());
    within(client.count(v1::CountRequest::default())).await.unwrap();
}

/// A listener out of file descriptors every other time.
struct Failing(Box<dyn Listener>, bool);

type Accepted<'a> = Pin<Box<dyn Future<Output = io::Result<(Box<dyn Connection>, String)>> + Send + 'a>>;

impl Listener for Failing {
    fn accept(&mut self) -> Accepted<'_> {
        self.1 = !self.1;
        if self.1 {
            return Box::pin(async { Err(io::Error::other("too many open files")) });
        }
        self.0.accept()
    }

    fn port(&self) -> u16 {
        self.0.port()
    }
}

#[tokio::test]
async fn a_failed_accept_does_not_end_the_server() {
    let fixture = Fixture::new(simulated()).await;
    let listener = fixture.transport.listen("127.0.0.1", 0).await.unwrap();
    let address = Address::new("127.0.0.1", listener.port()).unwrap();
    let _server = Server::spawn(Box::new(Failing(listener, false)), fixture.host.clone(), Gate::open()).await;
    for _ in 0..3 {
        let channel = connect(&fixture.transport, &address).await.unwrap();
        within(node_status(channel, false)).await.unwrap();
    }
}
