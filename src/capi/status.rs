use super::panic::or;
use crate::error::Error;
use std::ffi::{CStr, c_char};
use std::fmt;

/// Done, or for an operator: submitted.
pub const EXPERTILE_OK: i32 = 0;
/// A pointer is null that may not be.
pub const EXPERTILE_NULL_POINTER: i32 = 1;
/// A `struct_size` that this library does not know.
pub const EXPERTILE_STRUCT_SIZE: i32 = 2;
/// One value is out of its range: an enumeration, a number, an alignment, extents or strides that pass
/// 2^64 bytes or are negative, a type of elements, a handle that is not open, a stream of another device.
pub const EXPERTILE_INVALID_VALUE: i32 = 3;
/// The extents of two tensors disagree.
pub const EXPERTILE_SHAPE: i32 = 4;
/// The arguments agree, but no kernel takes them.
pub const EXPERTILE_UNSUPPORTED: i32 = 5;
/// No driver, no such device, no kernels for it, or a platform that this library was built without.
pub const EXPERTILE_UNAVAILABLE: i32 = 6;
/// A call of the driver failed; all else is as it was.
pub const EXPERTILE_DRIVER: i32 = 7;
/// The device is lost to this process: no call that uses it will succeed any more.
pub const EXPERTILE_DEVICE_LOST: i32 = 8;
/// The workspace is smaller than its query says.
pub const EXPERTILE_WORKSPACE: i32 = 9;
/// A fault of this library.
pub const EXPERTILE_INTERNAL: i32 = 10;

/// Why a call returns another status than `EXPERTILE_OK`; prints as its last error.
#[derive(Debug)]
pub(super) enum Failure {
    Null {
        call: &'static str,
        argument: &'static str,
    },
    StructSize {
        call: &'static str,
        found: u32,
        expected: usize,
    },
    Workspace {
        call: &'static str,
        found: usize,
        expected: usize,
    },
    Value {
        call: &'static str,
        argument: &'static str,
        found: String,
        expected: String,
    },
    /// Of the tensor that is this argument.
    Tensor {
        call: &'static str,
        argument: &'static str,
        error: Error,
    },
    Crate(Error),
}

impl Failure {
    pub(super) fn value(
        call: &'static str,
        argument: &'static str,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Failure {
        Failure::Value { call, argument, found: found.to_string(), expected: expected.into() }
    }

    pub(super) fn status(&self) -> i32 {
        match self {
            Failure::Null { .. } => EXPERTILE_NULL_POINTER,
            Failure::StructSize { .. } => EXPERTILE_STRUCT_SIZE,
            Failure::Workspace { .. } => EXPERTILE_WORKSPACE,
            Failure::Value { .. } => EXPERTILE_INVALID_VALUE,
            Failure::Tensor { error, .. } | Failure::Crate(error) => match error {
                Error::Shape { .. } => EXPERTILE_SHAPE,
                Error::Value { .. } => EXPERTILE_INVALID_VALUE,
                Error::Unsupported { .. } => EXPERTILE_UNSUPPORTED,
                Error::Unavailable { .. } => EXPERTILE_UNAVAILABLE,
                Error::Driver { .. } => EXPERTILE_DRIVER,
                Error::DeviceLost { .. } => EXPERTILE_DEVICE_LOST,
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Crate(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Null { call, argument } => write!(f, "{call}: {argument} is null"),
            Failure::StructSize { call, found, expected } => {
                write!(f, "{call}: struct_size is {found}, expected {expected}")
            }
            Failure::Workspace { call, found, expected } => {
                write!(f, "{call}: workspace has {found} bytes, expected at least {expected}")
            }
            Failure::Value { call, argument, found, expected } => {
                write!(f, "{call}: {argument} is {found}, expected {expected}")
            }
            Failure::Tensor { call, argument, error } => write!(f, "{call}: {argument}: {error}"),
            Failure::Crate(error) => write!(f, "{error}"),
        }
    }
}

/// What a status means, in a few words; never null.
#[unsafe(no_mangle)]
pub extern "C" fn expertile_status_text(status: i32) -> *const c_char {
    let text = || -> &CStr {
        match status {
            EXPERTILE_OK => c"ok",
            EXPERTILE_NULL_POINTER => c"a pointer is null",
            EXPERTILE_STRUCT_SIZE => c"unknown struct_size",
            EXPERTILE_INVALID_VALUE => c"a value is out of range",
            EXPERTILE_SHAPE => c"extents disagree",
            EXPERTILE_UNSUPPORTED => c"no kernel takes these arguments",
            EXPERTILE_UNAVAILABLE => c"no driver, device or kernels",
            EXPERTILE_DRIVER => c"a driver call failed",
            EXPERTILE_DEVICE_LOST => c"the device is lost",
            EXPERTILE_WORKSPACE => c"the workspace is too small",
            EXPERTILE_INTERNAL => c"internal error",
            _ => c"unknown status",
        }
    };
    or(c"".as_ptr(), || text().as_ptr())
}
