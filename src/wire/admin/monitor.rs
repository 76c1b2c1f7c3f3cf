//! [`Sampling`] and [`SamplePage`] <-> their messages.

use std::time::Duration;

use super::{
    super::{
        convert::{bad, check_count, within, ConvertError, Converted},
        v1::{self, monitor_request::Sampling as Body},
    },
    survey::check_share,
};
use crate::{
    error::{Error, ErrorCode},
    limits::{KEYSPACE_NAME_BYTES_MAX, MONITOR_PAGE_MAX, MONITOR_RATE_MAX},
    types::{SamplePage, SampledCall, Sampling},
};

/// Bytes in the name of a kind of call: enough for a word.
const KIND_BYTES_MAX: usize = 32;

impl From<Sampling> for v1::MonitorRequest {
    fn from(sampling: Sampling) -> v1::MonitorRequest {
        let sampling = match sampling {
            Sampling::Share(share) => Body::Share(share),
            Sampling::Rate(rate) => Body::PerSecond(rate),
        };
        v1::MonitorRequest { sampling: Some(sampling) }
    }
}

impl TryFrom<v1::MonitorRequest> for Sampling {
    type Error = Error;

    /// # Errors
    /// `INVALID_ARGUMENT`, `MALFORMED_MESSAGE` when there is none; the text names the field.
    fn try_from(request: v1::MonitorRequest) -> Result<Sampling, Error> {
        let sampling = match request.sampling {
            Some(Body::Share(share)) => Sampling::Share(share),
            Some(Body::PerSecond(rate)) => Sampling::Rate(rate),
            None => return Err(bad("sampling", "is absent or of a kind this version does not know").into()),
        };
        check_sampling(sampling)?;
        Ok(sampling)
    }
}

/// Checks a sampling against the limits.
///
/// # Errors
/// `INVALID_ARGUMENT`; the text names the field.
pub fn check_sampling(sampling: Sampling) -> Result<(), Error> {
    match sampling {
        Sampling::Share(share) => check_share(share),
        Sampling::Rate(1..=MONITOR_RATE_MAX) => Ok(()),
        Sampling::Rate(rate) => {
            let text = format!("per_second: {rate}, must be 1 to {MONITOR_RATE_MAX}");
            Err(Error::new(ErrorCode::InvalidArgument, text))
        }
    }
}

impl From<SamplePage> for v1::MonitorPage {
    fn from(page: SamplePage) -> v1::MonitorPage {
        let from = |(call, age): (SampledCall, Duration)| v1::SampledCall {
            kind: call.kind.into_owned(),
            keyspace: call.keyspace,
            key: call.key,
            client: call.client.map(|client| client.to_string()).unwrap_or_default(),
            value_bytes: call.value_bytes,
            age_us: u64::try_from(age.as_micros()).unwrap_or(u64::MAX),
        };
        v1::MonitorPage { calls: page.calls.into_iter().map(from).collect(), seen: page.seen, dropped: page.dropped }
    }
}

impl TryFrom<v1::MonitorPage> for SamplePage {
    type Error = ConvertError;

    /// What `at` was is not told: it is 0.
    fn try_from(page: v1::MonitorPage) -> Converted<SamplePage> {
        check_count("calls", page.calls.len(), MONITOR_PAGE_MAX)?;
        let to = |call: v1::SampledCall| {
            for (field, text, most) in [
                ("calls.kind", &call.kind, KIND_BYTES_MAX),
                ("calls.keyspace", &call.keyspace, KEYSPACE_NAME_BYTES_MAX),
            ] {
                if text.len() > most {
                    return Err(bad(field, format!("{} bytes, the limit is {most}", text.len())));
                }
            }
            let v1::SampledCall { kind, keyspace, key, client, value_bytes, age_us } = call;
            let client = (!client.is_empty()).then(|| within("calls.client", client.parse())).transpose()?;
            let call = SampledCall { kind: kind.into(), keyspace, key, client, value_bytes, at: Duration::ZERO };
            Ok((call, Duration::from_micros(age_us)))
        };
        let calls = page.calls.into_iter().map(to).collect::<Converted<_>>()?;
        Ok(SamplePage { calls, seen: page.seen, dropped: page.dropped })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::SHARE_WHOLE;

    type Drawn = (String, String, Vec<u8>, Option<String>, u64, u32);

    #[test]
    fn a_sampling_comes_back_and_what_is_out_of_its_bounds_is_refused_by_name() {
        for sampling in [Sampling::Share(1), Sampling::Share(SHARE_WHOLE), Sampling::Rate(MONITOR_RATE_MAX)] {
            assert_eq!(Sampling::try_from(v1::MonitorRequest::from(sampling)), Ok(sampling));
        }
        for (sampling, field) in [
            (Sampling::Share(0), "share"),
            (Sampling::Share(SHARE_WHOLE + 1), "share"),
            (Sampling::Rate(0), "per_second"),
            (Sampling::Rate(MONITOR_RATE_MAX + 1), "per_second"),
        ] {
            let refused = Sampling::try_from(v1::MonitorRequest::from(sampling)).unwrap_err();
            assert!(refused.message().starts_with(field), "{refused}");
        }
        assert!(Sampling::try_from(v1::MonitorRequest::default()).is_err());
    }

    proptest! {
        #[test]
        fn a_page_comes_back(
            calls in prop::collection::vec(("[a-z]{1,9}", "[a-z]{0,9}", any::<Vec<u8>>(), prop::option::of("[a-z]{1,9}"), any::<u64>(), any::<u32>()), 0..5),
            (seen, dropped) in any::<(u64, u64)>(),
        ) {
            let call = |(kind, keyspace, key, client, value_bytes, age_us): Drawn| {
                let client = client.map(|client| client.parse().unwrap());
                let call = SampledCall { kind: kind.into(), keyspace, key: key.into(), client, value_bytes, at: Duration::ZERO };
                (call, Duration::from_micros(age_us.into()))
            };
            let page = SamplePage { calls: calls.into_iter().map(call).collect(), seen, dropped };
            prop_assert_eq!(SamplePage::try_from(v1::MonitorPage::from(page.clone())), Ok(page));
        }
    }
}
