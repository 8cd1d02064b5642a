//! What each memory instruction does (CDNA3 ISA, 12.12 to 12.14).

use super::opcodes::Opcode;

/// What happens at the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Load(Extend),
    /// The shift is of the data: 16 stores the upper half of a register.
    Store(u8),
    /// The old value comes back if there is a destination.
    Atomic(Update),
}

/// How less than a dword fills a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extend {
    Zero,
    Sign,
    /// Into the low half, the high one stays.
    Low {
        sign: bool,
    },
    High {
        sign: bool,
    },
}

/// What an atomic makes of the old value and its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    Swap,
    CompareSwap,
    Add,
    Sub,
    SignedMin,
    UnsignedMin,
    SignedMax,
    UnsignedMax,
    And,
    Or,
    Xor,
    Inc,
    Dec,
}

/// A memory instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) action: Action,
    /// At each address.
    pub(super) bytes: u8,
    /// 2 for `ds_read2` and the like: the offsets count in units of so many bytes.
    pub(super) places: u8,
    pub(super) unit: u32,
}

pub(super) fn describe(opcode: Opcode) -> Option<Access> {
    use Opcode::*;
    let one = |action: Action, bytes: u8| Some(Access { action, bytes, places: 1, unit: 1 });
    let load = |bytes: u8| one(Action::Load(Extend::Zero), bytes);
    let extended = |extend: Extend, bytes: u8| one(Action::Load(extend), bytes);
    let store = |bytes: u8| one(Action::Store(0), bytes);
    let two = |action: Action, bytes: u8, unit: u32| {
        Some(Access { action, bytes, places: 2, unit: unit * u32::from(bytes) })
    };
    let atomic = |update: Update| one(Action::Atomic(update), 4);
    let atomic64 = |update: Update| one(Action::Atomic(update), 8);
    let (low, high) = (Extend::Low { sign: false }, Extend::High { sign: false });
    let (low_signed, high_signed) = (Extend::Low { sign: true }, Extend::High { sign: true });
    let loads = Action::Load(Extend::Zero);
    match opcode {
        global_load_ubyte | buffer_load_ubyte | ds_read_u8 => load(1),
        global_load_sbyte | buffer_load_sbyte | ds_read_i8 => extended(Extend::Sign, 1),
        global_load_ushort | buffer_load_ushort | ds_read_u16 => load(2),
        global_load_sshort | buffer_load_sshort | ds_read_i16 => extended(Extend::Sign, 2),
        global_load_ubyte_d16 | buffer_load_ubyte_d16 | ds_read_u8_d16 => extended(low, 1),
        global_load_ubyte_d16_hi | buffer_load_ubyte_d16_hi | ds_read_u8_d16_hi => {
            extended(high, 1)
        }
        global_load_sbyte_d16 | buffer_load_sbyte_d16 | ds_read_i8_d16 => extended(low_signed, 1),
        global_load_sbyte_d16_hi | buffer_load_sbyte_d16_hi | ds_read_i8_d16_hi => {
            extended(high_signed, 1)
        }
        global_load_short_d16 | buffer_load_short_d16 | ds_read_u16_d16 => extended(low, 2),
        global_load_short_d16_hi | buffer_load_short_d16_hi | ds_read_u16_d16_hi => {
            extended(high, 2)
        }
        global_load_dword | global_load_lds_dword | buffer_load_dword | ds_read_b32 => load(4),
        global_load_dwordx2 | buffer_load_dwordx2 | ds_read_b64 | ds_read_b64_tr_b16 => load(8),
        global_load_dwordx3 | buffer_load_dwordx3 | ds_read_b96 => load(12),
        global_load_dwordx4 | global_load_lds_dwordx4 | buffer_load_dwordx4 | ds_read_b128 => {
            load(16)
        }
        global_store_byte | buffer_store_byte | ds_write_b8 => store(1),
        global_store_byte_d16_hi | buffer_store_byte_d16_hi | ds_write_b8_d16_hi => {
            one(Action::Store(16), 1)
        }
        global_store_short | buffer_store_short | ds_write_b16 => store(2),
        global_store_short_d16_hi | buffer_store_short_d16_hi | ds_write_b16_d16_hi => {
            one(Action::Store(16), 2)
        }
        global_store_dword | buffer_store_dword | ds_write_b32 => store(4),
        global_store_dwordx2 | buffer_store_dwordx2 | ds_write_b64 => store(8),
        global_store_dwordx3 | buffer_store_dwordx3 | ds_write_b96 => store(12),
        global_store_dwordx4 | buffer_store_dwordx4 | ds_write_b128 => store(16),
        ds_read2_b32 => two(loads, 4, 1),
        ds_read2st64_b32 => two(loads, 4, 64),
        ds_read2_b64 => two(loads, 8, 1),
        ds_read2st64_b64 => two(loads, 8, 64),
        ds_write2_b32 => two(Action::Store(0), 4, 1),
        ds_write2st64_b32 => two(Action::Store(0), 4, 64),
        ds_write2_b64 => two(Action::Store(0), 8, 1),
        ds_write2st64_b64 => two(Action::Store(0), 8, 64),
        global_atomic_swap | ds_wrxchg_rtn_b32 => atomic(Update::Swap),
        global_atomic_cmpswap | ds_cmpst_b32 | ds_cmpst_rtn_b32 => atomic(Update::CompareSwap),
        global_atomic_add | ds_add_u32 | ds_add_rtn_u32 => atomic(Update::Add),
        global_atomic_sub | ds_sub_u32 | ds_sub_rtn_u32 => atomic(Update::Sub),
        global_atomic_smin | ds_min_i32 | ds_min_rtn_i32 => atomic(Update::SignedMin),
        global_atomic_umin | ds_min_u32 | ds_min_rtn_u32 => atomic(Update::UnsignedMin),
        global_atomic_smax | ds_max_i32 | ds_max_rtn_i32 => atomic(Update::SignedMax),
        global_atomic_umax | ds_max_u32 | ds_max_rtn_u32 => atomic(Update::UnsignedMax),
        global_atomic_and | ds_and_b32 | ds_and_rtn_b32 => atomic(Update::And),
        global_atomic_or | ds_or_b32 | ds_or_rtn_b32 => atomic(Update::Or),
        global_atomic_xor | ds_xor_b32 | ds_xor_rtn_b32 => atomic(Update::Xor),
        global_atomic_inc | ds_inc_u32 | ds_inc_rtn_u32 => atomic(Update::Inc),
        global_atomic_dec | ds_dec_u32 | ds_dec_rtn_u32 => atomic(Update::Dec),
        global_atomic_swap_x2 => atomic64(Update::Swap),
        global_atomic_cmpswap_x2 => atomic64(Update::CompareSwap),
        global_atomic_add_x2 => atomic64(Update::Add),
        global_atomic_sub_x2 => atomic64(Update::Sub),
        global_atomic_smin_x2 => atomic64(Update::SignedMin),
        global_atomic_umin_x2 => atomic64(Update::UnsignedMin),
        global_atomic_smax_x2 => atomic64(Update::SignedMax),
        global_atomic_umax_x2 => atomic64(Update::UnsignedMax),
        global_atomic_and_x2 => atomic64(Update::And),
        global_atomic_or_x2 => atomic64(Update::Or),
        global_atomic_xor_x2 => atomic64(Update::Xor),
        global_atomic_inc_x2 => atomic64(Update::Inc),
        global_atomic_dec_x2 => atomic64(Update::Dec),
        _ => None,
    }
}

impl Update {
    /// The new value; `compare` is what `CompareSwap` asks for.
    pub(super) fn apply(self, old: u64, operand: u64, compare: u64, bytes: u8) -> u64 {
        let shift = 64 - 8 * u32::from(bytes);
        let signed = |value: u64| (value << shift) as i64;
        match self {
            Update::Swap => operand,
            Update::CompareSwap => {
                if old == compare {
                    operand
                } else {
                    old
                }
            }
            Update::Add => old.wrapping_add(operand),
            Update::Sub => old.wrapping_sub(operand),
            Update::SignedMin => {
                if signed(operand) < signed(old) {
                    operand
                } else {
                    old
                }
            }
            Update::UnsignedMin => old.min(operand),
            Update::SignedMax => {
                if signed(operand) > signed(old) {
                    operand
                } else {
                    old
                }
            }
            Update::UnsignedMax => old.max(operand),
            Update::And => old & operand,
            Update::Or => old | operand,
            Update::Xor => old ^ operand,
            Update::Inc => {
                if old >= operand {
                    0
                } else {
                    old + 1
                }
            }
            Update::Dec => {
                if old == 0 || old > operand {
                    operand
                } else {
                    old - 1
                }
            }
        }
    }
}
