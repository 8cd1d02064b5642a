//! What the examples have in common: how they end, and how they open a model.

use expertile_reference::checkpoint::{self, Checkpoint, resolve};
use expertile_reference::{Arithmetic, Dbrx};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use lexopt::{Parser, ValueExt};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// Why a program ends early.
pub(crate) enum Failure {
    /// One sentence for the user.
    Sentence(String),
    /// Nobody reads standard output any more.
    ClosedPipe,
}

/// `Result` of a program.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// A [`Failure`] of this sentence.
pub(crate) fn fail<T>(sentence: impl Into<String>) -> Result<T> {
    Err(Failure::Sentence(sentence.into()))
}

impl From<checkpoint::Error> for Failure {
    fn from(error: checkpoint::Error) -> Failure {
        Failure::Sentence(error.to_string())
    }
}

impl From<expertile_reference::Error> for Failure {
    fn from(error: expertile_reference::Error) -> Failure {
        Failure::Sentence(error.to_string())
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Failure {
        Failure::Sentence(format!("{error}, see --help"))
    }
}

/// An error of writing to standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Sentence(format!("standard output cannot be written: {error}")),
        }
    }
}

/// Runs a program on the arguments of its command line. Every failure is one line on standard error
/// and exit code 1.
pub(crate) fn main(program: fn(Parser) -> Result) -> ExitCode {
    match program(Parser::from_env()) {
        Ok(()) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(Failure::Sentence(sentence)) => {
            warn(&format!("error: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes one line to standard error, whatever the text holds, and ignores that it may be closed.
pub(crate) fn warn(line: &str) {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    let line: String = line.chars().map(escape).collect();
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a piece of text to standard output, at once.
pub(crate) fn print(text: &str) -> Result {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// The value of an option as a number.
#[allow(dead_code, reason = "not every example has such an option")]
pub(crate) fn number<T: FromStr>(parser: &mut Parser, option: &str, expected: &str) -> Result<T> {
    let value = parser.value()?.string()?;
    match value.parse() {
        Ok(number) => Ok(number),
        Err(_) => fail(format!("{option} is \"{value}\", expected {expected}")),
    }
}

/// Checks the value of `--device`.
pub(crate) fn device(parser: &mut Parser) -> Result {
    match parser.value()?.string()?.as_str() {
        "cpu" => Ok(()),
        other => fail(format!("device {other} is not part of this build, expected cpu")),
    }
}

/// The folder of a model: a path, or `nano` for the built-in model.
pub(crate) fn model_dir(model: &OsStr) -> PathBuf {
    model.to_str().map_or_else(|| PathBuf::from(model), resolve)
}

/// Reads the weights of a checkpoint behind a progress bar.
pub(crate) fn load<A: Arithmetic>(checkpoint: &Checkpoint, arithmetic: A) -> Result<Dbrx<A>> {
    let bar = progress(checkpoint.bytes(), "loading {bar:40} {bytes} of {total_bytes}");
    let weights = checkpoint.load(&mut |done, _| bar.set_position(done))?;
    Ok(Dbrx::new(checkpoint.config().clone(), weights, arithmetic)?)
}

/// A bar on standard error while that is a terminal, and nothing after it ends.
pub(crate) fn progress(steps: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps).with_style(style).with_finish(ProgressFinish::AndClear)
}
