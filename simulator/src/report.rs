//! What a simulated launch reports.

use std::fmt;

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An access outside every allocation, or outside the block's shared memory. Ends the launch.
    OutOfBounds,
    /// An address that is no multiple of the access size. Ends the launch.
    Misaligned,
    /// A value that was never written decides a branch, is an address, or is stored to global memory.
    Uninitialized,
    /// Two threads touch one place, one of them writes, and nothing orders them.
    Race,
    /// An instruction that needs the whole warp was executed by a part of it. Ends the launch.
    Divergence,
    /// A barrier was used against its rules. Ends the launch.
    Barrier,
    /// Nothing can go on. Ends the launch.
    Deadlock,
    /// `trap`, a failed assertion. Ends the launch.
    Trap,
    /// An instruction outside the modelled set. Ends the launch.
    Unsupported,
    /// A launch that the device would refuse, or that ran past its instruction limit.
    Launch,
    /// A bulk copy cannot be done as it was asked for: no tensor map, another rank, no whole number of
    /// 16 bytes. Ends the launch.
    Copy,
    /// A register was used before the instruction that fills it was waited for, or written where a matrix
    /// instruction on its way, or without a fence, works on it.
    Hazard,
}

impl Kind {
    /// Whether the launch ends with it.
    pub fn is_fatal(self) -> bool {
        !matches!(self, Kind::Uninitialized | Kind::Race | Kind::Hazard)
    }
}

/// One fault, with its place.
#[derive(Clone, Debug)]
pub struct Report {
    /// What kind.
    pub kind: Kind,
    /// The kernel's name.
    pub kernel: String,
    /// The block's index, where the fault has one.
    pub block: Option<[u32; 3]>,
    /// The linear index of the thread in its block, where the fault has one.
    pub thread: Option<u32>,
    /// Lanes of a warp: 32 or 64.
    pub lanes: u32,
    /// The instruction as written in the PTX, or as decoded.
    pub instruction: String,
    /// Its line in the PTX; 0 if there is none.
    pub line: u32,
    /// Source file and line, in builds with line information.
    pub source: Option<(String, u32)>,
    /// What happened, with numbers.
    pub message: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.kernel, self.kind, self.message)?;
        if let Some([x, y, z]) = self.block {
            write!(f, "; block ({x}, {y}, {z})")?;
        }
        if let Some(thread) = self.thread {
            let (warp, lane) = (thread / self.lanes, thread % self.lanes);
            write!(f, " thread {thread} (warp {warp} lane {lane})")?;
        }
        Site(&self.instruction, self.line, &self.source).fmt(f)
    }
}

/// Where an instruction is, in words, with a space before: its text, its line in the PTX, its source.
pub(crate) struct Site<'a>(
    pub(crate) &'a str,
    pub(crate) u32,
    pub(crate) &'a Option<(String, u32)>,
);

impl fmt::Display for Site<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Site(instruction, line, source) = self;
        if !instruction.is_empty() {
            write!(f, " at `{instruction}`")?;
        }
        if *line > 0 {
            write!(f, " (PTX line {line})")?;
        }
        if let Some((file, line)) = source {
            write!(f, " from {file}:{line}")?;
        }
        Ok(())
    }
}
