//! A load run counts what it does, ends when it is told to, and names bad settings.

use super::*;
use crate::client::tests::{runtime, World};

fn config() -> LoadConfig {
    LoadConfig { concurrency: 8, keys: 50, end: LoadEnd::Operations(500), ..LoadConfig::default() }
}

fn run(config: LoadConfig) -> LoadReport {
    runtime().block_on(async {
        let world = World::simulated();
        let (_server, address) = world.node().await;
        let load = Arc::new(Load::new(config).unwrap());
        let report = load.run(&world.client(&[&address])).await.unwrap();
        let counted = [&report.get, &report.put].into_iter().flatten().map(|work| work.operations + work.errors);
        assert_eq!(counted.sum::<u64>(), load.operations_done());
        report
    })
}

#[test]
fn a_run_makes_as_many_calls_as_asked_for() {
    for path in [Path::Pipeline, Path::Unary { connections: 3 }] {
        let report = run(LoadConfig { path, work: Work::Put, ..config() });
        let puts = report.put.unwrap();
        assert_eq!((puts.operations, puts.errors, report.get), (500, 0, None));
        assert!(puts.p50_us <= puts.p99_us && puts.p99_us <= puts.max_us);

        let report = run(LoadConfig { path, preload: true, distribution: Distribution::Zipf, ..config() });
        assert_eq!(report.get.unwrap().operations + report.put.unwrap().operations, 500);
        assert_eq!(report.first_error, None);
    }
}

#[test]
fn a_run_can_be_stopped() {
    runtime().block_on(async {
        let world = World::simulated();
        let (_server, address) = world.node().await;
        let load = Arc::new(Load::new(LoadConfig { end: LoadEnd::Duration(Duration::MAX), ..config() }).unwrap());
        let client = world.client(&[&address]);
        let running = tokio::spawn({
            let load = load.clone();
            async move { load.run(&client).await }
        });
        while load.operations_done() < 100 {
            tokio::task::yield_now().await;
        }
        load.stop();
        assert!(running.await.unwrap().unwrap().get.is_some());
    });
}

#[test]
fn failed_calls_are_counted_and_the_first_reason_is_kept() {
    runtime().block_on(async {
        let world = World::simulated();
        let (listener, nobody) = world.listen().await;
        drop(listener);
        let timeout = Duration::from_millis(20);
        let load = LoadConfig { timeout, work: Work::Get, end: LoadEnd::Operations(10), ..config() };
        let report = Arc::new(Load::new(load).unwrap()).run(&world.client(&[&nobody])).await.unwrap();
        let gets = report.get.unwrap();
        assert_eq!((gets.operations, gets.errors), (0, 10));
        assert_eq!(report.first_error.unwrap().code(), ErrorCode::Unreachable);
    });
}

#[test]
fn settings_out_of_their_range_are_named() {
    let bad = [
        ("concurrency", LoadConfig { concurrency: 0, ..config() }),
        ("keys", LoadConfig { keys: 0, ..config() }),
        ("value_bytes", LoadConfig { value_bytes: limits::VALUE_BYTES_MAX + 1, ..config() }),
        ("read_percent", LoadConfig { work: Work::Mixed { read_percent: 101 }, ..config() }),
        ("connections", LoadConfig { path: Path::Unary { connections: 0 }, ..config() }),
    ];
    for (setting, config) in bad {
        let error = config.check().unwrap_err();
        assert!(error.code() == ErrorCode::BadSetting && error.message().starts_with(setting), "{error}");
    }
}
