//! Both stand-in drivers under the names of one, so that a rule is tested once.
#![allow(dead_code)] // each test file uses its part

use libloading::Library;

use super::hip::code_object;
use super::support::{address, control, inside, invoke, ptx, simulated_on};

/// The calls that the tests make: CUDA's name, and that of the HIP call with the same arguments.
#[rustfmt::skip]
const TWINS: &[(&str, &str)] = &[
    ("cuCtxSynchronize", "hipDeviceSynchronize"),
    ("cuEventCreate", "hipEventCreateWithFlags"),
    ("cuEventElapsedTime", "hipEventElapsedTime"),
    ("cuEventQuery", "hipEventQuery"),
    ("cuEventRecord", "hipEventRecord"),
    ("cuEventSynchronize", "hipEventSynchronize"),
    ("cuGraphGetNodes", "hipGraphGetNodes"),
    ("cuGraphInstantiateWithFlags", "hipGraphInstantiateWithFlags"),
    ("cuGraphLaunch", "hipGraphLaunch"),
    ("cuGraphNodeGetType", "hipGraphNodeGetType"),
    ("cuLaunchHostFunc", "hipLaunchHostFunc"),
    ("cuLaunchKernel", "hipModuleLaunchKernel"),
    ("cuMemAllocAsync", "hipMallocAsync"),
    ("cuMemAlloc_v2", "hipMalloc"),
    ("cuMemFreeAsync", "hipFreeAsync"),
    ("cuMemFreeHost", "hipHostFree"),
    ("cuMemFree_v2", "hipFree"),
    ("cuMemHostAlloc", "hipHostMalloc"),
    ("cuMemHostRegister_v2", "hipHostRegister"),
    ("cuMemHostUnregister", "hipHostUnregister"),
    ("cuMemcpyDtoDAsync_v2", "hipMemcpyDtoDAsync"),
    ("cuMemcpyDtoD_v2", "hipMemcpyDtoD"),
    ("cuMemcpyDtoHAsync_v2", "hipMemcpyDtoHAsync"),
    ("cuMemcpyDtoH_v2", "hipMemcpyDtoH"),
    ("cuMemcpyHtoDAsync_v2", "hipMemcpyHtoDAsync"),
    ("cuMemcpyHtoD_v2", "hipMemcpyHtoD"),
    ("cuMemsetD32Async", "hipMemsetD32Async"),
    ("cuMemsetD32_v2", "hipMemsetD32"),
    ("cuMemsetD8_v2", "hipMemsetD8"),
    ("cuModuleGetFunction", "hipModuleGetFunction"),
    ("cuModuleLoad", "hipModuleLoad"),
    ("cuModuleLoadData", "hipModuleLoadData"),
    ("cuModuleUnload", "hipModuleUnload"),
    ("cuStreamAddCallback", "hipStreamAddCallback"),
    ("cuStreamBeginCapture_v2", "hipStreamBeginCapture"),
    ("cuStreamCreate", "hipStreamCreateWithFlags"),
    ("cuStreamDestroy_v2", "hipStreamDestroy"),
    ("cuStreamEndCapture", "hipStreamEndCapture"),
    ("cuStreamIsCapturing", "hipStreamIsCapturing"),
    ("cuStreamQuery", "hipStreamQuery"),
    ("cuStreamSynchronize", "hipStreamSynchronize"),
    ("cuStreamWaitEvent", "hipStreamWaitEvent"),
    ("cuThreadExchangeStreamCaptureMode", "hipThreadExchangeStreamCaptureMode"),
];

/// A driver whose devices 0 and 1 are alike.
pub(crate) struct Face {
    pub(crate) is_hip: bool,
    library: Library,
    /// CUDA's primary contexts.
    pub(crate) contexts: [usize; 2],
}

/// Runs a test on each driver, alone in its process.
pub(crate) fn on_both(name: &str, body: impl FnOnce(&Face)) {
    if inside(name) {
        return body(&Face::open());
    }
    for architecture in ["sm_90a", "gfx942"] {
        simulated_on(architecture, name, || ());
    }
}

impl Face {
    fn open() -> Face {
        let is_hip = std::env::var("EXPERTILE_SIM_ARCH").unwrap().starts_with("gfx");
        let path = if is_hip { std::env::var_os("EXPERTILE_HIP_LIBRARY") } else { None };
        // SAFETY: the stand-in driver's initialisers do nothing.
        let library = unsafe { Library::new(path.unwrap_or("libcuda.so.1".into())) }.unwrap();
        let mut face = Face { is_hip, library, contexts: [0; 2] };
        if !is_hip {
            face.ok("cuInit", &[0]);
            face.contexts = [0, 1].map(|device| face.made("cuDevicePrimaryCtxRetain", &[device]));
        }
        face.enter(0);
        face
    }

    /// Makes a device the calling thread's current one.
    pub(crate) fn enter(&self, device: usize) {
        match self.is_hip {
            true => self.ok("hipSetDevice", &[device]),
            false => self.ok("cuCtxSetCurrent", &[self.contexts[device]]),
        }
    }

    /// The name on this driver of a call of CUDA; a name that is not listed is the driver's own.
    fn own_name<'a>(&self, name: &'a str) -> &'a str {
        match TWINS.iter().find(|twins| twins.0 == name) {
            Some(twins) if self.is_hip => twins.1,
            _ => name,
        }
    }

    /// The code of a call.
    pub(crate) fn code(&self, name: &str, arguments: &[usize]) -> u32 {
        invoke(&self.library, self.own_name(name), arguments) as u32
    }

    /// A call must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, name: &str, arguments: &[usize]) {
        let code = self.code(name, arguments);
        assert_eq!(code, 0, "{}", control::text("expertile_sim_last_refusal"));
    }

    /// What a call writes where its first argument points.
    #[track_caller]
    pub(crate) fn made<T: Default>(&self, name: &str, rest: &[usize]) -> T {
        let mut value = T::default();
        let first = [address(&mut value)];
        self.ok(name, &first.into_iter().chain(rest.iter().copied()).collect::<Vec<_>>());
        value
    }

    /// Runs the body on another thread, on device 0, until it is done.
    pub(crate) fn on_another_thread<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inner = || {
                self.enter(0);
                body()
            };
            scope.spawn(inner).join().unwrap()
        })
    }

    /// A stream that waits for the null stream, and it for the stream.
    pub(crate) fn blocking(&self) -> usize {
        self.made("cuStreamCreate", &[0])
    }

    pub(crate) fn non_blocking(&self) -> usize {
        self.made("cuStreamCreate", &[1])
    }

    /// Device memory of zeros.
    pub(crate) fn zeros(&self, words: usize) -> usize {
        let memory = self.made("cuMemAlloc_v2", &[4 * words]);
        self.ok("cuMemsetD32_v2", &[memory, 0, words]);
        // The fill is asynchronous, and a stream that does not block does not wait for it.
        self.ok("cuStreamSynchronize", &[0]);
        memory
    }

    /// The word at a device address, when everything before is done.
    pub(crate) fn word(&self, memory: usize) -> u32 {
        let mut word = 0u32;
        self.ok("cuMemcpyDtoH_v2", &[address(&mut word), memory, 4]);
        word
    }

    pub(crate) fn begin(&self, stream: usize, mode: u32) -> u32 {
        self.code("cuStreamBeginCapture_v2", &[stream, mode as usize])
    }

    /// The code of the end of a capture, and the graph.
    pub(crate) fn end(&self, stream: usize) -> (u32, usize) {
        let mut graph = 0usize;
        (self.code("cuStreamEndCapture", &[stream, address(&mut graph)]), graph)
    }

    /// Sets the calling thread's mode for captures, and returns the one before.
    pub(crate) fn exchange(&self, mut mode: u32) -> u32 {
        self.ok("cuThreadExchangeStreamCaptureMode", &[address(&mut mode)]);
        mode
    }

    /// The tests' kernels as this driver loads them; none without a compiler for AMD.
    pub(crate) fn image(&self) -> Option<Vec<u8>> {
        if self.is_hip { code_object("gfx942") } else { Some(ptx().into_bytes_with_nul()) }
    }

    /// A kernel of the current device that writes one word; none without a compiler.
    pub(crate) fn kernel(&self) -> Option<usize> {
        let module = self.made::<usize>("cuModuleLoadData", &[address(&mut self.image()?[..])]);
        let name = if self.is_hip { c"scale" } else { c"store" };
        Some(self.made("cuModuleGetFunction", &[module, name.as_ptr().expose_provenance()]))
    }

    /// Launches the kernel: CUDA's stores [`Face::STORED`], HIP's changes the sign of a float.
    pub(crate) fn launch(&self, kernel: usize, stream: usize, mut memory: usize) -> u32 {
        let (mut stored, mut factor, mut count) = (Face::STORED, -1f32, 1u32);
        let mut values = match self.is_hip {
            true => [address(&mut memory), address(&mut factor), address(&mut count)],
            false => [address(&mut memory), address(&mut stored), 0],
        };
        let values = address(&mut values);
        self.code("cuLaunchKernel", &[kernel, 1, 1, 1, 1, 1, 1, 0, stream, values, 0])
    }

    /// What the kernel leaves where 0 was: -0 as a float, and what `store` is given.
    pub(crate) const STORED: u32 = 0x8000_0000;
}
