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
    /// A driver call failed: `cuda: cuMemAlloc_v2(1024 bytes) returned CUDA_ERROR_OUT_OF_MEMORY (2)`.
    ///
    /// Launches are asynchronous: a fault of an earlier kernel is returned by a later call.
    Driver {
        /// The platform.
        platform: Platform,
        /// The driver's function, with the arguments that matter.
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
        }
    }
}

impl std::error::Error for Error {}

impl Error {
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
