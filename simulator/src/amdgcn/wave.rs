//! A wave: 64 lanes, their registers, and what is on its way to them.

use std::collections::VecDeque;

use super::instruction::{ACCUMULATION, EXEC, Instruction, LITERAL, Operand, SCC, VCC, VECTOR};
use super::instruction::{Float, Format, NONE};
use super::matrix::Recent;
use super::pending::Item;

/// A value of each lane.
pub(super) type Lanes = [u32; 64];

/// A vector register.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Vector(pub(super) Lanes);

/// What undefined registers hold.
pub(super) const POISON: u32 = u32::MAX;

/// Vector registers, then accumulation registers.
const VECTORS: usize = 512;

/// Where a wave is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) block: [u32; 3],
    /// Its number in the grid, and in its workgroup.
    pub(super) wave: u64,
    pub(super) index: u32,
}

/// What a wave does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ready,
    /// It came to the barrier.
    Waiting,
    Done,
}

/// 64 lanes in step.
pub(super) struct Wave {
    pub(super) vectors: Box<[Vector; VECTORS]>,
    /// By vector register: the lanes that are defined.
    pub(super) defined: Box<[u64; VECTORS]>,
    /// By vector register: the loads that are not waited for.
    pub(super) busy: Box<[u8; VECTORS]>,
    pub(super) busy_vectors: u32,
    pub(super) scalars: [u32; 128],
    /// By scalar register: the bits that are not defined.
    pub(super) undefined: [u32; 128],
    /// Bits of the scalar registers that are being loaded.
    pub(super) busy_scalars: u128,
    pub(super) scc: bool,
    pub(super) scc_defined: bool,
    /// The index of the next instruction.
    pub(super) pc: u32,
    pub(super) status: Status,
    pub(super) place: Place,
    /// Lanes that the current instruction writes: those of EXEC, less what DPP leaves out.
    pub(super) enabled: u64,
    /// The first source as DPP gives it.
    pub(super) moved: (Lanes, u64),
    /// Memory instructions by the counter that waits for them, oldest first.
    pub(super) vector_memory: VecDeque<Item>,
    pub(super) local_memory: VecDeque<Item>,
    /// Matrix instructions that may be on their way.
    pub(super) recent: Vec<Recent>,
    /// The last instruction and the one before.
    pub(super) trail: [u32; 2],
}

/// The lanes of a mask, lowest first.
pub(super) fn lanes_of(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (lane < 64).then_some(lane as usize)
    })
}

/// The operand as an index of a vector register, if it is one.
#[inline(always)]
pub(super) fn vector_index(operand: Operand) -> Option<usize> {
    (VECTOR..ACCUMULATION + 256).contains(&operand).then(|| usize::from(operand - VECTOR))
}

impl Wave {
    pub(super) fn new() -> Wave {
        let boxed = |value: u8| vec![value; VECTORS].into_boxed_slice().try_into();
        Wave {
            vectors: match vec![Vector([POISON; 64]); VECTORS].into_boxed_slice().try_into() {
                Ok(vectors) => vectors,
                Err(_) => unreachable!("the length is the array's"),
            },
            defined: match vec![0; VECTORS].into_boxed_slice().try_into() {
                Ok(defined) => defined,
                Err(_) => unreachable!("the length is the array's"),
            },
            busy: match boxed(0) {
                Ok(busy) => busy,
                Err(_) => unreachable!("the length is the array's"),
            },
            busy_vectors: 0,
            scalars: [POISON; 128],
            undefined: [u32::MAX; 128],
            busy_scalars: 0,
            scc: false,
            scc_defined: false,
            pc: 0,
            status: Status::Done,
            place: Place::default(),
            enabled: 0,
            moved: ([0; 64], 0),
            vector_memory: VecDeque::new(),
            local_memory: VecDeque::new(),
            recent: Vec::new(),
            trail: [u32::MAX; 2],
        }
    }

    /// Nothing is defined but EXEC.
    pub(super) fn start(&mut self, place: Place, lanes: u64, entry: u32) {
        self.place = place;
        self.defined.fill(0);
        self.busy.fill(0);
        self.scalars = [POISON; 128];
        self.undefined = [u32::MAX; 128];
        (self.busy_vectors, self.busy_scalars) = (0, 0);
        (self.scc, self.scc_defined) = (false, false);
        self.set_scalar64(EXEC, lanes, 0);
        self.pc = entry;
        self.status = Status::Ready;
        self.vector_memory.clear();
        self.local_memory.clear();
        self.recent.clear();
        self.trail = [u32::MAX; 2];
    }

    #[inline(always)]
    pub(super) fn exec(&self) -> u64 {
        let at = usize::from(EXEC);
        u64::from(self.scalars[at]) | u64::from(self.scalars[at + 1]) << 32
    }

    pub(super) fn set_scalar(&mut self, operand: Operand, value: u32, undefined: u32) {
        if let Some(place) = self.scalars.get_mut(usize::from(operand)) {
            *place = value;
            self.undefined[usize::from(operand)] = undefined;
        }
    }

    pub(super) fn set_scalar64(&mut self, operand: Operand, value: u64, undefined: u64) {
        self.set_scalar(operand, value as u32, undefined as u32);
        self.set_scalar(operand + 1, (value >> 32) as u32, (undefined >> 32) as u32);
    }

    /// The value of a scalar operand of 32 bits, and its undefined bits.
    #[inline(always)]
    pub(super) fn scalar(&self, i: &Instruction, operand: Operand) -> (u32, u32) {
        if operand < 128 {
            let at = usize::from(operand);
            return (self.scalars[at], self.undefined[at]);
        }
        self.special(i, operand)
    }

    /// CDNA3 ISA, 5.2 "Scalar ALU Operands".
    fn special(&self, i: &Instruction, operand: Operand) -> (u32, u32) {
        let vcc = usize::from(VCC);
        let value = match operand {
            128..=192 => u32::from(operand) - 128,
            193..=208 => 192u32.wrapping_sub(operand.into()),
            240..=248 if i.float == Float::F16 => {
                [0x3800, 0xB800, 0x3C00, 0xBC00, 0x4000, 0xC000, 0x4400, 0xC400, 0x3118]
                    [usize::from(operand) - 240]
            }
            240..=248 => {
                let eighth_turn = f32::from_bits(0x3E22_F983);
                [0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 4.0, -4.0, eighth_turn]
                    [usize::from(operand) - 240]
                    .to_bits()
            }
            251 => {
                let undefined = self.undefined[vcc] | self.undefined[vcc + 1];
                let zero = self.scalars[vcc] | self.scalars[vcc + 1] == 0;
                return (zero.into(), if undefined == 0 { 0 } else { u32::MAX });
            }
            252 => (self.exec() == 0).into(),
            SCC => return (self.scc.into(), if self.scc_defined { 0 } else { u32::MAX }),
            LITERAL => i.literal,
            _ => 0,
        };
        (value, 0)
    }

    /// The value of a scalar operand of 64 bits, and its undefined bits. Integers among the constants
    /// keep their sign.
    pub(super) fn scalar64(&self, i: &Instruction, operand: Operand) -> (u64, u64) {
        if operand < 127 {
            let ((low, a), (high, b)) = (self.scalar(i, operand), self.scalar(i, operand + 1));
            let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
            return (wide(low, high), wide(a, b));
        }
        let (value, undefined) = self.scalar(i, operand);
        let value = match operand {
            193..=208 => i64::from(value as i32) as u64,
            _ => value.into(),
        };
        (value, if undefined == 0 { 0 } else { u64::MAX })
    }

    /// The registers of an instruction that are still being loaded: the first one, in words.
    pub(super) fn hazard(&self, i: &Instruction) -> Option<String> {
        let busy = |operand: Operand, dwords: u8| {
            (operand..operand.saturating_add(dwords.into())).find_map(|register| {
                if let Some(at) = vector_index(register) {
                    let kind = if at < 256 { 'v' } else { 'a' };
                    return (self.busy[at] > 0).then(|| format!("{kind}{}", at % 256));
                }
                let is_busy = register < 128 && self.busy_scalars >> register & 1 == 1;
                is_busy.then(|| format!("s{register}"))
            })
        };
        let sources = i.src.iter().zip(i.src_dwords).take(i.sources.into());
        let read = sources.filter(|(operand, _)| **operand != NONE);
        let read = read.map(|(&operand, dwords)| (operand, dwords, "read"));
        let scalar_offset = if i.format == Format::Buffer { i.offset2 as Operand } else { NONE };
        let read = read.chain((scalar_offset != NONE).then_some((scalar_offset, 1, "read")));
        let written = [(i.dst, i.dst_dwords, "written"), (i.sdst, 2, "written")];
        let written = written.into_iter().filter(|(operand, ..)| *operand != NONE);
        read.chain(written).find_map(|(operand, dwords, what)| {
            let register = busy(operand, dwords)?;
            Some(format!("{register} is {what} before the load into it is waited for"))
        })
    }
}
