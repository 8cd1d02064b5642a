//! What a launch moves.

/// Global memory traffic of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that lanes asked to read, each lane's counted.
    pub bytes_read: u64,
    /// Bytes that lanes wrote.
    pub bytes_written: u64,
    /// 32-byte sectors that read instructions touched: each counted once per instruction and warp,
    /// as the memory system serves them.
    pub sectors_read: u64,
    /// The same of writes and atomics.
    pub sectors_written: u64,
    /// Different sectors read in the whole launch: what must come from memory at least once.
    pub unique_sectors_read: u64,
    /// Different sectors written.
    pub unique_sectors_written: u64,
    /// Warp-wide instructions that read or wrote.
    pub instructions: u64,
}

/// Shared memory traffic of a launch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedTraffic {
    /// Warp-wide instructions.
    pub instructions: u64,
    /// Passes that 32 banks of 4 bytes need for them; without conflicts, one for each 128 bytes.
    pub passes: u64,
    /// Passes beyond what the bytes need: conflicts.
    pub conflicts: u64,
}
