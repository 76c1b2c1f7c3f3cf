//! Whole nodes, gRPC included, on a simulated network, from a seed: `cargo sim --seed 7`, `cargo sim --seeds 500`; with
//! `--strong` it is the strong group that is worked on and looked at, without it the eventual engine.
//!
//! A run has two phases. In *chaos* clients work while the nemesis breaks what it likes; in *calm* everything is healed:
//! the nodes must agree within a bound, serve, agree again, and every acknowledged write is looked up. Everything is
//! drawn from the seed, and each seed runs in a process of its own, so that it replays. docs/testing.md has the rest.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "nobody uses a test from outside")]

#[cfg(not(tokio_unstable))]
compile_error!("run it with `cargo sim`: without --cfg tokio_unstable a seed does not replay");

mod apart;
mod chronicle;
mod cluster;
mod disks;
mod doors;
mod driver;
mod history;
mod invariants;
#[path = "../support/linear/mod.rs"]
mod linear;
mod nemesis;
mod plan;
mod report;
mod run;
mod strong;
mod watchers;
mod workload;

use std::process::ExitCode;

use driver::Kind;

const USAGE: &str =
    "cargo sim [--strong] [--seed K | --seeds N [--first K] [--jobs J] | --mutants [--seeds BUDGET] [--jobs J]]";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut seed, mut seeds, mut first, mut jobs, mut mutants) = (None, None, 0, driver::JOBS, false);
    let mut kind = Kind::Eventual;
    while let Some(argument) = arguments.next() {
        if argument == "--mutants" {
            mutants = true;
            continue;
        }
        if argument == Kind::STRONG {
            kind = Kind::Strong;
            continue;
        }
        let Some(number) = arguments.next().and_then(|text| text.parse::<u64>().ok()) else {
            eprintln!("{argument}: {USAGE}");
            return ExitCode::from(2);
        };
        match argument.as_str() {
            "--seed" => seed = Some(number),
            "--seeds" => seeds = Some(number),
            "--first" => first = number,
            "--jobs" => jobs = number.max(1),
            _ => {
                eprintln!("{argument}: {USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if let Some(seed) = seed {
        return run::run_and_report(kind, seed);
    }
    let is_good = match mutants {
        true => driver::hunt_mutants(kind, seeds.unwrap_or(driver::MUTANT_BUDGET), jobs),
        false => driver::drive(kind, first, seeds.unwrap_or(driver::SEEDS), jobs),
    };
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
