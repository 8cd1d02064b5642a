//! No schedule changes a result.

use crate::buffers::{NormBuffers, RopeBuffers};
use crate::simulator::{Simulator, devices};
use expertile::{layer_norm, rms_norm};
use half::bf16;

/// How many schedules are tried: `EXPERTILE_SIM_SEEDS`, or 1,000.
pub(crate) fn seeds() -> u64 {
    std::env::var("EXPERTILE_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1000)
}

#[test]
fn every_schedule_gives_the_same_bits_and_no_report() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        let mut first: Option<[Vec<bf16>; 4]> = None;
        for seed in 0..seeds() {
            simulator.set_seed(seed);
            let mut rope_buffers = RopeBuffers::new(&stream, 3, (6, 1), 48);
            let mut norm_buffers = NormBuffers::new(&stream, 3, 1000);
            rope_buffers.launch(&stream).unwrap();
            norm_buffers.launch(&stream, layer_norm).unwrap();
            let norm: Vec<bf16> = norm_buffers.out.read(&stream).unwrap();
            norm_buffers.launch(&stream, rms_norm).unwrap();
            let results = [
                norm,
                norm_buffers.out.read(&stream).unwrap(),
                rope_buffers.qkv.read(&stream).unwrap(),
                rope_buffers.caches[0].read(&stream).unwrap(),
            ]
            .map(|values: Vec<bf16>| values);
            let first = first.get_or_insert_with(|| results.clone());
            assert!(*first == results, "seed {seed} gives other bits than seed 0");
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
