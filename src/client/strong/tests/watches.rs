//! Watches that go on over nodes: nothing is left out, nothing is told twice.

use super::*;
use crate::{
    client::{tests::over_both, Watch},
    replication::strong::{GroupWatch, TransactionChanges, VersionState, WatchPage},
    types::KeyRange,
};

fn all() -> GroupWatch {
    let (keyspace, range) = ("jobs".to_string(), KeyRange::default());
    GroupWatch { keyspace, space: Space::Data, range, since: None, initial: false }
}

async fn page(watch: &Watch<WatchPage>) -> Result<WatchPage> {
    tokio::time::timeout(Duration::from_secs(60), watch.next()).await.expect("there is a page, or an end")
}

/// What is told up to a revision, and the page before it began.
async fn told_until(watch: &Watch<WatchPage>, until: Revision) -> Vec<TransactionChanges> {
    let mut told = Vec::new();
    loop {
        let page = page(watch).await.unwrap();
        told.extend(page.transactions);
        if page.until >= until && !page.initial {
            return told;
        }
    }
}

fn revisions(told: &[TransactionChanges]) -> Vec<u64> {
    told.iter().map(|transaction| transaction.revision.0).collect()
}

async fn write(client: &StrongClient, name: &str) -> Revision {
    revision_of(&client.call(put(name, name.as_bytes()), SECONDS).await.unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_again_and_again_tells_every_transaction_once() {
    let group = FakeGroup::new();
    let client = near(&group);
    group.limit_pages(2);
    let watch = client.watch(all(), 100).unwrap();
    assert_eq!(page(&watch).await.unwrap().until, Revision::ZERO);
    let writer = near(&group);
    for round in 0..30 {
        write(&writer, &format!("k{round}")).await;
    }
    let told = told_until(&watch, Revision(30)).await;
    assert_eq!(revisions(&told), (1..=30).collect::<Vec<_>>());
    let begun = group.watches();
    assert!(begun.len() > 3, "{} watches", begun.len());
    assert!(begun.windows(2).all(|pair| pair[0].since <= pair[1].since), "{begun:?}");
    // What was watched is seen by session reads.
    client.call(read(Freshness::Session(Revision::ZERO), &["k0"]), SECONDS).await.unwrap();
    let last = group.calls().pop().unwrap().0;
    assert!(matches!(&last, Call::Read(call) if call.freshness == Freshness::Session(Revision(30))), "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_comes_first_and_is_of_one_revision_over_failing_nodes() {
    let group = FakeGroup::new();
    let client = near(&group);
    let count = crate::limits::PAGE_KEYS_MAX + 7;
    for place in 0..count {
        write(&client, &format!("{place:05}")).await;
    }
    let before = group.calls().len();
    group.order([Fault::Nothing, Fault::Refuse(lost()), Fault::Refuse(no_leader())]);
    let watch = client.watch(GroupWatch { initial: true, ..all() }, 1).unwrap();
    until(|| group.calls().len() > before).await;
    let first = page(&watch).await.unwrap();
    let late = count as u64 + 1;
    assert_eq!((first.initial, first.until, first.transactions.len()), (true, Revision(late - 1), 1000));
    assert_eq!(write(&near(&group), "zzz").await, Revision(late));
    let rest = told_until(&watch, Revision(late)).await;
    let names: Vec<&Key> = rest.iter().map(|transaction| &transaction.changes[0].key).collect();
    let expected: Vec<Key> = (1000..count).map(|place| key(&format!("{place:05}"))).chain([key("zzz")]).collect();
    assert!(names.iter().copied().eq(&expected), "{names:?}");
    assert_eq!(first.transactions[7].revision, Revision(8));
    let change = &first.transactions[7].changes[0];
    assert!(matches!(&change.state, VersionState::Live(item) if item.value.as_slice() == b"00007"), "{change:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_revision_tells_what_follows_it() {
    let group = FakeGroup::new();
    let client = near(&group);
    for name in ["a", "b", "c"] {
        write(&client, name).await;
    }
    let watch = client.watch(GroupWatch { since: Some(Revision(1)), ..all() }, 100).unwrap();
    assert_eq!(revisions(&told_until(&watch, Revision(3)).await), [2, 3]);
    let range = KeyRange::prefix(b"b");
    let watch = client.watch(GroupWatch { since: Some(Revision::ZERO), range, ..all() }, 100).unwrap();
    assert_eq!(revisions(&told_until(&watch, Revision(3)).await), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_where_nothing_can_go_on() {
    let group = FakeGroup::new();
    let client = near(&group);
    write(&client, "a").await;
    write(&client, "b").await;
    client.call(change("", Command::Compact { revision: Revision(2) }), SECONDS).await.unwrap();
    let forgotten = client.watch(GroupWatch { since: Some(Revision(1)), ..all() }, 100).unwrap();
    assert_eq!(page(&forgotten).await.unwrap_err().code(), ErrorCode::Compacted);
    let nowhere = |initial| GroupWatch { keyspace: "none".into(), initial, ..all() };
    for initial in [false, true] {
        let watch = client.watch(nowhere(initial), 100).unwrap();
        assert_eq!(page(&watch).await.unwrap_err().code(), ErrorCode::UnknownKeyspace);
    }
    let cancelled = client.watch(all(), 100).unwrap();
    page(&cancelled).await.unwrap();
    cancelled.cancel();
    assert_eq!(page(&cancelled).await.unwrap_err().code(), ErrorCode::WatchCancelled);
    for buffer in [0, crate::limits::WATCH_BUFFER_EVENTS_MAX + 1] {
        let error = client.watch(all(), buffer).map(drop).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
    }
}

#[test]
fn a_watch_goes_on_at_the_next_node_over_both_networks() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (dying, first) = world.strong_node(&group).await;
        let (leaving, second) = world.strong_node(&group).await;
        let (_server, third) = world.strong_node(&group).await;
        let client = world.client(&[&first, &second, &third]);
        let strong = StrongClient::of_client(&client);
        let watch = strong.watch(all(), 100).unwrap();
        assert_eq!(page(&watch).await.unwrap().until, Revision::ZERO);
        write(&near(&group), "a").await;
        let mut told = told_until(&watch, Revision(1)).await;
        drop(dying);
        write(&near(&group), "b").await;
        told.extend(told_until(&watch, Revision(2)).await);
        leaving.leave().await;
        write(&near(&group), "c").await;
        told.extend(told_until(&watch, Revision(3)).await);
        assert_eq!(revisions(&told), [1, 2, 3]);
        client.close();
        assert_eq!(page(&watch).await.unwrap_err().code(), ErrorCode::ClientClosed);
        assert_eq!(strong.watch(all(), 100).map(drop).unwrap_err().code(), ErrorCode::ClientClosed);
    });
}

#[test]
fn a_lock_is_watched_as_it_changes_hands() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (_server, address) = world.strong_node(&group).await;
        let strong = StrongClient::of_client(&world.client(&[&address]));
        let watch = strong.watch(GroupWatch { space: Space::Locks, ..all() }, 100).unwrap();
        page(&watch).await.unwrap();
        let Reply::Done(Answer::Leased { lease, .. }) =
            strong.call(grant(Duration::from_secs(60)), SECONDS).await.unwrap()
        else {
            panic!("no lease")
        };
        let lock = LockName { keyspace: KeyspaceId::default(), name: key("l") };
        let value = Value::new(b"me").unwrap();
        let acquire = Command::Acquire { lock, lease, value, wait: true };
        strong.call(change("jobs", acquire), SECONDS).await.unwrap();
        strong.call(change("", Command::Revoke { lease }), SECONDS).await.unwrap();
        let told = told_until(&watch, Revision(2)).await;
        let states: Vec<&VersionState> = told.iter().map(|transaction| &transaction.changes[0].state).collect();
        let [VersionState::Live(held), gone] = states[..] else { panic!("{states:?}") };
        assert_eq!((&held.value[..], held.created), (&b"me"[..], Revision(1)));
        assert!(gone.live().is_none(), "{gone:?}");
        assert_eq!(told[1].changes[0].previous.as_ref(), Some(held));
    });
}
