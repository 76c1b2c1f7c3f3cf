//! What goes over a connection that works.

use super::*;

#[test]
fn each_of_256_concurrent_calls_gets_its_own_answer_also_when_others_are_given_up() {
    over_both(|world| async move {
        let (_server, address) = world.node().await;
        let client = world.client(&[&address]);
        let mut tasks = Vec::new();
        for task in 0..256 {
            let client = client.clone();
            tasks.push(tokio::spawn(async move {
                for round in 0..50 {
                    let (name, text) = (format!("k{task}"), format!("{task}/{round}"));
                    store(&client, &name, text.as_bytes()).await.unwrap();
                    if (task + round) % 3 == 0 {
                        let given_up = client.submit(vec![get("k0")], ReadLevel::Session, SECONDS, Box::new(|_| ()));
                        tokio::task::yield_now().await;
                        client.cancel(given_up);
                    }
                    assert_eq!(value(&client, &name).await.unwrap().as_deref(), Some(text.as_bytes()));
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_client_opens_nothing_before_its_first_call() {
    over_both(|world| async move {
        let (mut listener, address) = world.listen().await;
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = accepted.clone();
        let (seen, saw) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let _connection = listener.accept().await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
            seen.send(()).unwrap();
        });
        let tasks_before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let client = world.client(&[&address]);
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), tasks_before);
        assert_eq!(accepted.load(Ordering::SeqCst), 0);
        client.submit(vec![get("a")], ReadLevel::Session, None, Box::new(|_| ()));
        saw.await.unwrap();
    });
}

#[test]
fn big_batches_and_big_values_pass() {
    over_both(|world| async move {
        let (_server, address) = world.node().await;
        let client = world.client(&[&address]);
        let puts = (0..limits::BATCH_OPERATIONS_MAX).map(|i| put(&format!("k{i}"), b"v")).collect();
        let answers = client.call(puts, SECONDS).await.unwrap();
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), limits::BATCH_OPERATIONS_MAX);
        let gets = (0..limits::BATCH_OPERATIONS_MAX).map(|i| get(&format!("k{i}"))).collect();
        for (i, answer) in client.call(gets, SECONDS).await.unwrap().into_iter().enumerate() {
            let Answer::Entry(Some(entry)) = answer.unwrap() else { panic!("k{i} is missing") };
            assert_eq!(entry.key, format!("k{i}").as_bytes());
        }

        let big: Vec<Vec<u8>> = (0..20).map(|i| vec![i; limits::VALUE_BYTES_MAX]).collect();
        let stores = big.iter().enumerate().map(|(i, big)| {
            let (client, big) = (client.clone(), big.clone());
            tokio::spawn(async move { store(&client, &format!("big{i}"), &big).await })
        });
        for stored in stores.collect::<Vec<_>>() {
            stored.await.unwrap().unwrap();
        }
        let gets = (0..20).map(|i| get(&format!("big{i}"))).collect();
        for (i, answer) in client.call(gets, SECONDS).await.unwrap().into_iter().enumerate() {
            let Answer::Entry(Some(entry)) = answer.unwrap() else { panic!("big{i} is missing") };
            assert!(entry.value == big[i], "big{i} came back changed");
        }
        let too_much = (0..5).map(|i| put(&format!("x{i}"), &big[0])).collect();
        let error = client.call(too_much, SECONDS).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::BatchTooLarge);
    });
}

#[test]
fn an_error_of_one_operation_leaves_the_others_alone() {
    over_both(|world| async move {
        let (_server, address) = world.node().await;
        let client = world.client(&[&address]);
        let too_long = crate::types::KeyRange::prefix(&vec![0; limits::RANGE_BOUND_BYTES_MAX + 1]);
        let answers = client.call(vec![Operation::Count(too_long), Operation::Ping], SECONDS).await.unwrap();
        assert_eq!(answers[0].as_ref().unwrap_err().code(), ErrorCode::KeyTooLong);
        assert_eq!(answers[1], Ok(Answer::Pong));
        assert_eq!(client.call(Vec::new(), SECONDS).await, Ok(Vec::new()));
    });
}

#[test]
fn a_client_without_a_call_can_ask_for_status_and_members() {
    over_both(|world| async move {
        let (_server, address) = world.node().await;
        let client = world.client(&[&address]);
        assert_eq!(client.status(false, SECONDS).await.unwrap().node, NodeId(7));
        assert_eq!(client.members(SECONDS).await.unwrap().len(), 1);
    });
}
