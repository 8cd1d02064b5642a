//! `rms_norm` against the reference.

use super::harness::{cases, report};
use super::norm::{Case, Operator, case, check};
use expertile::rms_norm;
use expertile_reference::rms_norm as reference;
use proptest::test_runner::{Config, TestRunner};

pub(crate) const RMS_NORM: Operator = Operator {
    name: "rms_norm",
    launch: rms_norm,
    reference: |x, residual, weight, epsilon, rounding| {
        let out = reference::rms_norm(x, residual, weight, epsilon, rounding)?;
        Ok((out.sum, out.normalized))
    },
    centered: false,
};

#[test]
fn rms_norm_matches_reference() {
    let config = Config { cases: cases(), failure_persistence: None, ..Config::default() };
    let run =
        |case: Case| check(&RMS_NORM, &case).map_err(proptest::test_runner::TestCaseError::fail);
    if let Err(error) = TestRunner::new(config).run(&case(), run) {
        panic!("{error}");
    }
    report("rms_norm");
}
