//! How much memory the kernels move.

use crate::buffers::{NormBuffers, Operator, RopeBuffers};
use crate::simulator::{Simulator, devices};
use expertile::{Buffer, Device, layer_norm, rms_norm};

/// Sectors of 32 bytes moved to and from the buffers since they were allocated.
pub(crate) fn sectors(simulator: &Simulator, buffers: &[&Buffer]) -> u64 {
    let counters = simulator.counters();
    let of = |buffer: &&Buffer, key: &str| {
        counters.get(&format!("{:#x}.{key}", buffer.address())).copied().unwrap_or(0)
    };
    buffers.iter().map(|b| of(b, "sectors_read") + of(b, "sectors_written")).sum()
}

/// What must be moved at least: `bytes`.
pub(crate) fn check_floor(name: &str, device: &Device, moved: u64, bytes: u64) {
    let floor = bytes / 32;
    let ratio = moved as f64 / floor as f64;
    println!("{name} on {}: {moved} sectors, {ratio:.4} of the floor", device.info().images);
    assert!(moved >= floor, "{name}: {moved} sectors are less than the floor {floor}");
    assert!(ratio <= 1.02, "{name}: {moved} sectors are {ratio:.3} times the floor {floor}");
}

#[test]
fn traffic_is_within_2_percent_of_the_floor() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let stream = device.stream().unwrap();
        // DBRX: 48 query and 8 key heads of 128.
        let mut buffers = RopeBuffers::new(&stream, 512, (48, 8), 128);
        buffers.launch(&stream).unwrap();
        stream.synchronize().unwrap();
        let RopeBuffers { qkv, caches: [k, v], positions, slots, inv_freq, .. } = &buffers;
        let moved = sectors(&simulator, &[qkv, k, v, positions, slots, inv_freq]);
        // The rows are read, and as much is written: q in place, k and v to the caches.
        check_floor("rope", &device, moved, 512 * (2 * 64 * 128 * 2 + 4 + 8) + 64 * 4);

        let operators: [(&str, Operator); 2] = [("layer_norm", layer_norm), ("rms_norm", rms_norm)];
        // Two blocks for each multiprocessor read the weight: enough rows that it does not show.
        let rows = (u64::from(device.info().multiprocessors) * 25).next_power_of_two();
        for (name, operator) in operators {
            let mut buffers = NormBuffers::new(&stream, rows, 6144);
            buffers.launch(&stream, operator).unwrap();
            stream.synchronize().unwrap();
            let NormBuffers { x, residual, weight, out, .. } = &buffers;
            let moved = sectors(&simulator, &[x, residual, weight, out]);
            // x and the residual are read, the sum and the result written; the weight is read once.
            check_floor(name, &device, moved, rows * 6144 * 2 * 4 + 6144 * 2);
        }
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}
