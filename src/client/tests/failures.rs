//! What a call gets when nodes and connections fail, and when the client ends.

use super::*;

#[test]
fn a_silent_server_costs_the_deadline_and_nothing_was_sent() {
    over_both(|world| async move {
        let (mut listener, address) = world.listen().await;
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok(connection) = listener.accept().await {
                open.push(connection);
            }
        });
        let client = world.client(&[&address]);
        let error = deadline_of(&client, put("a", b"1")).await;
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::Unreachable, false));
    });
}

/// The error of a call with a deadline, which has to come in time.
async fn deadline_of(client: &Client, operation: Operation) -> Error {
    // Long enough to be sent on a busy machine; only a hang takes so much longer.
    let timeout = Duration::from_millis(500);
    let started = tokio::time::Instant::now();
    let error = client.call(vec![operation], Some(timeout)).await.unwrap_err();
    let took = started.elapsed();
    assert!(took >= timeout && took < 20 * timeout, "{took:?}");
    error
}

#[test]
fn a_deadline_that_passes_after_a_write_was_sent_leaves_it_unknown() {
    with_tcp(|world| async move {
        let (address, received) = spawn_mute(false).await;
        let client = world.client(&[&address]);
        let write = deadline_of(&client, put("a", b"1")).await;
        assert_eq!((write.code(), write.is_maybe_applied()), (ErrorCode::DeadlineExceeded, true));
        assert_eq!(received.available_permits(), 1);
        let read = deadline_of(&client, get("a")).await;
        assert_eq!((read.code(), read.is_maybe_applied()), (ErrorCode::DeadlineExceeded, false));
    });
}

#[test]
fn a_write_that_never_found_a_place_in_flight_is_definite() {
    with_tcp(|world| async move {
        let (address, received) = spawn_mute(false).await;
        let client = world.client(&[&address]);
        let batch = limits::BATCH_OPERATIONS_MAX;
        for _ in 0..limits::CLIENT_IN_FLIGHT_MAX / batch {
            client.submit(vec![get("a"); batch], ReadLevel::Session, None, Box::new(|_| ()));
        }
        received.acquire_many(limits::CLIENT_IN_FLIGHT_MAX as u32).await.unwrap().forget();
        let error = deadline_of(&client, put("a", b"1")).await;
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::DeadlineExceeded, false));
        assert_eq!(received.available_permits(), 0);
    });
}

#[test]
fn a_lost_connection_leaves_a_sent_write_unknown_and_retries_a_read_elsewhere() {
    with_tcp(|world| async move {
        let (broken, _) = spawn_mute(true).await;
        let (_server, good) = world.node().await;
        let client = world.client(&[&broken, &good]);
        let error = client.call(vec![put("a", b"1")], SECONDS).await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::ConnectionLost, true));

        let client = world.client(&[&broken, &good]);
        assert_eq!(value(&client, "a").await, Ok(None));
    });
}

#[test]
fn a_call_that_was_not_sent_goes_to_the_second_target() {
    over_both(|world| async move {
        let (listener, nobody) = world.listen().await;
        drop(listener);
        let (_server, good) = world.node().await;
        let client = world.client(&[&nobody, &good]);
        store(&client, "a", b"1").await.unwrap();
        assert_eq!(value(&client, "a").await, Ok(Some(b"1".to_vec())));
    });
}

#[test]
fn when_nobody_can_be_reached_the_error_says_whom_it_tried_and_why() {
    over_both(|world| async move {
        let (first, first_address) = world.listen().await;
        let (second, second_address) = world.listen().await;
        drop((first, second));
        let client = world.client(&[&first_address, &second_address]);
        let error = deadline_of(&client, put("a", b"1")).await;
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::Unreachable, false));
        for address in [&first_address, &second_address] {
            assert!(error.message().contains(&address.to_string()), "{error}");
        }
        let error = client.status(false, Some(Duration::from_millis(500))).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unreachable);
    });
}

#[test]
fn stopping_one_node_of_two_fails_no_call() {
    over_both(|world| async move {
        let (first, first_address) = world.node().await;
        let (_second, second_address) = world.node().await;
        let client = world.client(&[&first_address, &second_address]);
        store(&client, "a", b"0").await.unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (client, stopped) = (client.clone(), stopped.clone());
                tokio::spawn(async move {
                    let mut rounds = 0;
                    while !*stopped.borrow() || rounds < 10 {
                        store(&client, &format!("k{writer}"), b"1").await.unwrap();
                        rounds += 1;
                    }
                })
            })
            .collect();
        first.leave().await;
        // Calls go on, so they have reached the other node.
        for _ in 0..100 {
            store(&client, "b", b"1").await.unwrap();
        }
        assert!(first.shutdown(Duration::from_secs(10)).await);
        stop.send(true).unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

#[test]
fn a_node_that_ends_in_order_leaves_no_write_in_doubt() {
    over_both(|world| async move {
        let (first, first_address) = world.node().await;
        let (_second, second_address) = world.node().await;
        let clients: Vec<_> = (0..8).map(|_| world.client(&[&first_address, &second_address])).collect();
        for client in &clients {
            store(client, "a", b"0").await.unwrap();
        }
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let writers: Vec<_> = clients
            .into_iter()
            .map(|client| {
                let stopped = stopped.clone();
                tokio::spawn(async move {
                    let mut rounds = 0;
                    while !*stopped.borrow() || rounds < 10 {
                        store(&client, "a", b"1").await.unwrap();
                        rounds += 1;
                    }
                })
            })
            .collect();
        // At once, so that writes are on their way while the streams end.
        assert!(first.shutdown(Duration::from_secs(10)).await);
        stop.send(true).unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

#[test]
fn closing_ends_calls_under_way_and_refuses_new_ones() {
    with_tcp(|world| async move {
        let (address, received) = spawn_mute(false).await;
        let client = world.client(&[&address]);
        let call = tokio::spawn({
            let client = client.clone();
            async move { client.call(vec![put("a", b"1")], None).await }
        });
        received.acquire().await.unwrap().forget();
        client.close();
        client.close();
        let error = call.await.unwrap().unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::ClientClosed, true));
        assert_eq!(value(&client, "a").await.unwrap_err().code(), ErrorCode::ClientClosed);
        assert_eq!(client.status(false, None).await.unwrap_err().code(), ErrorCode::ClientClosed);
    });
}

#[test]
fn dropping_the_last_clone_ends_the_connection_and_the_task() {
    over_both(|world| async move {
        let (mut listener, address) = world.listen().await;
        let client = world.client(&[&address]);
        client.submit(vec![get("a")], ReadLevel::Session, None, Box::new(|_| ()));
        let (mut connection, _) = listener.accept().await.unwrap();
        drop(client);
        let mut rest = Vec::new();
        // Ends only when the other side closes, in order or not.
        let _end = connection.read_to_end(&mut rest).await;
    });
}

#[test]
fn a_client_that_never_retries_says_at_once_that_nobody_is_there() {
    over_both(|world| async move {
        let (listener, nobody) = world.listen().await;
        drop(listener);
        let client = world.client_with(&[&nobody, &nobody], Retry::never());
        let error = client.call(vec![put("a", b"1")], None).await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::Unreachable, false));
        assert!(error.message().contains(&nobody.to_string()), "{error}");
        // Calls that do not go over the stream, too.
        let error = client.status(false, None).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unreachable);
    });
}

#[test]
fn a_client_that_never_retries_still_looks_for_the_node_that_is_there() {
    over_both(|world| async move {
        let (listener, nobody) = world.listen().await;
        drop(listener);
        let (_server, good) = world.node().await;
        let client = world.client_with(&[&nobody, &good], Retry::never());
        assert!(client.call(vec![put("a", b"1")], None).await.unwrap()[0].is_ok());
        assert!(client.status(false, None).await.is_ok());
    });
}

#[test]
fn a_runtime_that_ends_fails_what_is_under_way() {
    let world = World::simulated();
    let runtime = runtime();
    let (listener, address) = runtime.block_on(world.listen());
    let config = ClientConfig::new(vec![address]);
    let client = Client::new(config, world.env.clone(), runtime.handle().clone()).unwrap();
    let (sender, outcome) = std::sync::mpsc::channel();
    client.submit(vec![get("a")], ReadLevel::Session, None, Box::new(move |outcome| sender.send(outcome).unwrap()));
    drop(runtime);
    let error = outcome.recv_timeout(Duration::from_secs(10)).unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::ClientClosed);
    drop(listener);
}
