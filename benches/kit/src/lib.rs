//! The GPU kit: what turns minutes on a machine with a GPU into proof, numbers and fixtures.
//!
//! `pack` builds the kit, a folder that needs neither Rust nor a network; `kit` runs there, part after
//! part, and leaves one archive; `ledger` takes archives into the repository and says which kernels
//! have been proven where. README.md beside this crate tells how to use it.

#![allow(missing_docs)] // not a published library

pub mod archive;
pub mod benches;
pub mod candle;
pub mod check;
pub mod child;
pub mod clock;
pub mod device;
pub mod images;
pub mod ledger;
pub mod manifest;
pub mod plot;
pub mod probes;
pub mod program;
pub mod properties;
pub mod record;
pub mod sanitizer;
pub mod service;
pub mod support;
pub mod table;

/// The folder of the kit and of its results, and what is known of the device.
pub struct Context {
    /// Where run.sh lies.
    pub kit: std::path::PathBuf,
    /// What grows during the run and becomes the archive.
    pub out: std::path::PathBuf,
    /// Where the binaries are.
    pub bin: std::path::PathBuf,
    pub manifest: manifest::Manifest,
    pub device: Option<device::Device>,
    /// The day of the run, `2026-11-24`.
    pub date: String,
}

impl Context {
    pub fn binary(&self, name: &str) -> std::path::PathBuf {
        self.bin.join(name)
    }

    /// A place for what a child prints.
    pub fn log(&self, name: &str) -> std::path::PathBuf {
        self.out.join("logs").join(format!("{name}.log"))
    }

    /// Results of a simulated device are never figures of a machine.
    pub fn simulated(&self) -> bool {
        self.device.as_ref().is_some_and(|device| device.simulated)
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    /// There was nothing to check with.
    Skipped,
}

impl Verdict {
    /// Whoever interrupted a check knows that it says nothing.
    pub fn of(ended: &child::Ended) -> Verdict {
        match ended {
            child::Ended::Exited(0) => Verdict::Passed,
            child::Ended::Interrupted => Verdict::Skipped,
            _ => Verdict::Failed,
        }
    }
}

/// A line of the table: what was checked, how it ended, and what there is to say.
#[derive(Clone, Debug)]
pub struct Row {
    pub part: &'static str,
    pub name: String,
    pub verdict: Verdict,
    pub note: String,
}

impl Row {
    pub fn new(part: &'static str, name: &str, verdict: Verdict, note: impl Into<String>) -> Row {
        Row { part, name: name.to_owned(), verdict, note: note.into() }
    }
}
