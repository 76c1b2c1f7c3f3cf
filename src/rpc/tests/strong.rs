//! Strong keyspaces over the wire: each call of the service, and what ends one early.

use super::*;
use crate::{
    limits::{
        GROUP_LOCK_WAIT_MAX, REQUEST_TIMEOUT, STRONG_BATCHES_MAX, STRONG_MESSAGE_BYTES_MAX, STRONG_WATCH_SILENCE,
        TRANSACTION_OPERATIONS_MAX, VALUE_BYTES_MAX,
    },
    replication::strong::{
        Answer, Call, ClientId, Command, Freshness, GroupWatch, Guard, KeyspaceFacts, KeyspaceId, Lease, LeaseId,
        LeasePage, Lifetime, LockName, Operation, OperationKind, Outcome, Read, ReadAnswer, ReadCall, ReadKind, Reply,
        RequestId, Revision, Space, Submission, Transaction, Until, VersionState,
    },
    rpc::strong::fake::Fault,
    types::{Consistency, Key, KeyRange, PageRequest, Value},
    wire::v1::{self, strong_client::StrongClient},
};

fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).unwrap()
}

fn put(key: &str, value: &[u8], lifetime: Lifetime) -> Operation {
    let kind = OperationKind::Put { value: Value::new(value).unwrap(), flags: 3, lifetime };
    Operation { key: self::key(key), kind }
}

fn change(keyspace: &str, command: Command) -> Call {
    Call::Submit(Submission { id: None, keyspace: keyspace.into(), command })
}

fn transact(guards: Vec<Guard>, operations: Vec<Operation>) -> Call {
    change("jobs", Command::Transact(Transaction { keyspace: KeyspaceId::default(), guards, operations }))
}

fn acquire(lock: &str, lease: LeaseId) -> Call {
    let lock = LockName { keyspace: KeyspaceId::default(), name: key(lock) };
    let value = Value::new(b"me").unwrap();
    change("jobs", Command::Acquire { lock, lease, value, wait: true })
}

fn reads(kinds: Vec<ReadKind>) -> ReadCall {
    let reads = kinds.into_iter().map(|kind| Read { space: Space::Data, kind }).collect();
    ReadCall { keyspace: "jobs".into(), freshness: Freshness::Linearizable, at: None, reads }
}

fn read_key(text: &str) -> ReadKind {
    ReadKind::Key { key: key(text), metadata_only: false }
}

struct Far {
    fixture: Fixture,
    group: Arc<FakeGroup>,
    rpc: StrongRpc,
}

impl Far {
    async fn new(transport: Arc<dyn Transport>) -> Far {
        let group = FakeGroup::new();
        let fixture = Fixture::with_group(transport, group.clone()).await;
        let rpc = StrongRpc::new(fixture.channel().await, Leader::default());
        Far { fixture, group, rpc }
    }

    async fn call(&self, call: Call) -> OurResult<Reply> {
        within(self.rpc.call(&call, DEADLINE)).await
    }

    async fn done(&self, call: Call) -> Answer {
        match self.call(call).await.unwrap() {
            Reply::Done(answer) => answer,
            other => panic!("a change was answered by {other:?}"),
        }
    }

    async fn lease(&self, ttl_ms: u64) -> LeaseId {
        match self.done(change("", Command::Grant { ttl_ms })).await {
            Answer::Leased { lease, generation: 0, ttl_ms: lasts } if lasts == ttl_ms => lease,
            other => panic!("a grant was answered by {other:?}"),
        }
    }

    async fn raw(&self) -> StrongClient<Channel> {
        StrongClient::new(self.fixture.channel().await).max_encoding_message_size(2 * STRONG_MESSAGE_BYTES_MAX)
    }
}

#[tokio::test]
async fn every_change_does_what_it_says_over_both_transports() {
    for transport in transports() {
        let far = Far::new(transport).await;
        assert_eq!(far.done(change("", Command::Register)).await, Answer::Registered(ClientId(1)));
        let lease = far.lease(60_000).await;
        let operations = vec![put("a", b"1", Lifetime::Forever), put("b", b"2", Lifetime::Lease(lease))];
        let written = far.done(transact(vec![Guard::Absent { key: key("a") }], operations)).await;
        let new = Outcome { existed: false, number: None };
        assert_eq!(written, Answer::Written { revision: Some(Revision(1)), outcomes: vec![new, new] });
        assert_eq!(far.done(acquire("l", lease)).await, Answer::Held { token: Revision(2) });
        let other = far.lease(60_000).await;
        assert_eq!(far.done(acquire("l", other)).await, Answer::Queued { ahead: 0 });
        let lock = LockName { keyspace: KeyspaceId::default(), name: key("l") };
        let value = Value::new(b"now").unwrap();
        let proclaim = Command::Proclaim { lock: lock.clone(), token: Revision(2), value };
        assert_eq!(far.done(change("jobs", proclaim)).await, Answer::Proclaimed { revision: Revision(3) });
        let alive = far.done(change("", Command::KeepAlive { lease })).await;
        assert_eq!(alive, Answer::Leased { lease, generation: 0, ttl_ms: 60_000 });
        let release = Command::Release { lock, lease };
        assert_eq!(far.done(change("jobs", release)).await, Answer::Released);
        assert_eq!(far.done(change("", Command::Revoke { lease })).await, Answer::Revoked);
        let create = Command::CreateKeyspace { name: "more".into() };
        assert_eq!(far.done(change("more", create)).await, Answer::Created(KeyspaceId(0)));
        let drop_keyspace = Command::DropKeyspace { keyspace: KeyspaceId::default() };
        assert_eq!(far.done(change("more", drop_keyspace)).await, Answer::Dropped);
        assert_eq!(far.done(change("", Command::Compact { revision: Revision(1) })).await, Answer::Compacted);
    }
}

#[tokio::test]
async fn every_question_is_answered_over_both_transports() {
    for transport in transports() {
        let far = Far::new(transport).await;
        let lease = far.lease(60_000).await;
        let operations = vec![put("a", b"1", Lifetime::Ttl(60_000)), put("b", b"2", Lifetime::Lease(lease))];
        far.done(transact(vec![], operations)).await;
        let page = PageRequest { range: KeyRange::default(), reverse: true, keys_max: 1, bytes_target: 1 };
        let kinds = vec![
            read_key("a"),
            read_key("none"),
            ReadKind::Page { page, keys_only: true },
            ReadKind::Count(KeyRange::prefix(b"a")),
        ];
        let Reply::Read(reply) = far.call(Call::Read(reads(kinds))).await.unwrap() else { panic!("no read") };
        assert_eq!((reply.revision, reply.elapsed_ms), (Revision(1), 0));
        let [found, missing, page, count] = <[ReadAnswer; 4]>::try_from(reply.answers).unwrap();
        let ReadAnswer::Key { item: Some(item), .. } = found else { panic!("no item") };
        assert_eq!(
            (&item.value[..], item.flags, item.created, item.modified),
            (&b"1"[..], 3, Revision(1), Revision(1))
        );
        assert!(matches!(item.until, Until::Elapsed(left_ms) if (50_000..=60_000).contains(&left_ms)), "{item:?}");
        assert_eq!(missing, ReadAnswer::Key { key: key("none"), item: None, metadata_only: false });
        let ReadAnswer::Page { page, keys_only: true } = page else { panic!("no page") };
        assert!(page.more);
        let (name, item) = &page.items[0];
        assert_eq!((name, item.until, item.value.len()), (&key("b"), Until::Lease(lease), 0));
        assert_eq!(count, ReadAnswer::Count(1));

        let lasting = far.call(Call::Lease(lease)).await.unwrap();
        assert!(matches!(lasting, Reply::Lease(Lease { ttl_ms: 60_000, places: 1, .. })), "{lasting:?}");
        let Reply::Leases(page) = far.call(Call::Leases { after: LeaseId(0) }).await.unwrap() else {
            panic!("no page")
        };
        assert!(matches!(page.leases[..], [(id, Lease { ttl_ms: 60_000, places: 1, .. })] if id == lease), "{page:?}");
        assert_eq!(far.call(Call::Leases { after: lease }).await, Ok(Reply::Leases(LeasePage::default())));
        let facts = KeyspaceFacts { name: "jobs".into(), consistency: Consistency::Strong, keys: 2, bytes: 4 };
        assert_eq!(far.call(Call::Keyspaces).await, Ok(Reply::Keyspaces(vec![facts])));
        far.done(acquire("l", lease)).await;
        let wait = Call::AwaitLock { keyspace: "jobs".into(), lock: key("l"), lease, wait_ms: 20_000 };
        assert_eq!(far.call(wait).await, Ok(Reply::Lock(Some(Revision(2)))));
    }
}

#[tokio::test]
async fn what_the_group_refuses_comes_back_with_its_code_and_its_outcome() {
    let far = Far::new(simulated()).await;
    let absent = || transact(vec![Guard::Present { key: key("a") }], vec![]);
    let refused = far.call(absent()).await.unwrap_err();
    assert_eq!((refused.code(), refused.is_maybe_applied()), (ErrorCode::VersionConflict, false));
    let cases = [
        Error::new(ErrorCode::NoLeader, "no majority"),
        Error::new(ErrorCode::NoLeader, "lost it").maybe_applied(),
        Error::new(ErrorCode::RequestForgotten, "who are you").maybe_applied(),
        Error::new(ErrorCode::LockHeld, "by another"),
    ];
    for error in cases {
        far.group.order([Fault::Refuse(error.clone())]);
        assert_eq!(far.call(absent()).await, Err(error));
    }
    let missing = far.call(Call::Lease(LeaseId(9))).await.unwrap_err();
    assert_eq!(missing.code(), ErrorCode::LeaseLost);
}

#[tokio::test]
async fn a_retry_over_the_wire_has_the_id_of_its_request() {
    let far = Far::new(simulated()).await;
    far.done(change("", Command::Register)).await;
    let increment =
        Operation { key: key("n"), kind: OperationKind::Increment { by: 1, initial: 0, lifetime: Lifetime::Forever } };
    let Call::Submit(mut change) = transact(vec![], vec![increment]) else { panic!("no change") };
    change.id = Some(RequestId { client: ClientId(1), number: 1 });
    let first = far.done(Call::Submit(change.clone())).await;
    assert_eq!(far.done(Call::Submit(change)).await, first);
    assert_eq!(far.group.item(&key("n")).map(|item| item.value.to_vec()), Some(1i64.to_le_bytes().to_vec()));
}

#[tokio::test]
async fn a_full_transaction_is_taken_and_what_is_heavier_is_refused() {
    let far = Far::new(simulated()).await;
    let operations: Vec<Operation> = (0..TRANSACTION_OPERATIONS_MAX)
        .map(|place| put(&format!("{place:05}"), &[b'v'; 400], Lifetime::Ttl(1_000_000)))
        .collect();
    let Answer::Written { outcomes, .. } = far.done(transact(vec![], operations.clone())).await else {
        panic!("it is written")
    };
    assert_eq!(outcomes.len(), TRANSACTION_OPERATIONS_MAX);
    let more = transact(vec![], [operations, vec![put("more", b"", Lifetime::Forever)]].concat());
    assert_eq!(far.call(more).await.unwrap_err().code(), ErrorCode::BatchTooLarge);

    let operation = |_| v1::StrongOperation {
        key: Bytes::from_static(b"k"),
        operation: Some(v1::strong_operation::Operation::Put(v1::StrongPut {
            value: bytes(VALUE_BYTES_MAX),
            ..v1::StrongPut::default()
        })),
    };
    let command = v1::TransactCommand { guards: vec![], operations: (0..5).map(operation).collect() };
    let command = Some(v1::submit_request::Command::Transact(command));
    let request = v1::SubmitRequest { id: None, keyspace: "jobs".into(), command };
    let refused = within(far.raw().await.submit(request)).await;
    assert_eq!(code(refused), ErrorCode::MalformedMessage);
}

#[tokio::test]
async fn an_answer_that_would_be_too_large_tells_a_part() {
    let far = Far::new(simulated()).await;
    for name in ["a", "b", "c"] {
        far.done(transact(vec![], vec![put(name, &[b'v'; VALUE_BYTES_MAX], Lifetime::Forever)])).await;
    }
    let all = reads(vec![read_key("a"), read_key("b"), read_key("c")]);
    let Reply::Read(reply) = far.call(Call::Read(all)).await.unwrap() else { panic!("no read") };
    assert_eq!((reply.answers.len(), reply.revision), (2, Revision(3)));
}

#[tokio::test]
async fn a_bad_message_is_refused_before_the_group_sees_it() {
    let far = Far::new(simulated()).await;
    let mut raw = far.raw().await;
    assert_eq!(code(within(raw.submit(v1::SubmitRequest::default())).await), ErrorCode::MalformedMessage);
    assert_eq!(code(within(raw.read(v1::ReadRequest::default())).await), ErrorCode::InvalidArgument);
    assert_eq!(code(within(raw.await_lock(v1::AwaitLockRequest::default())).await), ErrorCode::KeyEmpty);
    assert_eq!(code(within(raw.watch_changes(v1::WatchChangesRequest::default())).await), ErrorCode::InvalidArgument);
    assert!(far.group.calls().is_empty() && far.group.watches().is_empty());
}

#[tokio::test]
async fn a_node_without_strong_keyspaces_says_so() {
    let fixture = Fixture::new(simulated()).await;
    let rpc = StrongRpc::new(fixture.channel().await, Leader::default());
    let error = within(rpc.call(&Call::Keyspaces, DEADLINE)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unsupported);
    let error = within(rpc.call(&change("", Command::Register), DEADLINE)).await.unwrap_err();
    assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::Unsupported, false));
}

#[tokio::test]
async fn a_node_that_leaves_refuses_calls_and_keeps_nobody_waiting_for_a_lock() {
    let far = Far::new(simulated()).await;
    let (first, second) = (far.lease(60_000).await, far.lease(60_000).await);
    far.done(acquire("l", first)).await;
    far.done(acquire("l", second)).await;
    let wait_ms = GROUP_LOCK_WAIT_MAX.as_millis() as u64;
    let wait = Call::AwaitLock { keyspace: "jobs".into(), lock: key("l"), lease: second, wait_ms };
    let rpc = far.rpc.clone();
    let waiting = tokio::spawn(async move { rpc.call(&wait, REQUEST_TIMEOUT).await });
    let is_waiting = || far.group.calls().iter().any(|(call, _)| matches!(call, Call::AwaitLock { .. }));
    within(async {
        while !is_waiting() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    far.fixture.server.leave().await;
    assert_eq!(within(waiting).await.unwrap().unwrap_err().code(), ErrorCode::NotRunning);
    assert_eq!(far.call(Call::Keyspaces).await.unwrap_err().code(), ErrorCode::NotRunning);
}

#[tokio::test]
async fn a_watch_tells_what_happens_until_the_node_leaves() {
    for transport in transports() {
        let far = Far::new(transport).await;
        let (keyspace, range) = ("jobs".to_string(), KeyRange::default());
        let watch = GroupWatch { keyspace, space: Space::Data, range, since: None, initial: false };
        let rpc = StrongRpc::new(far.fixture.channel().await, Leader::default());
        let mut pages = within(rpc.watch(&watch)).await.unwrap();
        let first = within(pages.next()).await.unwrap();
        assert_eq!((first.transactions.len(), first.until), (0, Revision::ZERO));
        far.done(transact(vec![], vec![put("a", b"1", Lifetime::Ttl(60_000))])).await;
        let page = within(pages.next()).await.unwrap();
        let [told] = &page.transactions[..] else { panic!("{page:?}") };
        assert_eq!((page.until, told.revision), (Revision(1), Revision(1)));
        let VersionState::Live(item) = &told.changes[0].state else { panic!("{told:?}") };
        assert!(matches!(item.until, Until::Elapsed(left_ms) if (50_000..=60_000).contains(&left_ms)), "{item:?}");
        far.fixture.server.leave().await;
        assert_eq!(within(pages.next()).await.unwrap_err().code(), ErrorCode::NotRunning);
        let refused = within(rpc.watch(&watch)).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::NotRunning);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_ends_when_its_node_has_lost_the_majority() {
    let far = Far::new(simulated()).await;
    let (keyspace, range) = ("jobs".to_string(), KeyRange::default());
    let watch = GroupWatch { keyspace, space: Space::Data, range, since: None, initial: false };
    let mut pages = far.rpc.watch(&watch).await.unwrap();
    pages.next().await.unwrap();
    let started = tokio::time::Instant::now();
    far.group.order([Fault::Nothing, Fault::Nothing, Fault::Refuse(Error::new(ErrorCode::NoLeader, "cut off"))]);
    assert_eq!(pages.next().await.unwrap_err().code(), ErrorCode::NoLeader);
    // Two proofs that nothing had happened, and one that could not be had.
    let took = started.elapsed();
    assert!(took >= 3 * STRONG_WATCH_SILENCE && took < 4 * STRONG_WATCH_SILENCE, "{took:?}");
}

#[tokio::test]
async fn the_node_is_told_how_long_the_caller_waits() {
    let far = Far::new(simulated()).await;
    within(far.rpc.call(&Call::Keyspaces, Duration::from_millis(7500))).await.unwrap();
    within(far.rpc.call(&Call::Keyspaces, Duration::from_secs(3600))).await.unwrap();
    let told: Vec<Duration> = far.group.calls().into_iter().map(|(_, timeout)| timeout).collect();
    // A twentieth less, in which the answer travels.
    assert_eq!(told, [Duration::from_millis(7125), REQUEST_TIMEOUT * 19 / 20]);
}

#[tokio::test]
async fn a_change_that_is_not_answered_in_time_may_have_been_applied() {
    let far = Far::new(simulated()).await;
    let timeout = Duration::from_millis(50);
    far.group.order([Fault::Hang, Fault::Hang]);
    let error = within(far.rpc.call(&change("", Command::Register), timeout)).await.unwrap_err();
    assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::DeadlineExceeded, true));
    let error = within(far.rpc.call(&Call::Keyspaces, timeout)).await.unwrap_err();
    assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::DeadlineExceeded, false));
}

#[tokio::test]
async fn a_read_of_what_the_node_has_does_not_wait_for_linearizable_ones() {
    let far = Far::new(simulated()).await;
    far.done(transact(vec![], vec![put("a", b"1", Lifetime::Forever)])).await;
    // As many messages as may be under way, whose answers never come.
    far.group.order((0..STRONG_BATCHES_MAX).map(|_| Fault::Hang));
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..=STRONG_BATCHES_MAX {
        let rpc = far.rpc.clone();
        waiting.spawn(async move { rpc.call(&Call::Read(reads(vec![read_key("a")])), DEADLINE).await });
    }
    within(async {
        while far.group.calls().len() <= STRONG_BATCHES_MAX {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for freshness in [Freshness::Session(Revision(1)), Freshness::Local] {
        let read = ReadCall { freshness, ..reads(vec![read_key("a")]) };
        assert!(matches!(far.call(Call::Read(read)).await, Ok(Reply::Read(_))), "{freshness:?}");
    }
}
