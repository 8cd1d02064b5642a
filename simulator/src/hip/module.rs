//! Modules of code objects, their kernels and launches.

use super::{call, hip};
use crate::amdgcn;
use crate::cuda::driver::Driver;
use crate::cuda::error::{Code, Result, refuse};
use crate::cuda::ffi::{In, Out, Text, array};
use crate::cuda::image::Chosen;
use crate::cuda::table::Handle;
use crate::cuda::{function, launch, module, occupancy};
use crate::program::Program;

const ELF_MAGIC: [u8; 4] = *b"\x7FELF";

/// Reads the code object at an address. Its extent follows from its header.
fn read(address: usize) -> Result<Vec<u8>> {
    if address == 0 {
        return refuse(Code::INVALID_VALUE, "the image is null");
    }
    if array::<[u8; 4]>(address).get()? != ELF_MAGIC {
        return refuse(Code::INVALID_IMAGE, "no code object: no ELF header");
    }
    let header = array::<[u8; 64]>(address).get()?;
    match amdgcn::image_bytes(&header).and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(bytes) => array::<u8>(address).all(bytes),
        None => refuse(Code::INVALID_IMAGE, "no code object: the ELF header gives no extent"),
    }
}

impl Driver {
    /// Makes a code object for the current device ready.
    fn load_code_object(&mut self, image: &[u8]) -> Result<Handle> {
        let context = self.current()?;
        let device = self.device_of(context)?;
        let card = &mut self.devices[device];
        let name = card.architecture.name;
        if !image.starts_with(&ELF_MAGIC) {
            return refuse(Code::INVALID_IMAGE, "no code object: no ELF header");
        }
        match amdgcn::processor(image) {
            Some(processor) if processor == name => {}
            found => {
                let found = found.unwrap_or("something else");
                return refuse(Code::NO_BINARY_FOR_GPU, format!("{name} runs no code for {found}"));
            }
        }
        let program = amdgcn::Program::load(image, &mut card.memory).map(Program::Amdgcn);
        let version = card.architecture.compute_capability() as i32;
        // What `hipFuncGetAttribute` says of every kernel.
        let chosen = Chosen { ptx_version: 30, binary_version: version };
        self.add_module(context, program, chosen)
    }
}

fn load(symbol: &'static str, module: Out<Handle>, image: impl FnOnce() -> Result<Vec<u8>>) -> u32 {
    call(symbol, |driver| {
        driver.refuse_unsafe()?;
        if module.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the module");
        }
        module.set(driver.load_code_object(&image()?)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipModuleLoadData(module: Out<Handle>, image: usize) -> u32 {
    load("hipModuleLoadData", module, || read(image))
}

/// Options of the compiler are ignored: nothing is compiled.
#[unsafe(no_mangle)]
extern "C" fn hipModuleLoadDataEx(
    module: Out<Handle>,
    image: usize,
    _count: u32,
    _options: usize,
    _values: usize,
) -> u32 {
    load("hipModuleLoadDataEx", module, || read(image))
}

#[unsafe(no_mangle)]
extern "C" fn hipModuleLoad(module: Out<Handle>, path: Text) -> u32 {
    load("hipModuleLoad", module, || {
        let path = path.text()?;
        std::fs::read(&path)
            .or_else(|error| refuse(Code::FILE_NOT_FOUND, format!("{path}: {error}")))
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipModuleUnload(module: Handle) -> u32 {
    hip("hipModuleUnload", || module::cuModuleUnload(module))
}

#[unsafe(no_mangle)]
extern "C" fn hipModuleGetFunction(function: Out<Handle>, module: Handle, name: Text) -> u32 {
    hip("hipModuleGetFunction", || module::cuModuleGetFunction(function, module, name))
}

#[unsafe(no_mangle)]
extern "C" fn hipModuleGetGlobal(
    address: Out<u64>,
    bytes: Out<usize>,
    module: Handle,
    name: Text,
) -> u32 {
    hip("hipModuleGetGlobal", || module::cuModuleGetGlobal_v2(address, bytes, module, name))
}

#[unsafe(no_mangle)]
extern "C" fn hipModuleLaunchKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic_shared_bytes: u32,
    stream: Handle,
    values: In<usize>,
    extra: In<usize>,
) -> u32 {
    hip("hipModuleLaunchKernel", || {
        launch::cuLaunchKernel(
            function,
            grid_x,
            grid_y,
            grid_z,
            block_x,
            block_y,
            block_z,
            dynamic_shared_bytes,
            stream,
            values,
            extra,
        )
    })
}

#[unsafe(no_mangle)]
extern "C" fn hipFuncGetAttribute(value: Out<i32>, attribute: u32, function: Handle) -> u32 {
    hip("hipFuncGetAttribute", || function::cuFuncGetAttribute(value, attribute, function))
}

/// Kernels of the host's program are not modelled: the function is one of a module.
#[unsafe(no_mangle)]
extern "C" fn hipFuncSetAttribute(function: Handle, attribute: u32, value: i32) -> u32 {
    hip("hipFuncSetAttribute", || function::cuFuncSetAttribute(function, attribute, value))
}

#[unsafe(no_mangle)]
extern "C" fn hipModuleOccupancyMaxActiveBlocksPerMultiprocessor(
    count: Out<i32>,
    function: Handle,
    threads: i32,
    dynamic: usize,
) -> u32 {
    hip("hipModuleOccupancyMaxActiveBlocksPerMultiprocessor", || {
        occupancy::cuOccupancyMaxActiveBlocksPerMultiprocessor(count, function, threads, dynamic)
    })
}

/// As in `hipFuncSetAttribute`.
#[unsafe(no_mangle)]
extern "C" fn hipOccupancyMaxActiveBlocksPerMultiprocessor(
    count: Out<i32>,
    function: Handle,
    threads: i32,
    dynamic: usize,
) -> u32 {
    hip("hipOccupancyMaxActiveBlocksPerMultiprocessor", || {
        occupancy::cuOccupancyMaxActiveBlocksPerMultiprocessor(count, function, threads, dynamic)
    })
}
