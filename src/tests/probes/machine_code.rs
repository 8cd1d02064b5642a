//! Whether it is the images' machine code that runs, and not their PTX compiled anew.
//!
//! The driver takes machine code where it finds any for the device. Under `CUDA_DISABLE_PTX_JIT=1` it
//! has no other choice, which a control shows: there an image of PTX alone must be refused.

use crate::cuda::Cuda;
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
