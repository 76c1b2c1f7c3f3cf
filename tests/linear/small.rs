//! Thousands of histories of a handful of operations: the search against its dumb twin, and the two judges against each
//! other.

use std::collections::BTreeMap;

use rand::{rngs::StdRng, Rng, SeedableRng};

use super::{
    brute,
    linear::{
        self,
        lines::{self, Text},
        revisions::{self, Judgement},
        Verdict,
    },
    store::{make, Made, Mistake, Plan, Told, MISTAKES},
};

const HISTORIES: u64 = 8_000;

fn plan(rng: &mut StdRng) -> Plan {
    let mistake = match rng.random_bool(0.3) {
        true => Mistake::None,
        false => MISTAKES[rng.random_range(0..MISTAKES.len())],
    };
    let is_multi = rng.random_bool(0.4);
    Plan {
        clients: rng.random_range(2..5),
        operations: rng.random_range(3..8),
        keys: if is_multi { 2 } else { rng.random_range(1..3) },
        is_multi,
        told: [Told::All, Told::Some, Told::None][rng.random_range(0..3)],
        is_versioned: rng.random_bool(0.8),
        unknown_percent: [0, 15, 40][rng.random_range(0..3)],
        refused_percent: [0, 10][rng.random_range(0..2)],
        mistake,
    }
}

fn random(seed: u64) -> (Plan, Made) {
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = plan(&mut rng);
    (plan, make_with_mistake(plan, &mut rng))
}

/// Tries again where there was no occasion for the mistake, a few times.
fn make_with_mistake(plan: Plan, rng: &mut StdRng) -> Made {
    let mut made = make(plan, rng);
    for _ in 0..10 {
        if made.is_wrong || plan.mistake == Mistake::None {
            break;
        }
        made = make(plan, rng);
    }
    made
}

#[test]
fn the_search_agrees_with_every_order_tried() {
    let (mut valid, mut invalid, mut undecided, mut unknown, mut multi) = (0, 0, 0, 0, 0);
    for seed in 0..HISTORIES {
        let (plan, made) = random(seed);
        let report = linear::check(&made.history, linear::STEPS_MAX);
        let expected = brute::is_linearizable(&made.history);
        match &report.verdict {
            Verdict::Linearizable => valid += 1,
            Verdict::Violated(_) => invalid += 1,
            Verdict::Undecided => undecided += 1,
        }
        let is_linearizable = report.verdict == Verdict::Linearizable;
        assert_eq!(is_linearizable, expected, "seed {seed}, {plan:?}: {:#?}\n{:#?}", report.verdict, made.history);
        assert!(is_linearizable || made.is_wrong, "seed {seed}, {plan:?}: the store made no mistake");
        unknown += u64::from(report.unknown > 0);
        multi += u64::from(plan.is_multi);
    }
    println!("{HISTORIES} small histories, {unknown} with unknown writes, {multi} with transactions:");
    println!("{valid} linearizable, {invalid} not, {undecided} undecided");
    assert_eq!(undecided, 0, "histories of seven operations are decided");
    assert!(invalid * 10 >= HISTORIES && valid * 10 >= HISTORIES, "{invalid} of {HISTORIES} are wrong");
}

#[test]
fn what_the_revisions_allow_has_an_order() {
    let mut counts: BTreeMap<Mistake, [u64; 4]> = BTreeMap::new();
    for seed in 0..HISTORIES {
        let mut rng = StdRng::seed_from_u64(seed);
        let plan = Plan { told: Told::All, ..plan(&mut rng) };
        let made = make_with_mistake(plan, &mut rng);
        let judgement = revisions::check(&made.history, Some(&made.log));
        let verdict = linear::check(&made.history, linear::STEPS_MAX).verdict;
        let is_violated = match judgement {
            Judgement::Agrees(_) => {
                assert_eq!(verdict, Verdict::Linearizable, "seed {seed}, {plan:?}: {:#?}", made.history);
                false
            }
            Judgement::Violated { .. } => true,
            Judgement::CannotTell { at, why } => panic!("seed {seed}: {why}: {:?}", made.history[at]),
        };
        assert!(made.is_wrong || !is_violated, "seed {seed}, {plan:?}: {judgement:?}\n{:#?}", made.history);
        let mistake = if made.is_wrong { plan.mistake } else { Mistake::None };
        let count = counts.entry(mistake).or_default();
        count[0] += 1;
        count[1] += u64::from(is_violated);
        count[2] += u64::from(verdict != Verdict::Linearizable);
        count[3] += u64::from(verdict != Verdict::Linearizable && !is_violated);
    }
    for (mistake, [made, by_revisions, by_search, missed]) in counts {
        println!(
            "{mistake:?}: {made} made, {by_revisions} found by revisions, {by_search} by the search, {missed} missed"
        );
        assert_eq!(missed, 0, "{mistake:?}");
        assert!(mistake == Mistake::None || by_search * 4 > made, "{mistake:?}: {by_search} of {made}");
    }
}

#[test]
fn a_history_comes_back_from_its_text() {
    for seed in 0..HISTORIES / 10 {
        let (plan, made) = random(seed);
        let text = Text { history: made.history, log: Some(made.log).filter(|log| !log.is_empty()) };
        let written = lines::format(&text);
        let read = lines::parse(&written).unwrap_or_else(|why| panic!("seed {seed}: {why}\n{written}"));
        assert_eq!(read, text, "seed {seed}, {plan:?}\n{written}");
    }
}
