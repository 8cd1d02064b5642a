//! A program of a user of the packages: one operator on the first device of each platform, compared
//! with the reference.

use expertile::{Buffer, Device, Dtype, Norm, Residual, layer_norm};
use expertile_reference::{Rounding, layer_norm::layer_norm as reference};
use half::bf16;

const TOKENS: u64 = 3;
const HIDDEN: u64 = 64;
const EPSILON: f32 = 1e-5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for device in [Device::cuda(0)?, Device::hip(0)?] {
        let error = worst_error(&device)?;
        let name = &device.info().name;
        println!("layer_norm on {name}: {error:.2} of its bound");
        if error > 1.0 {
            return Err(format!("{name}: {error} times the bound").into());
        }
    }
    Ok(())
}

/// In units of one rounding to bf16 and the f32 error of the row's statistics.
fn worst_error(device: &Device) -> Result<f64, Box<dyn std::error::Error>> {
    // Small integers are exact in bf16.
    let input: Vec<f32> = (0..TOKENS * HIDDEN).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
    let scale: Vec<f32> = (0..HIDDEN).map(|i| (i % 5) as f32 + 1.0).collect();
    let want = reference(&input, None, &scale, EPSILON.into(), Rounding::Bf16)?.normalized;

    let stream = device.stream()?;
    let round = |values: &[f32]| values.iter().copied().map(bf16::from_f32).collect::<Vec<_>>();
    let x = Buffer::from_slice(&stream, &round(&input))?;
    let weight = Buffer::from_slice(&stream, &round(&scale))?;
    let mut out = Buffer::new(device, Dtype::Bf16, TOKENS * HIDDEN)?;
    layer_norm(
        &stream,
        &Norm {
            x: x.tensor(&[TOKENS, HIDDEN])?,
            residual: Residual::None,
            weight: weight.tensor(&[HIDDEN])?,
            out: out.tensor_mut(&[TOKENS, HIDDEN])?,
            epsilon: EPSILON,
        },
    )?;
    let out: Vec<bf16> = out.read(&stream)?;
    let error = |(out, want): (&bf16, &f64)| {
        let bound = want.abs() * 2f64.powi(-8) + 2f64.powi(-15);
        // Not less than any bound if it is no number.
        let error = (out.to_f64() - want).abs() / bound;
        if error.is_nan() { f64::INFINITY } else { error }
    };
    Ok(out.iter().zip(&want).map(error).fold(0.0, f64::max))
}
