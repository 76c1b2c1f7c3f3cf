//! Changes of strong keyspaces go to the node that leads, and nothing depends on it.

use super::*;
use crate::rpc::Fault;

/// What clients have sent to each node so far.
fn sent(trio: &Trio) -> [usize; 3] {
    [0, 1, 2].map(|place| trio.way(place).sent.load(Ordering::SeqCst))
}

/// To which nodes something was sent while so many changes were made, one after the other.
async fn asked_for(trio: &Trio, strong: &StrongClient, changes: usize) -> Vec<usize> {
    let before = sent(trio);
    for _ in 0..changes {
        strong.call(increment(), SECONDS).await.unwrap();
    }
    let after = sent(trio);
    (0..3).filter(|&place| after[place] > before[place]).collect()
}

/// Makes changes until they go to one node alone.
async fn until_at(trio: &Trio, strong: &StrongClient, place: usize) {
    let begin = Instant::now();
    while asked_for(trio, strong, 2).await != [place] {
        assert!(begin.elapsed() < Duration::from_secs(20), "the changes do not go to node {place}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn lead(trio: &Trio, node: Option<u64>) {
    *trio.group.leader.lock() = node.map(NodeId);
}

fn total(trio: &Trio) -> i64 {
    let item = trio.group.item(&key("n")).unwrap();
    i64::from_le_bytes(item.value.as_slice().try_into().unwrap())
}

fn a_read() -> Call {
    let reads = vec![Read { space: Space::Data, kind: ReadKind::Key { key: key("n"), metadata_only: false } }];
    Call::Read(ReadCall { keyspace: "jobs".into(), freshness: Freshness::Linearizable, at: None, reads })
}

#[test]
fn changes_go_to_whoever_leads_and_reads_stay_at_home() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        let strong = StrongClient::of_client(&trio.client(&[0], None));
        lead(&trio, Some(3));
        until_at(&trio, &strong, 2).await;
        let before = sent(&trio);
        strong.call(a_read(), SECONDS).await.unwrap();
        let after = sent(&trio);
        assert_eq!((after[0] > before[0], after[2]), (true, before[2]));
        lead(&trio, Some(2));
        until_at(&trio, &strong, 1).await;
        lead(&trio, None);
        until_at(&trio, &strong, 0).await;
        lead(&trio, Some(1));
        assert_eq!(asked_for(&trio, &strong, 5).await, [0], "home leads");
    });
}

#[test]
fn a_leader_that_dies_or_falls_silent_costs_no_change_and_none_happens_twice() {
    fast(|| async {
        for is_killed in [true, false] {
            let mut trio = Trio::new(Has::OneKeyspace).await;
            let strong = StrongClient::of_client(&trio.client(&[0], None));
            lead(&trio, Some(3));
            until_at(&trio, &strong, 2).await;
            let before = total(&trio);
            // One happens and is not answered.
            trio.group.order([Fault::Swallow]);
            let call = tokio::spawn({
                let strong = strong.clone();
                async move { strong.call(increment(), SECONDS).await }
            });
            while total(&trio) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The others say so for a while.
            match is_killed {
                true => trio.kill(2).await,
                false => trio.way(2).is_stuck.store(true, Ordering::SeqCst),
            }
            call.await.unwrap().unwrap();
            strong.call(increment(), SECONDS).await.unwrap();
            assert_eq!(total(&trio), before + 2);
            lead(&trio, Some(2));
            until_at(&trio, &strong, 1).await;
        }
    });
}

#[test]
fn a_leader_that_this_client_cannot_reach_is_left_alone() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        trio.way(2).is_stuck.store(true, Ordering::SeqCst);
        let strong = StrongClient::of_client(&trio.client(&[0], None));
        lead(&trio, Some(3));
        for _ in 0..100 {
            let begin = Instant::now();
            strong.call(increment(), SECONDS).await.unwrap();
            assert!(begin.elapsed() < Duration::from_millis(5), "it waited for the leader");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(total(&trio), 100);
    });
}

#[test]
fn a_client_that_goes_by_its_list_asks_the_first_whoever_leads() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        let strong = StrongClient::of_client(&trio.listed(&[1, 2], None));
        lead(&trio, Some(3));
        assert_eq!(asked_for(&trio, &strong, 20).await, [1]);
    });
}
