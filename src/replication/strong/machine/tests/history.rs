//! WA-1 to WA-9, ST-3: what a watcher is told, and what compaction takes from it.

use super::*;

/// What a watcher is told of keys: revision, key, value before, value after.
fn told(log: &Log, since: Revision) -> Vec<(u64, String, Option<String>, Option<String>)> {
    let text = |item: Option<&Arc<Item>>| item.map(|item| String::from_utf8(item.value.to_vec()).unwrap());
    let changes = log.changes(Space::Data, since).unwrap();
    let line = |told: &TransactionChanges| {
        let revision = told.revision.0;
        let line = |change: &Change| {
            let key = String::from_utf8(change.key.to_vec()).unwrap();
            (revision, key, text(change.previous.as_ref()), text(change.state.live()))
        };
        told.changes.iter().map(line).collect::<Vec<_>>()
    };
    changes.transactions.iter().flat_map(line).collect()
}

fn line(revision: u64, key: &str, before: &str, after: &str) -> (u64, String, Option<String>, Option<String>) {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_string());
    (revision, key.to_string(), text(before), text(after))
}

/// a=1, then a=2 with b=1, then a is deleted, then b=2.
fn four_revisions() -> Log {
    let mut log = Log::new();
    log.put("a", "1");
    log.written(vec![put("b", "1", Lifetime::Forever), put("a", "2", Lifetime::Forever)]);
    log.written(vec![delete("a")]);
    log.put("b", "2");
    log
}

#[test]
fn wa_1_2_3_4_9_every_change_in_order_once_with_what_was_before() {
    let log = four_revisions();
    let all = [
        line(1, "a", "", "1"),
        line(2, "a", "1", "2"),
        line(2, "b", "", "1"),
        line(3, "a", "2", ""),
        line(4, "b", "1", "2"),
    ];
    for since in 0..=4 {
        let wanted: Vec<_> = all.iter().filter(|line| line.0 > since).cloned().collect();
        assert_eq!(told(&log, Revision(since)), wanted);
    }
}

#[test]
fn wa_5_at_the_boundary_of_a_compaction() {
    let mut log = four_revisions();
    assert_eq!(log.run(Command::Compact { revision: Revision(2) }), Answer::Compacted);
    let compacted = Revision(2);
    for asked in [Revision(0), Revision(1)] {
        assert_eq!(log.changes(Space::Data, asked), Err(ReadError::Compacted { asked, compacted }));
        assert_eq!(all_at(&log.machine, KEYSPACE, Space::Data, asked), Err(ReadError::Compacted { asked, compacted }));
    }
    // The very next change is told, the delete with what it deleted, although that is older than the compaction.
    assert_eq!(told(&log, compacted), [line(3, "a", "2", ""), line(4, "b", "1", "2")]);
    let at = all_at(&log.machine, KEYSPACE, Space::Data, compacted).unwrap();
    assert_eq!(at.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>(), [b"a", b"b"]);
    assert_eq!(log.run(Command::Compact { revision: Revision(3) }), Answer::Compacted);
    assert_eq!(told(&log, Revision(3)), [line(4, "b", "1", "2")]);
    log.reload();
    assert_eq!(told(&log, Revision(3)), [line(4, "b", "1", "2")]);
    let error = crate::Error::from(log.changes(Space::Data, compacted).unwrap_err());
    assert_eq!(error.code(), crate::ErrorCode::Compacted);
}

#[test]
fn st_3_a_compaction_neither_moves_the_revision_nor_goes_back() {
    let mut log = four_revisions();
    let refused = Answer::Refused(Refusal::FutureRevision { revision: Revision(4) });
    assert_eq!(log.run(Command::Compact { revision: Revision(5) }), refused);
    assert_eq!(log.run(Command::Compact { revision: Revision(4) }), Answer::Compacted);
    assert_eq!(log.run(Command::Compact { revision: Revision(1) }), Answer::Compacted);
    assert_eq!((log.machine.compacted(), log.machine.revision()), (Revision(4), Revision(4)));
    log.reload();
    assert_eq!(log.put("c", "1"), Revision(5));
    assert_eq!(told(&log, Revision(4)), [line(5, "c", "", "1")]);
}

#[test]
fn wa_7_a_watch_from_the_future_is_told_nothing_older() {
    let mut log = four_revisions();
    let changes = log.changes(Space::Data, Revision(6)).unwrap();
    assert_eq!(changes, Changes { transactions: Vec::new(), until: Revision(6), more: false });
    let last = Revision(u64::MAX);
    assert_eq!(log.changes(Space::Data, last), Ok(Changes { transactions: Vec::new(), until: last, more: false }));
    for text in ["5", "6", "7"] {
        log.put("c", text);
    }
    assert_eq!(told(&log, Revision(6)), [line(7, "c", "6", "7")]);
}

#[test]
fn wa_4_6_pages_end_between_transactions_and_never_claim_more_than_was_told() {
    let mut log = Log::new();
    for round in 0..5 {
        log.written((0..3).map(|at| put(&format!("k{at}"), &round.to_string(), Lifetime::Forever)).collect());
    }
    let range = KeyRange::prefix(b"k1");
    let mut query = ChangesQuery {
        keyspace: KEYSPACE,
        space: Space::Data,
        range: KeyRange::default(),
        since: Revision::ZERO,
        changes_target: 4,
    };
    let page = log.machine.changes_since(&query).unwrap();
    assert_eq!(page.transactions.iter().map(|told| told.changes.len()).collect::<Vec<_>>(), [3, 3]);
    assert_eq!((page.until, page.more), (Revision(2), true));
    query = ChangesQuery { range, changes_target: 2, ..query };
    let page = log.machine.changes_since(&query).unwrap();
    assert_eq!((page.transactions.len(), page.until, page.more), (2, Revision(2), true));
    query.range = KeyRange::prefix(b"nothing");
    let page = log.machine.changes_since(&query).unwrap();
    assert_eq!(page, Changes { transactions: Vec::new(), until: Revision(5), more: false }, "it moves on all the same");
}

#[test]
fn a_reader_looks_at_a_bounded_number_of_changes_at_a_time() {
    let mut log = Log::new();
    let visits = crate::limits::CHANGES_VISITS_MAX;
    let batch = |from: usize| (from..from + 1024).map(|at| put(&format!("{at:06}"), "", Lifetime::Forever)).collect();
    for round in 0..=visits / 1024 {
        log.written(batch(round * 1024));
    }
    let query = ChangesQuery {
        keyspace: KEYSPACE,
        space: Space::Data,
        range: KeyRange::prefix(b"none"),
        since: Revision::ZERO,
        changes_target: 1,
    };
    let page = log.machine.changes_since(&query).unwrap();
    assert_eq!(page, Changes { transactions: Vec::new(), until: Revision((visits / 1024) as u64), more: true });
}

#[test]
fn the_history_is_bounded_by_changes_bytes_and_age() {
    let kept = |log: &Log| log.machine.revision().0 - log.machine.compacted().0;
    let mut log = Log::with(Bounds { history_changes: 5, ..Bounds::default() });
    for at in 0..20 {
        log.put("a", &at.to_string());
    }
    assert_eq!(kept(&log), 5);
    log.written((0..9).map(|at| put(&at.to_string(), "", Lifetime::Forever)).collect());
    assert_eq!(kept(&log), 0, "a transaction that is larger than the history is not kept in part");

    let mut log = Log::with(Bounds { history_bytes: 2100, ..Bounds::default() });
    for _ in 0..20 {
        log.put("a", &"x".repeat(100));
    }
    assert_eq!(kept(&log), 4, "each weighs 501 bytes");

    let mut log = Log::with(Bounds { history_age_ms: 100, ..Bounds::default() });
    for _ in 0..20 {
        log.put("a", "");
        log.pass(10);
    }
    assert_eq!(kept(&log), 10);
    log.pass(1000);
    assert_eq!(kept(&log), 0);
    assert_eq!(log.text("a"), Some(String::new()), "what is there now is not history");
}

#[test]
fn a_leader_says_how_much_is_kept_and_snapshots_carry_it_on() {
    let kept = |log: &Log| log.machine.revision().0 - log.machine.compacted().0;
    let mut log = Log::with(Bounds { history_changes: 5, ..Bounds::default() });
    let retain = |changes| Command::Retain(HistoryBounds { changes, ..HistoryBounds::default() });
    for (changes, wanted) in [(8, 8), (3, 3), (20, 20)] {
        assert_eq!(log.run(retain(changes)), Answer::Compacted);
        log.reload();
        for at in 0..25 {
            log.put("a", &at.to_string());
        }
        assert_eq!((kept(&log), log.machine.history().1 .0), (wanted, wanted));
    }
    log.run(retain(2));
    assert_eq!(kept(&log), 2, "at once");
}

#[test]
fn a_group_counts_on_from_where_it_began_and_knows_nothing_of_the_one_before() {
    let at = LogPosition { term: 1, index: 0 };
    let mut log = Log { machine: Machine::new(Bounds::default()), at, time_ms: 1 };
    let first = Revision(1_000_000);
    let begin = |first| Request { id: None, command: Command::Begin(first) };
    log.entry(vec![begin(first), begin(Revision(7))]);
    assert_eq!((log.machine.revision(), log.machine.compacted()), (first, first));
    log.reload();
    assert_eq!(log.run(Command::Register), Answer::Registered(ClientId(first.0 + 1)));
    assert_eq!(log.grant(1000), LeaseId(first.0 + 1));
    let asked = RequestId { client: ClientId(1), number: 1 };
    let unknown = Answer::Refused(Refusal::UnknownClient { client: ClientId(1) });
    assert_eq!(log.request(asked, Command::Register), unknown, "of the group before");
    assert_eq!(log.run(Command::CreateKeyspace { name: "first".into() }), Answer::Created(KEYSPACE));
    assert!(matches!(log.changes(Space::Data, Revision(9)), Err(ReadError::Compacted { .. })));
    assert_eq!(log.put("a", "1"), first.next());
    log.machine.state.revision = first;
    let later = log.run(Command::Begin(Revision(first.0 * 2)));
    assert_eq!((later, log.machine.revision()), (Answer::Compacted, first), "it has begun");
}

#[test]
fn a_deleted_key_leaves_nothing_behind_once_it_is_compacted() {
    let mut log = four_revisions();
    log.written(vec![delete("b")]);
    log.run(Command::Compact { revision: Revision(5) });
    log.pass(0);
    let empty = Machine::new(Bounds::default());
    let keyspace = &log.machine.state.keyspaces[&KEYSPACE];
    assert!(keyspace.data.is_empty() && log.machine.state.history == empty.state.history);
}

#[test]
fn old_changes_are_cleared_away_in_bounded_steps() {
    let mut log = Log::new();
    let rounds = 3;
    for round in 0..rounds {
        let keys = (0..HISTORY_CHANGES_PER_ENTRY).map(|at| put(&at.to_string(), &round.to_string(), Lifetime::Forever));
        log.written(keys.collect());
    }
    let cleared = |log: &Log| rounds - log.machine.state.history.iter().count();
    log.run(Command::Compact { revision: Revision(rounds as u64) });
    for step in 1..=rounds {
        assert_eq!(cleared(&log), step);
        // What is yet to be cleared cannot be read either.
        assert!(log.changes(Space::Data, Revision(rounds as u64 - 1)).is_err());
        log.reload();
        log.pass(0);
    }
}
