//! The known mistakes, each of which a test above has to catch.

/// A mistake, and a test that has to fail with it.
#[cfg(feature = "faults")]
const MISTAKES: [(&str, &str); 7] = [
    ("strong_watch_below_compaction", "wa_5_at_the_boundary"),
    ("strong_lease_ended_by_former_leader", "le_2_a_former_leader"),
    ("strong_retry_not_deduplicated", "st_6_a_retry"),
    ("strong_token_not_checked", "le_4_an_old_token"),
    ("strong_keyspace_id_reused", "their_ids_are_never_used_again"),
    ("strong_snapshot_without_answers", "st_6_a_retry"),
    ("strong_time_across_terms", "le_3_the_remaining_time"),
];

/// Whether tests whose names hold `filter` fail in a process with a mistake.
#[cfg(feature = "faults")]
fn is_caught(mistake: &str, filter: &str) -> Result<(), String> {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    let output = command.arg(filter).env("KVSTORE_MUTANT", mistake).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match text.contains("test result: FAILED") && !output.status.success() {
        true => Ok(()),
        false => Err(format!("{mistake} survived {filter}:\n{text}")),
    }
}

#[cfg(feature = "faults")]
#[test]
fn the_known_mistakes_are_caught_by_an_example() {
    MISTAKES.iter().for_each(|(mistake, example)| is_caught(mistake, example).unwrap());
}

#[cfg(feature = "faults")]
#[test]
fn the_known_mistakes_are_caught_by_the_naive_twin() {
    MISTAKES.iter().for_each(|(mistake, _)| is_caught(mistake, "any_log_does_what_the_naive_twin_does").unwrap());
}
