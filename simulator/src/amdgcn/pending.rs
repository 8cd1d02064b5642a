//! Memory instructions between their issue and the wait for them.
//!
//! An instruction is performed at once, or late: the launch's seed decides. A register that is
//! loaded is undefined until the wait. Instructions of one kind are performed in their order, which
//! is also how the counters count (CDNA3 ISA, 4.4 "Manually Inserted Wait States" and 4.5 "Data
//! Dependency Resolution"); scalar loads alone may return in any order.

use super::instruction::Operand;
use super::wave::{Lanes, POISON, Wave, vector_index};

/// What waits in a queue.
pub(super) enum Item {
    Vector(Box<Pending>),
    Scalar(ScalarLoad),
}

/// A vector memory instruction.
pub(super) struct Pending {
    /// Its index in the code.
    pub(super) instruction: u32,
    pub(super) lanes: u64,
    pub(super) addresses: [u64; 64],
    /// What is stored, or was loaded.
    pub(super) data: [Lanes; 4],
    pub(super) defined: [u64; 4],
    pub(super) performed: bool,
    /// By dword: the lanes whose address is in range.
    pub(super) within: [u64; 4],
    /// Where in LDS loaded values go, and how many of each lane.
    pub(super) local: Option<u64>,
    pub(super) local_dwords: u8,
    /// Where loaded values go.
    pub(super) dst: Operand,
    pub(super) dwords: u8,
}

/// A scalar load. It is performed when issued.
pub(super) struct ScalarLoad {
    pub(super) dst: Operand,
    pub(super) dwords: u8,
    pub(super) values: [u32; 16],
    /// Bits of the values that are defined.
    pub(super) defined: u16,
}

impl Wave {
    /// Marks the registers of a load; nobody may touch them until [`Wave::retire`].
    pub(super) fn begin_load(&mut self, dst: Operand, dwords: u8, lanes: u64) {
        for register in dst..dst + Operand::from(dwords) {
            match vector_index(register) {
                Some(at) => {
                    self.busy[at] += 1;
                    self.busy_vectors += 1;
                    self.defined[at] &= !lanes;
                    for lane in (0..64).filter(|lane| lanes >> lane & 1 == 1) {
                        self.vectors[at].0[lane] = POISON;
                    }
                }
                None => {
                    self.busy_scalars |= 1 << register;
                    self.set_scalar(register, POISON, u32::MAX);
                }
            }
        }
    }

    /// The item was performed and waited for.
    pub(super) fn retire(&mut self, item: &Item) {
        match item {
            Item::Scalar(load) => {
                for at in 0..load.dwords {
                    let register = load.dst + Operand::from(at);
                    let undefined = if load.defined >> at & 1 == 1 { 0 } else { u32::MAX };
                    self.busy_scalars &= !(1 << register);
                    self.set_scalar(register, load.values[usize::from(at)], undefined);
                }
            }
            Item::Vector(pending) => {
                for dword in 0..usize::from(pending.dwords) {
                    let Some(at) = vector_index(pending.dst + dword as Operand) else { continue };
                    self.busy[at] -= 1;
                    self.busy_vectors -= 1;
                    let lanes = pending.lanes;
                    let register = &mut self.vectors[at].0;
                    for lane in (0..64).filter(|lane| lanes >> lane & 1 == 1) {
                        register[lane] = pending.data[dword][lane];
                    }
                    let defined = &mut self.defined[at];
                    *defined = *defined & !lanes | pending.defined[dword] & lanes;
                }
            }
        }
    }
}
