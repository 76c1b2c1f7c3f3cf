//! Plain HTTP beside gRPC: what is answered, to whom, and that it takes no more than its own room.

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::body::Body;
use tower::{Service, ServiceExt};

use super::*;
use crate::{
    config::NodeConfig,
    env::{Connection, SimDisk},
    limits::{
        CONNECTIONS_MAX, FIRST_BYTES_TIMEOUT, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_TIMEOUT,
        HTTP_WRITE_TIMEOUT,
    },
    wire::v1,
};

const ASKED: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn gate(config: NodeConfig) -> Gate {
    Gate::read(&NodeConfig { http: true, ..config }, &SimDisk::new(7)).unwrap()
}

async fn node(transport: Arc<dyn Transport>, config: NodeConfig) -> Fixture {
    let listener = transport.listen("127.0.0.1", 0).await.unwrap();
    Fixture::behind(gate(config), transport, listener, (None, None)).await
}

async fn plain_node() -> Fixture {
    node(simulated(), NodeConfig::default()).await
}

async fn open(fixture: &Fixture) -> Box<dyn Connection> {
    fixture.transport.connect(&fixture.address).await.unwrap()
}

/// What comes until the node closes the connection.
async fn rest(mut connection: Box<dyn Connection>) -> String {
    let mut answer = Vec::new();
    // Closed in order or reset: both are an end.
    let _end = connection.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The answer to a head, which is to be the last on its connection.
async fn ask(fixture: &Fixture, head: &str) -> String {
    let mut connection = open(fixture).await;
    connection.write_all(head.as_bytes()).await.unwrap();
    within(rest(connection)).await
}

/// The answer to a path, with further lines of the head.
async fn get(fixture: &Fixture, path: &str, lines: &str) -> String {
    ask(fixture, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n")).await
}

fn status_of(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

/// Takes one answer to [`ASKED`] from a connection that stays open.
async fn healthy(connection: &mut Box<dyn Connection>) {
    connection.write_all(ASKED.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok\n") {
        assert!(connection.read_buf(&mut answer).await.unwrap() > 0, "closed after {answer:?}");
    }
}

#[tokio::test]
async fn each_path_is_answered_beside_calls_on_the_same_port() {
    for transport in transports() {
        let fixture = node(transport, NodeConfig::default()).await;
        let mut client = fixture.client().await;
        within(client.count(v1::CountRequest::default())).await.unwrap();
        assert!(get(&fixture, "/healthz", "").await.ends_with("\r\n\r\nok\n"));
        let unfit = get(&fixture, "/readyz", "").await;
        assert!(status_of(&unfit) == "503" && unfit.contains("takes no writes"), "{unfit}");
        let metrics = get(&fixture, "/metrics", "").await;
        let status = fixture.host.status(false);
        let expected = crate::types::metrics_text(&crate::types::metrics(&status, &fixture.host.members()));
        assert!(metrics.ends_with(&expected) && metrics.contains("text/plain; version=0.0.4"), "{metrics}");
        for path in ["/ui/", "/api/v1/", "/metrics/", "/healthz/../metrics", "/kvstore.v1.KV/Count"] {
            assert_eq!(status_of(&get(&fixture, path, "").await), "404", "{path}");
        }
        within(client.count(v1::CountRequest::default())).await.unwrap();
    }
}

#[tokio::test]
async fn over_http2_the_same_is_answered_and_an_unknown_call_is_still_one() {
    let fixture = plain_node().await;
    let authority = fixture.address.to_string();
    let mut sent = Vec::new();
    for (uri, kind) in [
        (format!("http://{authority}/healthz"), "text/plain"),
        (format!("http://{authority}/nothing"), "text/plain"),
        ("http://evil.example/healthz".to_string(), "text/plain"),
        (format!("http://{authority}/kvstore.v1.Nobody/Call"), "application/grpc"),
    ] {
        let request = Request::builder().uri(uri).header("content-type", kind).body(Body::empty()).unwrap();
        let connection = open(&fixture).await;
        let io = hyper_util::rt::TokioIo::new(connection);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        let driver = tokio::spawn(connection);
        sent.push(within(sender.send_request(request)).await.unwrap());
        driver.abort();
    }
    let statuses: Vec<u16> = sent.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(statuses, [200, 404, 421, 200]);
    assert_eq!(sent[3].headers()["grpc-status"], "12");
}

#[tokio::test]
async fn without_the_setting_an_http_request_is_no_request() {
    let fixture = Fixture::new(simulated()).await;
    let answer = ask(&fixture, ASKED).await;
    assert!(!answer.starts_with("HTTP/1"), "{answer}");
}

#[tokio::test]
async fn a_node_that_reads_its_data_is_there_but_not_ready() {
    let transport = simulated();
    let listener = transport.listen("127.0.0.1", 0).await.unwrap();
    let address = Address::new("127.0.0.1", listener.port()).unwrap();
    let gate = gate(NodeConfig::default());
    let loading = Loading::spawn(listener, &gate).await;
    let asked = |path: &'static str| {
        let (transport, address) = (transport.clone(), address.clone());
        async move {
            let mut connection = transport.connect(&address).await.unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
            connection.write_all(head.as_bytes()).await.unwrap();
            let answer = within(rest(connection)).await;
            (status_of(&answer).to_string(), answer.contains("reading its data"))
        }
    };
    assert_eq!(asked("/healthz").await, ("200".into(), false));
    assert_eq!(asked("/readyz").await, ("503".into(), true));
    assert_eq!(asked("/metrics").await, ("503".into(), true));
    assert_eq!(asked("/api/v1/status").await, ("503".into(), true));
    assert_eq!(asked("/").await, ("200".into(), false));
    let mut held = transport.connect(&address).await.unwrap();
    within(healthy(&mut held)).await;
    let listener = within(loading.end()).await.unwrap();
    assert_eq!(within(rest(held)).await, "", "it is closed in order");
    let fixture = Fixture::behind(gate, transport.clone(), listener, (None, None)).await;
    assert_eq!(asked("/metrics").await, ("200".into(), false));
    drop(fixture);
}

#[tokio::test]
async fn only_what_asks_and_changes_nothing_is_a_request() {
    let fixture = plain_node().await;
    for (method, expected) in
        [("POST", "405"), ("PUT", "405"), ("OPTIONS", "405"), ("PROPFIND", "405"), ("HEAD", "200")]
    {
        let head = format!("{method} /metrics HTTP/1.1\r\nhost: [::1]\r\nconnection: close\r\n\r\n");
        let answer = ask(&fixture, &head).await;
        assert_eq!(status_of(&answer), expected, "{answer}");
        assert_eq!(answer.contains("allow: GET, HEAD"), expected == "405", "{answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), method == "HEAD", "{answer}");
    }
    for lines in ["content-length: 4\r\n", "transfer-encoding: chunked\r\n", "content-length: 9999999999\r\n"] {
        // Closed, because nobody knows where the next request would begin.
        let answer = ask(&fixture, &format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{lines}\r\nevil")).await;
        assert_eq!(status_of(&answer), "413", "{answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_garbage_is_answered_with_an_error() {
    let fixture = plain_node().await;
    let huge = format!("x: {}\r\n", "a".repeat(HTTP_HEAD_BYTES_MAX));
    assert_eq!(status_of(&get(&fixture, "/healthz", &huge).await), "431");
    assert_eq!(status_of(&get(&fixture, "/healthz", &"a: b\r\n".repeat(100)).await), "431");
    assert_eq!(status_of(&ask(&fixture, "\0\0\0\0\0\0\0\0\r\n\r\n").await), "400");
    assert_eq!(
        status_of(&ask(&fixture, "PRIX /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await),
        "404"
    );
    within(fixture.client().await.count(v1::CountRequest::default())).await.unwrap();
}

#[tokio::test]
async fn the_token_is_wanted_for_all_but_health() {
    let config = NodeConfig { token: Some("sesame".parse().unwrap()), ..NodeConfig::default() };
    let fixture = node(simulated(), config).await;
    for path in ["/healthz", "/readyz"] {
        assert_ne!(status_of(&get(&fixture, path, "").await), "401", "{path}");
    }
    for lines in
        ["", "authorization: Bearer other\r\n", "authorization: Basic c2VzYW1l\r\n", "cookie: token=sesame\r\n"]
    {
        let answer = get(&fixture, "/metrics", lines).await;
        assert!(status_of(&answer) == "401" && answer.contains("www-authenticate: Bearer"), "{answer}");
        assert!(!answer.contains("sesame") && !answer.contains("kvstore_keys"), "{answer}");
    }
    assert_eq!(status_of(&get(&fixture, "/metrics?token=sesame", "").await), "401");
    assert_eq!(status_of(&get(&fixture, "/metrics", "authorization: bearer sesame\r\n").await), "200");
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_or_silent_loses_the_connection() {
    let fixture = plain_node().await;
    let started = tokio::time::Instant::now();
    let mut silent = open(&fixture).await;
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0);
    assert!(started.elapsed() <= FIRST_BYTES_TIMEOUT * 2);
    // A byte now and then is no head.
    let (mut slow, drip) = (open(&fixture).await, tokio::time::Instant::now());
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    while slow.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(drip.elapsed() <= HTTP_HEAD_TIMEOUT * 2, "it is never cut");
    }
    // One that has asked something, and asks nothing more.
    let (mut idle, asked) = (open(&fixture).await, tokio::time::Instant::now());
    healthy(&mut idle).await;
    healthy(&mut idle).await;
    assert_eq!(rest(idle).await, "");
    assert!((HTTP_HEAD_TIMEOUT..HTTP_HEAD_TIMEOUT * 2).contains(&asked.elapsed()), "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_loses_the_connection_and_its_place() {
    let fixture = plain_node().await;
    let mut held = Vec::new();
    for _ in 0..HTTP_CONNECTIONS_MAX {
        let mut connection = open(&fixture).await;
        let asked = "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
        // The node stops reading once its answers are not taken.
        let _some = tokio::time::timeout(Duration::from_secs(1), connection.write_all(asked.as_bytes())).await;
        held.push(connection);
    }
    assert_eq!(status_of(&get(&fixture, "/healthz", "").await), "503");
    tokio::time::sleep(HTTP_WRITE_TIMEOUT + HTTP_HEAD_TIMEOUT).await;
    assert_eq!(status_of(&get(&fixture, "/healthz", "").await), "200");
    drop(held);
}

#[tokio::test]
async fn many_idle_http_connections_leave_calls_alone_and_their_places_come_back() {
    let fixture = plain_node().await;
    let mut held = Vec::new();
    for _ in 0..HTTP_CONNECTIONS_MAX {
        let mut connection = open(&fixture).await;
        within(healthy(&mut connection)).await;
        held.push(connection);
    }
    let refused = ask(&fixture, ASKED).await;
    assert!(status_of(&refused) == "503" && refused.ends_with("too many HTTP connections\r\n"), "{refused}");
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{refused}");
    within(fixture.client().await.count(v1::CountRequest::default())).await.unwrap();
    drop(held);
    let comes_back = async {
        while status_of(&get(&fixture, "/healthz", "").await) != "200" {
            tokio::task::yield_now().await;
        }
    };
    within(comes_back).await;
}

#[tokio::test]
async fn the_places_for_nodes_are_not_for_plain_http() {
    let fixture = plain_node().await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        held.push(fixture.channel().await);
    }
    assert_eq!(status_of(&ask(&fixture, ASKED).await), "503");
    let mut channel = fixture.channel().await;
    let request = Request::builder().uri("/healthz").body(Body::empty()).unwrap();
    let answer = within(async { channel.ready().await.unwrap().call(request).await }).await.unwrap();
    assert_eq!(answer.status(), 503);
    node_status(channel, false).await.unwrap();
}

#[tokio::test]
async fn a_node_that_leaves_says_so_and_then_closes_every_connection() {
    for transport in transports() {
        let fixture = node(transport.clone(), NodeConfig::default()).await;
        let mut idle = open(&fixture).await;
        within(healthy(&mut idle)).await;
        let mut half = open(&fixture).await;
        half.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
        let silent = open(&fixture).await;
        fixture.server.leave().await;
        let leaving = get(&fixture, "/readyz", "").await;
        assert!(status_of(&leaving) == "503" && leaving.contains("is being stopped"), "{leaving}");
        assert_eq!(status_of(&get(&fixture, "/healthz", "").await), "200");
        within(fixture.server.shutdown(Duration::from_millis(200))).await;
        for connection in [idle, half, silent] {
            within(rest(connection)).await;
        }
        assert_eq!(Arc::strong_count(&fixture.host), 1, "no task of the server is left");
        transport.listen("127.0.0.1", fixture.address.port()).await.expect("the port is free again");
    }
}
