//! Leases that are kept, and what their owner learns of their end.

use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const TTL: Duration = Duration::from_secs(9);

async fn granted(client: &StrongClient, ttl: Duration) -> LeaseId {
    match client.call(grant(ttl), SECONDS).await.unwrap() {
        Reply::Done(Answer::Leased { lease, .. }) => lease,
        other => panic!("a grant was answered by {other:?}"),
    }
}

fn lost_of(kept: &KeptLease) -> oneshot::Receiver<Instant> {
    let (sender, told) = oneshot::channel();
    kept.on_lost(Box::new(|| sender.send(Instant::now()).unwrap()));
    told
}

fn keep_alives(group: &FakeGroup) -> usize {
    let is_one = |change: &&Submission| matches!(change.command, Command::KeepAlive { .. });
    group.submissions().iter().filter(is_one).count()
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_kept_alive_at_a_third_of_its_time_for_as_long_as_it_is_wanted() {
    let group = FakeGroup::new();
    let client = near(&group);
    let lease = granted(&client, TTL).await;
    let kept = client.keep(lease, TTL);
    assert_eq!((kept.lease(), kept.is_alive(), kept.remaining()), (lease, true, TTL));
    let mut told = lost_of(&kept);
    tokio::time::sleep(10 * TTL).await;
    assert!(kept.is_alive());
    assert!(kept.remaining() > TTL / 2, "{:?}", kept.remaining());
    assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
    let count = keep_alives(&group);
    assert!((29..=30).contains(&count), "{count} keep-alives");
    client.call(Call::Lease(lease), SECONDS).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_when_the_request_was_sent() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(increment("n"), SECONDS).await.unwrap();
    // The first try is silent, so that the grant is heard of two seconds later.
    group.order([Fault::Hang]);
    let started = Instant::now();
    let lease = granted(&client, TTL).await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_eq!(client.keep(lease, TTL).remaining(), TTL - waited);
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_that_is_answered_late_counts_from_when_it_was_sent() {
    let group = FakeGroup::new();
    let client = near(&group);
    let kept = client.keep(granted(&client, TTL).await, TTL);
    group.gate.forget_permits(usize::MAX);
    let late = Duration::from_secs(1);
    tokio::time::sleep(TTL / 3 + late).await;
    let before = kept.remaining();
    assert_eq!((before, keep_alives(&group)), (TTL - TTL / 3 - late, 1));
    group.gate.add_permits(1);
    until(|| kept.remaining() > before).await;
    assert_eq!(kept.remaining(), TTL - late);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_the_group_has_ended_is_lost_at_the_next_keep_alive() {
    let group = FakeGroup::new();
    let client = near(&group);
    let lease = granted(&client, TTL).await;
    let started = Instant::now();
    let kept = client.keep(lease, TTL);
    let told = lost_of(&kept);
    near(&group).call(change("", Command::Revoke { lease }), SECONDS).await.unwrap();
    assert_eq!(told.await.unwrap().duration_since(started), TTL / 3);
    assert_eq!((kept.is_alive(), kept.remaining()), (false, Duration::ZERO));
    let late = lost_of(&kept);
    assert!(late.await.is_ok(), "who asks later is told at once");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_kept_is_lost_at_its_deadline() {
    for fault in [Fault::Hang, Fault::Refuse(no_leader()), Fault::Refuse(lost())] {
        let group = FakeGroup::new();
        let client = near(&group);
        let lease = granted(&client, TTL).await;
        let started = Instant::now();
        let kept = client.keep(lease, TTL);
        let told = lost_of(&kept);
        group.order(vec![fault; 1000]);
        let took = told.await.unwrap().duration_since(started);
        assert!(took >= TTL && took <= TTL + Duration::from_millis(2), "{took:?}");
        assert!(!kept.is_alive());
        group.forget_faults();
        // The group counts from when it granted the lease, which was at that very moment in a world without distance.
        let error = client.call(Call::Lease(lease), SECONDS).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::LeaseLost);
    }
}

#[tokio::test(start_paused = true)]
async fn keep_alives_that_fail_are_made_up_for_in_time() {
    let group = FakeGroup::new();
    let client = near(&group);
    let lease = granted(&client, TTL).await;
    let kept = client.keep(lease, TTL);
    let mut told = lost_of(&kept);
    // Two silent tries and some refused ones, of six seconds that are left.
    group.order([Fault::Hang, Fault::Hang, Fault::Refuse(no_leader()), Fault::Lose(lost())]);
    tokio::time::sleep(2 * TTL).await;
    assert!(kept.is_alive());
    assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_granted_elsewhere_is_known_after_its_first_keep_alive() {
    let group = FakeGroup::new();
    let lease = granted(&near(&group), TTL).await;
    let client = near(&group);
    let kept = client.keep(lease, TTL);
    assert_eq!((kept.is_alive(), kept.remaining()), (true, Duration::ZERO));
    until(|| kept.remaining() == TTL).await;

    // A caller who takes it for longer than it is learns better.
    let other = client.keep(lease, 10 * TTL);
    until(|| other.remaining() > Duration::ZERO).await;
    assert_eq!(other.remaining(), TTL);

    let never = client.keep(LeaseId(99), TTL);
    let started = Instant::now();
    assert_eq!(lost_of(&never).await.unwrap(), started);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_stopped_or_dropped_is_not_lost_and_ends_by_itself() {
    for drops in [false, true] {
        let group = FakeGroup::new();
        let client = near(&group);
        let lease = granted(&client, TTL).await;
        let kept = client.keep(lease, TTL);
        let told = lost_of(&kept);
        if drops {
            drop(kept);
        } else {
            kept.stop();
            kept.stop();
            assert_eq!((kept.is_alive(), kept.remaining()), (false, Duration::ZERO));
            assert!(lost_of(&kept).await.is_err(), "who asks later is not told");
        }
        assert!(told.await.is_err(), "it was told as lost");
        client.call(Call::Lease(lease), SECONDS).await.unwrap();
        tokio::time::sleep(TTL).await;
        let error = client.call(Call::Lease(lease), SECONDS).await.unwrap_err();
        assert_eq!((error.code(), keep_alives(&group)), (ErrorCode::LeaseLost, 0));
    }
}

#[test]
fn a_lease_is_lost_when_the_runtime_that_keeps_it_ends() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (kept, told) = runtime.block_on(async {
        let group = FakeGroup::new();
        let client = near(&group);
        let kept = client.keep(granted(&client, TTL).await, TTL);
        let told = lost_of(&kept);
        (kept, told)
    });
    assert!(kept.is_alive());
    drop(runtime);
    assert!(told.blocking_recv().is_ok());
    assert!(!kept.is_alive());
}
