//! The known mistakes, each of which a test above has to catch, and the naive twin alone as well.
#![cfg(feature = "faults")]

use crate::faults::is_caught;

const TWIN: &str = "any_log_does_what_the_naive_twin_does";

/// A mistake, and a test that has to fail with it.
const MISTAKES: [(&str, &str); 7] = [
    ("strong_watch_below_compaction", "wa_5_at_the_boundary"),
    ("strong_lease_ended_by_former_leader", "le_2_a_former_leader"),
    ("strong_retry_not_deduplicated", "st_6_a_retry"),
    ("strong_token_not_checked", "le_4_an_old_token"),
    ("strong_keyspace_id_reused", "their_ids_are_never_used_again"),
    ("strong_snapshot_without_answers", "st_6_a_retry"),
    ("strong_time_across_terms", "le_3_the_remaining_time"),
];

#[test]
fn the_known_mistakes_are_caught_by_an_example() {
    assert!(!is_caught("none", &MISTAKES.map(|(_, example)| example)));
    for (mistake, example) in MISTAKES {
        assert!(is_caught(mistake, &[example]), "{mistake} survived {example}");
    }
}

#[test]
fn the_known_mistakes_are_caught_by_the_naive_twin() {
    assert!(!is_caught("none", &[TWIN]));
    for (mistake, _) in MISTAKES {
        assert!(is_caught(mistake, &[TWIN]), "{mistake} survived {TWIN}");
    }
}
