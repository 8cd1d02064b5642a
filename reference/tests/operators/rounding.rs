use crate::data::cases;
use expertile_reference::Rounding;
use proptest::prelude::*;

/// The nearest number of `digits` binary digits whose exponent is at least `lowest`, ties to even,
/// by arithmetic on f64 alone.
fn nearest(x: f64, digits: i32, lowest: i32, largest: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(lowest);
    let unit = 2f64.powi(exponent - digits + 1);
    let rounded = (x / unit).round_ties_even() * unit;
    if rounded.abs() > largest { f64::INFINITY.copysign(x) } else { rounded }
}

fn f32_of(x: f64) -> f64 {
    nearest(x, 24, -126, f32::MAX.into())
}

fn bf16_of(x: f64) -> f64 {
    nearest(f32_of(x), 8, -126, 3.389_531_389_251_535_5e38)
}

fn f16_of(x: f64) -> f64 {
    nearest(f32_of(x), 11, -14, 65504.0)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_value_goes_to_the_nearest(values in proptest::collection::vec(
        (-1.0..1.0f64, -160..140i32).prop_map(|(x, exponent)| x * 2f64.powi(exponent)), 64,
    )) {
        for x in values {
            assert_eq!(Rounding::F64.round(x), x);
            assert_eq!(Rounding::F32.round(x), f32_of(x));
            assert_eq!(Rounding::Bf16.round(x), bf16_of(x));
            assert_eq!(Rounding::F16.round(x), f16_of(x));
        }
    }
}

#[test]
fn known_values() {
    for (rounding, x, want) in [
        // Ties to even at 8 digits: 1 + 1/256 down, 1 + 3/256 up.
        (Rounding::Bf16, 1.003_906_25, 1.0),
        (Rounding::Bf16, 1.011_718_75, 1.015_625),
        (Rounding::Bf16, -1.003_907, -1.007_812_5),
        // One digit far below the tie decides.
        (Rounding::Bf16, 1.003_906_25 + 2f64.powi(-22), 1.007_812_5),
        (Rounding::F16, 2049.0, 2048.0),
        (Rounding::F16, 2049.0 + 2f64.powi(-11), 2050.0),
        (Rounding::F16, 2051.0, 2052.0),
        (Rounding::F32, 16_777_217.0, 16_777_216.0),
        (Rounding::F32, 16_777_219.0, 16_777_220.0),
        // Twice: to f32 first, where 1 + 1/256 + 2^-30 becomes the tie.
        (Rounding::Bf16, 1.003_906_25 + 2f64.powi(-30), 1.0),
        (Rounding::F16, 65519.0, 65504.0),
        (Rounding::F16, 65520.0, f64::INFINITY),
        (Rounding::F16, -65520.0, f64::NEG_INFINITY),
        (Rounding::Bf16, 3.4e38, f64::INFINITY),
        (Rounding::F32, 1e39, f64::INFINITY),
        (Rounding::F16, 2f64.powi(-24), 2f64.powi(-24)),
        (Rounding::F16, 2f64.powi(-25), 0.0),
        (Rounding::F16, 3.0 * 2f64.powi(-25), 2f64.powi(-23)),
        (Rounding::Bf16, 2f64.powi(-133), 2f64.powi(-133)),
        (Rounding::Bf16, 2f64.powi(-134), 0.0),
        (Rounding::F32, 2f64.powi(-150), 0.0),
        (Rounding::F64, 0.1, 0.1),
    ] {
        assert_eq!(rounding.round(x), want, "{rounding:?} of {x}");
        assert_eq!(rounding.round_all(vec![x, -x]), [want, -want]);
    }
    for rounding in [Rounding::F64, Rounding::F32, Rounding::F16, Rounding::Bf16] {
        assert!(rounding.round(f64::NAN).is_nan());
        assert_eq!(rounding.round(f64::INFINITY), f64::INFINITY);
        assert!(rounding.round(-0.0).is_sign_negative());
    }
}
