//! Each part of each tensor.

use super::Case;
use super::operators::out_of;
use crate::call::{Call, Export, Operator, specs};
use crate::router;
use crate::scene::{HEADS, KV_HEADS, Spec, TOP_K, bytes_of};
use expertile::capi::*;
use std::fmt::Display;
use std::ptr::{null_mut, without_provenance_mut};

struct Cases {
    spec: Spec,
    place: usize,
    cases: Vec<Case>,
}

const VALUE: i32 = EXPERTILE_INVALID_VALUE;

impl Cases {
    fn add(
        &mut self,
        base: &Call,
        part: impl Display,
        class: &'static str,
        value: impl Display,
        status: i32,
        change: impl FnOnce(&mut expertile_tensor),
    ) {
        let mut call = *base;
        change(call.args.tensor(self.place));
        let argument = format!("{}.{part}", self.spec.name);
        self.cases.push(Case { argument, class, value: value.to_string(), status, call });
    }

    /// A tensor whose extents others are compared with.
    fn defines(&self, base: &Call) -> bool {
        match (base.operator, self.spec.name) {
            (Operator::Dispatch | Operator::PacketPack, "ids") => true,
            (Operator::Combine, "expert_out" | "rows") | (Operator::Linear, "weight") => true,
            (Operator::Router, "weight" | "ids") | (Operator::RouterLoss, "logits") => true,
            (Operator::Up | Operator::Down, "out" | "offsets") | (Operator::Down, "weights") => {
                true
            }
            (Operator::Moe, "router_weight" | "gate") | (Operator::MoeGiven, "ids" | "gate") => {
                true
            }
            (_, name) => ["qkv", "k_cache", "x"].contains(&name),
        }
    }

    /// A tensor with a kernel for each type, and for each distance of rows.
    fn is_free(&self, base: &Call) -> bool {
        (base.operator, self.spec.name) == (Operator::RouterLoss, "logits")
    }

    /// The tensor whose type decides which kernel is wanted.
    fn chooses(&self, base: &Call) -> bool {
        match base.operator {
            // The router, and so moe, compares the types of h and weight first, linear those of x and weight.
            Operator::Dispatch | Operator::Router | Operator::Linear | Operator::Moe => false,
            Operator::PacketUnpack => self.spec.name == "x",
            _ => self.place == 0,
        }
    }

    fn data(&mut self, base: &Call) {
        if base.export != Export::Run {
            return;
        }
        self.add(base, "data", "null", 0, EXPERTILE_NULL_POINTER, |t| t.data = null_mut());
        let is_product = matches!(base.operator, Operator::Up | Operator::Down);
        let alignment = match self.spec.name {
            "bias" if is_product => 16,
            "positions" | "ids" | "pairs" | "rows" | "offsets" | "counts" | "tile_count"
            | "weights" | "bias" | "router_bias" | "forced" | "probabilities" | "losses"
            | "mean_probabilities" => 4,
            "logits" => bytes_of(self.spec.dtype) as usize,
            "slot_mapping" | "tiles" => 8,
            _ => 16,
        };
        for off in 1..alignment {
            self.add(base, "data", "misaligned", off, VALUE, |t| {
                t.data = t.data.wrapping_byte_add(off);
            });
        }
        let last = usize::MAX - (alignment - 1);
        self.add(base, "data", "overflow", last, VALUE, |t| t.data = without_provenance_mut(last));
    }

    fn dtype(&mut self, base: &Call) {
        let own = self.spec.dtype;
        for dtype in [0].into_iter().chain(out_of(1, 5)) {
            self.add(base, "dtype", "enum", dtype, VALUE, |t| t.dtype = dtype);
        }
        for dtype in (EXPERTILE_BF16..=EXPERTILE_I64).filter(|dtype| *dtype != own) {
            let chooses = self.chooses(base);
            if self.is_free(base) && ![EXPERTILE_I32, EXPERTILE_I64].contains(&dtype) {
                continue;
            }
            let status = match dtype {
                EXPERTILE_I32 | EXPERTILE_I64 if chooses => EXPERTILE_UNSUPPORTED,
                EXPERTILE_F32 if chooses && multiplies(base.operator) => EXPERTILE_UNSUPPORTED,
                _ => VALUE,
            };
            self.add(base, "dtype", "wrong type", dtype, status, |t| t.dtype = dtype);
        }
    }

    fn rank(&mut self, base: &Call) {
        let own = self.spec.shape.len() as u32;
        for rank in (0..=4).filter(|rank| *rank != own) {
            let status = if self.defines(base) { VALUE } else { EXPERTILE_SHAPE };
            self.add(base, "rank", "wrong rank", rank, status, |t| t.rank = rank);
        }
        for rank in [5, 6, 7, 1 << 31, u32::MAX] {
            self.add(base, "rank", "too large", rank, VALUE, |t| t.rank = rank);
        }
    }

    /// What a call returns whose tensor has this extent, and is dense; `None` if it is a right call.
    fn status_of_extent(&self, base: &Call, dimension: usize, extent: i64) -> Option<i32> {
        let Ok(extent) = u64::try_from(extent) else { return Some(VALUE) };
        let mut shape: Vec<u64> = self.spec.shape.iter().map(|&extent| extent as u64).collect();
        shape[dimension] = extent;
        let product =
            |shape: &[u64]| shape.iter().map(|&extent| u128::from(extent.max(1))).product();
        let elements: u128 = product(&shape);
        let bytes = elements.saturating_mul(bytes_of(self.spec.dtype).into());
        let address = if base.export == Export::Run { self.address(base) } else { 0 };
        let too_many = elements >= 1 << 64
            || !shape.contains(&0) && bytes.saturating_add(address.into()) >= 1 << 64;
        if too_many {
            return Some(VALUE);
        }
        let unsupported = Some(EXPERTILE_UNSUPPORTED);
        if multiplies(base.operator) {
            return status_of_product(base.operator, self.spec.name, dimension, extent, elements);
        }
        match (base.operator, self.spec.name, dimension) {
            // Any number of query heads is right that leaves room for keys and values.
            (_, "qkv", 1) => match extent {
                extent if extent < 2 * KV_HEADS as u64 => Some(VALUE),
                extent if extent >= 1 << 24 => unsupported,
                _ => None,
            },
            (Operator::Dispatch, "ids", 0) if extent * TOP_K as u64 >= 1 << 31 => unsupported,
            (Operator::Dispatch, "ids", 1) if !(1..=16).contains(&extent) => unsupported,
            // So is any number of rows, and of slots and packets as far as there are kernels.
            (Operator::Combine, "expert_out", 0) => None,
            (Operator::Combine, "rows", 1) => unsupported.filter(|_| !(1..=16).contains(&extent)),
            (Operator::RouterLoss, "ids", 1) => unsupported.filter(|_| !(1..=16).contains(&extent)),
            (Operator::PacketPack, "offsets", 0) if extent > 0 => None,
            (Operator::PacketPack, "packets", 0) => unsupported.filter(|_| extent >= 1 << 31),
            (Operator::PacketUnpack, "x", 0) if extent >= 1 << 31 => unsupported,
            (Operator::PacketPack | Operator::PacketUnpack, "x", 1) => {
                let taken = extent > 0 && extent.is_multiple_of(8) && extent < (1 << 32) - 7;
                Some(if taken { EXPERTILE_SHAPE } else { EXPERTILE_UNSUPPORTED })
            }
            _ => Some(EXPERTILE_SHAPE),
        }
    }

    fn address(&self, base: &Call) -> u64 {
        let mut args = base.args;
        args.tensor(self.place).data.addr() as u64
    }

    fn extents(&mut self, base: &Call) {
        for dimension in 0..self.spec.shape.len() {
            let own = self.spec.shape[dimension];
            let negative = [-1, -own, i64::from(i32::MIN), i64::MIN];
            let overflowing = [1 << 61, 1 << 62, i64::MAX - 7, i64::MAX];
            let wrong = [0, 1, own - 1, own + 1, 2 * own, 1 << 24, 1 << 31, 1 << 32, 1 << 40];
            let part = format!("shape[{dimension}]");
            for (class, values) in
                [("negative", &negative[..]), ("overflow", &overflowing), ("disagrees", &wrong)]
            {
                for &value in values.iter().filter(|&&value| value != own) {
                    let status = self.status_of_extent(base, dimension, value);
                    let Some(status) = status else { continue };
                    self.add(base, &part, class, value, status, |t| t.shape[dimension] = value);
                }
            }
        }
    }

    fn strides(&mut self, base: &Call) {
        let dense = self.spec.dense_strides();
        let rank = self.spec.shape.len();
        for (dimension, own) in dense.into_iter().take(rank).enumerate() {
            if self.spec.shape[dimension] == 1 {
                // There is no other index.
                continue;
            }
            let last = dimension + 1 == rank;
            let part = format!("strides[{dimension}]");
            for value in [-1, -own, i64::from(i32::MIN), i64::MIN] {
                self.add(base, &part, "negative", value, VALUE, |t| t.strides[dimension] = value);
            }
            // Packets ask for multiples of 16 bytes.
            let right = |value| {
                let packet = matches!(base.operator, Operator::PacketPack | Operator::PacketUnpack);
                packet
                    && !last
                    && ["x", "packets"].contains(&self.spec.name)
                    && value == own + 4
                    && self.spec.dtype == EXPERTILE_F32
            };
            let absurd = [own + 1, own + 4, own + 7, 3, (1 << 32) + 1, i64::MAX]
                .map(|value| if right(value) { own + 5 } else { value });
            let free = self.is_free(base) && !last;
            for value in absurd.into_iter().skip(if free { 5 } else { 0 }) {
                self.add(base, &part, "absurd", value, VALUE, |t| t.strides[dimension] = value);
            }
            // Of one dimension, that is a tensor without strides.
            if (last || self.spec.written) && rank > 1 {
                self.add(base, &part, "overlapping", 0, VALUE, |t| t.strides[dimension] = 0);
            }
            if self.spec.written && !last {
                self.add(base, &part, "overlapping", 8, VALUE, |t| t.strides[dimension] = 8);
            }
            if last {
                self.add(base, &part, "absurd", 8, VALUE, |t| t.strides[dimension] = 8);
            }
            if (self.spec.name, dimension) == ("qkv", 1) {
                self.add(base, &part, "absurd", own + 8, VALUE, |t| t.strides[dimension] = own + 8);
            }
            let steps = u128::from(self.spec.shape[dimension] as u64 - 1);
            for value in [1i64 << 60, 1 << 61, 1 << 62, i64::MAX - 7] {
                let bytes =
                    steps * u128::from(value as u64) * u128::from(bytes_of(self.spec.dtype));
                if bytes >= 1 << 64 {
                    self.add(base, &part, "overflow", value, VALUE, |t| {
                        t.strides[dimension] = value;
                    });
                }
            }
        }
    }
}

pub(super) fn cases(dense: Call, stated: Call, dtype: i32) -> Vec<Case> {
    const { assert!(HEADS > 2 * KV_HEADS) };
    let mut all = Vec::new();
    for (place, spec) in specs(dense.operator, dtype).into_iter().enumerate() {
        let mut cases = Cases { spec, place, cases: Vec::new() };
        cases.data(&stated);
        cases.dtype(&stated);
        cases.rank(&dense);
        cases.extents(&dense);
        cases.strides(&stated);
        all.append(&mut cases.cases);
    }
    if dense.operator.is_norm() {
        absent(&dense, &mut all);
    }
    for (name, place, option) in
        router::UNUSED.iter().filter(|_| dense.operator == Operator::Router)
    {
        let mut right = dense;
        option(&mut right);
        traces(&right, *place, &format!("{name}, unused"), "", &mut all);
    }
    all
}

/// The operators of which a product of experts is a part, of bf16 or f16.
fn multiplies(operator: Operator) -> bool {
    matches!(operator, Operator::Up | Operator::Down | Operator::Moe | Operator::MoeGiven)
}

/// As [`Cases::status_of_extent`], of extents that any tensor may have.
fn status_of_product(
    operator: Operator,
    name: &str,
    dimension: usize,
    extent: u64,
    elements: u128,
) -> Option<i32> {
    let taken = match (operator, name, dimension) {
        // Features of x, or of what a product gives.
        (Operator::Up | Operator::Down, "x" | "out", 1)
        | (Operator::MoeGiven, "x", 1)
        | (Operator::Moe | Operator::MoeGiven, "gate", 1) => {
            extent > 0 && extent.is_multiple_of(8) && extent < 1 << 30
        }
        (Operator::Up, "out", 0) | (Operator::Down, "x", 0) => extent < 1 << 31,
        (Operator::Up | Operator::Down, "offsets", 0) => (2..=257).contains(&extent),
        // Any number of tokens is right, and of weights, as far as there are kernels.
        (Operator::Up, "x", 0) if extent < 1 << 31 => return None,
        (Operator::Down, "weights", _) if elements < 1 << 31 => return None,
        (Operator::Up, "x", 0) | (Operator::Down, "weights", _) => false,
        // Pairs are two of a token.
        (Operator::Moe, "x", 0) => extent < 1 << 30,
        // The local experts are the second and third.
        (Operator::Moe, "router_weight", 0) if extent < 3 => return Some(VALUE),
        _ => true,
    };
    Some(if taken { EXPERTILE_SHAPE } else { EXPERTILE_UNSUPPORTED })
}

type Change = fn(&mut expertile_tensor);

/// Tensors that the mode does not use.
fn absent(base: &Call, all: &mut Vec<Case>) {
    for (mode, unused) in [
        (EXPERTILE_RESIDUAL_NONE, &[1, 2][..]),
        (EXPERTILE_RESIDUAL_ADD, &[2]),
        (EXPERTILE_RESIDUAL_UPDATE, &[2]),
    ] {
        let mut right = *base;
        right.args.norm().residual_mode = mode;
        for &place in unused {
            *right.args.tensor(place) = ABSENT;
        }
        for &place in unused {
            let name = ["residual", "sum"][place - 1];
            traces(&right, place, name, &format!("in mode {mode}"), all);
        }
    }
}

/// With any trace of an absent tensor the call is refused.
fn traces(right: &Call, place: usize, name: &str, value: &str, all: &mut Vec<Case>) {
    let changes: [(&str, Change); 3] = [
        ("data", |t| t.data = without_provenance_mut(16)),
        ("rank", |t| t.rank = 2),
        ("dtype", |t| t.dtype = EXPERTILE_BF16),
    ];
    for (part, change) in changes {
        let mut call = *right;
        change(call.args.tensor(place));
        let (argument, value) = (format!("{name}.{part}"), value.to_owned());
        all.push(Case { argument, class: "unused", value, status: VALUE, call });
    }
}

pub(crate) const ABSENT: expertile_tensor = expertile_tensor {
    data: null_mut(),
    dtype: 0,
    rank: 0,
    shape: [0; EXPERTILE_MAX_RANK],
    strides: [0; EXPERTILE_MAX_RANK],
};
