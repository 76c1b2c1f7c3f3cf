//! What becomes of the calls of a client that no node lets in.

use super::*;
use crate::{
    config::NodeConfig,
    env::{BoxFuture, SimDisk},
    replication::strong::Call,
    types::{Secret, WatchFilter, WatchRequest, WatchStart},
};

/// Much longer than a refusal takes: only a call that waits for its deadline gets there.
const PATIENCE: Duration = Duration::from_secs(600);

fn token(text: &str) -> Secret {
    text.parse().unwrap()
}

/// A node that wants to see a token.
async fn closed_node(world: &World, wanted: &str) -> (Server, Address) {
    let config = NodeConfig { token: Some(token(wanted)), ..NodeConfig::default() };
    let gate = Gate::read(&config, &SimDisk::new(7)).unwrap();
    let (listener, address) = world.listen().await;
    (Server::spawn(listener, Arc::new(Data::new(&world.data, None)), gate).await, address)
}

fn client_with(world: &World, targets: &[Address], token: Token) -> Client {
    let config = ClientConfig { token, ..ClientConfig::new(targets.to_vec()) };
    Client::new(config, world.env.clone(), tokio::runtime::Handle::current()).unwrap()
}

#[tokio::test]
async fn calls_of_every_way_are_told_at_once_that_the_token_is_refused() {
    let world = World::simulated();
    let (_server, address) = closed_node(&world, "sesame").await;
    let client = client_with(&world, &[address], Token::Fixed(token("other")));
    let refused = [
        client.call(vec![put("k", b"v")], Some(PATIENCE)).await.map(drop),
        client.call(vec![put("k", b"v")], None).await.map(drop),
        client.status(false, Some(PATIENCE)).await.map(drop),
        client.members(Some(PATIENCE)).await.map(drop),
        StrongClient::of_client(&client).call(Call::Keyspaces, Some(PATIENCE)).await.map(drop),
    ];
    for outcome in refused {
        let error = outcome.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::TokenRefused, false), "{error}");
        assert!(!error.message().contains("sesame") && !error.message().contains("other"), "{error}");
    }
    let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::Now };
    let watch = client.watch(request, 16).unwrap();
    assert_eq!(watch.next().await.unwrap_err().code(), ErrorCode::TokenRefused);
    assert_eq!(world.data.stats().keys, 0);
}

#[tokio::test]
async fn a_client_goes_on_to_a_node_that_lets_it_in() {
    let world = World::simulated();
    let (_strange, first) = closed_node(&world, "old").await;
    let (_ours, second) = closed_node(&world, "new").await;
    let client = client_with(&world, &[first, second], Token::Fixed(token("new")));
    client.call(vec![put("k", b"v")], Some(PATIENCE)).await.unwrap()[0].clone().unwrap();
    assert_eq!(world.data.stats().keys, 1);
}

/// Has another token each time; from the second on it is the right one.
struct Rotating(AtomicUsize);

impl TokenSource for Rotating {
    fn ask(&self) -> BoxFuture<'_, Result<Secret>> {
        let count = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(token(if count == 0 { "stale" } else { "sesame" })) })
    }
}

/// Has none.
struct Empty;

impl TokenSource for Empty {
    fn ask(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(async { Err(Error::new(ErrorCode::Denied, "token: the safe is empty")) })
    }
}

#[tokio::test]
async fn a_token_that_was_replaced_is_asked_for_again_without_a_call_that_fails() {
    let world = World::simulated();
    let (_server, address) = closed_node(&world, "sesame").await;
    let source = Arc::new(Rotating(AtomicUsize::new(0)));
    let client = client_with(&world, std::slice::from_ref(&address), Token::Asked(source.clone()));
    client.call(vec![put("k", b"v")], Some(PATIENCE)).await.unwrap()[0].clone().unwrap();
    assert_eq!(source.0.load(Ordering::SeqCst), 2);
    let client = client_with(&world, &[address], Token::Asked(Arc::new(Empty)));
    let error = client.call(vec![put("k", b"v")], Some(PATIENCE)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Denied);
    assert!(error.message().contains("the safe is empty"), "{error}");
}

#[tokio::test]
async fn a_client_that_is_let_in_later_works_from_then_on() {
    let world = World::simulated();
    let (server, address) = closed_node(&world, "old").await;
    let client = client_with(&world, std::slice::from_ref(&address), Token::Fixed(token("new")));
    assert!(client.status(false, Some(PATIENCE)).await.is_err());
    assert!(server.shutdown(PATIENCE).await);
    let config = NodeConfig { token: Some(token("new")), ..NodeConfig::default() };
    let gate = Gate::read(&config, &SimDisk::new(7)).unwrap();
    let listener = world.env.transport.listen("127.0.0.1", address.port()).await.unwrap();
    let _server = Server::spawn(listener, Arc::new(Data::new(&world.data, None)), gate).await;
    client.call(vec![put("k", b"v")], Some(PATIENCE)).await.unwrap()[0].clone().unwrap();
    client.status(false, Some(PATIENCE)).await.unwrap();
}
