//! Reads that are asked of a second node.

use super::*;

#[test]
fn a_slow_read_is_asked_of_a_second_node_within_the_share() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        let client = trio.listed(&[0, 1], Some(Duration::from_millis(20)));
        store(&client, "a", b"1").await.unwrap();
        trio.put_away(0, Duration::from_millis(400));
        let (mut quick, mut slow) = (0, 0);
        for _ in 0..50 {
            let begin = Instant::now();
            assert_eq!(value(&client, "a").await, Ok(Some(b"1".to_vec())));
            *if begin.elapsed() < Duration::from_millis(300) { &mut quick } else { &mut slow } += 1;
        }
        // One that is free, and one for every ten.
        assert_eq!((quick, slow), (6, 44));
        // A write is asked of nobody else.
        let begin = Instant::now();
        store(&client, "a", b"2").await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(400));
    });
}

#[test]
fn a_second_node_shows_what_the_session_has_written_or_nothing_and_reads_never_go_back() {
    fast(|| async {
        let trio = Trio::new(Has::KeyspacesOfTheirOwn).await;
        let client = trio.client(&[0], Some(Duration::from_millis(20)));
        let other = trio.client(&[1], None);
        store(&other, "theirs", b"new").await.unwrap();
        store(&client, "own", b"1").await.unwrap();
        trio.put_away(0, Duration::from_millis(400));
        // The second node does not have it, so the slow first one answers.
        assert_eq!(value(&client, "own").await, Ok(Some(b"1".to_vec())));

        let fresh = trio.client(&[0], Some(Duration::from_millis(20)));
        value(&fresh, "theirs").await.unwrap();
        let seen = value(&fresh, "theirs").await.unwrap();
        // It may have come from either: whatever it was, it is not gone afterwards.
        trio.put_away(0, Duration::ZERO);
        let again = fresh.call(vec![get("theirs")], Some(Duration::from_secs(2))).await;
        match (seen, again) {
            (Some(seen), Ok(answers)) => {
                let Ok(Answer::Entry(Some(entry))) = &answers[0] else { panic!("{answers:?}") };
                assert_eq!(entry.value.to_vec(), seen);
            }
            (Some(_), Err(error)) => assert!(
                matches!(error.code(), ErrorCode::SessionBehind | ErrorCode::SessionLost | ErrorCode::DeadlineExceeded),
                "{error}"
            ),
            (None, _) => panic!("the second node was not asked"),
        }
    });
}

#[test]
fn a_slow_read_of_a_strong_keyspace_is_asked_of_a_second_node() {
    fast(|| async {
        let trio = Trio::new(Has::OneKeyspace).await;
        let strong = StrongClient::of_client(&trio.client(&[0], Some(Duration::from_millis(20))));
        strong.call(increment(), SECONDS).await.unwrap();
        trio.put_away(0, Duration::from_millis(400));
        let reads = vec![Read { space: Space::Data, kind: ReadKind::Key { key: key("n"), metadata_only: false } }];
        let read = ReadCall { keyspace: "jobs".into(), freshness: Freshness::Linearizable, at: None, reads };
        let begin = Instant::now();
        let reply = strong.call(Call::Read(read), SECONDS).await.unwrap();
        assert!(matches!(reply, Reply::Read(_)));
        assert!(begin.elapsed() < Duration::from_millis(300), "{:?}", begin.elapsed());
    });
}
