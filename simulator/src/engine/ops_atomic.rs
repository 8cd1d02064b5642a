//! What atomics do with the old value (PTX ISA, "atom", "red").

use super::ops_half::{Bf16, F16, Half};
use super::ops_memory::Update;

macro_rules! updates {
    ($($name:ident |$old:ident, $b:ident, $c:ident| $body:expr;)*) => {$(
        pub(super) struct $name;
        impl Update for $name {
            fn update($old: u64, $b: u64, $c: u64) -> u64 {
                $body
            }
        }
    )*};
}

updates! {
    Exchange |_old, b, _c| b;
    CompareAndSwap16 |old, b, c| if old as u16 == b as u16 { c } else { old };
    CompareAndSwap32 |old, b, c| if old as u32 == b as u32 { c } else { old };
    CompareAndSwap64 |old, b, c| if old == b { c } else { old };
    Add |old, b, _c| old.wrapping_add(b);
    And |old, b, _c| old & b;
    Or |old, b, _c| old | b;
    Xor |old, b, _c| old ^ b;
    MinU32 |old, b, _c| u64::from((old as u32).min(b as u32));
    MaxU32 |old, b, _c| u64::from((old as u32).max(b as u32));
    MinS32 |old, b, _c| (old as i32).min(b as i32) as u64;
    MaxS32 |old, b, _c| (old as i32).max(b as i32) as u64;
    MinU64 |old, b, _c| old.min(b);
    MaxU64 |old, b, _c| old.max(b);
    MinS64 |old, b, _c| (old as i64).min(b as i64) as u64;
    MaxS64 |old, b, _c| (old as i64).max(b as i64) as u64;
    Increment |old, b, _c| if old as u32 >= b as u32 { 0 } else { old + 1 };
    Decrement |old, b, _c| if old as u32 == 0 || old as u32 > b as u32 { b } else { old - 1 };
    AddF32 |old, b, _c| {
        let sum = f32::from_bits(old as u32) + f32::from_bits(b as u32);
        if sum.is_nan() { 0x7FFF_FFFF } else { sum.to_bits().into() }
    };
    AddF64 |old, b, _c| (f64::from_bits(old) + f64::from_bits(b)).to_bits();
    AddF16 |old, b, _c| add::<F16>(old, b, 1);
    AddBf16 |old, b, _c| add::<Bf16>(old, b, 1);
    AddF16x2 |old, b, _c| add::<F16>(old, b, 2);
    AddBf16x2 |old, b, _c| add::<Bf16>(old, b, 2);
}

fn add<H: Half>(old: u64, b: u64, count: u32) -> u64 {
    (0..count).fold(0, |all, at| {
        let part = |from: u64| H::widen((from >> (16 * at)) as u16);
        all | u64::from(H::narrow(part(old) + part(b))) << (16 * at)
    })
}
