//! Histories as large as those of the simulation: 10 clients, 1,000 operations of each object.
#![allow(clippy::disallowed_methods, reason = "how long a search takes is printed")]

use std::time::{Duration, Instant};

use rand::{rngs::StdRng, SeedableRng};

use super::{
    linear::{self, revisions, revisions::Judgement, Verdict},
    store::{make, Mistake, Plan, Told, MISTAKES},
};

const SEEDS: u64 = 5;

/// What may be told in the histories of one test.
fn plan(told: Told, unknown_percent: u32, is_multi: bool) -> Plan {
    Plan {
        clients: 10,
        operations: 1_000,
        keys: if is_multi { 3 } else { 1 },
        is_multi,
        told,
        is_versioned: told != Told::None,
        unknown_percent,
        refused_percent: 1,
        mistake: Mistake::None,
    }
}

/// Decides histories with each mistake and without, and prints how hard it was.
fn decide(what: &str, plan: Plan) {
    let (mut good, mut bad, mut steps, mut slowest) = (0, 0, 0, Duration::ZERO);
    for seed in 0..SEEDS {
        for mistake in [Mistake::None].into_iter().chain(MISTAKES) {
            let plan = Plan { mistake, ..plan };
            let made = make(plan, &mut StdRng::seed_from_u64(seed));
            let began = Instant::now();
            let report = linear::check(&made.history, linear::STEPS_MAX);
            slowest = slowest.max(began.elapsed());
            steps = steps.max(report.steps);
            match report.verdict {
                Verdict::Linearizable => good += 1,
                Verdict::Violated(failure) => {
                    assert!(made.is_wrong, "seed {seed}, {plan:?}: {failure:?}");
                    assert!(failure.around.contains(&failure.at), "seed {seed}, {plan:?}: {failure:?}");
                    bad += 1;
                }
                Verdict::Undecided => panic!("seed {seed}, {plan:?}: {} steps", report.steps),
            }
        }
    }
    println!("{what}: {good} linearizable, {bad} not, 0 undecided; at most {steps} steps, {slowest:.3?}");
    assert!(bad >= SEEDS && good >= SEEDS, "{good} good ones and {bad} bad ones");
}

#[test]
fn large_histories_that_tell_versions_are_decided() {
    decide("versions told", plan(Told::All, 0, false));
    decide("versions told, 1 % unknown", plan(Told::All, 1, false));
}

#[test]
fn large_histories_that_tell_no_versions_are_decided() {
    decide("no versions told", plan(Told::None, 0, false));
    decide("no versions told, 1 % unknown", plan(Told::None, 1, false));
}

#[test]
fn large_histories_of_transactions_are_decided() {
    decide("transactions on 3 keys", plan(Told::None, 0, true));
    decide("transactions on 3 keys, versions told, 1 % unknown", plan(Told::All, 1, true));
}

#[test]
fn large_histories_are_judged_by_their_revisions() {
    let (mut found, mut wrong) = (0, 0);
    for seed in 0..SEEDS {
        for mistake in [Mistake::None].into_iter().chain(MISTAKES) {
            let plan = Plan { operations: 10_000, keys: 20, mistake, ..plan(Told::All, 1, true) };
            let made = make(plan, &mut StdRng::seed_from_u64(seed));
            match revisions::check(&made.history, Some(&made.log)) {
                Judgement::Agrees(count) => assert!(count > 7_500, "{count} of {}", made.history.len()),
                Judgement::Violated { at, why } => {
                    assert!(made.is_wrong, "seed {seed}, {plan:?}: {at:?} {why}");
                    found += 1;
                }
                Judgement::CannotTell { at, why } => panic!("{why}: {}", made.history[at]),
            }
            wrong += usize::from(made.is_wrong);
        }
    }
    println!("by revisions: {found} of {wrong} histories of 10,000 operations with a mistake found");
    assert!(found * 4 > wrong * 3, "{found} of {wrong}");
}
