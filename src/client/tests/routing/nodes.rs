//! Where calls go, and what becomes of them when a node dies, is silent, is far, or is the wrong one.

use super::*;

#[test]
fn a_client_of_one_node_goes_on_at_those_it_was_told_of() {
    fast(|| async {
        let mut trio = Trio::new(Has::OneKeyspace).await;
        let client = trio.client(&[0], None);
        store(&client, "a", b"1").await.unwrap();
        assert_eq!(contact(&client).as_ref(), Some(&trio.addresses[0]));
        trio.kill(0).await;
        assert_eq!(value(&client, "a").await, Ok(Some(b"1".to_vec())));
        trio.kill(1).await;
        store(&client, "b", b"2").await.unwrap();
        assert_eq!(contact(&client).as_ref(), Some(&trio.addresses[2]));
        trio.kill(2).await;
        let error = unreachable(&client, get("a")).await;
        assert!(trio.addresses.iter().all(|each| error.message().contains(&each.to_string())), "{error}");
    });
}

#[test]
fn one_that_goes_by_its_list_asks_nobody_else_and_in_its_order() {
    fast(|| async {
        let mut trio = Trio::new(Has::OneKeyspace).await;
        let client = trio.listed(&[1, 0], None);
        for _ in 0..200 {
            store(&client, "a", b"1").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!((trio.opened(), trio.asked()), (vec![0, 1, 0], 0));
        trio.kill(1).await;
        store(&client, "a", b"1").await.unwrap();
        trio.kill(0).await;
        let error = unreachable(&client, get("a")).await;
        assert_eq!((error.code(), trio.opened()[2]), (ErrorCode::Unreachable, 0));
    });
}

#[test]
fn clients_with_the_same_list_begin_at_all_of_its_nodes() {
    fast(|| async {
        let mut trio = Trio::new(Has::OneKeyspace).await;
        for seed in 0..60 {
            trio.env.rng = Arc::new(SeededRng::new(seed));
            value(&trio.client(&[0, 1, 2], None), "a").await.unwrap();
        }
        assert!(trio.opened().iter().all(|&count| count >= 8), "{:?}", trio.opened());
    });
}

#[test]
fn a_client_moves_to_a_nearer_node_and_no_call_fails_or_waits_for_it() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        trio.put_away(0, Duration::from_millis(80));
        trio.put_away(1, Duration::from_millis(40));
        let client = trio.client(&[0, 1, 2], None);
        let begin = Instant::now();
        let mut number = 0_u32;
        while contact(&client).as_ref() != Some(&trio.addresses[2]) {
            number += 1;
            let called = Instant::now();
            store(&client, "n", &number.to_le_bytes()).await.unwrap();
            assert_eq!(value(&client, "n").await, Ok(Some(number.to_le_bytes().to_vec())));
            // Two round trips and the turn.
            assert!(called.elapsed() < Duration::from_millis(500), "{:?}", called.elapsed());
            assert!(begin.elapsed() < Duration::from_secs(10), "it has not moved");
        }
        // And stays, however long.
        for _ in 0..500 {
            value(&client, "n").await.unwrap();
            assert_eq!(contact(&client).as_ref(), Some(&trio.addresses[2]));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

#[test]
fn nodes_that_are_about_as_near_are_not_exchanged() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        trio.put_away(0, Duration::from_micros(1200));
        trio.put_away(1, Duration::from_micros(300));
        let client = trio.client(&[0, 1, 2], None);
        trio.put_away(2, Duration::from_micros(700));
        for _ in 0..500 {
            value(&client, "n").await.unwrap();
            assert_eq!(contact(&client).as_ref(), Some(&trio.addresses[0]));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

#[test]
fn a_client_without_calls_asks_nothing_and_opens_nothing() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        let client = trio.client(&[0, 1, 2], None);
        value(&client, "a").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (opened, asked) = (trio.opened(), trio.asked());
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!((trio.opened(), trio.asked()), (opened, asked));
        // It has not fallen asleep for good.
        value(&client, "a").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(trio.asked() > asked);
    });
}

#[test]
fn a_silent_node_is_left_while_the_calls_have_time() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        let client = trio.client(&[0], None);
        store(&client, "a", b"1").await.unwrap();
        trio.way(0).is_stuck.store(true, Ordering::SeqCst);
        let (read, write) = tokio::join!(client.call(vec![get("a")], CALL), client.call(vec![put("b", b"2")], CALL));
        assert!(matches!(read.unwrap()[0], Ok(Answer::Entry(Some(_)))));
        let write = write.unwrap_err();
        assert_eq!((write.code(), write.is_maybe_applied()), (ErrorCode::ConnectionLost, true));
        store(&client, "b", b"3").await.unwrap();
        assert_ne!(contact(&client).as_ref(), Some(&trio.addresses[0]));
        // It is back, and is not needed.
        trio.way(0).is_stuck.store(false, Ordering::SeqCst);
        assert_eq!(value(&client, "b").await, Ok(Some(b"3".to_vec())));
    });
}

#[test]
fn when_every_node_is_silent_the_client_stays_and_what_comes_late_counts() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        let client = trio.client(&[0], None);
        store(&client, "a", b"1").await.unwrap();
        (0..3).for_each(|place| trio.way(place).is_stuck.store(true, Ordering::SeqCst));
        let write = tokio::spawn({
            let client = client.clone();
            async move { client.call(vec![put("b", b"2")], SECONDS).await }
        });
        tokio::time::sleep(Duration::from_secs(4)).await;
        (0..3).for_each(|place| trio.way(place).is_stuck.store(false, Ordering::SeqCst));
        assert!(write.await.unwrap().unwrap()[0].is_ok());
    });
}

#[test]
fn a_node_of_another_cluster_gets_no_call() {
    fast(|| async {
        let mut trio = Trio::new(Has::ClustersOfTheirOwn).await;
        let client = trio.client(&[0, 1], None);
        store(&client, "a", b"1").await.unwrap();
        trio.kill(0).await;
        let error = unreachable(&client, put("b", b"1")).await;
        assert!(error.message().contains("belongs to cluster \"cluster-1\""), "{error}");
        assert_eq!((trio.data[1].stats().keys, trio.data[2].stats().keys), (0, 0));
    });
}

#[test]
fn changes_of_a_strong_keyspace_go_on_at_other_nodes_and_happen_once() {
    fast(|| async {
        let mut trio = Trio::new(Has::OneKeyspace).await;
        let strong = StrongClient::of_client(&trio.client(&[0], None));
        strong.call(increment(), SECONDS).await.unwrap();
        for place in [0, 1] {
            trio.kill(place).await;
            strong.call(increment(), SECONDS).await.unwrap();
        }
        let item = trio.group.item(&key("n")).unwrap();
        assert_eq!(item.value.as_slice(), 3_i64.to_le_bytes());
    });
}

#[test]
fn a_client_of_strong_keyspaces_alone_moves_to_a_nearer_node_too() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        trio.put_away(0, Duration::from_millis(80));
        let strong = StrongClient::of_client(&trio.client(&[0, 1], None));
        let begin = Instant::now();
        loop {
            let called = Instant::now();
            strong.call(increment(), SECONDS).await.unwrap();
            if called.elapsed() < Duration::from_millis(20) {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "it has not moved");
        }
    });
}

#[test]
fn a_node_that_failed_a_question_and_serves_on_is_home_again() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        let client = trio.client(&[0], None);
        store(&client, "a", b"1").await.unwrap();
        client.handle.shared.note_failure(&trio.addresses[0], "a test says so");
        assert_eq!(client.handle.shared.directory.lock().home(), None);
        for _ in 0..200 {
            value(&client, "a").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(client.handle.shared.directory.lock().home(), contact(&client).as_ref());
        assert_eq!(contact(&client).as_ref(), Some(&trio.addresses[0]));
    });
}
