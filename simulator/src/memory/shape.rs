//! How the lanes of an access lie.

use super::page::{Cells, PAGE, PAGE_SHIFT};
use super::region::{Access, Order};
use super::stamp::Lanes;

/// How the lanes that take part lie, as far as it makes them cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// All 32, side by side.
    Contiguous,
    /// All at one place.
    Uniform,
    Other,
}

/// Lanes whose accesses lie side by side in one page, or (`shared`) all at one place.
pub(super) struct Run {
    pub(super) lane: u32,
    /// Which lanes; from `lane` on without a gap unless `shared`.
    pub(super) mask: u32,
    pub(super) page: usize,
    /// In the page.
    pub(super) start: usize,
    /// In bytes.
    pub(super) length: usize,
    pub(super) shared: bool,
}

impl Run {
    pub(super) fn lanes_of_cells(&self, cells: &Cells<'_>, access: &Access<'_>) -> Lanes {
        let shift = access.bytes.trailing_zeros() - cells.shift;
        Lanes { first: self.lane, shift, shared: self.shared }
    }

    /// The lanes that access a cell of the run, as a mask.
    pub(super) fn lanes_of(&self, lanes: Lanes, cell: usize) -> u32 {
        if self.shared { self.mask } else { 1 << (self.lane + (cell >> lanes.shift) as u32) }
    }
}

/// The lanes of a mask, in order.
pub(super) fn lanes_in(mask: u32) -> impl Iterator<Item = u32> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros();
            rest &= rest - 1;
            lane
        })
    })
}

/// `Err` if a lane cannot access `start..start + size`. A plain loop, to be compiled to vector code.
#[inline(always)]
fn survey_body(access: &Access<'_>, start: u64, size: u64) -> Option<Shape> {
    let bytes = u64::from(access.bytes);
    let first = access.addresses[access.mask.trailing_zeros() as usize % 32];
    let (mut wrong, mut apart, mut different) = (0_u64, 0_u64, 0_u64);
    // Offsets at the last place or before are fine; without a place, none is.
    let last = size.wrapping_sub(bytes);
    for (lane, &address) in access.addresses.iter().enumerate() {
        let active = 0_u64.wrapping_sub(u64::from(access.mask >> lane & 1));
        let outside = u64::from(address.wrapping_sub(start) > last);
        wrong |= (address & (bytes - 1) | outside) & active;
        apart |= address ^ first.wrapping_add((lane as u64).wrapping_mul(bytes));
        different |= (address ^ first) & active;
    }
    if wrong != 0 || size < bytes {
        None
    } else if apart == 0 && access.mask == u32::MAX {
        Some(Shape::Contiguous)
    } else if different == 0 {
        Some(Shape::Uniform)
    } else {
        Some(Shape::Other)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn survey_avx2(access: &Access<'_>, start: u64, size: u64) -> Option<Shape> {
    survey_body(access, start, size)
}

impl Access<'_> {
    pub(super) fn is_strong(&self) -> bool {
        self.order != Order::Weak
    }

    pub(super) fn acquires(&self) -> bool {
        matches!(self.order, Order::Acquire | Order::AcquireRelease)
    }

    pub(super) fn releases(&self) -> bool {
        matches!(self.order, Order::Release | Order::AcquireRelease)
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = u32> + use<> {
        lanes_in(self.mask)
    }

    /// How the lanes lie in `start..start + size`; `None` if one of them may not access it.
    pub(super) fn survey(&self, start: u64, size: u64) -> Option<Shape> {
        debug_assert!(self.bytes.is_power_of_two() && self.bytes <= 16);
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { survey_avx2(self, start, size) };
        }
        survey_body(self, start, size)
    }

    /// Calls `each` for every run; `join` makes lanes at one place one run.
    #[inline]
    pub(super) fn for_runs(&self, base: u64, shape: Shape, join: bool, mut each: impl FnMut(Run)) {
        let bytes = self.bytes as usize;
        let mut rest = self.mask;
        while rest != 0 {
            let lane = rest.trailing_zeros();
            let offset = self.addresses[lane as usize] - base;
            let (page, start) = ((offset >> PAGE_SHIFT) as usize, offset as usize % PAGE);
            let same = match shape {
                Shape::Uniform if join => rest,
                Shape::Other if join => self.following(lane, rest, 0, 32),
                _ => 1 << lane,
            };
            let shared = same & (same - 1) != 0;
            let fit =
                ((PAGE - start) >> self.bytes.trailing_zeros()).min(32 - lane as usize) as u32;
            let mask = match shape {
                _ if shared => same,
                Shape::Contiguous => (u32::MAX >> (32 - fit)) << lane,
                _ => self.following(lane, rest, self.bytes.into(), fit),
            };
            let length = if shared { bytes } else { mask.count_ones() as usize * bytes };
            each(Run { lane, mask, page, start, length, shared });
            rest &= !mask;
        }
    }

    /// `lane` and those after it without a gap, `most` at most, each `step` bytes on.
    fn following(&self, lane: u32, rest: u32, step: u64, most: u32) -> u32 {
        let active = (!(rest >> lane)).trailing_zeros().min(most) as usize;
        let addresses = &self.addresses[lane as usize..][..active];
        let is_next = |pair: &&[u64]| pair[1] == pair[0].wrapping_add(step);
        let count = 1 + addresses.windows(2).take_while(is_next).count() as u32;
        (u32::MAX >> (32 - count)) << lane
    }
}
