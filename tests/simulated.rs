//! What only a simulated driver can tell: how much memory traffic a kernel causes, which driver calls
//! an operator makes, and that no schedule brings out a fault.
//!
//! On a real driver, and without one, these tests have nothing to ask; `EXPERTILE_REQUIRE=simulated`
//! makes that a failure.

use expertile::{
    Buffer, Device, Dtype, Norm, Pairing, Platform, Residual, Rope, Stream, Tensor, TensorMut,
    layer_norm, rms_norm, rope,
};
use half::bf16;
use libloading::Library;
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The control functions of the simulated driver (`simulator/README.md`).
struct Simulator {
    library: Library,
    _alone: MutexGuard<'static, ()>,
}

type Text = unsafe extern "C" fn(*mut u8, usize) -> usize;

impl Simulator {
    /// One test at a time, since the driver counts for the whole process.
    fn find() -> Option<Simulator> {
        static ONE: Mutex<()> = Mutex::new(());
        // SAFETY: loading a driver runs its initialisers, which is what every CUDA program does.
        let library = unsafe { Library::new("libcuda.so.1") }.ok();
        let library = library.filter(|library| {
            // SAFETY: the address is not called.
            unsafe { library.get::<unsafe extern "C" fn()>("expertile_sim_version") }.is_ok()
        });
        let Some(library) = library else {
            let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
            assert!(!required.contains("simulated"), "no simulated driver");
            eprintln!("skipped: no simulated driver");
            return None;
        };
        let alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Simulator { library, _alone: alone })
    }

    fn text(&self, name: &str) -> String {
        // SAFETY: the type is that of the simulator's documentation.
        let function = unsafe { self.library.get::<Text>(name) }.unwrap();
        // SAFETY: without room nothing is written.
        let mut bytes = vec![0; unsafe { function(std::ptr::null_mut(), 0) }];
        // SAFETY: there is as much room as stated.
        let length = unsafe { function(bytes.as_mut_ptr(), bytes.len()) }.min(bytes.len());
        String::from_utf8_lossy(&bytes[..length]).trim_end_matches('\0').to_owned()
    }

    /// All counters since the library was loaded.
    fn counters(&self) -> HashMap<String, u64> {
        let text = self.text("expertile_sim_total_counters");
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
            .collect()
    }

    fn calls(&self, name: &str) -> u64 {
        let name = CString::new(name).unwrap();
        type Calls = unsafe extern "C" fn(*const std::ffi::c_char) -> u64;
        // SAFETY: the type is that of the simulator's documentation; the name ends with a zero.
        unsafe { self.library.get::<Calls>("expertile_sim_calls").unwrap()(name.as_ptr()) }
    }

    fn set_seed(&self, seed: u64) {
        // SAFETY: the type is that of the simulator's documentation.
        unsafe {
            let set = self.library.get::<unsafe extern "C" fn(u64)>("expertile_sim_set_seed");
            set.unwrap()(seed);
        }
    }
}

/// One device of each architecture, of every platform that this build has.
fn devices() -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    for platform in Platform::ALL {
        for ordinal in 0..Device::count(platform).unwrap_or(0) {
            let device = Device::open(platform, ordinal).unwrap();
            let images = device.info().images;
            if devices.iter().all(|other| other.info().images != images) {
                devices.push(device);
            }
        }
    }
    assert!(!devices.is_empty(), "a simulated driver without a device");
    devices
}

/// Buffers of one call, with DBRX's extents unless stated.
struct RopeBuffers {
    tokens: u64,
    heads: (u64, u64),
    head_dim: u64,
    qkv: Buffer,
    caches: [Buffer; 2],
    positions: Buffer,
    slots: Buffer,
    inv_freq: Buffer,
}

impl RopeBuffers {
    fn new(stream: &Stream, tokens: u64, heads: (u64, u64), head_dim: u64) -> RopeBuffers {
        let row = (heads.0 + 2 * heads.1) * head_dim;
        let qkv: Vec<bf16> = (0..tokens * row).map(|i| bf16::from_f32((i % 13) as f32)).collect();
        let cache = tokens * heads.1 * head_dim;
        let mut caches =
            [(); 2].map(|()| Buffer::new(stream.device(), Dtype::Bf16, cache).unwrap());
        for cache in &mut caches {
            cache.fill_bytes(stream, 0xff).unwrap();
        }
        let positions: Vec<i32> = (0..tokens as i32).collect();
        let slots: Vec<i64> = (0..tokens as i64).rev().collect();
        let inv_freq = expertile_reference::rope::inv_freq(5e5, head_dim as usize);
        RopeBuffers {
            tokens,
            heads,
            head_dim,
            qkv: Buffer::from_slice(stream, &qkv).unwrap(),
            caches,
            positions: Buffer::from_slice(stream, &positions).unwrap(),
            slots: Buffer::from_slice(stream, &slots).unwrap(),
            inv_freq: Buffer::from_slice(stream, &inv_freq).unwrap(),
        }
    }

    fn launch(&mut self, stream: &Stream) -> expertile::Result<()> {
        let (tokens, (q_heads, kv_heads)) = (self.tokens, self.heads);
        let cache = [1, tokens, kv_heads, self.head_dim];
        let [k_cache, v_cache] = &mut self.caches;
        let arguments = Rope {
            qkv: self.qkv.tensor_mut(&[tokens, q_heads + 2 * kv_heads, self.head_dim])?,
            positions: self.positions.tensor(&[tokens])?,
            inv_freq: self.inv_freq.tensor(&[self.head_dim / 2])?,
            k_cache: k_cache.tensor_mut(&cache)?,
            v_cache: v_cache.tensor_mut(&cache)?,
            slot_mapping: self.slots.tensor(&[tokens])?,
            clip: Some(8.0),
            pairing: Pairing::Halves,
        };
        rope(stream, &arguments)
    }
}

type Operator = fn(&Stream, &Norm<'_>) -> expertile::Result<()>;

struct NormBuffers {
    shape: [u64; 2],
    x: Buffer,
    residual: Buffer,
    weight: Buffer,
    out: Buffer,
}

impl NormBuffers {
    fn new(stream: &Stream, tokens: u64, hidden: u64) -> NormBuffers {
        let values = |count: u64| -> Buffer {
            let values: Vec<bf16> = (0..count).map(|i| bf16::from_f32((i % 7) as f32)).collect();
            Buffer::from_slice(stream, &values).unwrap()
        };
        let elements = tokens * hidden;
        let (x, residual, weight) = (values(elements), values(elements), values(hidden));
        let out = Buffer::new(stream.device(), Dtype::Bf16, elements).unwrap();
        NormBuffers { shape: [tokens, hidden], x, residual, weight, out }
    }

    fn launch(&mut self, stream: &Stream, operator: Operator) -> expertile::Result<()> {
        let arguments = Norm {
            x: self.x.tensor(&self.shape)?,
            residual: Residual::Update(self.residual.tensor_mut(&self.shape)?),
            weight: self.weight.tensor(&self.shape[1..])?,
            out: self.out.tensor_mut(&self.shape)?,
            epsilon: 1e-5,
        };
        operator(stream, &arguments)
    }
}

/// Sectors of 32 bytes moved to and from the buffers since they were allocated.
fn sectors(simulator: &Simulator, buffers: &[&Buffer]) -> u64 {
    let counters = simulator.counters();
    let of = |buffer: &&Buffer, key: &str| {
        counters.get(&format!("{:#x}.{key}", buffer.address())).copied().unwrap_or(0)
    };
    buffers.iter().map(|b| of(b, "sectors_read") + of(b, "sectors_written")).sum()
}

/// What must be moved at least: `bytes`.
fn check_floor(name: &str, device: &Device, moved: u64, bytes: u64) {
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

/// Calls that allocate, free, wait or copy.
const FORBIDDEN: [&str; 29] = [
    "cuMemAlloc_v2",
    "cuMemAllocAsync",
    "cuMemFree_v2",
    "cuMemFreeAsync",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoD_v2",
    "cuMemcpyDtoH_v2",
    "cuMemsetD8Async",
    "cuStreamSynchronize",
    "cuCtxSynchronize",
    "cuEventSynchronize",
    "cuStreamCreate",
    "cuLibraryLoadData",
    "cuLibraryGetKernel",
    "cuEventCreate",
    "hipMalloc",
    "hipFree",
    "hipMemcpyHtoDAsync",
    "hipMemcpyDtoHAsync",
    "hipMemcpyDtoDAsync",
    "hipMemsetD8Async",
    "hipStreamSynchronize",
    "hipDeviceSynchronize",
    "hipEventSynchronize",
    "hipStreamCreateWithFlags",
    "hipModuleLoadData",
    "hipModuleGetFunction",
    "hipEventCreateWithFlags",
];

/// The platform's launch.
fn launch_call(device: &Device) -> &'static str {
    match device.info().platform {
        Platform::Hip => "hipModuleLaunchKernel",
        _ => "cuLaunchKernel",
    }
}

#[test]
fn an_operator_is_one_launch_and_nothing_else() {
    let Some(simulator) = Simulator::find() else { return };
    let counts = || FORBIDDEN.map(|name| simulator.calls(name));
    for device in devices() {
        let stream = device.stream().unwrap();
        let mut rope_buffers = RopeBuffers::new(&stream, 3, (6, 1), 16);
        let mut norm_buffers = NormBuffers::new(&stream, 3, 64);
        let mut none = NormBuffers::new(&stream, 0, 64);
        let launch = launch_call(&device);
        let (before, launches) = (counts(), simulator.calls(launch));
        rope_buffers.launch(&stream).unwrap();
        norm_buffers.launch(&stream, layer_norm).unwrap();
        norm_buffers.launch(&stream, rms_norm).unwrap();
        assert_eq!(simulator.calls(launch), launches + 3);
        // Without tokens there is nothing to launch.
        none.launch(&stream, layer_norm).unwrap();
        assert_eq!(simulator.calls(launch), launches + 3);
        assert_eq!(counts(), before, "of {FORBIDDEN:?}");
        stream.synchronize().unwrap();
    }
}

#[test]
fn an_engine_lends_its_stream_and_memory() {
    let Some(simulator) = Simulator::find() else { return };
    for device in devices() {
        let owner = device.stream().unwrap();
        // SAFETY: the stream outlives the borrow.
        let stream = unsafe { Stream::borrow(&device, owner.raw()) }.unwrap();
        let buffers = NormBuffers::new(&owner, 5, 128);
        let (dtype, shape) = (Dtype::Bf16, buffers.shape);
        // SAFETY: the buffers outlive the launch, which ends before `synchronize` returns.
        let arguments = unsafe {
            Norm {
                x: Tensor::from_raw(&device, buffers.x.address(), dtype, &shape, None).unwrap(),
                residual: Residual::None,
                weight: Tensor::from_raw(
                    &device,
                    buffers.weight.address(),
                    dtype,
                    &shape[1..],
                    None,
                )
                .unwrap(),
                out: TensorMut::from_raw(&device, buffers.out.address(), dtype, &shape, None)
                    .unwrap(),
                epsilon: 1e-5,
            }
        };
        layer_norm(&stream, &arguments).unwrap();
        drop(stream);
        owner.synchronize().unwrap();
        let out: Vec<bf16> = buffers.out.read(&owner).unwrap();
        assert!(out.iter().all(|x| x.is_finite()));

        // SAFETY: the buffer outlives the refused call.
        let odd =
            unsafe { Tensor::from_raw(&device, buffers.x.address() + 2, dtype, &[4, 128], None) };
        let refused = layer_norm(&owner, &Norm { x: odd.unwrap(), ..arguments });
        assert!(refused.is_err());
    }
    assert_eq!(simulator.text("expertile_sim_reports"), "");
}

/// How many schedules are tried: `EXPERTILE_SIM_SEEDS`, or 1,000.
fn seeds() -> u64 {
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
