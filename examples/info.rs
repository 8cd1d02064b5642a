//! Says which drivers and devices there are, or why not, and which kernels would run.

#[cfg(feature = "cuda")]
use expertile::{Device, DeviceInfo};

fn main() {
    println!("expertile {}", env!("CARGO_PKG_VERSION"));
    cuda();
}

#[cfg(not(feature = "cuda"))]
fn cuda() {
    println!("cuda: built without feature `cuda`");
}

#[cfg(feature = "cuda")]
fn cuda() {
    println!("cuda: embedded images, built for drivers 580 and later:");
    for (stem, architecture, bytes) in expertile::cuda_images() {
        println!("  {stem:<12} {architecture:<12} {bytes:>8} bytes");
    }
    let count = match Device::cuda_count() {
        Ok(count) => count,
        Err(error) => return println!("{error}"),
    };
    println!("cuda: {count} devices");
    for ordinal in 0..count {
        match Device::cuda(ordinal) {
            Ok(device) => describe(device.info()),
            Err(error) => println!("{error}"),
        }
    }
}

#[cfg(feature = "cuda")]
fn describe(info: &DeviceInfo) {
    let gib = info.memory_bytes as f64 / f64::from(1 << 30);
    println!(
        "{}:{}  {}, {}, {} multiprocessors, {gib:.0} GiB, driver for CUDA {}.{}, runs the images of {}",
        info.platform,
        info.ordinal,
        info.name,
        info.architecture,
        info.multiprocessors,
        info.driver_version / 1000,
        info.driver_version % 1000 / 10,
        info.images,
    );
    println!("  DBRX in bf16        1 token                         4096 tokens");
    for (operator, plans) in expertile::dbrx_plans(info) {
        let text = plans.map(|(entry, geometry)| {
            format!("{entry} {:?} x {}", &geometry.grid[..2], geometry.threads)
        });
        println!("  {operator:<18}  {:<30}  {}", text[0], text[1]);
    }
}
