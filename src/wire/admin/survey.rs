//! [`SurveyQuery`] and [`Survey`] <-> their messages.

use super::super::{
    convert::{bad, check_count, ConvertError, Converted},
    v1,
};
use crate::{
    error::{Error, ErrorCode},
    limits::{check_keyspace_name, PAGE_KEYS_MAX, RANGE_BOUND_BYTES_MAX, SURVEY_TOP_MAX},
    types::{Fold, KeyRange, Survey, SurveyQuery, SHARE_WHOLE},
};

impl From<SurveyQuery> for v1::SurveyRequest {
    fn from(query: SurveyQuery) -> v1::SurveyRequest {
        let KeyRange { prefix, start, .. } = query.range;
        v1::SurveyRequest {
            keyspace: query.keyspace,
            prefix: prefix.into(),
            start: start.map(Into::into),
            share: query.share,
            top: query.top as u32,
        }
    }
}

impl TryFrom<v1::SurveyRequest> for SurveyQuery {
    type Error = Error;

    /// # Errors
    /// `INVALID_ARGUMENT`, `KEY_TOO_LONG`; the text names the field.
    fn try_from(request: v1::SurveyRequest) -> Result<SurveyQuery, Error> {
        let start = request.start.map(|start| start.to_vec());
        let range = KeyRange { prefix: request.prefix.to_vec(), start, end: None };
        let top = usize::try_from(request.top).unwrap_or(usize::MAX);
        let query = SurveyQuery { keyspace: request.keyspace, range, share: request.share, top };
        check_survey(&query)?;
        Ok(query)
    }
}

/// Checks what is to be looked at against the limits.
///
/// # Errors
/// `INVALID_ARGUMENT`, `KEY_TOO_LONG`; the text names the field.
pub fn check_survey(query: &SurveyQuery) -> Result<(), Error> {
    if !query.keyspace.is_empty() {
        check_keyspace_name(&query.keyspace)?;
    }
    check_share(query.share)?;
    if query.top == 0 || query.top > SURVEY_TOP_MAX {
        let text = format!("top: {}, must be 1 to {SURVEY_TOP_MAX}", query.top);
        return Err(Error::new(ErrorCode::InvalidArgument, text));
    }
    let bounds = [("prefix", Some(&query.range.prefix)), ("start", query.range.start.as_ref())];
    for (name, length) in bounds.map(|(name, bound)| (name, bound.map_or(0, Vec::len))) {
        if length > RANGE_BOUND_BYTES_MAX {
            let text = format!("{name}: {length} bytes, the limit is {RANGE_BOUND_BYTES_MAX}");
            return Err(Error::new(ErrorCode::KeyTooLong, text));
        }
    }
    Ok(())
}

/// Checks a share, which is in a million.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_share(share: u32) -> Result<(), Error> {
    match share {
        1..=SHARE_WHOLE => Ok(()),
        _ => {
            let text = format!("share: {share}, must be 1 to {SHARE_WHOLE}, which is all");
            Err(Error::new(ErrorCode::InvalidArgument, text))
        }
    }
}

impl From<Survey> for v1::SurveyResponse {
    fn from(survey: Survey) -> v1::SurveyResponse {
        let sized = |(key, value_bytes)| v1::SizedKey { key, value_bytes };
        let fold = |fold: Fold| v1::KeyFold { prefix: fold.prefix.into(), keys: fold.keys, bytes: fold.bytes };
        v1::SurveyResponse {
            visited: survey.visited,
            largest: survey.largest.into_iter().map(sized).collect(),
            folds: survey.folds.into_iter().map(fold).collect(),
            next: survey.next.map(Into::into),
        }
    }
}

impl TryFrom<v1::SurveyResponse> for Survey {
    type Error = ConvertError;

    fn try_from(response: v1::SurveyResponse) -> Converted<Survey> {
        check_count("largest", response.largest.len(), SURVEY_TOP_MAX)?;
        check_count("folds", response.folds.len(), PAGE_KEYS_MAX + 1)?;
        let next = response.next.map(|next| next.to_vec());
        if next.as_ref().is_some_and(Vec::is_empty) {
            return Err(bad("next", "must not be empty: a page does not end where it begins"));
        }
        let fold = |fold: v1::KeyFold| Fold { prefix: fold.prefix.to_vec(), keys: fold.keys, bytes: fold.bytes };
        Ok(Survey {
            visited: response.visited,
            largest: response.largest.into_iter().map(|sized| (sized.key, sized.value_bytes)).collect(),
            folds: response.folds.into_iter().map(fold).collect(),
            next,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn a_query() -> SurveyQuery {
        SurveyQuery { keyspace: "jobs".into(), range: KeyRange::prefix(b"user:"), share: 10_000, top: 20 }
    }

    #[test]
    fn a_query_comes_back_and_what_is_out_of_its_bounds_is_refused_by_name() {
        let resumed =
            SurveyQuery { range: KeyRange { start: Some(b"user:7".to_vec()), ..a_query().range }, ..a_query() };
        for query in [a_query(), resumed] {
            assert_eq!(SurveyQuery::try_from(v1::SurveyRequest::from(query.clone())), Ok(query));
        }
        let long = KeyRange::prefix(&vec![b'x'; RANGE_BOUND_BYTES_MAX + 1]);
        for (query, field) in [
            (SurveyQuery { share: 0, ..a_query() }, "share"),
            (SurveyQuery { share: SHARE_WHOLE + 1, ..a_query() }, "share"),
            (SurveyQuery { top: 0, ..a_query() }, "top"),
            (SurveyQuery { top: SURVEY_TOP_MAX + 1, ..a_query() }, "top"),
            (SurveyQuery { range: long, ..a_query() }, "prefix"),
            (SurveyQuery { keyspace: "x".repeat(65), ..a_query() }, "keyspace"),
        ] {
            let refused = SurveyQuery::try_from(v1::SurveyRequest::from(query)).unwrap_err();
            assert!(refused.message().starts_with(field), "{refused}");
        }
    }

    proptest! {
        #[test]
        fn a_survey_comes_back(
            visited: u64, largest in prop::collection::vec((any::<Vec<u8>>(), any::<u64>()), 0..5),
            folds in prop::collection::vec(any::<(Vec<u8>, u64, u64)>(), 0..5), next in prop::option::of(prop::collection::vec(any::<u8>(), 1..5)),
        ) {
            let largest = largest.into_iter().map(|(key, bytes)| (Bytes::from(key), bytes)).collect();
            let folds = folds.into_iter().map(|(prefix, keys, bytes)| Fold { prefix, keys, bytes }).collect();
            let survey = Survey { visited, largest, folds, next };
            prop_assert_eq!(Survey::try_from(v1::SurveyResponse::from(survey.clone())), Ok(survey));
        }
    }
}
