//! Known mistakes (L0), to be switched on one at a time: a test that passes with a mistake in the code tests nothing.
//!
//! With the Cargo feature `faults` the environment variable `MUTANT_OF_KVSTORE` names the mistake of this process and of those
//! that it starts: no setting of a node has such a name, and those are not handed on. Without the feature, as in every
//! wheel that is published, [`is_mutant`] is `false` and the mistakes are compiled away.

/// Whether the mistake `name` is switched on in this process.
#[cfg(feature = "faults")]
pub fn is_mutant(name: &str) -> bool {
    static MUTANT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    MUTANT.get_or_init(|| std::env::var("MUTANT_OF_KVSTORE").ok()).as_deref() == Some(name)
}

/// Whether the mistake `name` is switched on in this process: never, without the feature `faults`.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn is_mutant(_name: &str) -> bool {
    false
}

/// Runs tests of this program again, in a process of their own with the mistake `name`, and gives whether any of them
/// fails. `tests` are parts of their names.
#[cfg(all(test, feature = "faults"))]
pub(crate) fn is_caught(name: &str, tests: &[&str]) -> bool {
    let program = std::env::current_exe().expect("a test knows its program");
    let mut command = std::process::Command::new(program);
    command.args(tests).env("MUTANT_OF_KVSTORE", name);
    // What fails with a mistake is nothing to remember, nor to be made small.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1").env("PROPTEST_MAX_SHRINK_ITERS", "0");
    let output = command.output().expect("a test can run its program again");
    let text = String::from_utf8_lossy(&output.stdout);
    let is_outcome =
        |line: &&str| line.starts_with("test ") && (line.ends_with("... ok") || line.ends_with("... FAILED"));
    assert!(text.lines().filter(is_outcome).count() >= tests.len(), "too few tests are called {tests:?}:\n{text}");
    !output.status.success()
}
