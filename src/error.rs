//! The one error type of the crate.

use crate::driver::Platform;
use std::fmt;

/// What a call can refuse or a driver can report.
///
/// Where an operator returns one, nothing was launched and its outputs are unchanged.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// Two arguments disagree: `rope: positions has shape [7], expected [8]`.
    Shape {
        /// The call that refused.
        operator: &'static str,
        /// The argument as its page names it.
        argument: &'static str,
        /// The extents found.
        found: Vec<u64>,
        /// The extents that the other arguments ask for.
        expected: Vec<u64>,
    },
    /// One value is out of range: `layer_norm: epsilon is -1, expected at least 0`.
    Value {
        /// The call that refused.
        operator: &'static str,
        /// The argument as its page names it.
        argument: &'static str,
        /// The value found.
        found: String,
        /// What would have been accepted.
        expected: String,
    },
    /// The arguments agree, but no kernel takes them: `rope: no kernel for head_dim 20, only for
    /// multiples of 8 from 16 to 256`.
    Unsupported {
        /// The operator.
        operator: &'static str,
        /// What was asked for.
        found: String,
        /// What there is.
        supported: String,
    },
    /// A platform cannot be used on this machine: `cuda: libcuda.so.1: cannot open shared object
    /// file`.
    Unavailable {
        /// The platform.
        platform: Platform,
        /// What is missing.
        reason: String,
    },
    /// A driver call failed: `cuda: cuMemAlloc(1024 bytes) returned CUDA_ERROR_OUT_OF_MEMORY (2)`.
    ///
    /// What was there before is there still, and the same call may succeed later.
    Driver {
        /// The platform.
        platform: Platform,
        /// The driver's function, without the suffix of its version, with the arguments that matter.
        call: String,
        /// The driver's code.
        code: i32,
        /// Its name.
        name: String,
    },
    /// The device is lost to this process: `cuda: cuStreamSynchronize(0x1) found the device lost:
    /// CUDA_ERROR_ILLEGAL_ADDRESS (700)`. Any call whose page names [`Error::Driver`] may return it.
    ///
    /// A kernel faulted or the hardware failed, and what was computed since is undefined. From now on
    /// every call that uses the device returns this, also after it was opened anew, until the process
    /// ends. Launches are asynchronous: the call that returns it first need not be the one at fault.
    ///
    /// On both platforms these are the codes 214 (uncorrectable memory error), 700 (illegal address),
    /// 702 (timeout), 710 (assertion) and 719 (launch failure); on CUDA also 220 (NVLink), 226
    /// (contained), 714 (stack), 715 (illegal instruction), 716 (misaligned address), 717 (address
    /// space), 718 (program counter), 721 (tensor memory), 810 (MPS client) and 911 (external device).
    /// HIP may end the process itself at some of them.
    DeviceLost {
        /// The platform.
        platform: Platform,
        /// The driver's function, as in [`Error::Driver`].
        call: String,
        /// The driver's code.
        code: i32,
        /// Its name.
        name: String,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape { operator, argument, found, expected } => {
                write!(f, "{operator}: {argument} has shape {found:?}, expected {expected:?}")
            }
            Error::Value { operator, argument, found, expected } => {
                write!(f, "{operator}: {argument} is {found}, expected {expected}")
            }
            Error::Unsupported { operator, found, supported } => {
                write!(f, "{operator}: no kernel for {found}, only for {supported}")
            }
            Error::Unavailable { platform, reason } => write!(f, "{platform}: {reason}"),
            Error::Driver { platform, call, code, name } => {
                write!(f, "{platform}: {call} returned {name} ({code})")
            }
            Error::DeviceLost { platform, call, code, name } => {
                write!(f, "{platform}: {call} found the device lost: {name} ({code})")
            }
        }
    }
}

impl std::error::Error for Error {}

/// Codes after which every call fails: those of which the CUDA driver's documentation (`CUresult`) says
/// that the process must be relaunched or the context cannot be used any more, and the uncorrectable
/// errors of memory and NVLink. HIP has the first five, with the same numbers.
const LOST: [i32; 5] = [214, 700, 702, 710, 719];
const LOST_ON_CUDA: [i32; 10] = [220, 226, 714, 715, 716, 717, 718, 721, 810, 911];

impl Error {
    /// What a driver's code is: an [`Error::DeviceLost`] or an [`Error::Driver`].
    pub(crate) fn driver(platform: Platform, call: String, code: i32, name: String) -> Error {
        let lost = match platform {
            Platform::Cuda => LOST.contains(&code) || LOST_ON_CUDA.contains(&code),
            Platform::Hip => LOST.contains(&code),
        };
        if lost {
            Error::DeviceLost { platform, call, code, name }
        } else {
            Error::Driver { platform, call, code, name }
        }
    }

    /// An [`Error::Value`] from anything that prints.
    pub(crate) fn value(
        operator: &'static str,
        argument: &'static str,
        found: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Error {
        Error::Value { operator, argument, found: found.to_string(), expected: expected.into() }
    }

    /// An [`Error::Unsupported`].
    pub(crate) fn unsupported(
        operator: &'static str,
        found: impl Into<String>,
        supported: impl Into<String>,
    ) -> Error {
        Error::Unsupported { operator, found: found.into(), supported: supported.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Platform};

    fn is_lost(platform: Platform, code: i32) -> bool {
        let error = Error::driver(platform, "call".into(), code, "name".into());
        matches!(error, Error::DeviceLost { .. })
    }

    #[test]
    fn the_codes_of_a_lost_device_are_known() {
        let lost = |platform| (0..2000).filter(move |&code| is_lost(platform, code));
        assert_eq!(lost(Platform::Hip).collect::<Vec<_>>(), [214, 700, 702, 710, 719]);
        let cuda = [214, 220, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911];
        assert_eq!(lost(Platform::Cuda).collect::<Vec<_>>(), cuda);
    }
}
