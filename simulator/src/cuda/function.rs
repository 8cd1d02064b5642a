//! Kernels as the caller knows them: functions of a module, kernels of a library.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::architecture::THREADS_PER_BLOCK;
use super::driver::Driver;
use super::error::{Code, Result, refuse};
use super::ffi::{Out, call};
use super::table::Handle;
use crate::engine::Kernel;
use crate::program::Program;

/// A `CUfunction`, or a `CUkernel`, which may be passed in its place.
pub(crate) struct Function {
    /// The module of a function.
    pub(crate) module: Option<Handle>,
    /// The library of a kernel.
    pub(crate) library: Option<Handle>,
    pub(crate) name: String,
    name_text: std::ffi::CString,
    /// Dynamic shared memory that the caller opted into: of each device, by index.
    dynamic_shared: BTreeMap<usize, i32>,
    carveout: i32,
}

const MAX_DYNAMIC_SHARED: u32 = 8;
const CARVEOUT: u32 = 9;

impl Function {
    pub(crate) fn of_module(module: Handle, name: &str) -> Function {
        Function::new(Some(module), None, name)
    }

    pub(crate) fn of_library(library: Handle, name: &str) -> Function {
        Function::new(None, Some(library), name)
    }

    fn new(module: Option<Handle>, library: Option<Handle>, name: &str) -> Function {
        Function {
            module,
            library,
            name: name.to_owned(),
            name_text: std::ffi::CString::new(name).unwrap_or_default(),
            dynamic_shared: BTreeMap::new(),
            carveout: -1,
        }
    }
}

impl Driver {
    /// The module that a function or kernel runs from in a context.
    pub(crate) fn module_for(&mut self, function: Handle, context: Handle) -> Result<Handle> {
        let state = self.functions.get(function)?;
        match (state.module, state.library) {
            (Some(module), _) => Ok(module),
            (None, Some(library)) => self.module_of(library, context),
            (None, None) => refuse(Code::INVALID_HANDLE, format!("{function:#x} has no module")),
        }
    }

    /// The program and what is known about the kernel.
    pub(crate) fn kernel(
        &mut self,
        function: Handle,
        context: Handle,
    ) -> Result<(Arc<Program>, Kernel)> {
        let module = self.module_for(function, context)?;
        let program = self.modules.get(module)?.program.clone();
        let name = &self.functions.get(function)?.name;
        match program.kernel(name).cloned() {
            Some(kernel) => Ok((program, kernel)),
            None => refuse(Code::NOT_FOUND, format!("this device's image has no kernel {name}")),
        }
    }

    /// The most dynamic shared bytes that the kernel may be launched with.
    pub(crate) fn dynamic_shared_limit(
        &self,
        function: Handle,
        device: usize,
        kernel: &Kernel,
    ) -> i32 {
        let opted = self.functions.get(function).ok();
        let opted = opted.and_then(|function| function.dynamic_shared.get(&device).copied());
        let most = self.devices[device].architecture.default_shared_bytes();
        opted.unwrap_or((most - kernel.static_shared_bytes as i32).max(0))
    }

    pub(crate) fn function_attribute(
        &mut self,
        function: Handle,
        context: Handle,
        attribute: u32,
    ) -> Result<i32> {
        let (_, kernel) = self.kernel(function, context)?;
        let module = self.module_for(function, context)?;
        let device = self.device_of(context)?;
        let chosen = &self.modules.get(module)?.chosen;
        Ok(match attribute {
            0 => (kernel.max_threads.min(THREADS_PER_BLOCK)) as i32,
            1 => kernel.static_shared_bytes as i32,
            2 => kernel.const_bytes as i32,
            3 => kernel.local_bytes as i32,
            4 => kernel.registers as i32,
            5 => chosen.ptx_version,
            6 => chosen.binary_version,
            7 => 0,
            MAX_DYNAMIC_SHARED => self.dynamic_shared_limit(function, device, &kernel),
            CARVEOUT => self.functions.get(function)?.carveout,
            10..=15 => 0,
            _ => return refuse(Code::INVALID_VALUE, format!("no function attribute {attribute}")),
        })
    }

    pub(crate) fn set_function_attribute(
        &mut self,
        function: Handle,
        context: Handle,
        attribute: u32,
        value: i32,
    ) -> Result<()> {
        let (_, kernel) = self.kernel(function, context)?;
        let device = self.device_of(context)?;
        let most = self.devices[device].architecture.shared_bytes_per_block()
            - kernel.static_shared_bytes as i32;
        let state = self.functions.get_mut(function)?;
        match attribute {
            MAX_DYNAMIC_SHARED if !(0..=most).contains(&value) => refuse(
                Code::INVALID_VALUE,
                format!("{}: {value} bytes of dynamic shared memory, most {most}", kernel.name),
            ),
            MAX_DYNAMIC_SHARED => {
                state.dynamic_shared.insert(device, value);
                Ok(())
            }
            CARVEOUT if (-1..=100).contains(&value) => {
                state.carveout = value;
                Ok(())
            }
            10..=15 => refuse(Code::NOT_SUPPORTED, format!("function attribute {attribute}")),
            _ => refuse(
                Code::INVALID_VALUE,
                format!("function attribute {attribute} cannot be set to {value}"),
            ),
        }
    }

    /// The context that a function's attributes are asked in.
    fn context_of(&self, function: Handle) -> Result<Handle> {
        match self.functions.get(function)?.module {
            Some(module) => Ok(self.modules.get(module)?.context),
            None => self.current(),
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuFuncGetAttribute(
    value: Out<i32>,
    attribute: u32,
    function: Handle,
) -> u32 {
    call("cuFuncGetAttribute", |driver| {
        let context = driver.context_of(function)?;
        value.set(driver.function_attribute(function, context, attribute)?)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuFuncSetAttribute(function: Handle, attribute: u32, value: i32) -> u32 {
    call("cuFuncSetAttribute", |driver| {
        let context = driver.context_of(function)?;
        driver.set_function_attribute(function, context, attribute, value)
    })
}

/// A preference, without effect here.
#[unsafe(no_mangle)]
extern "C" fn cuFuncSetCacheConfig(function: Handle, _config: u32) -> u32 {
    call("cuFuncSetCacheConfig", |driver| driver.functions.get(function).map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetModule(module: Out<Handle>, function: Handle) -> u32 {
    call("cuFuncGetModule", |driver| {
        let context = driver.context_of(function)?;
        module.set(driver.module_for(function, context)?)
    })
}

fn function_name(symbol: &'static str, name: Out<usize>, function: Handle) -> u32 {
    call(symbol, |driver| name.set(driver.functions.get(function)?.name_text.as_ptr().addr()))
}

/// The name lives as long as the function.
#[unsafe(no_mangle)]
extern "C" fn cuFuncGetName(name: Out<usize>, function: Handle) -> u32 {
    function_name("cuFuncGetName", name, function)
}

/// The name lives as long as the kernel.
#[unsafe(no_mangle)]
extern "C" fn cuKernelGetName(name: Out<usize>, kernel: Handle) -> u32 {
    function_name("cuKernelGetName", name, kernel)
}

fn parameter(
    symbol: &'static str,
    function: Handle,
    index: usize,
    offset: Out<usize>,
    bytes: Out<usize>,
) -> u32 {
    call(symbol, |driver| {
        let context = driver.context_of(function)?;
        let (_, kernel) = driver.kernel(function, context)?;
        match kernel.parameters.get(index) {
            Some(layout) => {
                offset.set(layout.offset as usize)?;
                bytes.set_if_given(layout.bytes as usize);
                Ok(())
            }
            None => refuse(
                Code::INVALID_VALUE,
                format!("parameter {index} of {}", kernel.parameters.len()),
            ),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetParamInfo(
    function: Handle,
    index: usize,
    offset: Out<usize>,
    bytes: Out<usize>,
) -> u32 {
    parameter("cuFuncGetParamInfo", function, index, offset, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetParamInfo(
    kernel: Handle,
    index: usize,
    offset: Out<usize>,
    bytes: Out<usize>,
) -> u32 {
    parameter("cuKernelGetParamInfo", kernel, index, offset, bytes)
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncIsLoaded(state: Out<u32>, function: Handle) -> u32 {
    call("cuFuncIsLoaded", |driver| {
        driver.functions.get(function)?;
        state.set(1)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncLoad(function: Handle) -> u32 {
    call("cuFuncLoad", |driver| driver.functions.get(function).map(|_| ()))
}
