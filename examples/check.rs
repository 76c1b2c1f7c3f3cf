//! Says whether a history of a strong keyspace is linearizable: `cargo run --example check -- [FILE]`, standard input
//! without one. `tests/support/linear/lines.rs` has the format. Exit code 0: it is; 1: it is not; 2: it is undecided,
//! or cannot be read.
#![allow(clippy::disallowed_methods, reason = "this is a tool for files of histories, not a part of a node")]

#[path = "../tests/support/linear/mod.rs"]
mod linear;

use std::{
    fs,
    io::{self, Read},
    process::ExitCode,
};

use linear::{
    lines::{self, Text},
    revisions::{self, Judgement},
    Failure, History, Verdict, STEPS_MAX,
};

fn main() -> ExitCode {
    let path = std::env::args().nth(1);
    let read = read(path.as_deref());
    let text = match read.map_err(|error| error.to_string()).and_then(|text| lines::parse(&text)) {
        Ok(text) => text,
        Err(why) => {
            eprintln!("{}: {why}", path.as_deref().unwrap_or("standard input"));
            return ExitCode::from(2);
        }
    };
    let by_revisions = tell_revisions(&text);
    let report = linear::check(&text.history, STEPS_MAX);
    println!(
        "{} operations: {} known, {} unknown writes, {} that say nothing; {} objects, {} steps",
        text.history.len(),
        report.known,
        report.unknown,
        report.unjudged,
        report.objects,
        report.steps,
    );
    match report.verdict {
        Verdict::Violated(failure) => {
            tell_failure(&text.history, &failure);
            println!("NOT linearizable");
            ExitCode::from(1)
        }
        Verdict::Linearizable | Verdict::Undecided if !by_revisions => {
            println!("NOT as its revisions say");
            ExitCode::from(1)
        }
        Verdict::Undecided => {
            println!("undecided");
            ExitCode::from(2)
        }
        Verdict::Linearizable => {
            println!("linearizable");
            ExitCode::SUCCESS
        }
    }
}

fn read(path: Option<&str>) -> io::Result<String> {
    let Some(path) = path else {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    };
    fs::read_to_string(path)
}

/// Whether revisions allow it, as far as they are told.
fn tell_revisions(text: &Text) -> bool {
    match revisions::check(&text.history, text.log.as_deref()) {
        Judgement::Agrees(count) => println!("revisions: {count} operations agree"),
        Judgement::CannotTell { at, why } => println!("revisions: not judged, since of {}: {why}", text.history[at]),
        Judgement::Violated { at, why } => {
            println!("revisions: {why}");
            at.iter().for_each(|&at| println!("  {}", text.history[at]));
            return false;
        }
    }
    true
}

fn tell_failure(history: &History, failure: &Failure) {
    println!("no order explains {} ({} operations):", failure.keys.join(", "), failure.operations);
    for &at in &failure.around {
        println!("{} {}", if at == failure.at { "->" } else { "  " }, history[at]);
    }
    for state in &failure.states {
        println!("   before it, in some order: {state}");
    }
}
