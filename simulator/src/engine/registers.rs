//! The registers of one frame of one warp: 32 lanes side by side, and which of them are defined.

/// 32 lanes of 32 bits. A 64-bit register is two neighbours, seen as 32 lanes of 64 bits.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Vector(pub(super) [u32; 32]);

/// What undefined registers hold.
pub(super) const POISON: Vector = Vector([u32::MAX; 32]);

/// 32 truth values, by lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predicate {
    pub(super) value: u32,
    pub(super) valid: u32,
}

/// Slot 0 of the predicates: always true.
pub(super) const ALWAYS: u32 = 0;

/// Values by slot. Constants and special registers lie there too, so that an operand is a slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Registers {
    pub(super) values: Vec<Vector>,
    /// By slot: the lanes that are defined. Of a 64-bit register, the first slot counts.
    pub(super) valid: Vec<u32>,
    pub(super) predicates: Vec<Predicate>,
}

/// How a lane is kept.
pub(super) trait Cell: Copy + Default {
    fn lanes(registers: &Registers, slot: u32) -> &[Self; 32];
    fn lanes_mut(registers: &mut Registers, slot: u32) -> &mut [Self; 32];
}

impl Cell for u32 {
    #[inline(always)]
    fn lanes(registers: &Registers, slot: u32) -> &[u32; 32] {
        &registers.values[slot as usize].0
    }

    #[inline(always)]
    fn lanes_mut(registers: &mut Registers, slot: u32) -> &mut [u32; 32] {
        &mut registers.values[slot as usize].0
    }
}

impl Cell for u64 {
    #[inline(always)]
    fn lanes(registers: &Registers, slot: u32) -> &[u64; 32] {
        let pair = &registers.values[slot as usize..slot as usize + 2];
        // SAFETY: two vectors are 256 bytes in a row, aligned to 64, and any bits are a u64.
        unsafe { &*pair.as_ptr().cast() }
    }

    #[inline(always)]
    fn lanes_mut(registers: &mut Registers, slot: u32) -> &mut [u64; 32] {
        let pair = &mut registers.values[slot as usize..slot as usize + 2];
        // SAFETY: as above, and the borrow is unique.
        unsafe { &mut *pair.as_mut_ptr().cast() }
    }
}

/// What an operation takes a lane for. 8- and 16-bit values are the low bits of a 32-bit cell, whose
/// other bits mean nothing.
pub(super) trait Lane: Copy {
    type Cell: Cell;
    fn from_cell(cell: Self::Cell) -> Self;
    fn to_cell(self) -> Self::Cell;
}

macro_rules! lane {
    ($($ty:ty, $cell:ty, $from:expr, $to:expr;)*) => {$(
        impl Lane for $ty {
            type Cell = $cell;
            #[inline(always)]
            fn from_cell(cell: $cell) -> $ty {
                let from: fn($cell) -> $ty = $from;
                from(cell)
            }
            #[inline(always)]
            fn to_cell(self) -> $cell {
                let to: fn($ty) -> $cell = $to;
                to(self)
            }
        }
    )*};
}

lane! {
    u8, u32, |c| c as u8, u32::from;
    i8, u32, |c| c as i8, |v| v as u32;
    u16, u32, |c| c as u16, u32::from;
    i16, u32, |c| c as i16, |v| v as u32;
    u32, u32, |c| c, |v| v;
    i32, u32, |c| c as i32, |v| v as u32;
    f32, u32, f32::from_bits, f32::to_bits;
    u64, u64, |c| c, |v| v;
    i64, u64, |c| c as i64, |v| v as u64;
    f64, u64, f64::from_bits, f64::to_bits;
}

impl Registers {
    /// Writes the lanes of the mask.
    #[inline(always)]
    pub(super) fn write<C: Cell>(&mut self, slot: u32, mask: u32, lanes: &[C; 32], valid: u32) {
        let into = C::lanes_mut(self, slot);
        if mask == u32::MAX {
            *into = *lanes;
        } else {
            for lane in 0..32 {
                into[lane] = if mask >> lane & 1 == 1 { lanes[lane] } else { into[lane] };
            }
        }
        self.set_valid(slot, mask, valid);
    }

    #[inline(always)]
    pub(super) fn set_valid(&mut self, slot: u32, mask: u32, valid: u32) {
        let at = &mut self.valid[slot as usize];
        *at = *at & !mask | valid & mask;
    }

    #[inline(always)]
    pub(super) fn valid(&self, slot: u32) -> u32 {
        self.valid[slot as usize]
    }

    #[inline(always)]
    pub(super) fn predicate(&self, index: u32) -> Predicate {
        self.predicates[index as usize]
    }

    #[inline(always)]
    pub(super) fn write_predicate(&mut self, index: u32, mask: u32, value: u32, valid: u32) {
        let at = &mut self.predicates[index as usize];
        at.value = at.value & !mask | value & mask;
        at.valid = at.valid & !mask | valid & mask;
    }
}
