//! The stand-in `libamdhip64.so`: code objects, their kernels, launches.

#[path = "driver/hip.rs"]
mod hip;
#[path = "driver/support.rs"]
mod support;

use hip::{address, code_object, hip as code, made, ok};
use support::{control, simulated_on};

/// The kernel `scale` on the current device; none without a compiler.
fn scale() -> Option<usize> {
    let mut image = code_object("gfx942")?;
    let module = made::<usize>("hipModuleLoadData", &[address(&mut image[..])]);
    Some(made("hipModuleGetFunction", &[module, c"scale".as_ptr().expose_provenance()]))
}

/// Launches `scale` with one workgroup after another, or in a way that must be refused.
struct Launch {
    function: usize,
    grid: [usize; 3],
    block: [usize; 3],
    shared: usize,
    stream: usize,
}

impl Launch {
    fn run(&self, data: usize, factor: f32, count: u32) -> u32 {
        let (mut data, mut factor, mut count) = (data, factor, count);
        let mut values = [address(&mut data), address(&mut factor), address(&mut count)];
        self.with(address(&mut values), 0)
    }

    fn with(&self, values: usize, extra: usize) -> u32 {
        let ([gx, gy, gz], [bx, by, bz]) = (self.grid, self.block);
        let arguments =
            [self.function, gx, gy, gz, bx, by, bz, self.shared, self.stream, values, extra];
        code("hipModuleLaunchKernel", &arguments)
    }
}

fn numbers(device: usize, count: usize) -> Vec<f32> {
    let mut numbers = vec![0f32; count];
    ok("hipMemcpy", &[address(&mut numbers[..]), device, 4 * count, 2]);
    numbers
}

fn filled(count: usize) -> usize {
    let mut numbers: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let device = made::<usize>("hipMalloc", &[4 * count]);
    ok("hipMemcpy", &[device, address(&mut numbers[..]), 4 * count, 1]);
    device
}

#[test]
fn a_kernel_scales() {
    simulated_on("gfx942", "a_kernel_scales", || {
        let Some(function) = scale() else { return };
        let device = filled(1000);
        let launch = Launch { function, grid: [4, 1, 1], block: [256, 1, 1], shared: 0, stream: 0 };
        assert_eq!(launch.run(device, 0.5, 1000), 0);
        let halves: Vec<f32> = (0..1000).map(|i| i as f32 / 2.0).collect();
        assert_eq!(numbers(device, 1000), halves);
        assert_eq!(control::counter("launches"), 1);

        // The same arguments in a buffer, whose list HIP ends with 3.
        let mut buffer = [0u8; 16];
        buffer[..8].copy_from_slice(&device.to_le_bytes());
        buffer[8..12].copy_from_slice(&2f32.to_le_bytes());
        buffer[12..].copy_from_slice(&1000u32.to_le_bytes());
        let mut bytes = buffer.len();
        let mut extra = [1, address(&mut buffer), 2, address(&mut bytes), 3];
        assert_eq!(launch.with(0, address(&mut extra)), 0);
        let doubled: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        assert_eq!(numbers(device, 1000), doubled);
        extra[4] = 0;
        assert_eq!(launch.with(0, address(&mut extra)), 1, "0 ends CUDA's list");
    });
}

#[test]

fn launches_are_counted_and_faults_reported() {
    simulated_on("gfx942", "launches_are_counted_and_faults_reported", || {
        let Some(function) = scale() else { return };
        let device = filled(1000);
        let launch = Launch { function, grid: [4, 1, 1], block: [256, 1, 1], shared: 0, stream: 0 };
        assert_eq!(launch.run(device, 0.5, 1000), 0);
        ok("hipDeviceSynchronize", &[]);
        assert_eq!(control::text("expertile_sim_reports"), "");
        assert_eq!(control::counter("blocks"), 4);
        assert_eq!(control::counter("global.bytes_read"), 4000);
        assert_eq!(control::counter("global.bytes_written"), 4000);
        assert_eq!(launch.run(device, 0.5, 1001), 0);
        assert_eq!(code("hipDeviceSynchronize", &[]), 700);
        let reports = control::text("expertile_sim_reports");
        assert!(reports.contains("scale: OutOfBounds: "), "{reports}");
        assert!(reports.contains("block (3, 0, 0) thread 232 (warp 3 lane 40)"), "{reports}");
        ok("hipDeviceSynchronize", &[]);
    });
}

#[test]
fn impossible_launches_are_refused() {
    simulated_on("gfx942", "impossible_launches_are_refused", || {
        let Some(function) = scale() else { return };
        let device = filled(4);
        let good = || Launch { function, grid: [1; 3], block: [64, 1, 1], shared: 0, stream: 0 };
        let run = |launch: Launch| launch.run(device, 1.0, 4);
        assert_eq!(run(Launch { grid: [0, 1, 1], ..good() }), 9);
        assert_eq!(run(Launch { grid: [1, 65_537, 1], ..good() }), 9);
        assert_eq!(run(Launch { grid: [1 << 26, 1, 1], ..good() }), 9, "2^32 threads");
        assert_eq!(run(Launch { block: [0, 1, 1], ..good() }), 9);
        assert_eq!(run(Launch { block: [1024, 2, 1], ..good() }), 9);
        assert_eq!(run(Launch { block: [257, 1, 1], ..good() }), 719, "made for 256");
        assert_eq!(run(Launch { shared: 65_537, ..good() }), 1);
        assert_eq!(good().with(0, 0), 1, "no arguments");
        assert_eq!(run(Launch { function: 0x1234, ..good() }), 400);
        ok("hipSetDevice", &[1]);
        let stream = made::<usize>("hipStreamCreate", &[]);
        assert_eq!(run(Launch { stream, ..good() }), 400, "stream and function of two devices");
        ok("hipSetDevice", &[0]);
        assert_eq!(run(Launch { stream, ..good() }), 400, "the stream is of another device");
        assert_eq!(run(Launch { shared: 65_536, ..good() }), 0);
        ok("hipDeviceSynchronize", &[]);
        assert_eq!(control::counter("launches"), 1);
    });
}

#[test]
fn kernels_have_attributes() {
    simulated_on("gfx942", "kernels_have_attributes", || {
        let Some(function) = scale() else { return };
        let attribute = |number| made::<i32>("hipFuncGetAttribute", &[number, function]);
        assert_eq!(attribute(0), 256, "threads of a workgroup");
        assert_eq!(attribute(1), 0, "LDS");
        assert_eq!(attribute(8), 65_536, "dynamic LDS");
        ok("hipFuncSetAttribute", &[function, 8, 1024]);
        assert_eq!(attribute(8), 1024);
        assert_eq!(code("hipFuncSetAttribute", &[function, 8, 65_537]), 1);
        let blocks = |threads, dynamic| {
            let arguments = [function, threads, dynamic];
            made::<i32>("hipModuleOccupancyMaxActiveBlocksPerMultiprocessor", &arguments)
        };
        assert_eq!(blocks(256, 0), 8, "32 waves");
        assert_eq!(blocks(256, 32_768), 2, "64 KiB of LDS");
        assert_eq!(blocks(256, 65_537), 0);
    });
}

#[test]
fn wrong_images_are_refused() {
    simulated_on("gfx942", "wrong_images_are_refused", || {
        let mut module = 0usize;
        let there = address(&mut module);
        let load = |image: &mut [u8]| code("hipModuleLoadData", &[there, address(image)]);
        assert_eq!(code("hipModuleLoadData", &[there, 0]), 1);
        assert_eq!(load(&mut b"no code object".to_vec()), 200);
        let path = c"/no/such/file".as_ptr().expose_provenance();
        assert_eq!(code("hipModuleLoad", &[there, path]), 301);
        let (Some(mut other), Some(mut image)) = (code_object("gfx90a"), code_object("gfx942"))
        else {
            return;
        };
        assert_eq!(load(&mut other), 209, "for another processor");
        let refusal = control::text("expertile_sim_last_refusal");
        let want = "hipModuleLoadData: hipErrorNoBinaryForGpu: gfx942 runs no code for gfx90a";
        assert_eq!(refusal, want);
        assert_eq!(load(&mut image), 0);
        let mut function = 0usize;
        let name = |name: &'static std::ffi::CStr| name.as_ptr().expose_provenance();
        let get = [address(&mut function), module, name(c"other")];
        assert_eq!(code("hipModuleGetFunction", &get), 500);
        let function = made::<usize>("hipModuleGetFunction", &[module, name(c"scale")]);
        ok("hipModuleUnload", &[module]);
        assert_eq!(code("hipModuleUnload", &[module]), 400);
        let stale = Launch { function, grid: [1; 3], block: [1; 3], shared: 0, stream: 0 };
        assert_eq!(stale.run(0, 1.0, 0), 400);
    });
}
