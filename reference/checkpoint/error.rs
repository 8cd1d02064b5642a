//! What a checkpoint can be refused for.

use std::fmt::{self, Write};
use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint, a tensor file or a tokenizer could not be read or written.
///
/// Each prints as one line: the path, then a sentence with the names and numbers found. What a file
/// says reaches the line with its control characters escaped and long names cut short.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused: `model/config.json cannot be opened: permission denied`.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried: `opened`, `read`, `written`.
        action: &'static str,
        /// The refusal.
        source: io::Error,
    },
    /// The bytes of a file are not what its format asks for.
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, as the rest of the sentence.
        reason: String,
    },
    /// A file is well formed, but asks for what this crate does not have or exceeds its limits.
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// What was asked for, as the rest of the sentence.
        reason: String,
    },
    /// The files of a checkpoint disagree: tensors are missing, extra, or of the wrong shape.
    Mismatch {
        /// The file or folder that differs from the others.
        path: PathBuf,
        /// How it differs, as the rest of the sentence.
        reason: String,
    },
    /// A weight is not finite: `model.safetensors: transformer.wte.weight[3, 17] is NaN`.
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The name of the tensor.
        tensor: String,
        /// The first such element, one index for each dimension.
        index: Vec<usize>,
        /// Its value: NaN or an infinity.
        value: f64,
    },
    /// The model or an operator refused.
    Model(crate::Error),
}

/// `Result` with this module's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(super) fn io(path: &Path, action: &'static str, source: io::Error) -> Error {
        Error::Io { path: path.into(), action, source }
    }

    pub(super) fn malformed(path: &Path, reason: impl Into<String>) -> Error {
        Error::Malformed { path: path.into(), reason: reason.into() }
    }

    pub(super) fn unsupported(path: &Path, reason: impl Into<String>) -> Error {
        Error::Unsupported { path: path.into(), reason: reason.into() }
    }

    pub(super) fn mismatch(path: &Path, reason: impl Into<String>) -> Error {
        Error::Mismatch { path: path.into(), reason: reason.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = OneLine(f);
        match self {
            Error::Io { path, action, source } => {
                write!(line, "{} cannot be {action}: {source}", path.display())
            }
            Error::Malformed { path, reason }
            | Error::Unsupported { path, reason }
            | Error::Mismatch { path, reason } => write!(line, "{}: {reason}", path.display()),
            Error::NotFinite { path, tensor, index, value } => {
                let (path, tensor) = (path.display(), brief(tensor));
                write!(line, "{path}: {tensor}{index:?} is {value}, expected a finite number")
            }
            Error::Model(error) => write!(line, "{error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Model(error) => Some(error),
            _ => None,
        }
    }
}

impl From<crate::Error> for Error {
    fn from(error: crate::Error) -> Error {
        Error::Model(error)
    }
}

/// Escapes what would break the line or reorder it, and leaves quotes and backslashes alone.
struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\'' | '\\' => self.0.write_char(c)?,
                _ => write!(self.0, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

/// The most characters of a name, or of another crate's message, that an error repeats.
const BRIEF: usize = 160;

/// `text`, cut short when a file's author made it long.
pub(super) fn brief(text: &str) -> String {
    match text.char_indices().nth(BRIEF) {
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// The most names that an error lists.
pub(super) const LISTED: usize = 8;

/// The first eight of `count` names, and how many more there are.
pub(super) fn list<'a>(count: u64, names: impl Iterator<Item = &'a str>) -> String {
    let listed: Vec<_> = names.take(LISTED).map(brief).collect();
    match count.saturating_sub(listed.len() as u64) {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}
