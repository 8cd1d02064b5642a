//! What every operator's three entries do.

use super::device::expertile_device;
use super::registry;
use super::status::Failure;
use super::tensor::{Data, Place};
use crate::stream::Stream;
use std::ffi::c_void;

/// A struct of the ABI that begins with its size.
///
/// # Safety
///
/// `repr(C)`, the first field is `struct_size: u32`, and every bit pattern is a value.
pub(super) unsafe trait Sized32: Copy {}

/// An operator with the struct of its arguments.
pub(super) trait Operator {
    type Arguments: Sized32;

    const NAME: &'static str;

    /// All that the call checks, but for the data, if the place ignores it.
    fn check(place: Place<'_>, arguments: &Self::Arguments) -> Result<(), Failure>;

    /// The bytes of device memory that it needs beside its tensors: 0 for arguments that it refuses.
    fn workspace_bytes(_: Place<'_>, _: &Self::Arguments) -> usize {
        0
    }

    /// # Safety
    ///
    /// The tensors are the caller's memory, as the header asks, and so are the bytes of workspace that the
    /// arguments need.
    unsafe fn run(
        place: Place<'_>,
        arguments: &Self::Arguments,
        workspace: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure>;
}

pub(super) fn check_pointer<T>(
    call: &'static str,
    argument: &'static str,
    pointer: *const T,
) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(Failure::Null { call, argument });
    }
    if !pointer.is_aligned() {
        let expected = format!("a multiple of {}", align_of::<T>());
        return Err(Failure::value(call, argument, format!("{pointer:?}"), expected));
    }
    Ok(())
}

/// Copies a struct of a known size.
///
/// # Safety
///
/// A pointer that is neither null nor misaligned leads to as many bytes as the `struct_size` there says,
/// and to at least those of `struct_size`.
pub(super) unsafe fn read<T: Sized32>(
    call: &'static str,
    argument: &'static str,
    pointer: *const T,
) -> Result<T, Failure> {
    check_pointer(call, argument, pointer)?;
    // SAFETY: aligned for `T`, which begins with a u32; the caller vouches for the bytes.
    let found = unsafe { pointer.cast::<u32>().read() };
    if found as usize != size_of::<T>() {
        return Err(Failure::StructSize { call, found, expected: size_of::<T>() });
    }
    // SAFETY: as above, for the size that was found.
    Ok(unsafe { pointer.read() })
}

/// # Safety
///
/// As [`read`].
pub(super) unsafe fn supports<O: Operator>(
    device: *mut expertile_device,
    args: *const O::Arguments,
) -> Result<(), Failure> {
    let device = registry::find(O::NAME, device)?;
    // SAFETY: the caller's contract is the same.
    let arguments = unsafe { read(O::NAME, "args", args)? };
    O::check(Place { call: O::NAME, device: &device, data: Data::Ignored }, &arguments)
}

/// # Safety
///
/// As [`read`]; a pointer `bytes` that is neither null nor misaligned leads to a place for a size.
pub(super) unsafe fn workspace_bytes<O: Operator>(
    device: *mut expertile_device,
    args: *const O::Arguments,
    bytes: *mut usize,
) -> Result<(), Failure> {
    check_pointer(O::NAME, "bytes", bytes)?;
    let device = registry::find(O::NAME, device)?;
    // SAFETY: the caller's contract is the same.
    let arguments = unsafe { read(O::NAME, "args", args)? };
    let place = Place { call: O::NAME, device: &device, data: Data::Ignored };
    O::check(place, &arguments)?;
    // SAFETY: neither null nor misaligned.
    unsafe { bytes.write(O::workspace_bytes(place, &arguments)) };
    Ok(())
}

/// # Safety
///
/// As [`read`]; the stream and the tensors are as the header asks.
pub(super) unsafe fn run<O: Operator>(
    device: *mut expertile_device,
    args: *const O::Arguments,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> Result<(), Failure> {
    let device = registry::find(O::NAME, device)?;
    // SAFETY: the caller's contract is the same.
    let arguments = unsafe { read(O::NAME, "args", args)? };
    if workspace.is_null() && workspace_bytes > 0 {
        return Err(Failure::Null { call: O::NAME, argument: "workspace" });
    }
    let place = Place { call: O::NAME, device: &device, data: Data::Used };
    let expected = O::workspace_bytes(place, &arguments);
    if workspace_bytes < expected {
        return Err(Failure::Workspace { call: O::NAME, found: workspace_bytes, expected });
    }
    // SAFETY: the caller vouches for the stream, which the borrow does not outlive.
    let stream = unsafe { Stream::borrow(&device, stream.addr() as u64)? };
    // SAFETY: the caller vouches for the tensors and the workspace, which is large enough.
    unsafe { O::run(place, &arguments, workspace, &stream) }
}
