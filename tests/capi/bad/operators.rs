//! Everything but the tensors.

use super::Case;
use crate::call::{Call, Export, Operator, Pointer};
use crate::scene::{END_EXPERT, FIRST_EXPERT, Handle};
use crate::{grouped_gemm, linear, moe, router};
use expertile::Stream;
use expertile::capi::*;
use std::fmt::Display;
use std::ptr::{null_mut, without_provenance_mut};

/// Numbers that are no member of an enumeration from `from` to `to`.
pub(super) fn out_of(from: i32, to: i32) -> [i32; 6] {
    [i32::MIN, -1000, from - 1, to + 1, 0x0101_0101, i32::MAX]
}

struct Cases<'a> {
    base: &'a Call,
    cases: Vec<Case>,
}

impl Cases<'_> {
    fn add(
        &mut self,
        argument: &str,
        class: &'static str,
        value: impl Display,
        status: i32,
        change: impl FnOnce(&mut Call),
    ) {
        let mut call = *self.base;
        change(&mut call);
        let (argument, value) = (argument.to_owned(), value.to_string());
        self.cases.push(Case { argument, class, value, status, call });
    }

    fn pointers(&mut self) {
        self.add("args", "null", 0, EXPERTILE_NULL_POINTER, |c| c.args_pointer = Pointer::Null);
        for off in 1..8 {
            self.add("args", "misaligned", off, EXPERTILE_INVALID_VALUE, |c| {
                c.args_pointer = Pointer::Off(off);
            });
        }
        if self.base.export == Export::WorkspaceBytes {
            self.add("bytes", "null", 0, EXPERTILE_NULL_POINTER, |c| {
                c.bytes_pointer = Pointer::Null;
            });
            for off in 1..8 {
                self.add("bytes", "misaligned", off, EXPERTILE_INVALID_VALUE, |c| {
                    c.bytes_pointer = Pointer::Off(off);
                });
            }
        }
        let size = self.base.args.size() as u32;
        for stale in [0, 1, 4, 8, size / 2, size - 112, size - 8, size - 4, size - 1] {
            self.add("struct_size", "stale", stale, EXPERTILE_STRUCT_SIZE, |c| {
                *c.args.struct_size() = stale;
            });
        }
        for unknown in [size + 1, size + 4, size + 8, size + 112, 2 * size, u32::MAX] {
            self.add("struct_size", "unknown", unknown, EXPERTILE_STRUCT_SIZE, |c| {
                *c.args.struct_size() = unknown;
            });
        }
    }

    fn devices(&mut self, other: Option<&(Handle, Stream)>) {
        self.add("device", "null", 0, EXPERTILE_NULL_POINTER, |c| c.device = null_mut());
        for never in [1usize << 40, 0xdead_beef, usize::MAX / 2, usize::MAX] {
            self.add("device", "never open", never, EXPERTILE_INVALID_VALUE, |c| {
                c.device = without_provenance_mut(never);
            });
        }
        if self.base.export != Export::Run {
            return;
        }
        self.workspace();
        let Some((handle, stream)) = other else { return };
        self.add("device", "wrong device", 1, EXPERTILE_INVALID_VALUE, |c| c.device = handle.0);
        self.add("stream", "wrong device", 1, EXPERTILE_INVALID_VALUE, |c| {
            c.stream = without_provenance_mut(stream.raw() as usize);
        });
    }

    fn workspace(&mut self) {
        let needed = self.base.workspace_bytes;
        if needed == 0 {
            for bytes in [1, 256, usize::MAX] {
                self.add("workspace_bytes", "of null", bytes, EXPERTILE_NULL_POINTER, |c| {
                    c.workspace_bytes = bytes;
                });
            }
            return;
        }
        self.add("workspace", "null", 0, EXPERTILE_NULL_POINTER, |c| c.workspace = null_mut());
        let is_moe = matches!(self.base.operator, Operator::Moe | Operator::MoeGiven);
        for off in 1..if is_moe { 16 } else { 4 } {
            self.add("workspace", "misaligned", off, EXPERTILE_INVALID_VALUE, |c| {
                c.workspace = c.workspace.wrapping_byte_add(off);
            });
        }
        let last = usize::MAX - 3;
        self.add("workspace", "overflow", last, EXPERTILE_INVALID_VALUE, |c| {
            c.workspace = without_provenance_mut(last);
        });
        for bytes in [0, 1, 4, needed / 2, needed - 4, needed - 1] {
            self.add("workspace_bytes", "too few", bytes, EXPERTILE_WORKSPACE, |c| {
                c.workspace_bytes = bytes;
            });
        }
    }

    fn rope(&mut self) {
        for value in out_of(0, 1) {
            self.add("pairing", "enum", value, EXPERTILE_INVALID_VALUE, |c| {
                c.args.rope().pairing = value;
            });
            self.add("has_clip", "enum", value, EXPERTILE_INVALID_VALUE, |c| {
                c.args.rope().has_clip = value;
            });
        }
        for value in [f32::NAN, -f32::NAN, -1.0, -f32::MIN_POSITIVE, f32::MIN, f32::NEG_INFINITY] {
            let bits = format!("{:x}", value.to_bits());
            self.add("clip", "out of range", bits, EXPERTILE_INVALID_VALUE, |c| {
                c.args.rope().clip = value;
            });
        }
    }

    fn norm(&mut self) {
        for value in out_of(0, 3) {
            self.add("residual_mode", "enum", value, EXPERTILE_INVALID_VALUE, |c| {
                c.args.norm().residual_mode = value;
            });
        }
        for mode in [EXPERTILE_RESIDUAL_NONE, EXPERTILE_RESIDUAL_ADD, EXPERTILE_RESIDUAL_UPDATE] {
            self.add("residual_mode", "unused tensor", mode, EXPERTILE_INVALID_VALUE, |c| {
                c.args.norm().residual_mode = mode;
            });
        }
        for value in [f32::NAN, -f32::NAN, -1e-5, -f32::MIN_POSITIVE, f32::MIN, f32::NEG_INFINITY] {
            let bits = format!("{:x}", value.to_bits());
            self.add("epsilon", "out of range", bits, EXPERTILE_INVALID_VALUE, |c| {
                c.args.norm().epsilon = value;
            });
        }
        for value in [1, 2, 1 << 31, u32::MAX] {
            self.add("reserved", "not 0", value, EXPERTILE_INVALID_VALUE, |c| {
                c.args.norm().reserved = value;
            });
        }
    }

    fn dispatch(&mut self) {
        for value in [0, 1, 8, 15, 17, 24, 48, 255, 257, 512, 1 << 31, u32::MAX] {
            self.add("tile_rows", "out of range", value, EXPERTILE_INVALID_VALUE, |c| {
                c.args.dispatch().tile_rows = value;
            });
        }
        for value in [END_EXPERT + 1, 1 << 31, u32::MAX] {
            self.add("first_expert", "out of range", value, EXPERTILE_INVALID_VALUE, |c| {
                c.args.dispatch().first_expert = value;
            });
        }
        for value in [0, FIRST_EXPERT - 1, 1 << 31, u32::MAX] {
            self.add("end_expert", "out of range", value, EXPERTILE_INVALID_VALUE, |c| {
                c.args.dispatch().end_expert = value;
            });
        }
        for value in [FIRST_EXPERT, FIRST_EXPERT + 257, i32::MAX as u32] {
            self.add("end_expert", "unsupported", value, EXPERTILE_UNSUPPORTED, |c| {
                c.args.dispatch().end_expert = value;
            });
        }
        for value in [FIRST_EXPERT + 1, END_EXPERT - 1, END_EXPERT + 1, FIRST_EXPERT + 256] {
            self.add("end_expert", "disagrees", value, EXPERTILE_SHAPE, |c| {
                c.args.dispatch().end_expert = value;
            });
        }
    }

    fn combine(&mut self) {
        for value in out_of(0, 2) {
            self.add("mode", "enum", value, EXPERTILE_INVALID_VALUE, |c| {
                c.args.combine().mode = value;
            });
        }
        for mode in [EXPERTILE_COMBINE_SUM, EXPERTILE_COMBINE_UPDATE] {
            self.add("mode", "unused tensor", mode, EXPERTILE_INVALID_VALUE, |c| {
                c.args.combine().mode = mode;
            });
        }
    }

    fn linear(&mut self) {
        self.reserved();
        self.numbers(&linear::ENUMERATIONS, &[]);
        for mode in [EXPERTILE_LINEAR_PRODUCT, EXPERTILE_LINEAR_UPDATE] {
            self.add("mode", "unused tensor", mode, EXPERTILE_INVALID_VALUE, |c| {
                linear::of(c).mode = mode;
            });
        }
        for value in [f32::NAN, -f32::NAN, 0.0, -0.0, -1.0, f32::MIN, f32::NEG_INFINITY] {
            let bits = format!("{:x}", value.to_bits());
            self.add("clamp", "out of range", bits, EXPERTILE_INVALID_VALUE, |c| {
                linear::of(c).clamp = value;
            });
        }
    }

    fn reserved(&mut self) {
        for value in [1, 2, 1 << 31, u32::MAX] {
            self.add("reserved", "not 0", value, EXPERTILE_INVALID_VALUE, |c| {
                *c.args.reserved() = value;
            });
        }
    }

    fn numbers(&mut self, enumerations: &[linear::Enumeration], wrong: &[router::Wrong]) {
        for (argument, change, last) in enumerations {
            for value in out_of(0, *last) {
                let change = |call: &mut Call| change(call, value);
                self.add(argument, "enum", value, EXPERTILE_INVALID_VALUE, change);
            }
        }
        for (argument, value, change, status) in wrong {
            self.add(argument, "out of range", value, *status, change);
        }
    }
}

pub(super) fn cases(base: &Call, other: Option<&(Handle, Stream)>) -> Vec<Case> {
    let mut cases = Cases { base, cases: Vec::new() };
    cases.pointers();
    cases.devices(other);
    match base.operator {
        Operator::Rope => cases.rope(),
        Operator::LayerNorm | Operator::RmsNorm => cases.norm(),
        Operator::Linear => cases.linear(),
        Operator::Dispatch => cases.dispatch(),
        Operator::Combine => cases.combine(),
        Operator::PacketPack | Operator::PacketUnpack | Operator::RouterLoss => cases.reserved(),
        Operator::Router => cases.numbers(&router::ENUMERATIONS, router::WRONG),
        Operator::Up => {
            cases.reserved();
            cases.numbers(grouped_gemm::UP_ENUMERATIONS, grouped_gemm::UP_WRONG);
        }
        Operator::Down => {
            cases.numbers(grouped_gemm::DOWN_ENUMERATIONS, grouped_gemm::DOWN_WRONG);
        }
        Operator::Moe | Operator::MoeGiven => {
            let is_given = base.operator == Operator::MoeGiven;
            cases.reserved();
            cases.numbers(moe::ENUMERATIONS, moe::WRONG);
            cases.numbers(&[], if is_given { moe::GIVEN_WRONG } else { moe::ROUTER_WRONG });
        }
    }
    cases.cases
}
