//! The operators: a file and a criterion group for each.
//!
//! Ids read `operator/backend/shape`; backends are `plain` and `fast`, the reference on this CPU, and
//! devices. `cargo bench --bench operators -- linear` runs one group, `-- --test` runs everything
//! once; `-- --serve` answers requests instead (`device/serve.rs`).

mod attention;
mod combine;
mod data;
mod device;
mod dispatch;
mod embedding;
mod grouped_gemm;
mod layer_norm;
mod linear;
mod moe;
mod norm;
mod packet;
mod rms_norm;
mod rope;
mod router;
mod router_loss;

use criterion::criterion_group;
use device::DeviceBench;

criterion_group!(
    operators,
    embedding::bench,
    layer_norm::bench,
    rms_norm::bench,
    linear::bench,
    rope::bench,
    router::bench,
    router_loss::bench,
    dispatch::bench,
    grouped_gemm::bench,
    combine::bench,
    attention::bench,
);

/// What runs on devices.
const DEVICE_BENCHES: [&DeviceBench; 11] = [
    &layer_norm::DEVICE,
    &rms_norm::DEVICE,
    &rope::DEVICE,
    &linear::DEVICE,
    &dispatch::DEVICE,
    &grouped_gemm::DEVICE,
    &moe::DEVICE,
    &combine::DEVICE,
    &packet::DEVICE,
    &router::DEVICE,
    &router_loss::DEVICE,
];

fn main() {
    let devices = device::devices();
    if std::env::args().any(|argument| argument == "--serve") {
        let Some(device) = devices.first() else { std::process::exit(1) };
        let (input, output) = (std::io::stdin().lock(), std::io::stdout().lock());
        if let Err(error) = device::serve(device, &DEVICE_BENCHES, input, output) {
            eprintln!("{error}");
            std::process::exit(1);
        }
        return;
    }
    operators();
    for device in &devices {
        device::bench(device, &DEVICE_BENCHES).unwrap_or_else(|error| panic!("{error}"));
    }
}
