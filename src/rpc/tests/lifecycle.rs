//! How a server ends: everything is closed, nothing is left.

use std::time::Duration;

use tokio_stream::{wrappers::ReceiverStream, StreamExt};
use tonic_health::pb::{health_check_response::ServingStatus, health_client::HealthClient, HealthCheckRequest};

use super::*;
use crate::{replication::eventual::Dialer, wire::v1};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn shutdown_ends_streams_and_idle_connections_in_order_and_frees_the_port() {
    for transport in transports() {
        let mut fixture = Fixture::new(transport.clone()).await;
        let mut client = fixture.client().await;
        within(client.count(v1::CountRequest::default())).await.unwrap();
        let (_requests, receiver) = tokio::sync::mpsc::channel(1);
        let mut answers = client.pipeline(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let mut peer = RpcDialer::new(Access::plain(transport.clone())).dial(fixture.address.clone()).await.unwrap();
        let theirs = within(fixture.accepted.recv()).await.unwrap();
        let port = fixture.address.port();
        assert!(within(fixture.server.shutdown(PATIENCE)).await, "everything closed in order");
        let last = within(answers.next()).await.unwrap().unwrap();
        assert!(last.is_end && last.results.is_empty(), "nothing is left in doubt");
        assert!(within(answers.next()).await.is_none());
        within(async { while peer.inbound.recv().await.is_some() {} }).await;
        within(theirs.outbound.closed()).await;
        transport.listen("127.0.0.1", port).await.expect("the port is free again");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_after_the_patience() {
    let fixture = Fixture::new(simulated()).await;
    let silent = fixture.transport.connect(&fixture.address).await.unwrap();
    // The server has taken it over once it serves the next one.
    node_status(fixture.channel().await, false).await.unwrap();
    within(fixture.server.shutdown(Duration::from_millis(50))).await;
    drop(silent);
    assert_eq!(Arc::strong_count(&fixture.host), 1, "no task of the server is left");
}

#[tokio::test]
async fn a_dropped_server_lets_nobody_wait() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let (_requests, receiver) = tokio::sync::mpsc::channel(1);
    let mut answers = client.pipeline(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    drop(fixture.server);
    assert!(within(answers.next()).await.is_none_or(|last| last.is_err()));
    assert!(within(client.count(v1::CountRequest::default())).await.is_err());
}

#[tokio::test]
async fn the_port_of_a_node_that_still_reads_says_so_and_is_handed_over() {
    for transport in transports() {
        let listener = transport.listen("127.0.0.1", 0).await.unwrap();
        let address = Address::new("127.0.0.1", listener.port()).unwrap();
        let loading = Loading::spawn(listener, &Gate::open()).await;
        let channel = within(connect(&transport, &address)).await.unwrap();
        let asked = HealthCheckRequest { service: String::new() };
        let status = within(HealthClient::new(channel.clone()).check(asked)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::NotServing);
        let refused = within(KvClient::new(channel).count(v1::CountRequest::default())).await.unwrap_err();
        assert_eq!(from_status(&refused).code(), ErrorCode::NotRunning, "{refused:?}");
        let listener = within(loading.end()).await.unwrap();
        let fixture = Fixture::over(transport, listener, None).await;
        within(fixture.client().await.count(v1::CountRequest::default())).await.unwrap();
    }
}
