//! What `kvstore.Retry` says, for the client.

use std::{num::NonZeroU32, time::Duration};

use pyo3::prelude::*;

use crate::{
    client::{RepeatedWrites, Retry},
    error::{Error, ErrorCode, Result},
};

/// The fields of a `kvstore.Retry`.
#[derive(FromPyObject)]
pub(super) struct RetryArgument {
    attempts: u32,
    first: f64,
    cap: f64,
    jitter: f64,
    writes: String,
}

impl RetryArgument {
    /// What the client does; without any, it never repeats a call.
    ///
    /// # Errors
    /// `BAD_SETTING`. Python has checked it, and says more.
    pub(super) fn into_retry(argument: Option<RetryArgument>) -> Result<Retry> {
        let Some(RetryArgument { attempts, first, cap, jitter, writes }) = argument else { return Ok(Retry::never()) };
        let writes = match writes.as_str() {
            "safe" => RepeatedWrites::Safe,
            "always" => RepeatedWrites::Always,
            "never" => RepeatedWrites::Never,
            other => return Err(bad(&format!("writes is {other:?}"))),
        };
        let seconds =
            |seconds| Duration::try_from_secs_f64(seconds).map_err(|error| bad(&format!("a pause is {error}")));
        if !(0.0..=1.0).contains(&jitter) {
            return Err(bad(&format!("jitter is {jitter}")));
        }
        let (first, cap, jitter_permille) = (seconds(first)?, seconds(cap)?, (jitter * 1000.0) as u32);
        Ok(Retry { attempts: NonZeroU32::new(attempts), first, cap, jitter_permille, writes })
    }
}

fn bad(why: &str) -> Error {
    Error::new(ErrorCode::BadSetting, format!("retry: {why}"))
}
