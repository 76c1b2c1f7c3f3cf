//! The calls of clients, one by one: decode, ask the backend, encode.

use std::{pin::Pin, sync::Arc, time::Duration};

use prost::Message;
use tokio_stream::Stream;
use tonic::{metadata::MetadataMap, Request, Response, Status, Streaming};

use super::{
    answers::encode_submitted,
    batch::encode_strong_failure,
    changes::decode_watch,
    questions::{decode_await_lock, encode_keyspaces, encode_lease, encode_leases, encode_lock},
    reads::{decode_reads, encode_read_answers},
    required,
    submissions::decode_submission,
    v1::{self, strong_call::Call as Body, strong_result::Result as ResultBody, strong_server::Strong},
    watch::ServedPages,
    StrongBackend,
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{
        CALL_TIMEOUT, CONVERSATION_UNDER_WAY_MAX, GROUP_READ_BYTES_TARGET, REQUEST_TIMEOUT, STRONG_BATCH_CALLS_MAX,
    },
    replication::strong::{Call, LeaseId, Reply},
    rpc::{
        conversation::{Answer, Answering},
        phase::{Phase, PhaseWatch},
    },
    wire::kv::encode_failure,
};

type Answered<T> = Result<Response<T>, Status>;

#[derive(Clone)]
pub(in crate::rpc) struct StrongService {
    /// `None`: the node has no strong keyspaces.
    pub(in crate::rpc) backend: Option<Arc<dyn StrongBackend>>,
    pub(in crate::rpc) phase: PhaseWatch,
}

impl StrongService {
    async fn call(&self, call: Call, metadata: &MetadataMap) -> Result<Reply> {
        self.backend()?.call(call, patience(metadata)).await
    }

    /// A message of a stream; whatever happens to it is its answer.
    async fn answer(self, message: v1::StrongBatchRequest) -> v1::StrongBatchResponse {
        let patience = match message.patience_ms {
            0 => REQUEST_TIMEOUT,
            told => Duration::from_millis(told),
        };
        let number = message.number;
        self.batched(message, shortened(patience)).await.unwrap_or_else(|error| v1::StrongBatchResponse {
            number,
            failure: Some(encode_failure(&error)),
            ..v1::StrongBatchResponse::default()
        })
    }

    async fn batched(&self, message: v1::StrongBatchRequest, patience: Duration) -> Result<v1::StrongBatchResponse> {
        let (number, count) = (message.number, message.calls.len());
        if count > STRONG_BATCH_CALLS_MAX {
            let text = format!("calls: {count} calls, the limit is {STRONG_BATCH_CALLS_MAX}");
            return Err(Error::new(ErrorCode::BatchTooLarge, text));
        }
        let backend = self.backend()?;
        let answers = each_of_many(&**backend, message.calls, patience).await;
        let mut results: Vec<v1::StrongResult> = answers.into_iter().map(encode_result).collect();
        keep_within_a_message(&mut results);
        let leader = backend.leader().map(|leader| leader.0);
        Ok(v1::StrongBatchResponse { results, number, leader, ..v1::StrongBatchResponse::default() })
    }

    fn backend(&self) -> Result<&Arc<dyn StrongBackend>> {
        self.phase.check_serving()?;
        let none = || Error::new(ErrorCode::Unsupported, "this node has no strong keyspaces");
        self.backend.as_ref().ok_or_else(none)
    }
}

/// The calls of a batch; whatever happens to one is its answer.
async fn each_of_many(
    backend: &dyn StrongBackend,
    calls: Vec<v1::StrongCall>,
    patience: Duration,
) -> Vec<Result<Reply>> {
    let (mut decoded, mut refused) = (Vec::with_capacity(calls.len()), Vec::new());
    for (place, call) in calls.into_iter().enumerate() {
        match decode_call(call) {
            Ok(call) => decoded.push(call),
            Err(error) => refused.push((place, error)),
        }
    }
    let mut answers = backend.call_many(decoded, patience).await;
    for (place, error) in refused {
        answers.insert(place, Err(error));
    }
    answers
}

impl Answer for v1::StrongBatchResponse {
    fn number(&self) -> u64 {
        self.number
    }

    fn is_end(&self) -> bool {
        self.is_end
    }

    fn end() -> v1::StrongBatchResponse {
        v1::StrongBatchResponse { is_end: true, ..v1::StrongBatchResponse::default() }
    }
}

fn decode_call(call: v1::StrongCall) -> Result<Call> {
    match required("calls.call", call.call)? {
        Body::Submit(message) => decode_submission(message),
        Body::Read(message) => decode_reads(message),
    }
}

fn encode_result(answer: Result<Reply>) -> v1::StrongResult {
    let encoded = answer.and_then(|reply| match reply {
        Reply::Read(_) => encode_read_answers(reply).map(ResultBody::Read),
        reply => encode_submitted(reply).map(ResultBody::Submit),
    });
    let result = encoded.unwrap_or_else(|error| ResultBody::Failure(encode_strong_failure(&error)));
    v1::StrongResult { result: Some(result) }
}

/// Takes the answers to reads out that do not fit: they are asked for again, alone. Those to changes are small.
fn keep_within_a_message(results: &mut [v1::StrongResult]) {
    let mut bytes = 0;
    for result in results {
        if let Some(ResultBody::Read(answer)) = &result.result {
            bytes += answer.encoded_len();
            if bytes > GROUP_READ_BYTES_TARGET {
                result.result = Some(ResultBody::TooLarge(v1::DoneAnswer {}));
            }
        }
    }
}

/// How long an answer may be on its way.
const ANSWER_TRAVELS: Duration = Duration::from_millis(10);

/// How long the caller waits, as gRPC tells it.
fn patience(metadata: &MetadataMap) -> Duration {
    let told = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse_timeout);
    shortened(told.unwrap_or(REQUEST_TIMEOUT))
}

/// How long a node takes at most for a caller that waits for so long.
fn shortened(told: Duration) -> Duration {
    let patience = told.min(REQUEST_TIMEOUT);
    // A little less, so that the answer arrives which says that nothing was applied: a caller whose own time is over first
    // does not know.
    patience.saturating_sub((patience / 20).max(ANSWER_TRAVELS))
}

/// Up to 8 digits and a unit, as the gRPC specification has it ("Requests", Timeout).
fn parse_timeout(text: &str) -> Option<Duration> {
    let digits = text.len().checked_sub(1).filter(|&digits| digits <= 8 && text.is_char_boundary(digits))?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[tonic::async_trait]
impl Strong for StrongService {
    type ConverseStream = Answering<v1::StrongBatchRequest, v1::StrongBatchResponse>;
    type WatchChangesStream = Pin<Box<dyn Stream<Item = Result<v1::ChangesPage, Status>> + Send>>;

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answered<v1::SubmitResponse> {
        let (metadata, _, message) = request.into_parts();
        let reply = self.call(decode_submission(message)?, &metadata).await?;
        Ok(Response::new(encode_submitted(reply)?))
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Answered<v1::ReadResponse> {
        let (metadata, _, message) = request.into_parts();
        let reply = self.call(decode_reads(message)?, &metadata).await?;
        Ok(Response::new(encode_read_answers(reply)?))
    }

    async fn batch(&self, request: Request<v1::StrongBatchRequest>) -> Answered<v1::StrongBatchResponse> {
        let (metadata, _, message) = request.into_parts();
        Ok(Response::new(self.batched(message, patience(&metadata)).await?))
    }

    async fn converse(&self, request: Request<Streaming<v1::StrongBatchRequest>>) -> Answered<Self::ConverseStream> {
        let (service, phase) = (self.clone(), self.phase.clone());
        let answer = move |message| Box::pin(service.clone().answer(message)) as _;
        Ok(Response::new(Answering::new(request.into_inner(), CONVERSATION_UNDER_WAY_MAX, phase, answer)))
    }

    async fn await_lock(&self, request: Request<v1::AwaitLockRequest>) -> Answered<v1::AwaitLockResponse> {
        let (metadata, _, message) = request.into_parts();
        let call = decode_await_lock(message)?;
        // Nobody is kept waiting by a node that leaves: another one answers as well.
        let reply = tokio::select! {
            biased;
            reply = self.call(call, &metadata) => reply?,
            () = self.phase.clone().reached(Phase::Leaving) => self.phase.check_serving().map(|()| Reply::Lock(None))?,
        };
        Ok(Response::new(encode_lock(reply)?))
    }

    async fn get_lease(&self, request: Request<v1::GetLeaseRequest>) -> Answered<v1::GetLeaseResponse> {
        let (metadata, _, message) = request.into_parts();
        let reply = self.call(Call::Lease(LeaseId(message.lease)), &metadata).await?;
        Ok(Response::new(encode_lease(reply)?))
    }

    async fn list_leases(&self, request: Request<v1::ListLeasesRequest>) -> Answered<v1::ListLeasesResponse> {
        let (metadata, _, message) = request.into_parts();
        let reply = self.call(Call::Leases { after: LeaseId(message.after) }, &metadata).await?;
        Ok(Response::new(encode_leases(reply)?))
    }

    async fn keyspaces(&self, request: Request<v1::KeyspacesRequest>) -> Answered<v1::KeyspacesResponse> {
        let reply = self.call(Call::Keyspaces, request.metadata()).await?;
        Ok(Response::new(encode_keyspaces(reply)?))
    }

    async fn watch_changes(&self, request: Request<v1::WatchChangesRequest>) -> Answered<Self::WatchChangesStream> {
        let watch = decode_watch(request.into_inner())?;
        let backend = self.backend()?;
        let pages = backend.watch(watch, CALL_TIMEOUT).await?;
        Ok(Response::new(Box::pin(ServedPages::new(pages, backend.clone(), self.phase.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_as_grpc_writes_it() {
        let cases = [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("999999999S", None),
            ("S", None),
            ("", None),
            ("7", None),
            ("-1S", None),
            ("1\u{e9}", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_timeout(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_caller_cannot_make_a_node_wait_longer_than_its_own_limit() {
        let mut metadata = MetadataMap::new();
        assert_eq!(patience(&metadata), REQUEST_TIMEOUT * 19 / 20);
        metadata.insert("grpc-timeout", "1H".parse().unwrap());
        assert_eq!(patience(&metadata), REQUEST_TIMEOUT * 19 / 20);
        metadata.insert("grpc-timeout", "250m".parse().unwrap());
        assert_eq!(patience(&metadata), Duration::from_micros(237_500));
        metadata.insert("grpc-timeout", "50m".parse().unwrap());
        assert_eq!(patience(&metadata), Duration::from_millis(40));
    }
}
