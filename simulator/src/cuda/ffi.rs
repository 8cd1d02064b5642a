//! The C side of a driver call: counting, locking, panics, pointers from the caller.
//!
//! Handles never come here: they are numbers, looked up in tables. What is left to trust are the
//! caller's addresses of results, names and arrays, as with the real driver. They are read and
//! written in this file only (host memory to be copied: `copy.rs`).

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::driver::{Driver, Platform, lock};
use super::error::{Code, Error, Result, name, refuse};
use super::{progress, record};

thread_local! {
    /// The name of the HIP call that the thread is in.
    static HIP_CALL: Cell<Option<&'static str>> = const { Cell::new(None) };
    static IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
    static LAST_REFUSAL: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The interface that the thread is in a call of.
pub(crate) fn platform() -> Platform {
    if HIP_CALL.get().is_some() { Platform::Hip } else { Platform::Cuda }
}

/// Runs a CUDA call on the HIP driver, as the HIP call of that name.
pub(crate) fn as_hip(symbol: &'static str, body: impl FnOnce() -> u32) -> u32 {
    let before = HIP_CALL.replace(Some(symbol));
    let code = body();
    HIP_CALL.set(before);
    code
}

/// Runs the body on a platform's driver, outside of a call.
pub(crate) fn as_platform<R>(platform: Platform, body: impl FnOnce() -> R) -> R {
    let before = HIP_CALL.replace((platform == Platform::Hip).then_some("the device"));
    let result = body();
    HIP_CALL.set(before);
    result
}

/// Runs the body of a driver call.
pub(crate) fn call(symbol: &'static str, body: impl FnOnce(&mut Driver) -> Result<()>) -> u32 {
    call_before_init(symbol, |driver| {
        driver.enter()?;
        driver.refuse_lost(symbol)?;
        body(driver)
    })
}

/// Runs the body of a call that is allowed before `cuInit`.
pub(crate) fn call_before_init(
    symbol: &'static str,
    body: impl FnOnce(&mut Driver) -> Result<()>,
) -> u32 {
    let symbol = HIP_CALL.get().unwrap_or(symbol);
    let outcome = if IN_HOST_FUNCTION.get() {
        refuse(Code::NOT_PERMITTED, "called from a host function of a stream")
    } else {
        progress::note_call();
        catch_unwind(AssertUnwindSafe(|| {
            let mut driver = lock();
            record::lock().count(symbol);
            match driver.planned(symbol) {
                Some(code) => Ok(refused(symbol, code, "the test wants it so")),
                None => body(&mut driver).map(|()| 0),
            }
        }))
        .unwrap_or_else(|_| refuse(Code::UNKNOWN, "the simulator itself failed (see stderr)"))
    };
    match outcome {
        Ok(code) => code,
        Err(Error { code, reason }) => refused(symbol, code.on(platform()), &reason),
    }
}

/// Keeps the words of a refusal; its code.
fn refused(symbol: &str, code: Code, reason: &str) -> u32 {
    let text = format!("{symbol}: {}: {reason}", name(code));
    LAST_REFUSAL.with_borrow_mut(|last| *last = text);
    code.0
}

/// The last refusal of this thread, in words.
pub(crate) fn last_refusal() -> String {
    LAST_REFUSAL.with_borrow(Clone::clone)
}

/// Where the caller wants a result.
#[repr(transparent)]
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// Writes the result.
    pub(crate) fn set(&self, value: T) -> Result<()> {
        if self.0.is_null() {
            return refuse(Code::INVALID_VALUE, "the address of a result is null");
        }
        // SAFETY: the interface demands the address of a T that the caller owns.
        unsafe { self.0.write_unaligned(value) };
        Ok(())
    }

    /// Writes the result if the caller wants it.
    pub(crate) fn set_if_given(&self, value: T) {
        if !self.0.is_null() {
            // SAFETY: as in `set`.
            unsafe { self.0.write_unaligned(value) };
        }
    }

    /// Whether the caller gave no address.
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The address itself.
    pub(crate) fn address(&self) -> usize {
        self.0.addr()
    }

    /// Writes an array of results.
    pub(crate) fn set_all(&self, values: impl IntoIterator<Item = T>) -> Result<()> {
        for (index, value) in values.into_iter().enumerate() {
            // The place after the last is never formed into more than an address.
            Out(self.0.wrapping_add(if self.0.is_null() { 0 } else { index })).set(value)?;
        }
        Ok(())
    }
}

/// An array or structure that the caller passes.
#[repr(transparent)]
pub(crate) struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// Its only, or first, value.
    pub(crate) fn get(&self) -> Result<T> {
        self.at(0)
    }

    /// Its value at an index below the count that the caller passes beside it.
    pub(crate) fn at(&self, index: usize) -> Result<T> {
        if self.0.is_null() {
            return refuse(Code::INVALID_VALUE, "the address of an argument is null");
        }
        // SAFETY: the interface demands an array of the passed length.
        Ok(unsafe { self.0.wrapping_add(index).read_unaligned() })
    }

    /// The first values.
    pub(crate) fn all(&self, count: usize) -> Result<Vec<T>> {
        (0..count).map(|index| self.at(index)).collect()
    }

    /// Whether the caller gave no address.
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }
}

/// An array at an address found in another of the caller's structures.
pub(crate) fn array<T: Copy>(address: usize) -> In<T> {
    In(std::ptr::with_exposed_provenance(address))
}

/// A value that the caller passes and wants back changed.
#[repr(transparent)]
pub(crate) struct InOut<T>(*mut T);

impl<T: Copy> InOut<T> {
    pub(crate) fn get(&self) -> Result<T> {
        In(self.0.cast_const()).get()
    }

    pub(crate) fn set(&self, value: T) -> Result<()> {
        Out(self.0).set(value)
    }
}

/// A place for a result at an address found in another of the caller's structures.
pub(crate) fn out<T>(address: usize) -> Out<T> {
    Out(std::ptr::with_exposed_provenance_mut(address))
}

/// A name that the caller passes.
pub(crate) type Text = In<c_char>;

impl Text {
    /// The name. Bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self) -> Result<String> {
        if self.0.is_null() {
            return refuse(Code::INVALID_VALUE, "the address of a name is null");
        }
        // SAFETY: the interface demands a NUL-terminated string.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_string_lossy().into_owned())
    }
}

/// Copies as much of a text as fits, with a NUL, and returns the bytes that all of it needs.
pub(crate) fn put_text(text: &str, buffer: Out<u8>, capacity: usize) -> usize {
    if !buffer.is_null() && capacity > 0 {
        let fits = text.len().min(capacity - 1);
        let bytes = text.as_bytes()[..fits].iter().copied().chain([0]);
        let _given = buffer.set_all(bytes);
    }
    text.len() + 1
}

/// Calls a function that the host queued in a stream, with driver calls forbidden meanwhile.
pub(crate) fn call_host_function(function: HostFunction, argument: usize) {
    IN_HOST_FUNCTION.set(true);
    match function {
        // SAFETY: the caller of cuLaunchHostFunc promised that the function may be called so.
        HostFunction::Plain(function) => unsafe { function(argument) },
        HostFunction::Callback(function, stream) => {
            // SAFETY: the caller of cuStreamAddCallback promised that the function may be called so.
            unsafe { function(stream, 0, argument) }
        }
    }
    IN_HOST_FUNCTION.set(false);
}

/// A function of the host in a stream. Streams and arguments travel as addresses.
#[derive(Clone, Copy)]
pub(crate) enum HostFunction {
    /// Of `cuLaunchHostFunc`: the argument.
    Plain(unsafe extern "C" fn(usize)),
    /// Of `cuStreamAddCallback`: the stream, the status, the argument.
    Callback(unsafe extern "C" fn(usize, u32, usize), usize),
}
