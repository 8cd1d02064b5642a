//! `layer_norm` against the reference.

use super::harness::{cases, report};
use super::norm::{Case, Operator, case, check};
use expertile::layer_norm;
use expertile_reference::layer_norm as reference;
use proptest::test_runner::{Config, TestRunner};

pub(crate) const LAYER_NORM: Operator = Operator {
    name: "layer_norm",
    launch: layer_norm,
    reference: |x, residual, weight, epsilon, rounding| {
        let out = reference::layer_norm(x, residual, weight, epsilon, rounding)?;
        Ok((out.sum, out.normalized))
    },
    centered: true,
};

#[test]
fn layer_norm_matches_reference() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run =
        |case: Case| check(&LAYER_NORM, &case).map_err(proptest::test_runner::TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("layer_norm");
}
