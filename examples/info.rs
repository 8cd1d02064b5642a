//! Says which drivers and devices there are, or why not, and which kernels would run.

use expertile::{Device, DeviceInfo, Platform};

fn main() {
    println!("expertile {}", env!("CARGO_PKG_VERSION"));
    #[cfg(feature = "cuda")]
    images("cuda: embedded images, built for drivers 580 and later:", expertile::cuda_images());
    #[cfg(feature = "hip")]
    images("hip: embedded images, of code object version 5:", expertile::hip_images());
    Platform::ALL.into_iter().for_each(devices);
}

#[cfg(any(feature = "cuda", feature = "hip"))]
fn images(heading: &str, images: impl Iterator<Item = (&'static str, &'static str, usize)>) {
    println!("{heading}");
    for (stem, architecture, bytes) in images {
        println!("  {stem:<14} {architecture:<12} {bytes:>8} bytes");
    }
}

fn devices(platform: Platform) {
    let count = match Device::count(platform) {
        Ok(count) => count,
        Err(error) => return println!("{error}"),
    };
    println!("{platform}: {count} devices");
    for ordinal in 0..count {
        match Device::open(platform, ordinal) {
            Ok(device) => describe(device.info()),
            Err(error) => println!("{error}"),
        }
    }
}

fn describe(info: &DeviceInfo) {
    let gib = info.memory_bytes as f64 / f64::from(1 << 30);
    let version = info.driver_version;
    let driver = match info.platform {
        Platform::Cuda => format!("driver for CUDA {}.{}", version / 1000, version % 1000 / 10),
        _ => format!("HIP {}.{}", version / 10_000_000, version % 10_000_000 / 100_000),
    };
    println!(
        "{}:{}  {}, {}, {} multiprocessors, {gib:.0} GiB, {driver}, runs the images of {}",
        info.platform,
        info.ordinal,
        info.name,
        info.architecture,
        info.multiprocessors,
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
