//! Whether it is the images' machine code that runs.
//!
//! A CUDA driver takes machine code where it finds any for the device, and else compiles PTX. Under
//! `CUDA_DISABLE_PTX_JIT=1` it has no other choice, which a control shows: there an image of PTX alone
//! must be refused. A HIP image is machine code alone; its control is one of another architecture.

use crate::cuda::Cuda;
#[cfg(feature = "hip")]
use crate::{driver::Driver, hip::Hip};
use expertile::{Error, Result};

#[test]
fn the_machine_code_runs() -> Result<()> {
    let disabled = std::env::var("CUDA_DISABLE_PTX_JIT").is_ok_and(|value| value == "1");
    let count = Cuda::count().unwrap_or(0);
    for ordinal in 0..count {
        // With every image of the device's architecture.
        let cuda = Cuda::open(ordinal)?;
        let control = cuda.try_image("probe_stream", "compute_80", "probe_read_stream");
        if disabled {
            let Err(Error::Driver { name, .. }) = control else {
                panic!("PTX alone was loaded, although CUDA_DISABLE_PTX_JIT=1: {control:?}");
            };
            println!("machine code runs: PTX alone is refused with {name}");
        } else {
            control?;
            println!("PTX alone loads; with CUDA_DISABLE_PTX_JIT=1 it must not");
        }
    }
    Ok(())
}

#[cfg(feature = "hip")]
#[test]
fn another_architecture_is_refused() -> Result<()> {
    for ordinal in 0..Hip::count().unwrap_or(0) {
        // With every image of the device's architecture.
        let hip = Hip::open(ordinal)?;
        let other = if hip.info().images == "gfx90a" { "gfx942" } else { "gfx90a" };
        let control = hip.try_image("probe_stream", other, "probe_read_stream");
        let Err(Error::Driver { name, .. }) = control else {
            panic!("machine code of {other} was loaded: {control:?}");
        };
        println!("machine code runs: that of {other} is refused with {name}");
    }
    Ok(())
}
