//! Histories that people can check: what is and what is not linearizable, and what is told of it.

use super::linear::{
    self,
    lines::{self, Text},
    revisions::{self, Judgement},
    Failure, Report, Verdict, STEPS_MAX,
};

fn text(text: &str) -> Text {
    lines::parse(text).expect("the example is well formed")
}

fn check(history: &str) -> Report {
    linear::check(&text(history).history, STEPS_MAX)
}

fn failure(history: &str) -> Failure {
    match check(history).verdict {
        Verdict::Violated(failure) => failure,
        verdict => panic!("{verdict:?}"),
    }
}

fn assert_good(history: &str) {
    let verdict = check(history).verdict;
    assert_eq!(verdict, Verdict::Linearizable);
}

fn violation(history: &str) -> String {
    let Text { history, log } = text(history);
    match revisions::check(&history, log.as_deref()) {
        Judgement::Violated { why, .. } => why,
        judgement => panic!("{judgement:?}"),
    }
}

#[test]
fn a_read_beside_a_write_sees_it_or_not_but_none_goes_back() {
    let put = r#"{"op":"put","key":"k","value":1,"call":0,"return":9,"outcome":"ok"}"#;
    let sees = |call: u64, value: &str| {
        let back = call + 1;
        format!(r#"{{"op":"get","key":"k","value":{value},"call":{call},"return":{back},"outcome":"ok"}}"#)
    };
    assert_good(&[put, &sees(2, "null"), &sees(4, "1"), &sees(10, "1")].join("\n"));
    let back = failure(&[put, &sees(2, "1"), &sees(4, "null")].join("\n"));
    assert_eq!((back.at, back.keys, back.states), (2, vec!["k".into()], vec!["k is 1".into()]));
    assert_eq!(failure(&[put, &sees(10, "null")].join("\n")).at, 1);
    // What returns when another is called is concurrent with it.
    assert_good(&[put, &sees(9, "null")].join("\n"));
}

#[test]
fn an_unknown_write_happens_late_or_never_but_not_early_and_not_twice() {
    let unknown = r#"{"op":"incr","key":"k","by":5,"call":10,"return":20,"outcome":"unknown"}"#;
    let sees = |call: u64, value: &str| {
        let back = call + 1;
        format!(r#"{{"op":"get","key":"k","value":{value},"call":{call},"return":{back},"outcome":"ok"}}"#)
    };
    assert_good(unknown);
    assert_good(&[unknown, &sees(30, "null"), &sees(40, "5"), &sees(50, "5")].join("\n"));
    assert_eq!(failure(&[unknown, &sees(5, "5")].join("\n")).at, 1);
    assert_eq!(failure(&[unknown, &sees(30, "5"), &sees(40, "10")].join("\n")).at, 2);
    let both = unknown.replace("10", "11");
    assert_good(&[unknown, &both, &sees(30, "5"), &sees(40, "10")].join("\n"));
}

#[test]
fn an_unknown_increment_may_begin_again_after_a_delete() {
    let unknown = r#"{"op":"incr","key":"k","by":1,"call":0,"return":null,"outcome":"unknown"}"#;
    let sees_one = |call: u64| {
        let back = call + 1;
        format!(r#"{{"op":"get","key":"k","value":1,"call":{call},"return":{back},"outcome":"ok"}}"#)
    };
    let put = r#"{"op":"put","key":"k","value":5,"call":20,"return":21,"outcome":"ok"}"#;
    let delete = r#"{"op":"delete","key":"k","call":30,"return":31,"outcome":"ok"}"#;
    assert_good(&[unknown, unknown, &sees_one(10), put, delete, &sees_one(40)].join("\n"));
    assert_eq!(failure(&[unknown, &sees_one(10), put, delete, &sees_one(40)].join("\n")).at, 4);
    assert_eq!(failure(&[unknown, unknown, &sees_one(10), put, &sees_one(40)].join("\n")).at, 4);
}

#[test]
fn what_was_refused_has_no_effect() {
    let refused = r#"{"op":"put","key":"k","value":1,"call":0,"return":1,"outcome":"refused"}"#;
    let read = r#"{"op":"get","key":"k","value":1,"call":2,"return":3,"outcome":"ok"}"#;
    assert_good(refused);
    assert_eq!(failure(&[refused, read].join("\n")).at, 1);
}

#[test]
fn a_transaction_is_seen_whole() {
    let move_one = concat!(
        r#"{"op":"txn","guards":[{"key":"a","expected":null}],"writes":[{"op":"put","key":"a","value":1},"#,
        r#"{"op":"incr","key":"b","by":-1,"initial":100,"sum":99}],"call":0,"return":9,"outcome":"ok","version":3}"#
    );
    let sees = |a: &str, b: &str| {
        let reads = format!(r#"[{{"key":"a","value":{a}}},{{"key":"b","value":{b}}}]"#);
        format!(r#"{{"op":"snapshot","reads":{reads},"call":2,"return":4,"outcome":"ok"}}"#)
    };
    assert_good(&[move_one, &sees("1", "99")].join("\n"));
    assert_good(&[move_one, &sees("null", "null")].join("\n"));
    let torn = failure(&[move_one, &sees("1", "null")].join("\n"));
    assert_eq!((torn.at, torn.keys), (1, vec!["a".to_string(), "b".to_string()]));
    let conflict = concat!(
        r#"{"op":"txn","guards":[{"key":"b","present":true},{"key":"a","expected":null}],"#,
        r#""writes":[{"op":"delete","key":"b"}],"call":10,"return":11,"outcome":"conflict","guard":1,"found":3}"#
    );
    assert_good(&[move_one, conflict].join("\n"));
    assert_eq!(failure(&[move_one, &conflict.replace(r#""found":3"#, r#""found":2"#)].join("\n")).at, 1);
}

#[test]
fn versions_that_nobody_told_still_grow() {
    let put = r#"{"op":"put","key":"k","value":1,"call":0,"return":1,"outcome":"ok"}"#;
    let again = r#"{"op":"put","key":"k","value":2,"call":2,"return":3,"outcome":"ok","version":7}"#;
    let swaps = |expected: u64| {
        format!(
            r#"{{"op":"cas","key":"k","expected":{expected},"value":3,"call":4,"return":5,"outcome":"ok","version":9}}"#
        )
    };
    let sees_first = |version: u64| {
        format!(r#"{{"op":"get","key":"k","value":1,"version":{version},"call":0,"return":2,"outcome":"ok"}}"#)
    };
    assert_good(&[put, again, &sees_first(6), &swaps(7)].join("\n"));
    assert_eq!(failure(&[put, again, &swaps(6)].join("\n")).at, 2);
    // The first of two writes cannot have made a version that is not below that of the second.
    assert!(matches!(check(&[put, again, &sees_first(7)].join("\n")).verdict, Verdict::Violated(_)));
}

#[test]
fn a_refused_guard_tells_what_a_version_is_not() {
    let put =
        |version: &str| format!(r#"{{"op":"put","key":"k","value":1,"call":0,"return":1,"outcome":"ok"{version}}}"#);
    let refused = |expected: u64| {
        format!(r#"{{"op":"cas","key":"k","expected":{expected},"value":2,"call":2,"return":3,"outcome":"conflict"}}"#)
    };
    assert_good(&[&put(r#","version":7"#), &*refused(6)].join("\n"));
    assert_eq!(failure(&[&put(r#","version":7"#), &*refused(7)].join("\n")).at, 1);
    let sees = |version: u64| {
        format!(r#"{{"op":"get","key":"k","value":1,"version":{version},"call":4,"return":5,"outcome":"ok"}}"#)
    };
    assert_good(&[put(""), refused(3), sees(4)].join("\n"));
    assert_eq!(failure(&[put(""), refused(3), sees(3)].join("\n")).at, 2);
    let again = |version: u64| {
        format!(r#"{{"op":"put","key":"k","value":2,"version":{version},"call":4,"return":5,"outcome":"ok"}}"#)
    };
    // It is neither 1 nor 2, so the next one is 4 at least.
    assert_good(&[put(""), refused(2), refused(1), again(4)].join("\n"));
    assert_eq!(failure(&[put(""), refused(2), refused(1), again(3)].join("\n")).at, 3);
}

#[test]
fn of_two_bad_keys_the_smaller_is_told_and_only_it() {
    let bad = |key: &str| format!(r#"{{"op":"get","key":"{key}","value":1,"call":0,"return":1,"outcome":"ok"}}"#);
    let good = r#"{"op":"get","key":"long","value":null,"call":0,"return":1,"outcome":"ok"}"#;
    let failure = failure(&[good, &bad("long"), &bad("short")].join("\n"));
    assert_eq!((failure.keys, failure.operations, failure.around), (vec!["short".to_string()], 1, vec![2]));
}

#[test]
fn a_search_that_may_not_go_on_is_undecided() {
    let puts: Vec<String> = (0..20)
        .map(|value| format!(r#"{{"op":"put","key":"k","value":{value},"call":0,"return":99,"outcome":"ok"}}"#))
        .collect();
    let history = text(&puts.join("\n")).history;
    assert_eq!(linear::check(&history, 5).verdict, Verdict::Undecided);
    assert_eq!(linear::check(&history, STEPS_MAX).verdict, Verdict::Linearizable);
}

#[test]
fn revisions_find_what_values_do_not_show() {
    let put = |value: u64, call: u64, version: u64| {
        let answer = format!(r#""return":{},"outcome":"ok","version":{version}"#, call + 1);
        format!(r#"{{"op":"put","key":"k","value":{value},"call":{call},{answer},"request":"r{value}"}}"#)
    };
    let twice = [put(1, 0, 5), put(2, 0, 5)].join("\n");
    assert!(violation(&twice).contains("both made revision 5"), "{}", violation(&twice));
    let back = [put(1, 0, 5), put(2, 2, 4)].join("\n");
    assert!(violation(&back).contains("returned before"), "{}", violation(&back));
    let log = r#"{"applied":"r1","revision":5}"#;
    assert!(violation(&[&put(1, 0, 5), &put(2, 2, 6), log].join("\n")).contains("the log does not have it"));
    let again = r#"{"applied":"r1","revision":6}"#;
    assert!(violation(&[&put(1, 0, 5), log, again].join("\n")).contains("applied twice"));
    let silent = r#"{"op":"put","key":"k","value":1,"call":0,"return":1,"outcome":"ok","revision":5}"#;
    assert!(violation(silent).contains("no revision of its own"), "{}", violation(silent));
    let refused = r#"{"op":"delete","key":"k","call":0,"return":1,"outcome":"refused","request":"r1"}"#;
    assert!(violation(&[refused, log].join("\n")).contains("was refused, and applied"));
    let read = r#"{"op":"get","key":"k","value":1,"version":5,"call":4,"return":5,"outcome":"ok","revision":5}"#;
    assert!(violation(&[&put(1, 0, 5), &put(2, 2, 6), read].join("\n")).contains("returned before"));
}

#[test]
fn the_log_tells_what_became_of_unknown_writes() {
    let unknown = r#"{"op":"put","key":"k","value":1,"call":0,"return":null,"outcome":"unknown","request":"r1"}"#;
    let read = |value: &str, revision: u64| {
        format!(r#"{{"op":"get","key":"k","value":{value},"call":4,"return":5,"outcome":"ok","revision":{revision}}}"#)
    };
    let judge = |lines: &[&str]| {
        let Text { history, log } = text(&lines.join("\n"));
        revisions::check(&history, log.as_deref())
    };
    let (applied, other) = (r#"{"applied":"r1","revision":7}"#, r#"{"applied":"r0","revision":1}"#);
    assert_eq!(judge(&[unknown, &read("1", 7), applied]), Judgement::Agrees(2));
    assert_eq!(judge(&[unknown, &read("null", 6), applied]), Judgement::Agrees(2));
    assert_eq!(judge(&[unknown, &read("null", 6), other]), Judgement::Agrees(1));
    assert!(matches!(judge(&[unknown, &read("1", 7), other]), Judgement::Violated { .. }));
    assert!(matches!(judge(&[unknown, &read("1", 7)]), Judgement::CannotTell { at: 0, .. }));
}

#[test]
fn the_example_of_the_format_is_linearizable() {
    let page = include_str!("../support/linear/lines.rs");
    let lines: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    let example: Vec<&str> = lines.into_iter().filter(|line| line.starts_with('{')).collect();
    assert_eq!(example.len(), 4, "{example:?}");
    assert_good(&example.join("\n"));
}

#[test]
fn a_bad_line_is_named() {
    let good = r#"{"op":"get","key":"k","value":null,"call":0,"return":1,"outcome":"ok"}"#;
    let cases = [
        (r#"{"op":"get","key":"k","call":0,"return":1,"outcome":"ok"}"#, "`value` is missing"),
        (r#"{"op":"get","key":"k","value":1.5,"call":0,"return":1,"outcome":"ok"}"#, "1.5"),
        (r#"{"op":"get","key":"k","value":1,"call":2,"return":1,"outcome":"ok"}"#, "`return` is before `call`"),
        (r#"{"op":"get","key":"k","value":1,"call":2,"return":null,"outcome":"ok"}"#, "may have no `return`"),
        (r#"{"op":"get","key":"k","colour":1,"call":2,"return":3,"outcome":"ok"}"#, "unknown field `colour`"),
        (r#"{"op":"put","key":"k","value":null,"call":2,"return":3,"outcome":"ok"}"#, "`value` is missing"),
        (r#"{"op":"cas","key":"k","value":1,"call":2,"return":3,"outcome":"ok"}"#, "needs `expected`"),
        (r#"{"op":"put","key":"k","value":1,"call":2,"return":3,"outcome":"conflict"}"#, "there is no guard 0"),
        (r#"{"applied":"r1"}"#, "`revision` is missing"),
        ("put k 1", "expected"),
    ];
    for (line, why) in cases {
        let error = lines::parse(&[good, "", line].join("\n")).expect_err(line);
        assert!(error.starts_with("line 3: ") && error.contains(why), "{line}: {error}");
    }
}
