//! What a load run measured.

use std::time::Duration;

use super::worker::{Tally, Times};
use crate::error::Error;

/// What a load run measured.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadReport {
    /// From the first call to the last answer.
    pub elapsed: Duration,
    /// The gets; `None` when there were none.
    pub get: Option<WorkReport>,
    /// The puts; `None` when there were none.
    pub put: Option<WorkReport>,
    /// Why a call failed, of one of those that failed first.
    pub first_error: Option<Error>,
}

/// The calls of one kind. Latencies are in microseconds, of the calls that were answered.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkReport {
    /// Calls that were answered.
    pub operations: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Answered calls in a second.
    pub per_second: f64,
    /// Half of the calls were as fast.
    pub p50_us: u64,
    /// 90 % of the calls were as fast.
    pub p90_us: u64,
    /// 99 % of the calls were as fast.
    pub p99_us: u64,
    /// 99.9 % of the calls were as fast.
    pub p999_us: u64,
    /// The slowest call.
    pub max_us: u64,
}

/// The report of a whole run.
pub(super) fn report(tally: Tally, elapsed: Duration) -> LoadReport {
    LoadReport {
        elapsed,
        get: work_report(&tally.get, elapsed),
        put: work_report(&tally.put, elapsed),
        first_error: tally.first_error,
    }
}

fn work_report(times: &Times, elapsed: Duration) -> Option<WorkReport> {
    let operations = times.us.len();
    if operations == 0 && times.errors == 0 {
        return None;
    }
    let at = |quantile| times.us.value_at_quantile(quantile);
    Some(WorkReport {
        operations,
        errors: times.errors,
        per_second: operations as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: times.us.max(),
    })
}
