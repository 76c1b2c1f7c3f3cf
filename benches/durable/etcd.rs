//! `etcdserverpb.KV`, as much of it as a put and a get need.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tonic::{
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
    Request,
};
use tonic_prost::ProstCodec;

use super::{Failure, VALUE};

/// The first two fields of etcd's `PutRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// Etcd's `PutResponse`, whose header nobody reads here.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

/// The first field of etcd's `RangeRequest`: without the others it is a linearizable get.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

/// Of etcd's `RangeResponse` how many keys there are.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
}

/// A connection; clones share it.
#[derive(Clone)]
pub(super) struct Etcd(Channel);

impl Etcd {
    /// Connects to a member that may be starting still, and waits until it has elected itself.
    pub(super) async fn connect(address: &str, patience: Duration) -> Result<Etcd, Failure> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true);
        let etcd = Etcd(endpoint.connect_lazy());
        let deadline = Instant::now() + patience;
        loop {
            match etcd.put("ready".into()).await {
                Ok(()) => return Ok(etcd),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Puts a value.
    pub(super) async fn put(&self, key: String) -> Result<(), Failure> {
        let request = PutRequest { key: key.into(), value: Bytes::from_static(&VALUE) };
        let mut client = Grpc::new(self.0.clone());
        client.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let codec: ProstCodec<PutRequest, PutResponse> = ProstCodec::default();
        client.unary(Request::new(request), path, codec).await?;
        Ok(())
    }

    /// Gets a value that is there.
    pub(super) async fn get(&self, key: String) -> Result<(), Failure> {
        let mut client = Grpc::new(self.0.clone());
        client.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Range");
        let codec: ProstCodec<RangeRequest, RangeResponse> = ProstCodec::default();
        let response = client.unary(Request::new(RangeRequest { key: key.into() }), path, codec).await?;
        match response.into_inner().count {
            1 => Ok(()),
            other => Err(format!("{other} keys instead of one").into()),
        }
    }
}
