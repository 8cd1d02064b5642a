//! Loaded modules: one per image and context.

use std::sync::Arc;

use super::driver::Driver;
use super::error::{Code, Error, Result, refuse};
use super::ffi::{Out, Text, call};
use super::function::Function;
use super::image::{self, Chosen, Image};
use super::table::Handle;
use crate::engine;
use crate::program::Program;

/// A module of a context.
pub(crate) struct Module {
    pub(crate) context: Handle,
    pub(crate) program: Arc<Program>,
    pub(crate) chosen: Chosen,
}

impl Driver {
    /// Chooses what the context's device can run of an image, and makes it ready.
    pub(crate) fn load(&mut self, context: Handle, image: &Image) -> Result<Handle> {
        let device = self.device_of(context)?;
        let card = &mut self.devices[device];
        let (syntax, chosen) = image.choose(card.architecture)?;
        let program = engine::Program::load(syntax, &mut card.memory).map(Program::Ptx);
        self.add_module(context, program, chosen)
    }

    /// Keeps what an engine made of an image.
    pub(crate) fn add_module(
        &mut self,
        context: Handle,
        program: std::result::Result<Program, String>,
        chosen: Chosen,
    ) -> Result<Handle> {
        let program = program.map_err(|reason| {
            eprintln!("simulated driver: a module is refused: {reason}");
            Error { code: Code::NOT_SUPPORTED, reason }
        })?;
        Ok(self.modules.insert(Module { context, program: Arc::new(program), chosen }))
    }

    /// Drops a module when its device has no more work for it.
    pub(crate) fn remove_module(&mut self, module: Handle) -> Result<()> {
        let context = self.modules.get(module)?.context;
        let device = match self.contexts.get(context) {
            Ok(state) => Some(state.device),
            Err(_) => None,
        };
        for function in self.functions.handles(|function| function.module == Some(module)) {
            self.functions.remove(function)?;
        }
        for library in self.libraries.handles(|library| library.modules.contains_key(&context)) {
            let modules = &mut self.libraries.get_mut(library)?.modules;
            modules.retain(|_, known| *known != module);
        }
        let program = self.modules.remove(module)?.program;
        if let (Some(device), Some(program)) = (device, Arc::into_inner(program)) {
            program.unload(&mut self.devices[device].memory);
        }
        Ok(())
    }

    /// The handle of a module's kernel.
    pub(crate) fn function(&mut self, module: Handle, name: &str) -> Result<Handle> {
        let state = self.modules.get(module)?;
        if state.program.kernel(name).is_none() {
            return refuse(Code::NOT_FOUND, format!("the module has no kernel {name}"));
        }
        let same = |function: &Function| function.module == Some(module) && function.name == name;
        match self.functions.handles(same).first() {
            Some(&handle) => Ok(handle),
            None => Ok(self.functions.insert(Function::of_module(module, name))),
        }
    }
}

fn load(symbol: &'static str, module: Out<Handle>, image: usize) -> u32 {
    call(symbol, |driver| {
        let context = driver.current()?;
        driver.refuse_unsafe()?;
        if module.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the module");
        }
        module.set(driver.load(context, &image::read(image)?)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(module: Out<Handle>, image: usize) -> u32 {
    load("cuModuleLoadData", module, image)
}

/// Options of the compiler are ignored: nothing is compiled.
#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadDataEx(
    module: Out<Handle>,
    image: usize,
    _count: u32,
    _options: usize,
    _values: usize,
) -> u32 {
    load("cuModuleLoadDataEx", module, image)
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadFatBinary(module: Out<Handle>, image: usize) -> u32 {
    load("cuModuleLoadFatBinary", module, image)
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoad(module: Out<Handle>, path: Text) -> u32 {
    call("cuModuleLoad", |driver| {
        let context = driver.current()?;
        driver.refuse_unsafe()?;
        if module.is_null() {
            return refuse(Code::INVALID_VALUE, "no place for the module");
        }
        module.set(driver.load(context, &image::read_file(&path.text()?)?)?)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleUnload(module: Handle) -> u32 {
    call("cuModuleUnload", |driver| {
        let context = driver.modules.get(module)?.context;
        driver.refuse_unsafe()?;
        driver.run_context(context);
        driver.remove_module(module)
    })
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleGetFunction(
    function: Out<Handle>,
    module: Handle,
    name: Text,
) -> u32 {
    call("cuModuleGetFunction", |driver| {
        let name = name.text()?;
        function.set(driver.function(module, &name)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunctionCount(count: Out<u32>, module: Handle) -> u32 {
    call("cuModuleGetFunctionCount", |driver| {
        count.set(driver.modules.get(module)?.program.kernels().len() as u32)
    })
}

pub(crate) fn variable(
    driver: &Driver,
    module: Handle,
    name: &str,
    address: &Out<u64>,
    bytes: &Out<usize>,
) -> Result<()> {
    match driver.modules.get(module)?.program.variable(name) {
        Some((start, size)) => {
            address.set_if_given(start);
            bytes.set_if_given(size as usize);
            Ok(())
        }
        None => refuse(Code::NOT_FOUND, format!("the module has no variable {name}")),
    }
}

#[unsafe(no_mangle)]
pub(crate) extern "C" fn cuModuleGetGlobal_v2(
    address: Out<u64>,
    bytes: Out<usize>,
    module: Handle,
    name: Text,
) -> u32 {
    call("cuModuleGetGlobal_v2", |driver| variable(driver, module, &name.text()?, &address, &bytes))
}

/// Modules of a library are loaded when they are first used.
#[unsafe(no_mangle)]
extern "C" fn cuModuleGetLoadingMode(mode: Out<u32>) -> u32 {
    const LAZY: u32 = 2;
    call("cuModuleGetLoadingMode", |_| mode.set(LAZY))
}
