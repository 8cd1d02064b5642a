//! The stand-in `libcuda.so.1`: modules, launches, reports, counters, tensor maps.

#[path = "driver/support.rs"]
mod support;

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;

use cudarc::driver::sys::{self, CUfunction_attribute_enum as Attribute, CUresult};
use cudarc::driver::{CudaContext, DevicePtr};

use support::{code, control, kernel, launch, ok, ptx, simulated, simulated_on, value};

/// Adds two vectors with a loaded kernel and checks the sum and the counters.
fn add_vectors(add: sys::CUfunction) {
    let context = CudaContext::new(0).unwrap();
    let stream = context.new_stream().unwrap();
    let numbers: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    let a = stream.clone_htod(&numbers).unwrap();
    let b = stream.clone_htod(&vec![0.25f32; 1000]).unwrap();
    let c = stream.alloc_zeros::<f32>(1000).unwrap();
    let [mut pa, mut pb, mut pc] = [&a, &b, &c].map(|buffer| buffer.device_ptr(&stream).0);
    let mut n = 1000u32;
    let mut values = [value(&mut pa), value(&mut pb), value(&mut pc), value(&mut n)];
    ok(launch(add, 8, 128, 0, stream.cu_stream(), &mut values));
    let sum: Vec<f32> = numbers.iter().map(|number| number + 0.25).collect();
    assert_eq!(stream.clone_dtoh(&c).unwrap(), sum);
    assert_eq!(control::text("expertile_sim_reports"), "");
    assert_eq!(control::counter("launches"), 1);
    assert_eq!(control::counter("global.bytes_read"), 8000);
    assert_eq!(control::counter("global.bytes_written"), 4000);
    assert_eq!(control::counter("global.sectors_read"), 250);
    assert_eq!(control::counter(&format!("{pc:#x}.unique_sectors_written")), 125);
}

#[test]
fn a_kernel_from_ptx_adds() {
    simulated("a_kernel_from_ptx_adds", || {
        let _context = CudaContext::new(0).unwrap();
        add_vectors(kernel("add"));
    });
}

fn toolchain() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let mut folders = vec![root.join(".toolchain/cuda/nvidia/cu13/bin")];
    folders.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
    folders.extend(std::env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin")));
    folders.push("/usr/local/cuda/bin".into());
    folders.into_iter().find(|folder| folder.join("fatbinary").is_file())
}

/// Machine code and PTX of the tests' kernels for sm_80, packed as the build of the kernels does.
fn fat_binary(toolchain: &Path) -> Vec<u8> {
    let folder = std::env::temp_dir().join(format!("expertile-driver-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("k.ptx"), ptx().to_bytes()).unwrap();
    let run = |tool: &str, arguments: &[&str]| {
        let mut command = Command::new(toolchain.join(tool));
        let output = command.args(arguments).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("ptxas", &["-arch=sm_80", "k.ptx", "-o", "k.cubin"]);
    let parts = ["--image3=kind=elf,sm=80,file=k.cubin", "--image3=kind=ptx,sm=80,file=k.ptx"];
    run("fatbinary", &["--create=k.fatbin", "--compress=false", parts[0], parts[1]]);
    let bytes = std::fs::read(folder.join("k.fatbin")).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    bytes
}

#[test]
fn a_library_serves_every_context() {
    simulated("a_library_serves_every_context", || {
        let Some(toolchain) = toolchain() else {
            let required = std::env::var("EXPERTILE_REQUIRE").unwrap_or_default();
            assert!(!required.contains("cuda"), "no fatbinary, and EXPERTILE_REQUIRE names cuda");
            eprintln!("skipped: no fatbinary");
            return;
        };
        let image = fat_binary(&toolchain);
        let contexts = [CudaContext::new(0).unwrap(), CudaContext::new(1).unwrap()];
        let (mut library, mut add, mut missing) = (null_mut(), null_mut(), null_mut());
        // SAFETY: the image says its size; the other addresses are optional or have room.
        unsafe {
            ok(sys::cuLibraryLoadData(
                &mut library,
                image.as_ptr().cast(),
                null_mut(),
                null_mut(),
                0,
                null_mut(),
                null_mut(),
                0,
            ));
            drop(image);
            ok(sys::cuLibraryGetKernel(&mut add, library, c"add".as_ptr()));
            let unknown = sys::cuLibraryGetKernel(&mut missing, library, c"sub".as_ptr());
            assert_eq!(code(unknown), 500);
            let mut functions = [null_mut(); 2];
            for (context, function) in contexts.iter().zip(&mut functions) {
                context.bind_to_thread().unwrap();
                ok(sys::cuKernelGetFunction(function, add));
            }
            assert_ne!(functions[0], functions[1]);
        }
        contexts[0].bind_to_thread().unwrap();
        // A kernel may stand for its function.
        add_vectors(add.cast());
        // SAFETY: handles are numbers to the stand-in driver.
        unsafe {
            ok(sys::cuLibraryUnload(library));
            assert_eq!(code(sys::cuKernelGetFunction(&mut add.cast(), add)), 400);
        }
    });
}

#[test]
fn images_for_other_devices_are_refused() {
    simulated_on("sm_89,sm_90a", "images_for_other_devices_are_refused", || {
        let load = |ordinal: usize, text: &str| {
            let _context = CudaContext::new(ordinal).unwrap();
            let image = std::ffi::CString::new(text).unwrap();
            let mut module = null_mut();
            // SAFETY: the text ends with a NUL.
            code(unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) })
        };
        let text = |target: &str| ptx().to_str().unwrap().replace("sm_80", target);
        assert_eq!(load(0, &text("sm_80")), 0);
        assert_eq!(load(0, &text("sm_89")), 0);
        assert_eq!(load(0, &text("sm_90")), 209);
        assert_eq!(load(0, &text("sm_90a")), 209);
        assert_eq!(load(2, &text("sm_90a")), 0);
        assert_eq!(load(2, &text("sm_80a")), 209);
        assert_eq!(load(2, &text("sm_100")), 209);
        assert_eq!(load(2, "hello"), 200);
        assert_eq!(load(2, ".version 8.0\n.target sm_80\n.address_size 64\nnonsense"), 218);
        assert_eq!(load(2, "\x7fELF..."), 209);
    });
}

#[test]
fn variables_have_addresses() {
    simulated("variables_have_addresses", || {
        let _context = CudaContext::new(0).unwrap();
        let image = ptx();
        let (mut module, mut address, mut bytes, mut number) = (null_mut(), 0, 0, 0f32);
        // SAFETY: the results have room.
        unsafe {
            ok(sys::cuModuleLoadData(&mut module, image.as_ptr().cast()));
            let name = c"offset".as_ptr();
            ok(sys::cuModuleGetGlobal_v2(&mut address, &mut bytes, module, name));
            assert_eq!(bytes, 4);
            ok(sys::cuMemcpyDtoH_v2((&raw mut number).cast(), address, 4));
            assert_eq!(number, 0.5);
            let none = sys::cuModuleGetGlobal_v2(&mut address, &mut bytes, module, c"no".as_ptr());
            assert_eq!(code(none), 500);
            ok(sys::cuModuleUnload(module));
            assert_eq!(code(sys::cuMemcpyDtoH_v2((&raw mut number).cast(), address, 4)), 1);
        }
    });
}

#[test]
fn impossible_launches_are_refused() {
    simulated("impossible_launches_are_refused", || {
        let _context = CudaContext::new(0).unwrap();
        let [fail, add, shared, few] = ["fail", "add", "shared_memory", "few_threads"].map(kernel);
        let refused = |function, blocks, threads, bytes| {
            code(launch(function, blocks, threads, bytes, null_mut(), &mut []))
        };
        assert_eq!(refused(fail, 0, 32, 0), 1);
        assert_eq!(refused(fail, 1, 0, 0), 1);
        assert_eq!(refused(fail, 1 << 31, 32, 0), 1);
        assert_eq!(refused(fail, 1, 1025, 0), 1);
        assert_eq!(refused(few, 1, 65, 0), 1);
        assert_eq!(refused(few, 1, 64, 0), 0);
        assert_eq!(refused(add, 1, 32, 0), 1, "no parameters");
        assert_eq!(refused(shared, 1, 32, 49152 - 1024), 0);
        assert_eq!(refused(shared, 1, 32, 49152 - 1023), 1);
        let opt_in = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function lives.
        unsafe {
            ok(sys::cuFuncSetAttribute(shared, opt_in, 232_448 - 1024));
            assert_eq!(code(sys::cuFuncSetAttribute(shared, opt_in, 232_448 - 1023)), 1);
        }
        assert_eq!(refused(shared, 1, 32, 232_448 - 1024), 0);
        assert_eq!(refused(shared, 1, 32, 232_448 - 1023), 1);
        // SAFETY: all wrong launches were refused before anything was queued.
        unsafe { ok(sys::cuCtxSynchronize()) };
    });
}

#[test]
fn parameters_may_come_in_a_buffer() {
    simulated("parameters_may_come_in_a_buffer", || {
        let context = CudaContext::new(0).unwrap();
        let stream = context.new_stream().unwrap();
        let target = stream.alloc_zeros::<u32>(32).unwrap();
        let store = kernel("store");
        let mut buffer = target.device_ptr(&stream).0.to_le_bytes().to_vec();
        buffer.extend(77u32.to_le_bytes());
        let attempt = |size: usize| {
            let mut size = size;
            let mut extra: [*mut c_void; 5] = [
                std::ptr::without_provenance_mut(1),
                buffer.as_ptr().cast_mut().cast(),
                std::ptr::without_provenance_mut(2),
                (&raw mut size).cast(),
                null_mut(),
            ];
            let (function, raw) = (store, stream.cu_stream());
            // SAFETY: the buffer holds the kernel's 12 bytes.
            code(unsafe {
                let extra = extra.as_mut_ptr();
                sys::cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, raw, null_mut(), extra)
            })
        };
        assert_eq!(attempt(8), 1);
        assert_eq!(attempt(12), 0);
        assert_eq!(stream.clone_dtoh(&target).unwrap(), [77; 32]);
    });
}

/// Launches `store` with 32 threads at an address.
fn store_at(mut address: u64) {
    let mut number = 1u32;
    let mut values = [value(&mut address), value(&mut number)];
    ok(launch(kernel("store"), 1, 32, 0, null_mut(), &mut values));
}

#[test]
fn faults_come_with_the_next_synchronisation() {
    simulated("faults_come_with_the_next_synchronisation", || {
        let context = CudaContext::new(0).unwrap();
        let stream = context.default_stream();
        let buffer = stream.alloc_zeros::<u32>(31).unwrap();
        let address = buffer.device_ptr(&stream).0;
        let synchronize = || context.synchronize().map_err(|error| code(error.0));
        store_at(address);
        assert_eq!(synchronize(), Err(700));
        assert_eq!(synchronize(), Ok(()), "an error comes once");
        let reports = control::text("expertile_sim_reports");
        assert!(reports.contains("store: OutOfBounds"), "{reports}");
        assert!(reports.contains("thread 31"), "{reports}");
        store_at(address + 2);
        assert_eq!(synchronize(), Err(716));
        ok(launch(kernel("fail"), 1, 1, 0, null_mut(), &mut []));
        assert_eq!(synchronize(), Err(710));
        store_at(address);
        let copied = stream.clone_dtoh(&buffer).unwrap_err();
        assert_eq!(copied.0, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        control::set("expertile_sim_clear_reports", 0);
        assert_eq!(control::text("expertile_sim_reports"), "");
    });
}

#[test]
fn faults_stay_when_told_to() {
    simulated("faults_stay_when_told_to", || {
        let context = CudaContext::new(0).unwrap();
        control::set("expertile_sim_set_sticky", 1);
        ok(launch(kernel("fail"), 1, 1, 0, null_mut(), &mut []));
        let mut address = 0;
        for _ in 0..2 {
            assert_eq!(code(context.synchronize().unwrap_err().0), 710);
            // SAFETY: the result has room.
            assert_eq!(code(unsafe { sys::cuMemAlloc_v2(&mut address, 16) }), 710);
        }
        assert!(CudaContext::new(1).unwrap().synchronize().is_ok(), "the other device works on");
    });
}

#[test]
fn tensor_maps_obey_the_documented_conditions() {
    simulated("tensor_maps_obey_the_documented_conditions", || {
        let context = CudaContext::new(0).unwrap();
        let stream = context.default_stream();
        let buffer = stream.alloc_zeros::<u16>(64 * 64).unwrap();
        let address = buffer.device_ptr(&stream).0;
        // Data type, address, extents, strides, box, element strides, interleave, swizzle, fill.
        type Case = (u32, u64, Vec<u64>, Vec<u64>, Vec<u32>, Vec<u32>, u32, u32, u32);
        let good: Case = (9, address, vec![64, 64], vec![128], vec![64, 8], vec![1, 1], 0, 3, 0);
        let encode = |case: &Case| {
            let mut map = sys::CUtensorMap { opaque: [0; 16] };
            let (data_type, address, extents, strides, boxes, steps, interleave, swizzle, fill) =
                case;
            // SAFETY: the stand-in driver checks every enumeration, which are numbers to it; the
            // arrays have the lengths that the rank says.
            let result = unsafe {
                type Encode = unsafe extern "C" fn(
                    *mut sys::CUtensorMap,
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
                let library = libloading::Library::new("libcuda.so.1").unwrap();
                let encode = library.get::<Encode>(b"cuTensorMapEncodeTiled").unwrap();
                encode(
                    &mut map,
                    *data_type,
                    extents.len() as u32,
                    *address,
                    extents.as_ptr(),
                    strides.as_ptr(),
                    boxes.as_ptr(),
                    steps.as_ptr(),
                    *interleave,
                    *swizzle,
                    0,
                    *fill,
                )
            };
            (result, map.opaque)
        };
        let (result, map) = encode(&good);
        assert_eq!(result, 0);
        assert_eq!(map[0].to_le_bytes(), *b"exp-tmap");
        assert_eq!(map[1], address);
        let bad = |what: &str, change: &dyn Fn(&mut Case)| {
            let mut case = good.clone();
            change(&mut case);
            assert_eq!(encode(&case).0, 1, "{what}");
        };
        bad("data type", &|case| case.0 = 13);
        bad("address of 8 bytes", &|case| case.1 += 8);
        bad("extent 0", &|case| case.2[1] = 0);
        bad("extent beyond 2^32", &|case| case.2[1] = (1 << 32) + 1);
        bad("stride of 8 bytes", &|case| case.3[0] += 8);
        bad("stride 2^40", &|case| case.3[0] = 1 << 40);
        bad("box 0", &|case| case.4[1] = 0);
        bad("box 257", &|case| case.4[1] = 257);
        bad("12 inner bytes", &|case| case.4[0] = 6);
        bad("inner box beyond the swizzle", &|case| case.4[0] = 72);
        bad("element stride 0", &|case| case.5[1] = 0);
        bad("element stride 9", &|case| case.5[1] = 9);
        bad("interleave with rank 2", &|case| case.6 = 1);
        bad("swizzle", &|case| case.7 = 7);
        bad("NaN fill of integers", &|case| (case.0, case.8) = (1, 1));
        let mut whole = good.clone();
        (whole.2[1], whole.4[0], whole.7) = (1 << 32, 256, 0);
        assert_eq!(encode(&whole).0, 0);
    });
}

#[test]
fn older_devices_have_no_tensor_maps() {
    simulated_on("sm_80", "older_devices_have_no_tensor_maps", || {
        let _context = CudaContext::new(0).unwrap();
        let map = &mut sys::CUtensorMap { opaque: [0; 16] };
        let (extent, boxes, step) = (16u64, 16u32, 1u32);
        // SAFETY: all arrays have the one element that rank 1 needs.
        let result = unsafe {
            sys::cuTensorMapEncodeTiled(
                map,
                sys::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_UINT8,
                1,
                null_mut(),
                &extent,
                &extent,
                &boxes,
                &step,
                sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_NONE,
                sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_NONE,
                sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        assert_eq!(code(result), 801);
    });
}
