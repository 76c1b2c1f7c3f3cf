//! Known mistakes (L0), to be switched on one at a time: a test that passes with a mistake in the code tests nothing.
//!
//! With the Cargo feature `faults` the environment variable `KVSTORE_MUTANT` names the mistake of this process. Without
//! the feature, as in every wheel, [`is_mutant`] is `false` and the mistakes are compiled away.

/// Whether the mistake `name` is switched on in this process.
#[cfg(feature = "faults")]
pub fn is_mutant(name: &str) -> bool {
    static MUTANT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    MUTANT.get_or_init(|| std::env::var("KVSTORE_MUTANT").ok()).as_deref() == Some(name)
}

/// Whether the mistake `name` is switched on in this process: never, without the feature `faults`.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub const fn is_mutant(_name: &str) -> bool {
    false
}
