//! The client API, call by call: decode, execute, encode. [`crate::wire::kv`] checks every bound.

use std::{num::NonZeroU64, pin::Pin, sync::Arc};

use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    phase::{Phase, PhaseWatch},
    pipeline::{answers, until},
    watch::WatchPages,
};
use crate::{
    error::{Error, Result},
    limits::BATCH_BYTES_MAX,
    replication::{
        eventual::{Eventual, Watcher},
        execute,
    },
    types::{Answer, Operation},
    wire::{
        kv::{self, ScanPlan},
        v1::{self, kv_server::Kv},
    },
};

type Answered<T> = Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(super) struct KvService {
    pub(super) keyspace: Arc<Eventual>,
    pub(super) phase: PhaseWatch,
}

impl KvService {
    fn execute(&self, operation: Operation) -> Result<Answer> {
        self.phase.check_serving()?;
        execute(&self.keyspace, operation)
    }

    /// Executes checked writes, in order. One that fails leaves those before it applied, and says so.
    fn execute_all(&self, writes: Vec<Operation>) -> Result<Vec<Answer>> {
        self.phase.check_serving()?;
        let write = |operation| execute(&self.keyspace, operation).map_err(Error::maybe_applied);
        writes.into_iter().map(write).collect()
    }
}

#[tonic::async_trait]
impl Kv for KvService {
    type ScanStream = BoxStream<v1::ScanPage>;
    type WatchStream = BoxStream<v1::WatchPage>;
    type PipelineStream = BoxStream<v1::PipelineResponse>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Answered<v1::GetResponse> {
        let answer = self.execute(kv::decode_get(request.into_inner())?)?;
        Ok(Response::new(kv::get_response(answer)?))
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Answered<v1::PutResponse> {
        let answer = self.execute(kv::decode_put(request.into_inner())?)?;
        Ok(Response::new(kv::put_response(answer)?))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Answered<v1::DeleteResponse> {
        let answer = self.execute(kv::decode_delete(request.into_inner())?)?;
        Ok(Response::new(kv::delete_response(answer)?))
    }

    async fn touch(&self, request: Request<v1::TouchRequest>) -> Answered<v1::TouchResponse> {
        let answer = self.execute(kv::decode_touch(request.into_inner())?)?;
        Ok(Response::new(kv::touch_response(answer)?))
    }

    async fn count(&self, request: Request<v1::CountRequest>) -> Answered<v1::CountResponse> {
        let answer = self.execute(kv::decode_count(request.into_inner())?)?;
        Ok(Response::new(kv::count_response(answer)?))
    }

    async fn batch_get(&self, request: Request<v1::BatchGetRequest>) -> Answered<v1::BatchGetResponse> {
        let mut response = v1::BatchGetResponse::default();
        let mut bytes = 0;
        self.phase.check_serving()?;
        for operation in kv::decode_batch_get(request.into_inner())? {
            let entry = kv::get_response(execute(&self.keyspace, operation)?)?.entry;
            bytes += entry.as_ref().map_or(0, |entry| entry.key.len() + entry.value.len());
            if bytes > BATCH_BYTES_MAX {
                break;
            }
            response.entries.extend(entry);
            response.answered += 1;
        }
        Ok(Response::new(response))
    }

    async fn batch_put(&self, request: Request<v1::BatchPutRequest>) -> Answered<v1::BatchPutResponse> {
        let operations = kv::decode_batch_put(request.into_inner())?;
        let put = |answer| Ok(kv::put_response(answer)?.version);
        let versions = self.execute_all(operations)?.into_iter().map(put).collect::<Result<_>>()?;
        Ok(Response::new(v1::BatchPutResponse { versions }))
    }

    async fn batch_delete(&self, request: Request<v1::BatchDeleteRequest>) -> Answered<v1::BatchDeleteResponse> {
        let operations = kv::decode_batch_delete(request.into_inner())?;
        let mut existed = 0;
        for answer in self.execute_all(operations)? {
            existed += u32::from(kv::delete_response(answer)?.existed);
        }
        Ok(Response::new(v1::BatchDeleteResponse { existed }))
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Answered<Self::ScanStream> {
        self.phase.check_serving()?;
        let plan = kv::decode_scan(request.into_inner())?;
        let pages = tokio_stream::iter(ScanPages { keyspace: self.keyspace.clone(), plan: Some(plan) });
        Ok(Response::new(Box::pin(until(self.phase.clone().reached(Phase::Closing), pages))))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Answered<Self::WatchStream> {
        self.phase.check_serving()?;
        let watcher = Watcher::new(self.keyspace.clone(), kv::decode_watch(request.into_inner())?)?;
        Ok(Response::new(Box::pin(WatchPages::new(watcher, self.phase.clone()))))
    }

    async fn pipeline(&self, request: Request<Streaming<v1::PipelineRequest>>) -> Answered<Self::PipelineStream> {
        let answers = answers(self.keyspace.clone(), self.phase.clone(), request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The pages of a scan, each read when the one before it is on its way.
struct ScanPages {
    keyspace: Arc<Eventual>,
    /// What is still to be read; `None`: nothing.
    plan: Option<ScanPlan>,
}

impl ScanPages {
    fn read(&mut self, plan: ScanPlan) -> Result<v1::ScanPage> {
        let operation = Operation::Scan { page: plan.page.clone(), keys_only: plan.keys_only };
        let page = kv::scan_page(execute(&self.keyspace, operation)?)?;
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
