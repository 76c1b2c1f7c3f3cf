//! ST-6: a request is applied once, whatever happens between its tries; what is forgotten is refused, never repeated.

use super::*;

fn sum(answer: &Answer) -> Option<i64> {
    match answer {
        Answer::Written { outcomes, .. } => outcomes[0].number,
        other => panic!("not written: {other:?}"),
    }
}

fn add_one() -> Command {
    transaction(Vec::new(), vec![increment("n", 1)])
}

#[test]
fn st_6_a_retry_is_applied_once_also_after_a_snapshot_and_an_election() {
    let mut log = Log::new();
    let id = RequestId { client: log.register(), number: 1 };
    let first = log.request(id, add_one());
    assert_eq!(sum(&first), Some(1));
    assert_eq!(log.request(id, add_one()), first);
    log.elect(5);
    assert_eq!(log.request(id, add_one()), first);
    log.reload();
    assert_eq!(log.request(id, add_one()), first);
    assert_eq!(sum(&log.request(RequestId { number: 2, ..id }, add_one())), Some(2));
}

#[test]
fn st_6_twice_in_one_entry_is_once() {
    let mut log = Log::new();
    let id = Some(RequestId { client: log.register(), number: 1 });
    let answers = log.entry(vec![Request { id, command: add_one() }, Request { id, command: add_one() }]);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(sum(&answers[0]), Some(1));
}

#[test]
fn st_2_a_refusal_is_final() {
    let mut log = Log::new();
    let id = RequestId { client: log.register(), number: 1 };
    log.put("a", "1");
    let add = || transaction(vec![Guard::Absent { key: key("a") }], vec![put("a", "2", Lifetime::Forever)]);
    let refused = log.request(id, add());
    assert!(matches!(refused, Answer::Refused(Refusal::Guard { guard: 0, .. })), "{refused:?}");
    log.written(vec![delete("a")]);
    assert_eq!(log.request(id, add()), refused, "although it would succeed by now");
    assert_eq!(log.text("a"), None);
}

#[test]
fn st_6_requests_that_overtake_each_other_are_applied_once_each() {
    let mut log = Log::new();
    let client = log.register();
    let mut request = |number| log.request(RequestId { client, number }, add_one());
    let sums: Vec<_> = [3, 1, 2, 1, 3, 2].map(|number| sum(&request(number))).to_vec();
    assert_eq!(sums, [Some(1), Some(2), Some(3), Some(2), Some(1), Some(3)]);
}

#[test]
fn st_6_beyond_the_window_a_retry_is_refused_as_unknown() {
    let mut log = Log::with(Bounds { client_answers: 3, ..Bounds::default() });
    let client = log.register();
    let request = |log: &mut Log, number| log.request(RequestId { client, number }, add_one());
    let answers: Vec<Answer> = (1..=5).map(|number| request(&mut log, number)).collect();
    log.reload();
    for number in 3..=5 {
        assert_eq!(request(&mut log, number), answers[number as usize - 1]);
    }
    for number in [2, 1, 0] {
        let answer = request(&mut log, number);
        assert_eq!(answer, Answer::Refused(Refusal::AnswerForgotten { floor: 2 }));
    }
    assert_eq!(sum(&request(&mut log, 6)), Some(6), "none of them was applied again");
    let error = crate::Error::from(Refusal::AnswerForgotten { floor: 2 });
    assert!(error.is_maybe_applied());
}

#[test]
fn st_6_a_forgotten_client_is_refused_and_not_taken_for_a_new_one() {
    let mut log = Log::with(Bounds { clients: 2, ..Bounds::default() });
    let (a, b) = (log.register(), log.register());
    let once = |client| RequestId { client, number: 1 };
    log.request(once(b), add_one());
    log.request(once(a), add_one());
    let c = log.register();
    log.reload();
    // b was silent for longest.
    assert_eq!(log.request(once(b), add_one()), Answer::Refused(Refusal::UnknownClient { client: b }));
    assert_eq!(sum(&log.request(once(a), add_one())), Some(2), "a is known");
    assert_eq!(sum(&log.request(once(c), add_one())), Some(3));
    assert!(log.register() > c, "an id is never used again");
    let never = ClientId(1000);
    assert_eq!(log.request(once(never), add_one()), Answer::Refused(Refusal::UnknownClient { client: never }));
}

#[test]
fn of_many_clients_one_goes_that_was_silent_for_about_the_longest() {
    const CLIENTS: u64 = 64;
    let mut log = Log::with(Bounds { clients: CLIENTS, ..Bounds::default() });
    let clients: Vec<ClientId> = (0..CLIENTS).map(|_| log.register()).collect();
    // Each asks twice in a row, in an order of its own.
    let order: Vec<usize> = (0..clients.len()).map(|at| at * 37 % clients.len()).collect();
    for (round, number) in [(0, 1), (1, 3)] {
        for &at in &order[..clients.len() - round] {
            for number in [number, number + 1] {
                log.request(RequestId { client: clients[at], number }, add_one());
            }
        }
    }
    let silent = clients[*order.last().unwrap()];
    log.register();
    let gone: Vec<ClientId> = clients
        .iter()
        .filter(|client| {
            let asked = log.request(RequestId { client: **client, number: 9 }, add_one());
            asked == Answer::Refused(Refusal::UnknownClient { client: **client })
        })
        .copied()
        .collect();
    assert_eq!(gone, [silent]);
}

#[test]
fn large_answers_push_out_the_clients_that_were_silent() {
    let mut log = Log::with(Bounds { answers_bytes: 20_000, ..Bounds::default() });
    let (a, b) = (log.register(), log.register());
    log.request(RequestId { client: a, number: 1 }, add_one());
    let many = (0..1000).map(|at| delete(&at.to_string())).collect();
    let large = log.request(RequestId { client: b, number: 1 }, transaction(Vec::new(), many));
    let forgotten = Answer::Refused(Refusal::UnknownClient { client: a });
    assert_eq!(log.request(RequestId { client: a, number: 1 }, add_one()), forgotten);
    let again = log.request(RequestId { client: b, number: 1 }, add_one());
    assert_eq!(again, large, "the one who asks is kept, whatever its answers weigh");
}
