//! Picks keys.

use super::Distribution;

/// How uneven a Zipf distribution is; YCSB's constant (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB",
/// 2010, 4.3).
const THETA: f64 = 0.99;

/// Turns random numbers into key numbers below `keys`.
pub(super) struct Sampler {
    keys: u64,
    zipf: Option<Zipf>,
}

/// Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994, 3.2.
struct Zipf {
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Sampler {
    /// Takes time in proportion to `keys` for a Zipf distribution.
    pub(super) fn new(distribution: Distribution, keys: u64) -> Sampler {
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => Some(Zipf::new(keys)),
        };
        Sampler { keys, zipf }
    }

    /// The key number that `draw`, any number, picks.
    pub(super) fn pick(&self, draw: u64) -> u64 {
        match &self.zipf {
            None => draw % self.keys,
            Some(zipf) => zipf.rank(draw, self.keys),
        }
    }
}

impl Zipf {
    fn new(keys: u64) -> Zipf {
        let zeta_of = |count: u64| (1..=count).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let zeta = zeta_of(keys);
        let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - THETA)) / (1.0 - zeta_of(2) / zeta);
        Zipf { zeta, alpha: 1.0 / (1.0 - THETA), eta }
    }

    fn rank(&self, draw: u64, keys: u64) -> u64 {
        let uniform = draw as f64 / u64::MAX as f64;
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(keys - 1);
        }
        let rank = keys as f64 * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(keys - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::env::{Rng, SeededRng};

    proptest! {
        #[test]
        fn every_pick_is_one_of_the_keys(keys in 1u64..2000, draw: u64) {
            for distribution in [Distribution::Uniform, Distribution::Zipf] {
                let sampler = Sampler::new(distribution, keys);
                for draw in [draw, 0, u64::MAX] {
                    prop_assert!(sampler.pick(draw) < keys);
                }
            }
        }
    }

    #[test]
    fn a_zipf_distribution_prefers_the_first_keys_as_much_as_its_law_says() {
        let (sampler, random) = (Sampler::new(Distribution::Zipf, 1000), SeededRng::new(1));
        let draws = 100_000;
        let mut first = 0.0;
        for _ in 0..draws {
            first += f64::from(u8::from(sampler.pick(random.next_u64().unwrap()) == 0));
        }
        let zeta: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-THETA)).sum();
        let share: f64 = first / f64::from(draws);
        assert!((share - 1.0 / zeta).abs() < 0.01, "{share} against {}", 1.0 / zeta);
    }
}
