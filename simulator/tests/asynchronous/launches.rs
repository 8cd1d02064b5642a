//! Tensor maps and clusters as a program asks the driver for them.

use super::bench::Source;
use super::support::{address, control, invoke, ok, simulated};
use cudarc::driver::CudaContext;
use cudarc::driver::sys::{self, CUlaunchAttributeID_enum as Attribute};
use expertile_simulator::nvcc;
use libloading::Library;
use std::ffi::{CString, c_void};

static KERNELS: Source = Source::new("clusters.cu");

/// `CUDA_ERROR_INVALID_CLUSTER_SIZE`.
const INVALID_CLUSTER_SIZE: u32 = 912;

struct Kernels {
    module: sys::CUmodule,
    /// Keeps the context.
    _context: std::sync::Arc<CudaContext>,
}

impl Kernels {
    fn load() -> Kernels {
        let context = CudaContext::new(0).unwrap();
        let text = CString::new(nvcc::compile(&KERNELS.path(), "sm_90a", &[]).unwrap()).unwrap();
        let mut module = std::ptr::null_mut();
        // SAFETY: the text ends with a NUL and lives during the call.
        ok(unsafe { sys::cuModuleLoadData(&mut module, text.as_ptr().cast()) });
        Kernels { module, _context: context }
    }

    /// The code of a launch of 64 threads a block with attributes: an identity and three numbers.
    fn launch(
        &self,
        name: &str,
        grid: u32,
        attributes: &[(Attribute, [u32; 3])],
        values: &mut [*mut c_void],
    ) -> u32 {
        let name = CString::new(name).unwrap();
        let mut function = std::ptr::null_mut();
        // SAFETY: the name ends with a NUL and lives during the call.
        ok(unsafe { sys::cuModuleGetFunction(&mut function, self.module, name.as_ptr()) });
        let mut all: Vec<sys::CUlaunchAttribute> = attributes
            .iter()
            .map(|&(id, [x, y, z])| {
                // SAFETY: any bits are such a union's.
                let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
                attribute.id = id;
                attribute.value.clusterDim.x = x;
                attribute.value.clusterDim.y = y;
                attribute.value.clusterDim.z = z;
                attribute
            })
            .collect();
        let configuration = sys::CUlaunchConfig {
            gridDimX: grid,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: 64,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 4 * 1024,
            hStream: std::ptr::null_mut(),
            attrs: all.as_mut_ptr(),
            numAttrs: all.len() as u32,
        };
        // SAFETY: the configuration and the values live during the call, which checks the rest.
        let result = unsafe {
            sys::cuLaunchKernelEx(
                &configuration,
                function,
                values.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        result as u32
    }
}

fn made(bytes: usize) -> u64 {
    let mut memory = 0;
    // SAFETY: the place for the address outlives the call.
    ok(unsafe { sys::cuMemAlloc_v2(&mut memory, bytes) });
    memory
}

#[test]
fn tensor_maps_and_clusters() {
    if nvcc::find().is_err() {
        return;
    }
    simulated("launches::tensor_maps_and_clusters", || {
        let kernels = Kernels::load();
        let floats: Vec<f32> = (0..4 * 8 * 32).map(|at| (at % 61) as f32).collect();
        let (input, output) = (made(4 * floats.len()), made(4 * 4 * 64));
        // SAFETY: both have that many bytes.
        ok(unsafe { sys::cuMemcpyHtoD_v2(input, floats.as_ptr().cast(), 4 * floats.len()) });
        #[repr(C, align(64))]
        struct Map([u8; 128]);
        let mut map = Map([0; 128]);
        let (extents, strides, boxes, steps) = ([32u64, 32], [128u64], [32u32, 8], [1u32, 1]);
        // SAFETY: the stand-in driver, which is always there.
        let library = unsafe { Library::new("libcuda.so.1") }.unwrap();
        type Encode = unsafe extern "C" fn(
            *mut c_void,
            u32,
            u32,
            u64,
            *const u64,
            *const u64,
            *const u32,
            *const u32,
            u32,
            u32,
            u32,
            u32,
        ) -> u32;
        // SAFETY: the documented signature, with enumerations as numbers; the arrays have the lengths
        // that the rank says.
        let encoded = unsafe {
            let encode = library.get::<Encode>(b"cuTensorMapEncodeTiled").unwrap();
            encode(
                (&raw mut map).cast(),
                7,
                2,
                input,
                extents.as_ptr(),
                strides.as_ptr(),
                boxes.as_ptr(),
                steps.as_ptr(),
                0,
                0,
                0,
                0,
            )
        };
        assert_eq!(encoded, 0);
        let (mut rounds, mut fault, mut out) = (1u32, 0u32, output);
        let mut values = [
            (&raw mut map).cast::<c_void>(),
            (&raw mut rounds).cast(),
            (&raw mut fault).cast(),
            (&raw mut out).cast(),
        ];
        let clusters = Attribute::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        let overlap = Attribute::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        for seed in 0..8 {
            control::set("expertile_sim_set_seed", seed);
            let attributes = [(clusters, [4, 1, 1]), (overlap, [1, 0, 0])];
            assert_eq!(kernels.launch("multicast", 4, &attributes, &mut values), 0);
            assert_eq!(invoke(&library, "cuCtxSynchronize", &[]), 0);
            let mut sums = vec![0f32; 4 * 64];
            let bytes = 4 * sums.len();
            let read = [address(&mut sums[..]), output as usize, bytes];
            assert_eq!(invoke(&library, "cuMemcpyDtoH_v2", &read), 0);
            let sum = |thread: usize| floats.iter().skip(thread).step_by(64).sum::<f32>();
            assert_eq!(sums, (0..256).map(|at| sum(at % 64)).collect::<Vec<f32>>(), "seed {seed}");
        }
        let mut refused = |name: &str, grid: u32, size: Option<[u32; 3]>, code: u32| {
            let attributes: Vec<_> = size.map(|size| (clusters, size)).into_iter().collect();
            let result = kernels.launch(name, grid, &attributes, &mut values);
            assert_eq!(result, code, "{name} {grid} {size:?}");
        };
        refused("multicast", 4, Some([3, 1, 1]), INVALID_CLUSTER_SIZE);
        refused("multicast", 4, Some([0, 1, 1]), INVALID_CLUSTER_SIZE);
        refused("multicast", 16, Some([16, 1, 1]), INVALID_CLUSTER_SIZE);
        // A kernel that is made for clusters of two.
        refused("hand_over", 3, None, INVALID_CLUSTER_SIZE);
        refused("hand_over", 4, Some([4, 1, 1]), INVALID_CLUSTER_SIZE);
    });
}
