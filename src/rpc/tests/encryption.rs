//! What TLS hides and from whom it keeps a node apart: certificates, handshakes, files.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    authority::{write, Authority, Flaw},
    security::{node_calls, refused, secret, World, TOKEN},
    *,
};
use crate::{
    limits::{CONNECTIONS_MAX, FIRST_BYTES_TIMEOUT, NODE_CONNECTIONS_RESERVED, TLS_HANDSHAKE_TIMEOUT},
    replication::eventual::Dialer,
    types::{TlsFiles, Trust},
    wire::v1,
};

#[tokio::test]
async fn clients_and_peers_speak_tls() {
    for transport in transports() {
        let world = World::new(transport);
        let tls = world.identity("node");
        let mut node = world.node(Some(&tls), None).await;
        let with_certificate = Trust::Files(world.identity("client"));
        for trust in [world.authority.trust(), with_certificate] {
            let channel = within(world.client(Some(&trust), Token::None).connect(&node.address)).await.unwrap();
            let mut client = KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
            let value = bytes(1024 * 1024);
            let put = v1::PutRequest { key: b"k".as_slice().into(), value: value.clone(), ..Default::default() };
            client.put(put).await.unwrap();
            let get = v1::GetRequest { key: b"k".as_slice().into(), ..Default::default() };
            let found = client.get(get).await.unwrap().into_inner().entry.unwrap();
            assert_eq!(found.value, value);
        }
        let _stream = RpcDialer::new(world.peer(Some(&tls), None)).dial(node.address.clone()).await.unwrap();
        assert!(within(node.accepted.recv()).await.is_some());
    }
}

/// That the node goes on to serve others.
async fn assert_serves(world: &World, node: &Fixture) {
    let access = world.client(Some(&world.authority.trust()), Token::None);
    let channel = within(access.connect(&node.address)).await.unwrap();
    assert_eq!(within(node_status(channel, false)).await.unwrap().node, NodeId(7));
}

#[tokio::test]
async fn a_client_refuses_a_node_that_it_cannot_believe() {
    for transport in transports() {
        let world = World::new(transport);
        let stranger = Authority::new(&world.disk, "foreign");
        let cases = [
            ("another authority", world.identity("node"), stranger.trust()),
            ("expired", world.authority.issue("old", "127.0.0.1", Flaw::Expired), world.authority.trust()),
            ("another host", world.authority.issue("other", "db.example.org", Flaw::None), world.authority.trust()),
        ];
        for (case, tls, trust) in cases {
            let node = world.node(Some(&tls), None).await;
            let outcome = within(world.client(Some(&trust), Token::None).connect(&node.address)).await;
            assert_eq!(refused(outcome), ErrorCode::CertificateRefused, "{case}");
        }
        // By the name that was asked for.
        let node = world.node(Some(&world.authority.issue("named", "db.example.org", Flaw::None)), None).await;
        let named = |name: &str| Trust::Files(TlsFiles { server_name: Some(name.into()), ..world.authority.ca() });
        let right = world.client(Some(&named("db.example.org")), Token::None);
        within(right.connect(&node.address)).await.unwrap();
        let wrong = world.client(Some(&named("db.example.com")), Token::None);
        assert_eq!(refused(within(wrong.connect(&node.address)).await), ErrorCode::CertificateRefused);
    }
}

#[tokio::test]
async fn a_node_refuses_a_certificate_that_it_cannot_believe() {
    for transport in transports() {
        let world = World::new(transport);
        let node = world.node(Some(&world.identity("node")), None).await;
        let stranger = Authority::new(&world.disk, "foreign");
        let foreign = stranger.issue("client", "127.0.0.1", Flaw::None);
        let expired = world.authority.issue("old", "127.0.0.1", Flaw::Expired);
        for identity in [foreign, expired] {
            let tls = TlsFiles { ca: world.authority.ca().ca, ..identity };
            let outcome = within(world.client(Some(&Trust::Files(tls)), Token::None).connect(&node.address)).await;
            assert_eq!(refused(outcome), ErrorCode::CertificateRefused);
        }
        assert_serves(&world, &node).await;
    }
}

#[tokio::test]
async fn a_node_without_a_certificate_is_no_peer() {
    for transport in transports() {
        let world = World::new(transport);
        let mut node = world.node(Some(&world.identity("node")), Some(TOKEN)).await;
        let access = world.client(Some(&world.authority.trust()), Token::Fixed(secret(TOKEN)));
        for (call, code) in within(node_calls(&access, &node.address)).await {
            assert_eq!(code, ErrorCode::CertificateRefused, "{call}");
        }
        // The certificate alone is not enough either.
        let access = world.peer(Some(&world.identity("peer")), None);
        for (call, code) in within(node_calls(&access, &node.address)).await {
            assert_eq!(code, ErrorCode::TokenRefused, "{call}");
        }
        assert!(node.accepted.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_side_that_speaks_no_tls_is_refused_and_does_no_harm() {
    for transport in transports() {
        let world = World::new(transport);
        let node = world.node(Some(&world.identity("node")), None).await;
        let in_the_clear = world.client(None, Token::None);
        if let Ok(channel) = within(in_the_clear.connect(&node.address)).await {
            let error = within(node_status(channel, false)).await.unwrap_err();
            assert!(matches!(error.code(), ErrorCode::ConnectionLost | ErrorCode::Unreachable), "{error:?}");
        }
        assert_serves(&world, &node).await;
        let plain = world.node(None, None).await;
        let outcome = within(world.client(Some(&world.authority.trust()), Token::None).connect(&plain.address)).await;
        let error = outcome.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unreachable);
        assert!(error.message().contains("does not speak TLS"), "{error}");
        within(world.client(None, Token::None).connect(&plain.address)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_shake_hands_loses_its_place_in_time() {
    let world = World::new(simulated());
    let node = world.node(Some(&world.identity("node")), None).await;
    let mut held = Vec::new();
    for number in 0..CONNECTIONS_MAX + NODE_CONNECTIONS_RESERVED {
        let mut connection = node.transport.connect(&node.address).await.unwrap();
        if number % 2 == 0 {
            // The head of a record that never comes.
            connection.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        }
        held.push(connection);
    }
    let all_closed = async {
        for connection in &mut held {
            let _end = connection.read_to_end(&mut Vec::new()).await;
        }
    };
    tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT + FIRST_BYTES_TIMEOUT, all_closed).await.expect("places come back");
    assert_serves(&world, &node).await;
}

#[tokio::test]
async fn a_server_that_ends_does_not_wait_for_handshakes() {
    let world = World::new(simulated());
    let node = world.node(Some(&world.identity("node")), None).await;
    let _silent = node.transport.connect(&node.address).await.unwrap();
    assert!(within(node.server.shutdown(DEADLINE)).await);
}

#[test]
fn what_is_wrong_with_a_file_is_told_by_setting_and_name() {
    let world = World::new(simulated());
    let (good, other) = (world.identity("node"), world.identity("other"));
    write(&*world.disk, "empty", "");
    write(&*world.disk, "torn", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    write(&*world.disk, "rot", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let file = |name: &str| Some(name.into());
    let cases = [
        ("tls: ca nowhere", TlsFiles { ca: file("nowhere"), ..good.clone() }),
        ("tls: ca empty", TlsFiles { ca: file("empty"), ..good.clone() }),
        ("tls: ca torn", TlsFiles { ca: file("torn"), ..good.clone() }),
        ("tls: ca rot", TlsFiles { ca: file("rot"), ..good.clone() }),
        ("tls: ca is missing", TlsFiles { ca: None, ..good.clone() }),
        ("tls: cert nowhere", TlsFiles { cert: file("nowhere"), ..good.clone() }),
        ("tls: cert is missing", TlsFiles { cert: None, ..good.clone() }),
        ("tls: key nowhere", TlsFiles { key: file("nowhere"), ..good.clone() }),
        ("tls: key is missing", TlsFiles { key: None, ..good.clone() }),
        ("tls: key empty", TlsFiles { key: file("empty"), ..good.clone() }),
        ("tls: key ours-node.cert", TlsFiles { key: good.cert.clone(), ..good.clone() }),
        ("tls: key ours-other.key", TlsFiles { key: other.key, ..good.clone() }),
        ("tls: server_name", TlsFiles { server_name: Some("no name".into()), ..good }),
    ];
    for (start, files) in cases {
        let is_of_clients = start == "tls: server_name";
        let server = ServerTls::read(&files, false, &*world.disk).map(|_| ());
        let client = ClientTls::read(&Trust::Files(files), &*world.disk).map(|_| ());
        for error in [server.err().filter(|_| !is_of_clients), client.err()].into_iter().flatten() {
            assert_eq!(error.code(), ErrorCode::BadSetting);
            assert!(error.message().starts_with(start), "{start}: {error}");
        }
        assert!(is_of_clients || ServerTls::read(&TlsFiles::default(), false, &*world.disk).is_err());
    }
}
