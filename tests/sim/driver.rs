//! Runs many seeds, each in a process of its own: several simulations in one process leak state into one another and do
//! not replay. One in twenty runs twice and has to leave the same trace.
#![allow(
    clippy::disallowed_methods,
    reason = "the driver is no part of the simulation: it has processes and real time"
)]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Mutex,
    },
    time::{Duration, Instant},
};

use super::{plan::Fault, report::Report, strong};

/// Seeds of a run for which no number is given.
pub const SEEDS: u64 = 500;

/// Processes at the same time.
pub const JOBS: u64 = 2;

/// Seeds within which each known mistake has to be caught.
pub const MUTANT_BUDGET: u64 = 100;

/// Every this many seeds one runs twice.
const REPLAY_EVERY: u64 = 20;

/// How often the progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(60);

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Eventual,
    Strong,
}

impl Kind {
    /// The argument of the latter.
    pub const STRONG: &'static str = "--strong";

    /// The arguments that repeat a run.
    fn arguments(self, seed: u64) -> Vec<String> {
        let kind = match self {
            Kind::Eventual => None,
            Kind::Strong => Some(Kind::STRONG.to_string()),
        };
        kind.into_iter().chain(["--seed".to_string(), seed.to_string()]).collect()
    }

    fn mutants(self) -> &'static [&'static str] {
        match self {
            Kind::Eventual => &MUTANTS,
            Kind::Strong => &STRONG_MUTANTS,
        }
    }

    /// What a long run has to have seen.
    fn must_be_seen(self) -> Vec<&'static str> {
        match self {
            Kind::Eventual => MUST_BE_SEEN.to_vec(),
            Kind::Strong => {
                STRONG_MUST_BE_SEEN.into_iter().chain(strong::plan::Fault::ALL.map(strong::plan::Fault::name)).collect()
            }
        }
    }
}

/// The known mistakes of the strong group.
const STRONG_MUTANTS: [&str; 10] = [
    "strong_local_read_as_linearizable",
    "strong_round_not_asked",
    "strong_vote_not_synced",
    "strong_append_not_synced",
    "strong_watch_below_compaction",
    "strong_lease_ended_by_former_leader",
    "strong_member_id_reused",
    "strong_retry_without_id",
    "strong_retry_not_deduplicated",
    "strong_token_not_checked",
];

/// What a run of the strong group that has none of it says nothing about.
const STRONG_MUST_BE_SEEN: [&str; 13] = [
    "acknowledged writes found in the log",
    "entries applied again, and equal",
    "leases expired",
    "leases kept",
    "linearizable reads",
    "locks handed over",
    "locks held",
    "retries of requests with an id",
    "states taken from snapshots",
    "unknown writes found in the log",
    "watch events checked",
    "watches told that they are compacted",
    "writes under an old token refused",
];

/// The known mistakes; `src` names each where it is made.
const MUTANTS: [&str; 11] = [
    "merge_by_arrival",
    "tombstones_by_age",
    "vector_on_truncated_delta",
    "clock_without_drift_bound",
    "conflict_off_by_one",
    "ack_before_applying",
    "ack_before_sync",
    "log_no_sync",
    "log_sync_retried",
    "log_cut_at_first_bad_frame",
    "gate_open",
];

/// From so many seeds on a run has to have seen everything that it can see at least once.
const ALL_IS_SEEN_AFTER: u64 = 100;

/// What a run that has none of it says nothing about.
const MUST_BE_SEEN: [&str; 14] = [
    "acknowledged writes found after a restart",
    "conflicts that had to be recorded",
    "directories found damaged",
    "final states of watched keys",
    "looks at failed logs",
    "members removed",
    "restarts from a snapshot and a log",
    "restarts under a new id",
    "sessions moved",
    "sessions told of a loss",
    "watch events checked",
    "writes refused by full disks",
    "writes refused by removed nodes",
    "writes taken back before they were acknowledged",
];

/// Runs one seed in a process of its own. A run that ends without a report is a violation.
fn run_seed(kind: Kind, seed: u64, mutant: Option<&str>) -> Report {
    let program = std::env::current_exe().expect("the path of this program is known");
    let mut command = Command::new(program);
    command.args(kind.arguments(seed)).env_remove("MUTANT_OF_KVSTORE");
    if let Some(mutant) = mutant {
        command.env("MUTANT_OF_KVSTORE", mutant);
    }
    let output = command.output().expect("this program can be started again");
    let told = String::from_utf8_lossy(&output.stdout);
    told.lines().rev().find_map(Report::from_json).unwrap_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = errors.lines().rev().take(4).collect();
        let why = format!("no report, {}: {}", output.status, last.join(" / "));
        Report { seed, violations: vec![why], ..Report::default() }
    })
}

/// What came of all seeds.
#[derive(Default)]
struct Total {
    reports: BTreeMap<u64, Report>,
    replayed: u64,
    unequal: Vec<u64>,
}

/// Runs `seeds` seeds from `first` on and prints a table. False: something was violated, unknown or did not replay.
pub fn drive(kind: Kind, first: u64, seeds: u64, jobs: u64) -> bool {
    let started = Instant::now();
    let (next, total) = (AtomicU64::new(first), Mutex::new(Total::default()));
    let told = Mutex::new(started);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::SeqCst);
        if seed >= first + seeds {
            return;
        }
        let report = run_seed(kind, seed, None);
        for violation in &report.violations {
            println!("VIOLATION seed {seed}: {violation}");
        }
        if !report.violations.is_empty() || report.is_unknown {
            println!("REPRODUCE: cargo sim {}", kind.arguments(seed).join(" "));
        }
        let again = (seed % REPLAY_EVERY == 0).then(|| run_seed(kind, seed, None));
        let mut total = total.lock().expect("no worker panics");
        if let Some(again) = again {
            total.replayed += 1;
            if again.trace_hash != report.trace_hash {
                println!("NOT REPLAYED: cargo sim {}", kind.arguments(seed).join(" "));
                total.unequal.push(seed);
            }
        }
        total.reports.insert(seed, report);
        let mut told = told.lock().expect("no worker panics");
        if told.elapsed() > PROGRESS_EVERY {
            *told = Instant::now();
            println!("{} of {seeds} seeds after {:.0} s", total.reports.len(), started.elapsed().as_secs_f64());
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| worker.join().expect("a worker does not panic"));
    });
    let total = total.into_inner().expect("no worker panics");
    print_table(kind, &total, started.elapsed())
}

/// The value below which so many of a hundred lie.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted.get((sorted.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(0)
}

fn spread(values: impl Iterator<Item = u64>) -> String {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    let (p50, p99, max) = (percentile(&sorted, 50), percentile(&sorted, 99), percentile(&sorted, 100));
    format!("p50 {p50} ms, p99 {p99} ms, max {max} ms ({} samples)", sorted.len())
}

fn print_table(kind: Kind, total: &Total, took: Duration) -> bool {
    let reports = || total.reports.values();
    let sum = |count: fn(&Report) -> u64| reports().map(count).sum::<u64>();
    let (violated, unknown) = (
        reports().filter(|report| !report.violations.is_empty()).count(),
        reports().filter(|report| report.is_unknown).count(),
    );
    let seeds = total.reports.len();
    let faults: Vec<String> = Fault::ALL
        .iter()
        .enumerate()
        .map(|(index, fault)| {
            let count: u64 = reports().filter_map(|report| report.faults.get(index)).sum();
            format!("{} {count}", fault.name())
        })
        .collect();
    println!(
        "seeds          {seeds} in {:.0} s, {:.0} s of virtual time",
        took.as_secs_f64(),
        sum(|r| r.virtual_ms) as f64 / 1000.0
    );
    println!(
        "writes         {} acknowledged, {} unknown, {} refused",
        sum(|r| r.counts.acked),
        sum(|r| r.counts.unknown),
        sum(|r| r.counts.refused)
    );
    println!("segments       {}", sum(|r| r.segments));
    println!("reads          {}, {} failed", sum(|r| r.counts.reads), sum(|r| r.counts.reads_failed));
    if kind == Kind::Eventual {
        println!("faults         {}", faults.join(", "));
        println!("lag when idle  {}", spread(reports().flat_map(|report| report.lags_ms.iter().copied())));
    }
    println!("convergence    {}", spread(reports().filter_map(|report| report.converged_ms)));
    for (name, count) in tallies(total) {
        println!("  {count:>9}    {name}");
    }
    let unseen = unseen(kind, total);
    if !unseen.is_empty() {
        println!("TOO LITTLE     nothing of this was seen: {}", unseen.join(", "));
    }
    println!("violations     {violated}");
    println!("unknown        {unknown}");
    println!("replayed       {}/{} equal", total.replayed - total.unequal.len() as u64, total.replayed);
    violated == 0 && unknown == 0 && total.unequal.is_empty() && unseen.is_empty()
}

/// What a long run should have seen and has not.
fn unseen(kind: Kind, total: &Total) -> Vec<&'static str> {
    if (total.reports.len() as u64) < ALL_IS_SEEN_AFTER {
        return Vec::new();
    }
    let tallies = tallies(total);
    let is_unseen = |name: &&'static str| tallies.get(name).copied().unwrap_or(0) == 0;
    let has_fault = |index: usize| total.reports.values().any(|report| report.faults.get(index) > Some(&0));
    let faults = Fault::ALL
        .iter()
        .enumerate()
        .filter(|&(index, _)| kind == Kind::Eventual && !has_fault(index))
        .map(|(_, fault)| fault.name());
    kind.must_be_seen().into_iter().filter(is_unseen).chain(faults).collect()
}

/// What the invariants of all seeds looked at and let off.
fn tallies(total: &Total) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    for (name, count) in total.reports.values().flat_map(|report| &report.tallies) {
        *sums.entry(name.as_str()).or_default() += count;
    }
    sums
}

/// Runs seeds with each known mistake switched on until one is caught. False: one survived.
pub fn hunt_mutants(kind: Kind, budget: u64, jobs: u64) -> bool {
    let mut caught = 0;
    for &mutant in kind.mutants() {
        let (next, is_caught, found) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(None::<Report>));
        let work = || loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= budget || is_caught.load(Ordering::SeqCst) {
                return;
            }
            let report = run_seed(kind, seed, Some(mutant));
            if !report.violations.is_empty() {
                is_caught.store(true, Ordering::SeqCst);
                let mut found = found.lock().expect("no worker panics");
                if found.as_ref().is_none_or(|first| first.seed > seed) {
                    *found = Some(report);
                }
            }
        };
        std::thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
        match found.into_inner().expect("no worker panics") {
            Some(report) => {
                caught += 1;
                println!("{mutant:<28} caught by seed {}: {}", report.seed, report.violations[0]);
            }
            None => println!("{mutant:<28} SURVIVED {budget} seeds"),
        }
    }
    println!("mutants caught {caught}/{}", kind.mutants().len());
    caught == kind.mutants().len()
}
