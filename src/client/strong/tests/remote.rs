//! Over the network: which node is asked, and what ends with the client.

use std::num::NonZeroU32;

use super::*;
use crate::client::{
    tests::{over_both, World},
    RepeatedWrites, Retry,
};

#[test]
fn the_clones_of_a_client_are_one_session_over_both_networks() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (_server, address) = world.strong_node(&group).await;
        let client = world.client(&[&address]);
        for _ in 0..2 {
            let strong = StrongClient::of_client(&client.clone());
            strong.call(increment("n"), SECONDS).await.unwrap();
        }
        let ids: Vec<_> = group.submissions().iter().filter_map(|change| change.id).map(|id| id.number).collect();
        assert_eq!((ids, sum(&group, "n")), (vec![1, 2], Some(2)));
        let strong = StrongClient::of_client(&client);
        let session = Freshness::Session(Revision::ZERO);
        let Reply::Read(reply) = strong.call(read(session, &["n"]), SECONDS).await.unwrap() else { panic!("no read") };
        assert!(matches!(&reply.answers[..], [ReadAnswer::Key { item: Some(_), .. }]), "{reply:?}");
    });
}

#[test]
fn a_node_that_cannot_be_reached_is_passed_over() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (listener, nobody) = world.listen().await;
        drop(listener);
        let (_server, good) = world.strong_node(&group).await;
        let strong = StrongClient::of_client(&world.client(&[&nobody, &good]));
        strong.call(increment("n"), SECONDS).await.unwrap();
        assert_eq!(sum(&group, "n"), Some(1));
    });
}

#[test]
fn without_any_node_a_change_fails_and_nothing_was_sent() {
    over_both(|world| async move {
        let (listener, nobody) = world.listen().await;
        drop(listener);
        let strong = StrongClient::of_client(&world.client(&[&nobody]));
        let timeout = Some(Duration::from_millis(300));
        let error = strong.call(increment("n"), timeout).await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::Unreachable, false), "{error}");
        assert!(error.message().contains(&nobody.to_string()), "{error}");
    });
}

#[test]
fn a_node_that_has_no_leader_is_left_for_one_that_has() {
    over_both(|world| async move {
        let (group, cut_off) = (FakeGroup::new(), FakeGroup::new());
        cut_off.order(vec![Fault::Refuse(no_leader()); 1000]);
        let (_apart, apart) = world.strong_node(&cut_off).await;
        let (_server, good) = world.strong_node(&group).await;
        let strong = StrongClient::of_client(&world.client(&[&apart, &good]));
        strong.call(increment("n"), SECONDS).await.unwrap();
        strong.call(increment("n"), SECONDS).await.unwrap();
        assert_eq!((sum(&group, "n"), cut_off.calls().len()), (Some(2), 1));
    });
}

#[test]
fn a_change_under_way_at_a_node_that_dies_is_applied_once_by_way_of_another() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (dying, first) = world.strong_node(&group).await;
        let (_server, second) = world.strong_node(&group).await;
        let strong = StrongClient::of_client(&world.client(&[&first, &second]));
        strong.call(increment("n"), SECONDS).await.unwrap();
        // One happens and is not answered, the other does not happen.
        group.order([Fault::Swallow, Fault::Hang]);
        let calls: Vec<_> = (0..2)
            .map(|_| {
                let strong = strong.clone();
                tokio::spawn(async move { strong.call(increment("n"), SECONDS).await })
            })
            .collect();
        until(|| group.submissions().len() >= 4).await;
        drop(dying);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(sum(&group, "n"), Some(3));
    });
}

#[test]
fn a_node_that_leaves_hands_its_clients_to_the_next() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (leaving, first) = world.strong_node(&group).await;
        let (_server, second) = world.strong_node(&group).await;
        let strong = StrongClient::of_client(&world.client(&[&first, &second]));
        strong.call(increment("n"), SECONDS).await.unwrap();
        leaving.leave().await;
        strong.call(increment("n"), SECONDS).await.unwrap();
        assert!(leaving.shutdown(Duration::from_secs(20)).await, "a connection was left open");
        assert_eq!(sum(&group, "n"), Some(2));
    });
}

#[test]
fn a_stuck_node_is_left_while_there_is_time() {
    over_both(|world| async move {
        let (group, stuck) = (FakeGroup::new(), FakeGroup::new());
        stuck.order(vec![Fault::Hang; 1000]);
        let (_stuck, first) = world.strong_node(&stuck).await;
        let (_server, second) = world.strong_node(&group).await;
        let strong = StrongClient::of_client(&world.client(&[&first, &second]));
        strong.call(increment("n"), SECONDS).await.unwrap();
        assert_eq!((sum(&group, "n"), stuck.calls().len()), (Some(1), 1));
    });
}

#[test]
fn closing_the_client_ends_calls_and_leases() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (_server, address) = world.strong_node(&group).await;
        let client = world.client(&[&address]);
        let strong = StrongClient::of_client(&client);
        let ttl = Duration::from_secs(60);
        let Reply::Done(Answer::Leased { lease, .. }) = strong.call(grant(ttl), SECONDS).await.unwrap() else {
            panic!("no lease")
        };
        let kept = strong.keep(lease, ttl);
        let (sender, told) = oneshot::channel();
        kept.on_lost(Box::new(|| sender.send(()).unwrap()));
        group.order([Fault::Hang]);
        let before = group.submissions().len();
        let hanging = strong.clone();
        let hanging = tokio::spawn(async move { hanging.call(increment("n"), None).await });
        until(|| group.submissions().len() > before).await;
        client.close();
        let error = hanging.await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::ClientClosed, true));
        told.await.unwrap();
        assert!(!kept.is_alive());
        let error = strong.call(increment("n"), SECONDS).await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::ClientClosed, false));
    });
}

#[test]
fn a_session_keeps_its_client_open_and_no_longer() {
    over_both(|world: World| async move {
        let group = FakeGroup::new();
        let (_server, address) = world.strong_node(&group).await;
        let client = world.client(&[&address]);
        let strong = StrongClient::of_client(&client);
        drop(client);
        strong.call(grant(Duration::from_secs(60)), SECONDS).await.unwrap();
        let kept = strong.keep(LeaseId(1), Duration::from_secs(60));
        let session = Arc::downgrade(&strong.session);
        drop(strong);
        assert!(kept.is_alive());
        drop(kept);
        until(|| session.upgrade().is_none()).await;
    });
}

#[test]
fn a_client_that_never_retries_tries_every_target_and_no_write_twice() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (listener, nobody) = world.listen().await;
        drop(listener);
        let (_server, good) = world.strong_node(&group).await;
        let strong = StrongClient::of_client(&world.client_with(&[&nobody, &good], Retry::never()));
        strong.call(increment("n"), None).await.unwrap();
        group.order([Fault::Refuse(no_leader())]);
        let error = strong.call(increment("n"), None).await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::NoLeader, false));
        group.order([Fault::Lose(lost())]);
        let error = strong.call(increment("n"), None).await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::ConnectionLost, true));
        assert_eq!(sum(&group, "n"), Some(2));
    });
}

#[test]
fn attempts_are_counted_and_a_write_that_may_not_be_repeated_is_sent_once() {
    over_both(|world| async move {
        let group = FakeGroup::new();
        let (_server, address) = world.strong_node(&group).await;
        let thrice = Retry { attempts: NonZeroU32::new(3), ..Retry::default() };
        let strong = StrongClient::of_client(&world.client_with(&[&address], thrice));
        strong.call(increment("n"), SECONDS).await.unwrap();
        group.order([Fault::Refuse(no_leader()), Fault::Lose(lost())]);
        strong.call(increment("n"), SECONDS).await.unwrap();
        group.order([Fault::Refuse(no_leader()), Fault::Refuse(no_leader()), Fault::Refuse(no_leader())]);
        let error = strong.call(increment("n"), None).await.unwrap_err();
        assert_eq!((error.code(), sum(&group, "n")), (ErrorCode::NoLeader, Some(2)));

        let once = Retry { writes: RepeatedWrites::Never, ..Retry::default() };
        let careful = StrongClient::of_client(&world.client_with(&[&address], once));
        careful.call(increment("n"), SECONDS).await.unwrap();
        // What is known to have changed nothing is tried again, and reads are.
        group.order([Fault::Refuse(no_leader()), Fault::Lose(lost())]);
        let error = careful.call(increment("n"), SECONDS).await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::ConnectionLost, true));
        group.order([Fault::Lose(lost())]);
        let session = Freshness::Session(Revision::ZERO);
        careful.call(read(session, &["n"]), SECONDS).await.unwrap();
        assert_eq!(sum(&group, "n"), Some(4));
    });
}
