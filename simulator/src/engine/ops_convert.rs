//! Moves and conversions.

use super::context::{Context, LOCAL_WINDOW, PARAMETER_WINDOW, SHARED_WINDOW};
use super::instruction::{Execute, Flow, Map1, Map2, Op, operations};
use super::peers::RANK_SHIFT;
use super::registers::Cell;

operations! {
    Unary CopyNarrow [A: u32] -> u32 { |a| a }
    Unary CopyWide [A: u64] -> u64 { |a| a }
    Unary LowWord [A: u64] -> u32 { |a| a as u32 }
    Unary HighWord [A: u64] -> u32 { |a| (a >> 32) as u32 }
    Unary SignedWord [A: i32] -> i64 { |a| a.into() }
    Unary UnsignedWord [A: u32] -> u64 { |a| a.into() }
    Unary LowHalf [A: u32] -> u16 { |a| a as u16 }
    Unary HighHalf [A: u32] -> u16 { |a| (a >> 16) as u16 }
    Binary JoinHalves [A: u16, B: u16] -> u32 { |a, b| u32::from(a) | u32::from(b) << 16 }
    Binary JoinWords [A: u32, B: u32] -> u64 { |a, b| u64::from(a) | u64::from(b) << 32 }
    Binary JoinBytes [A: u8, B: u8] -> u16 { |a, b| u16::from(a) | u16::from(b) << 8 }
    Unary FromU8 [A: u8] -> u32 { |a| a.into() }
    Unary FromS8 [A: i8] -> i32 { |a| a.into() }
    Unary FromU16 [A: u16] -> u32 { |a| a.into() }
    Unary FromS16 [A: i16] -> i32 { |a| a.into() }
    Unary ToShared [A: u64] -> u64 { |a| a.wrapping_sub(SHARED_WINDOW) }
    Unary FromShared [A: u64] -> u64 { |a| a.wrapping_add(SHARED_WINDOW) }
    Unary ToLocal [A: u64] -> u64 { |a| a.wrapping_sub(LOCAL_WINDOW) }
    Unary FromLocal [A: u64] -> u64 { |a| a.wrapping_add(LOCAL_WINDOW) }
}

pub(super) type Copy32 = Map1<CopyNarrow>;
pub(super) type Copy64 = Map1<CopyWide>;
pub(super) type Narrow = Map1<LowWord>;
pub(super) type WidenSigned = Map1<SignedWord>;
pub(super) type WidenUnsigned = Map1<UnsignedWord>;
pub(super) type Join16 = Map2<JoinHalves>;
pub(super) type Join32 = Map2<JoinWords>;

/// The predicate `a`, flipped by `extra`, to the predicate `d`.
pub(super) struct CopyPredicate;

impl Execute for CopyPredicate {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        let a = context.registers.predicate(op.a);
        context.registers.write_predicate(op.d, mask, a.value ^ op.b, a.valid);
        Flow::Next
    }
}

/// Whether generic addresses lie in a window: from `extra`, of 2^40 bytes; at most `c` windows.
pub(super) struct InWindow;

impl Execute for InWindow {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        // The block's own memory by its rank in the cluster.
        let own_window = (SHARED_WINDOW >> RANK_SHIFT) + u64::from(context.peers.rank) + 1;
        let registers = &mut *context.registers;
        let addresses = u64::lanes(registers, op.a);
        let window = match op.b {
            0 => 0..SHARED_WINDOW,
            1 => SHARED_WINDOW..SHARED_WINDOW + (1 << RANK_SHIFT),
            2 => SHARED_WINDOW..LOCAL_WINDOW,
            3 => LOCAL_WINDOW..PARAMETER_WINDOW,
            _ => PARAMETER_WINDOW..PARAMETER_WINDOW + (1 << 40),
        };
        let mut inside = 0;
        for (lane, address) in addresses.iter().enumerate() {
            let own = op.b == 1 && address >> RANK_SHIFT == own_window;
            inside |= u32::from(window.contains(address) || own) << lane;
        }
        let valid = registers.valid(op.a);
        registers.write_predicate(op.d, mask, inside, valid);
        Flow::Next
    }
}

/// `%clock` and its kin: instructions issued stand for time.
pub(super) struct Clock;

impl Execute for Clock {
    #[inline(always)]
    fn execute(context: &mut Context<'_>, op: &Op, mask: u32) -> Flow {
        context.state.ticks += 1;
        let time = context.state.counters.warp_instructions + context.state.ticks;
        let time = time >> op.b;
        if op.c == 1 {
            context.registers.write(op.d, mask, &[time; 32], u32::MAX);
        } else {
            context.registers.write(op.d, mask, &[time as u32; 32], u32::MAX);
        }
        Flow::Next
    }
}
