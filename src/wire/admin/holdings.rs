//! [`Holding`]s <-> their message.

use super::super::{
    convert::{bad, check_count, ConvertError},
    v1,
};
use crate::{
    limits::{check_keyspace_name, KEYSPACES_MAX},
    types::Holding,
};

impl From<Vec<Holding>> for v1::HoldingsResponse {
    fn from(holdings: Vec<Holding>) -> v1::HoldingsResponse {
        let from = |holding: Holding| {
            let Holding { keyspace, keys, bytes, conflicts } = holding;
            v1::Holding { keyspace, keys, bytes, conflicts }
        };
        v1::HoldingsResponse { holdings: holdings.into_iter().map(from).collect() }
    }
}

impl TryFrom<v1::HoldingsResponse> for Vec<Holding> {
    type Error = ConvertError;

    fn try_from(response: v1::HoldingsResponse) -> Result<Vec<Holding>, ConvertError> {
        // One more for `default`.
        check_count("holdings", response.holdings.len(), KEYSPACES_MAX as usize + 1)?;
        let to = |holding: v1::Holding| {
            let v1::Holding { keyspace, keys, bytes, conflicts } = holding;
            check_keyspace_name(&keyspace).map_err(|error| bad("holdings.keyspace", error.message()))?;
            Ok(Holding { keyspace, keys, bytes, conflicts })
        };
        response.holdings.into_iter().map(to).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holdings_come_back_and_names_out_of_their_bounds_do_not() {
        let holding = |keyspace: &str| Holding { keyspace: keyspace.into(), keys: 1, bytes: 2, conflicts: 3 };
        let holdings = vec![holding("default"), holding("jobs")];
        assert_eq!(Vec::<Holding>::try_from(v1::HoldingsResponse::from(holdings.clone())).unwrap(), holdings);
        for name in ["", &"x".repeat(65)] {
            let error = Vec::<Holding>::try_from(v1::HoldingsResponse::from(vec![holding(name)])).unwrap_err();
            assert_eq!(error.field, "holdings.keyspace");
        }
    }
}
