//! Libraries: an image that becomes a module in each context that uses it.

use std::collections::BTreeMap;

use super::driver::Driver;
use super::error::{Code, Result, refuse};
use super::ffi::{Out, Text, call};
use super::function::Function;
use super::image::{self, Image};
use super::table::Handle;

/// An image, independent of contexts.
pub(crate) struct Library {
    image: Image,
    /// The module of each context that used it.
    pub(crate) modules: BTreeMap<Handle, Handle>,
}

impl Driver {
    /// The library's module in a context; made if the context has none yet.
    pub(crate) fn module_of(&mut self, library: Handle, context: Handle) -> Result<Handle> {
        if let Some(&module) = self.libraries.get(library)?.modules.get(&context) {
            return Ok(module);
        }
        let image = self.libraries.get(library)?.image.clone();
        let module = self.load(context, &image)?;
        self.libraries.get_mut(library)?.modules.insert(context, module);
        Ok(module)
    }

    /// Refuses an image that none of the devices can run, like a driver that loads eagerly.
    fn add_library(&mut self, image: Image) -> Result<Handle> {
        let mut refusal = Ok(());
        for device in &self.devices {
            match image.choose(device.architecture) {
                Ok(_) => {
                    return Ok(self.libraries.insert(Library { image, modules: BTreeMap::new() }));
                }
                Err(error) => refusal = refusal.and(Err(error)),
            }
        }
        refusal.and(refuse(Code::NO_DEVICE, "no device"))
    }
}

/// Options of compiler and library are ignored: nothing is compiled.
#[unsafe(no_mangle)]
extern "C" fn cuLibraryLoadData(
    library: Out<Handle>,
    image: usize,
    _jit_options: usize,
    _jit_values: usize,
    _jit_count: u32,
    _options: usize,
    _values: usize,
    _count: u32,
) -> u32 {
    call("cuLibraryLoadData", |driver| {
        driver.refuse_unsafe()?;
        if library.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the library");
        }
        library.set(driver.add_library(image::read(image)?)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryLoadFromFile(
    library: Out<Handle>,
    path: Text,
    _jit_options: usize,
    _jit_values: usize,
    _jit_count: u32,
    _options: usize,
    _values: usize,
    _count: u32,
) -> u32 {
    call("cuLibraryLoadFromFile", |driver| {
        driver.refuse_unsafe()?;
        if library.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the library");
        }
        library.set(driver.add_library(image::read_file(&path.text()?)?)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryUnload(library: Handle) -> u32 {
    call("cuLibraryUnload", |driver| {
        let modules = driver.libraries.get(library)?.modules.clone();
        driver.refuse_unsafe()?;
        for (context, module) in modules {
            driver.run_context(context);
            driver.remove_module(module)?;
        }
        for kernel in driver.functions.handles(|function| function.library == Some(library)) {
            driver.functions.remove(kernel)?;
        }
        driver.libraries.remove(library).map(|_| ())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetKernel(kernel: Out<Handle>, library: Handle, name: Text) -> u32 {
    call("cuLibraryGetKernel", |driver| {
        let name = name.text()?;
        if !driver.libraries.get(library)?.image.has_kernel(&name) {
            return refuse(Code::NOT_FOUND, format!("the library has no kernel {name}"));
        }
        let same = |function: &Function| function.library == Some(library) && function.name == name;
        match driver.functions.handles(same).first() {
            Some(&handle) => kernel.set(handle),
            None => kernel.set(driver.functions.insert(Function::of_library(library, &name))),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetKernelCount(count: Out<u32>, library: Handle) -> u32 {
    call("cuLibraryGetKernelCount", |driver| {
        count.set(driver.libraries.get(library)?.image.kernels().len() as u32)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetModule(module: Out<Handle>, library: Handle) -> u32 {
    call("cuLibraryGetModule", |driver| {
        let context = driver.current()?;
        module.set(driver.module_of(library, context)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetGlobal(
    address: Out<u64>,
    bytes: Out<usize>,
    library: Handle,
    name: Text,
) -> u32 {
    call("cuLibraryGetGlobal", |driver| {
        let context = driver.current()?;
        let module = driver.module_of(library, context)?;
        super::module::variable(driver, module, &name.text()?, &address, &bytes)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryEnumerateKernels(kernels: Out<Handle>, count: u32, library: Handle) -> u32 {
    call("cuLibraryEnumerateKernels", |driver| {
        let names = driver.libraries.get(library)?.image.kernels();
        let mut handles = Vec::new();
        for name in names.into_iter().take(count as usize) {
            handles.push(driver.functions.insert(Function::of_library(library, &name)));
        }
        kernels.set_all(handles)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetFunction(function: Out<Handle>, kernel: Handle) -> u32 {
    call("cuKernelGetFunction", |driver| {
        let context = driver.current()?;
        let state = driver.functions.get(kernel)?;
        let (Some(library), name) = (state.library, state.name.clone()) else {
            return refuse(Code::INVALID_HANDLE, format!("{kernel:#x} is no kernel of a library"));
        };
        let module = driver.module_of(library, context)?;
        function.set(driver.function(module, &name)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetLibrary(library: Out<Handle>, kernel: Handle) -> u32 {
    call("cuKernelGetLibrary", |driver| match driver.functions.get(kernel)?.library {
        Some(found) => library.set(found),
        None => refuse(Code::INVALID_HANDLE, format!("{kernel:#x} is no kernel of a library")),
    })
}

/// The attribute of a kernel on a device; the kernel is loaded there if it is not yet.
fn on_device(driver: &mut Driver, device: i32) -> Result<Handle> {
    let device = driver.device(device)?;
    let here = |context: &Handle| driver.device_of(*context).is_ok_and(|found| found == device);
    let current = driver.current().ok().filter(here);
    Ok(current.unwrap_or_else(|| driver.primary_context(device)))
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetAttribute(
    value: Out<i32>,
    attribute: u32,
    kernel: Handle,
    device: i32,
) -> u32 {
    call("cuKernelGetAttribute", |driver| {
        let context = on_device(driver, device)?;
        value.set(driver.function_attribute(kernel, context, attribute)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelSetAttribute(attribute: u32, value: i32, kernel: Handle, device: i32) -> u32 {
    call("cuKernelSetAttribute", |driver| {
        let context = on_device(driver, device)?;
        driver.set_function_attribute(kernel, context, attribute, value)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelSetCacheConfig(kernel: Handle, _config: u32, device: i32) -> u32 {
    call("cuKernelSetCacheConfig", |driver| {
        driver.device(device)?;
        driver.functions.get(kernel).map(|_| ())
    })
}
