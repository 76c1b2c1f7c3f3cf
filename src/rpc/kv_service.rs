//! The client API, call by call: decode, execute, encode. [`crate::wire::kv`] checks every bound.

use std::{
    num::NonZeroU64,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    catch_up::begin,
    conflicts::conflict_pages,
    host::{space_of, Host},
    phase::{Phase, PhaseWatch},
    pipeline::{answers, until},
    watch::WatchPages,
};
use crate::{
    error::{Error, Result},
    limits::BATCH_BYTES_MAX,
    replication::{
        called_by,
        eventual::{Eventual, Watcher},
        execute_seen,
    },
    types::{Answer, ClientName, ClusterNode, ClusterView, MemberState, MemberStatus, Operation, Seen, Space},
    wire::{
        kv::{self, ScanPlan},
        v1::{self, kv_server::Kv},
    },
};

type Answered<T> = Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Where a client says its name.
pub(super) const CLIENT_NAME_HEADER: &str = "kvstore-client-name";

pub(super) struct KvService {
    pub(super) keyspace: Arc<Eventual>,
    pub(super) host: Arc<dyn Host>,
    pub(super) phase: PhaseWatch,
}

impl KvService {
    /// As [`space_of`], while the node serves.
    async fn space(&self, name: &str) -> Result<Space> {
        self.phase.check_serving()?;
        space_of(&*self.host, name).await
    }

    async fn read(&self, keyspace: &str, operation: Operation, with_seen: bool) -> Result<(Answer, Seen)> {
        let space = self.space(keyspace).await?;
        self.phase.check_serving()?;
        execute_seen(&self.keyspace, space, operation, with_seen)
    }

    /// Executes a write, and waits until it is on disk where the node keeps its data there.
    async fn write(&self, keyspace: &str, operation: Operation) -> Result<(Answer, Seen)> {
        self.keyspace.room().await;
        let answer = self.read(keyspace, operation, false).await?;
        self.keyspace.durable(self.keyspace.written()).await?;
        Ok(answer)
    }

    /// Executes checked writes, in order, as [`KvService::write`] does. One that fails leaves those before it applied, and
    /// says so.
    async fn write_all(&self, keyspace: &str, writes: Vec<Operation>) -> Result<Vec<(Answer, Seen)>> {
        self.keyspace.room().await;
        let space = self.space(keyspace).await?;
        self.phase.check_serving()?;
        let write = |operation| execute_seen(&self.keyspace, space, operation, false).map_err(Error::maybe_applied);
        let answers = writes.into_iter().map(write).collect::<Result<Vec<_>>>()?;
        self.keyspace.durable(self.keyspace.written()).await?;
        Ok(answers)
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    type ScanStream = BoxStream<v1::ScanPage>;
    type WatchStream = BoxStream<v1::WatchPage>;
    type PipelineStream = BoxStream<v1::PipelineResponse>;
    type ConflictsStream = BoxStream<v1::ConflictsPage>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Answered<v1::GetResponse> {
        let request = request.into_inner();
        let keyspace = request.keyspace.clone();
        let (answer, seen) = self.read(&keyspace, kv::decode_get(request)?, false).await?;
        Ok(Response::new(kv::get_response(answer, &seen)?))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answered<v1::PutResponse> {
        let request = request.into_inner();
        let keyspace = request.keyspace.clone();
        let (answer, seen) = self.write(&keyspace, kv::decode_put(request)?).await?;
        Ok(Response::new(kv::put_response(answer, &seen)?))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answered<v1::DeleteResponse> {
        let request = request.into_inner();
        let keyspace = request.keyspace.clone();
        let (answer, seen) = self.write(&keyspace, kv::decode_delete(request)?).await?;
        Ok(Response::new(kv::delete_response(answer, &seen)?))
    }

    async fn touch(&self, request: Request<v1::TouchRequest>) -> Answered<v1::TouchResponse> {
        let request = request.into_inner();
        let keyspace = request.keyspace.clone();
        let (answer, seen) = self.write(&keyspace, kv::decode_touch(request)?).await?;
        Ok(Response::new(kv::touch_response(answer, &seen)?))
    }

    async fn count(&self, request: Request<v1::CountRequest>) -> Answered<v1::CountResponse> {
        let request = request.into_inner();
        let (keyspace, with_seen) = (request.keyspace.clone(), request.with_seen);
        let (answer, seen) = self.read(&keyspace, kv::decode_count(request)?, with_seen).await?;
        Ok(Response::new(kv::count_response(answer, seen)?))
    }

    async fn batch_get(&self, request: Request<v1::BatchGetRequest>) -> Answered<v1::BatchGetResponse> {
        let mut response = v1::BatchGetResponse::default();
        let mut bytes = 0;
        let request = request.into_inner();
        let keyspace = request.keyspace.clone();
        let operations = kv::decode_batch_get(request)?;
        let space = self.space(&keyspace).await?;
        self.phase.check_serving()?;
        for operation in operations {
            let (answer, seen) = execute_seen(&self.keyspace, space, operation, false)?;
            let v1::GetResponse { entry, mark } = kv::get_response(answer, &seen)?;
            bytes += entry.as_ref().map_or(0, |entry| entry.key.len() + entry.value.len());
            if bytes > BATCH_BYTES_MAX {
                break;
            }
            response.entries.extend(entry);
            response.marks.extend(mark);
            response.answered += 1;
        }
        Ok(Response::new(response))
    }

    async fn batch_put(&self, request: Request<v1::BatchPutRequest>) -> Answered<v1::BatchPutResponse> {
        let request = request.into_inner();
        let keyspace = request.keyspace.clone();
        let operations = kv::decode_batch_put(request)?;
        let mut response = v1::BatchPutResponse::default();
        for (answer, seen) in self.write_all(&keyspace, operations).await? {
            let v1::PutResponse { version, mark } = kv::put_response(answer, &seen)?;
            response.versions.push(version);
            response.marks.extend(mark);
        }
        Ok(Response::new(response))
    }

    async fn batch_delete(&self, request: Request<v1::BatchDeleteRequest>) -> Answered<v1::BatchDeleteResponse> {
        let request = request.into_inner();
        let keyspace = request.keyspace.clone();
        let operations = kv::decode_batch_delete(request)?;
        let mut response = v1::BatchDeleteResponse::default();
        for (answer, seen) in self.write_all(&keyspace, operations).await? {
            let v1::DeleteResponse { existed, mark, .. } = kv::delete_response(answer, &seen)?;
            response.existed += u32::from(existed);
            response.marks.extend(mark);
        }
        Ok(Response::new(response))
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Answered<Self::ScanStream> {
        self.phase.check_serving()?;
        let request = request.into_inner();
        let (keyspace, with_seen) = (request.keyspace.clone(), request.with_seen);
        let plan = Some(kv::decode_scan(request)?);
        let space = self.space(&keyspace).await?;
        let pages = tokio_stream::iter(ScanPages { keyspace: self.keyspace.clone(), space, plan, with_seen });
        Ok(Response::new(Box::pin(until(self.phase.clone().reached(Phase::Closing), pages))))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answered<Self::WatchStream> {
        self.phase.check_serving()?;
        let request = request.into_inner();
        let keyspace = request.keyspace.clone();
        let request = kv::decode_watch(request)?;
        let space = self.space(&keyspace).await?;
        self.keyspace.check_space(space)?;
        let watcher = Watcher::new_in(self.keyspace.clone(), space, request)?;
        Ok(Response::new(Box::pin(WatchPages::new(watcher, self.phase.clone()))))
    }

    async fn pipeline(&self, request: Request<Streaming<v1::PipelineRequest>>) -> Answered<Self::PipelineStream> {
        // Anybody may send anything there.
        let name = request.metadata().get(CLIENT_NAME_HEADER).and_then(|value| value.to_str().ok());
        let name = name.and_then(|name| name.parse::<ClientName>().ok());
        if let Some(name) = &name {
            tracing::info!(%name, "a client has come");
        }
        let answers = Box::pin(answers(self.host.clone(), self.phase.clone(), request.into_inner()));
        Ok(Response::new(match name {
            Some(name) => Box::pin(Named { name, answers, keyspace: self.keyspace.clone() }),
            None => answers,
        }))
    }

    async fn conflicts(&self, request: Request<v1::ConflictsRequest>) -> Answered<Self::ConflictsStream> {
        self.phase.check_serving()?;
        let query = kv::decode_conflicts(request.into_inner())?;
        let space = self.space(&query.keyspace).await?;
        let pages = tokio_stream::iter(conflict_pages(space, self.keyspace.conflicts(space, &query)).map(Ok));
        Ok(Response::new(Box::pin(until(self.phase.clone().reached(Phase::Closing), pages))))
    }

    async fn catch_up(&self, request: Request<v1::CatchUpRequest>) -> Answered<v1::CatchUpResponse> {
        self.phase.check_serving()?;
        Ok(Response::new(begin(self.host.clone(), request.into_inner())?.await?))
    }

    async fn nodes(&self, _: Request<v1::NodesRequest>) -> Answered<v1::NodesResponse> {
        Ok(Response::new(kv::encode_nodes(view(&*self.host, self.phase.check_serving().is_ok()))))
    }
}

/// Whom a client may turn to, as a node that serves or is being stopped sees it.
fn view(host: &dyn Host, serves: bool) -> ClusterView {
    let to_node = |member: MemberStatus| {
        let gone = match member.state {
            // An address of the settings where nobody was reached is no member yet.
            MemberState::Unknown => return None,
            MemberState::Up | MemberState::Suspected | MemberState::Dead => false,
            MemberState::Left | MemberState::Removed => true,
        };
        Some(ClusterNode { node: member.node?, address: member.address, gone })
    };
    let nodes = host.members().into_iter().filter_map(to_node).collect();
    ClusterView { cluster: host.cluster().to_string(), serving: serves && host.status(false).health.serving, nodes }
}

/// The answers to a client that has a name, which those who listen are told.
struct Named {
    name: ClientName,
    /// Operations are executed when the next answer is asked for.
    answers: BoxStream<v1::PipelineResponse>,
    keyspace: Arc<Eventual>,
}

impl Stream for Named {
    type Item = Result<v1::PipelineResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Named { name, answers, keyspace } = &mut *self;
        match keyspace.tap().is_on() {
            true => called_by(name, || answers.as_mut().poll_next(cx)),
            false => answers.as_mut().poll_next(cx),
        }
    }
}

/// The pages of a scan, each read when the one before it is on its way.
struct ScanPages {
    keyspace: Arc<Eventual>,
    space: Space,
    /// What is still to be read; `None`: nothing.
    plan: Option<ScanPlan>,
    with_seen: bool,
}

impl ScanPages {
    fn read(&mut self, plan: ScanPlan) -> Result<v1::ScanPage> {
        let operation = Operation::Scan { page: plan.page.clone(), keys_only: plan.keys_only };
        let (answer, seen) = execute_seen(&self.keyspace, self.space, operation, self.with_seen)?;
        let page = kv::scan_page(answer, seen)?;
        self.plan = rest(plan, &page);
        Ok(page)
    }
}

impl Iterator for ScanPages {
    type Item = Result<v1::ScanPage, Status>;

    fn next(&mut self) -> Option<Self::Item> {
        let plan = self.plan.take()?;
        Some(self.read(plan).map_err(Status::from))
    }
}

/// What is left of a scan after a page: nothing when the range or the limit is at its end.
fn rest(mut plan: ScanPlan, page: &v1::ScanPage) -> Option<ScanPlan> {
    let last = page.entries.last().filter(|_| page.more)?;
    if let Some(limit) = plan.limit {
        let left = NonZeroU64::new(limit.get().saturating_sub(page.entries.len() as u64))?;
        plan.page.keys_max = plan.page.keys_max.min(usize::try_from(left.get()).unwrap_or(usize::MAX));
        plan.limit = Some(left);
    }
    if plan.page.reverse {
        plan.page.range.end = Some(last.key.to_vec());
    } else {
        // The first byte string after a key is the key with a zero byte.
        plan.page.range.start = Some([&last.key[..], &[0]].concat());
    }
    Some(plan)
}
