//! Unary `Get` of a 100-byte value over loopback at 64 connections: a real node against an empty tonic handler that
//! answers messages of the same sizes, in the same run.
//!
//! Client and both servers share one process and its cores, so the figures are not what a node alone can do; the
//! ratio is what counts. The rounds are interleaved, so that what else the machine does meets both. The ratio is the
//! median of the ratios of the rounds.
//!
//! `cargo bench --bench unary [-- --json]`

use std::{error::Error, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use kvstore::{
    client::{
        load::{Load, LoadConfig, LoadEnd, Path, Work},
        Client, ClientConfig,
    },
    config::NodeConfig,
    env::Env,
    node::Node,
    types::{
        Address, Answer, Command, CommandKind, Dot, Key, Mark, NodeId, Operation, PartitionId, Seen, Sequence, Value,
    },
    wire::v1::{
        self,
        kv_server::{Kv, KvServer},
    },
};
use tonic::{transport::server::TcpIncoming, Request, Response, Status, Streaming};

type Failure = Box<dyn Error + Send + Sync>;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 64;
const VALUE_BYTES: usize = 100;

/// The one key of a load run with one key.
const KEY: &[u8] = b"bench:000000000000";

/// Answers every get with the same prepared response, and nothing else.
struct Empty(v1::GetResponse);

type Answered<T> = Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

fn empty<T>() -> Answered<T> {
    Err(Status::unimplemented("only get"))
}

#[tonic::async_trait]
impl Kv for Empty {
    type ScanStream = BoxStream<v1::ScanPage>;
    type WatchStream = BoxStream<v1::WatchPage>;
    type PipelineStream = BoxStream<v1::PipelineResponse>;
    type ConflictsStream = BoxStream<v1::ConflictsPage>;

    async fn get(&self, _: Request<v1::GetRequest>) -> Answered<v1::GetResponse> {
        Ok(Response::new(self.0.clone()))
    }
    async fn put(&self, _: Request<v1::PutRequest>) -> Answered<v1::PutResponse> {
        empty()
    }
    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Answered<v1::DeleteResponse> {
        empty()
    }
    async fn catch_up(&self, _: Request<v1::CatchUpRequest>) -> Answered<v1::CatchUpResponse> {
        empty()
    }
    async fn nodes(&self, _: Request<v1::NodesRequest>) -> Answered<v1::NodesResponse> {
        empty()
    }
    async fn touch(&self, _: Request<v1::TouchRequest>) -> Answered<v1::TouchResponse> {
        empty()
    }
    async fn count(&self, _: Request<v1::CountRequest>) -> Answered<v1::CountResponse> {
        empty()
    }
    async fn batch_get(&self, _: Request<v1::BatchGetRequest>) -> Answered<v1::BatchGetResponse> {
        empty()
    }
    async fn batch_put(&self, _: Request<v1::BatchPutRequest>) -> Answered<v1::BatchPutResponse> {
        empty()
    }
    async fn batch_delete(&self, _: Request<v1::BatchDeleteRequest>) -> Answered<v1::BatchDeleteResponse> {
        empty()
    }
    async fn watch(&self, _: Request<v1::WatchRequest>) -> Answered<Self::WatchStream> {
        empty()
    }
    async fn scan(&self, _: Request<v1::ScanRequest>) -> Answered<Self::ScanStream> {
        empty()
    }
    async fn conflicts(&self, _: Request<v1::ConflictsRequest>) -> Answered<Self::ConflictsStream> {
        empty()
    }
    async fn pipeline(&self, _: Request<Streaming<v1::PipelineRequest>>) -> Answered<Self::PipelineStream> {
        empty()
    }
}

/// Serves the empty handler on `runtime` until that ends, with tonic's own settings.
fn serve_empty(runtime: &tokio::runtime::Runtime, response: v1::GetResponse) -> Result<Address, Failure> {
    let _inside = runtime.enter();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let address = Address::new("127.0.0.1", incoming.local_addr()?.port())?;
    #[allow(clippy::disallowed_methods, reason = "what the hardened server is compared with")]
    let router = tonic::transport::Server::builder().add_service(KvServer::new(Empty(response)));
    runtime.spawn(router.serve_with_incoming(incoming));
    Ok(address)
}

/// Gets a second at `address`.
async fn round(address: &Address) -> Result<f64, Failure> {
    let config = LoadConfig {
        work: Work::Get,
        path: Path::Unary { connections: CONNECTIONS },
        concurrency: CONNECTIONS,
        end: LoadEnd::Duration(ROUND),
        keys: 1,
        ..LoadConfig::default()
    };
    let report = Arc::new(Load::new(config)?).run(&client(address)?).await?;
    match (report.get, report.first_error) {
        (_, Some(error)) => Err(error.into()),
        (None, None) => Err("no get was answered".into()),
        (Some(gets), None) => Ok(gets.per_second),
    }
}

fn client(address: &Address) -> Result<Client, Failure> {
    let config = ClientConfig::new(vec![address.clone()]);
    Ok(Client::new(config, Env::system(), tokio::runtime::Handle::current())?)
}

/// Stores the value and gives the response that a get of it has.
async fn prepare(address: &Address) -> Result<v1::GetResponse, Failure> {
    let key = Key::new(KEY)?;
    let kind = CommandKind::Put { value: Value::new(&[b'v'; VALUE_BYTES])?, flags: 0, ttl_ms: None };
    let put = Operation::Write(Command { key: key.clone(), kind });
    let get = Operation::Get { key, metadata_only: false };
    let mut answers = client(address)?.call(vec![put, get], Some(Duration::from_secs(5))).await?;
    let answer = answers.pop().ok_or("the get was not answered")??;
    let Answer::Entry(Some(entry)) = &answer else { return Err("the get found nothing".into()) };
    // The response of a node has a mark; any of its size will do.
    let dot = Dot { node: NodeId(u64::MAX), sequence: Sequence(1) };
    let seen = Seen::Write(Mark { partition: PartitionId(1), dot, version: entry.version });
    let response = kvstore::wire::kv::get_response(answer, &seen)?;
    assert_eq!(
        response.entry.as_ref().map(|entry| entry.value.clone()),
        Some(Bytes::from_static(&[b'v'; VALUE_BYTES]))
    );
    Ok(response)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() -> Result<(), Failure> {
    // As many threads as the runtime that the empty handler has.
    let threads = std::thread::available_parallelism()?.get();
    let node = Node::new(NodeConfig { threads, ..NodeConfig::default() }, Env::system())?;
    node.start()?;
    let ours = node.address().ok_or("a node that runs has an address")?;
    let servers = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clients = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let empty = serve_empty(&servers, clients.block_on(prepare(&ours))?)?;

    let (mut ours_per_second, mut empty_per_second, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..ROUNDS {
        // Who goes first alternates, so that a drift of the machine favours nobody.
        let (first, second) = if number.is_multiple_of(2) { (&ours, &empty) } else { (&empty, &ours) };
        let (first, second) = (clients.block_on(round(first))?, clients.block_on(round(second))?);
        let (own, bare) = if number.is_multiple_of(2) { (first, second) } else { (second, first) };
        ours_per_second.push(own);
        empty_per_second.push(bare);
        ratios.push(own / bare);
    }
    node.stop(Duration::from_secs(10))?;

    let (ratio, own, bare) = (median(ratios), median(ours_per_second), median(empty_per_second));
    if std::env::args().any(|argument| argument == "--json") {
        println!(
            "{{\"name\":\"unary-get\",\"ratio\":{ratio:.3},\"ours_per_second\":{own:.0},\"empty_per_second\":{bare:.0}}}"
        );
    } else {
        println!("unary-get ratio {ratio:.2} (ours {own:.0}/s, empty {bare:.0}/s)");
    }
    Ok(())
}
