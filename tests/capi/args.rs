//! The struct of a call's arguments.

use crate::{grouped_gemm, linear, moe, router, router_loss};
use expertile::capi::*;

/// The struct of an operator; each begins with its size.
#[allow(clippy::large_enum_variant)] // a call is copied and changed
#[derive(Clone, Copy)]
pub(crate) enum Args {
    Rope(expertile_rope_args),
    Norm(expertile_norm_args),
    Linear(expertile_linear_args),
    Dispatch(expertile_dispatch_args),
    Combine(expertile_combine_args),
    Pack(expertile_packet_pack_args),
    Unpack(expertile_packet_unpack_args),
    Router(expertile_router_args),
    RouterLoss(expertile_router_loss_args),
    Up(expertile_grouped_gemm_up_args),
    Down(expertile_grouped_gemm_down_args),
    Moe(expertile_moe_args),
}

impl Args {
    pub(crate) fn tensor(&mut self, place: usize) -> &mut expertile_tensor {
        match self {
            Args::Rope(args) => match place {
                0 => &mut args.qkv,
                1 => &mut args.positions,
                2 => &mut args.inv_freq,
                3 => &mut args.k_cache,
                4 => &mut args.v_cache,
                _ => &mut args.slot_mapping,
            },
            Args::Norm(args) => match place {
                0 => &mut args.x,
                1 => &mut args.residual,
                2 => &mut args.sum,
                3 => &mut args.weight,
                _ => &mut args.out,
            },
            Args::Linear(args) => linear::tensor(args, place),
            Args::Dispatch(args) => match place {
                0 => &mut args.ids,
                1 => &mut args.pairs,
                2 => &mut args.rows,
                3 => &mut args.offsets,
                4 => &mut args.counts,
                5 => &mut args.tiles,
                _ => &mut args.tile_count,
            },
            Args::Combine(args) => match place {
                0 => &mut args.expert_out,
                1 => &mut args.rows,
                2 => &mut args.residual,
                _ => &mut args.out,
            },
            Args::Pack(args) => match place {
                0 => &mut args.x,
                1 => &mut args.ids,
                2 => &mut args.weights,
                3 => &mut args.pairs,
                4 => &mut args.offsets,
                _ => &mut args.packets,
            },
            Args::Unpack(args) => match place {
                0 => &mut args.packets,
                1 => &mut args.x,
                2 => &mut args.ids,
                3 => &mut args.weights,
                _ => &mut args.pairs,
            },
            Args::Router(args) => router::tensor(args, place),
            Args::RouterLoss(args) => router_loss::tensor(args, place),
            Args::Up(args) => grouped_gemm::up_tensor(args, place),
            Args::Down(args) => grouped_gemm::down_tensor(args, place),
            Args::Moe(args) => moe::tensor(args, place),
        }
    }

    /// Where the struct is, and its bytes.
    pub(crate) fn place(&self) -> (*const u64, usize) {
        match self {
            Args::Rope(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Norm(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Linear(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Dispatch(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Combine(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Pack(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Unpack(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Router(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::RouterLoss(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Up(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Down(args) => ((&raw const *args).cast(), size_of_val(args)),
            Args::Moe(args) => ((&raw const *args).cast(), size_of_val(args)),
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.place().1
    }

    pub(crate) fn struct_size(&mut self) -> &mut u32 {
        match self {
            Args::Rope(args) => &mut args.struct_size,
            Args::Norm(args) => &mut args.struct_size,
            Args::Linear(args) => &mut args.struct_size,
            Args::Dispatch(args) => &mut args.struct_size,
            Args::Combine(args) => &mut args.struct_size,
            Args::Pack(args) => &mut args.struct_size,
            Args::Unpack(args) => &mut args.struct_size,
            Args::Router(args) => &mut args.struct_size,
            Args::RouterLoss(args) => &mut args.struct_size,
            Args::Up(args) => &mut args.struct_size,
            Args::Down(args) => &mut args.struct_size,
            Args::Moe(args) => &mut args.struct_size,
        }
    }

    pub(crate) fn rope(&mut self) -> &mut expertile_rope_args {
        let Args::Rope(args) = self else { panic!("not rope's") };
        args
    }

    pub(crate) fn norm(&mut self) -> &mut expertile_norm_args {
        let Args::Norm(args) = self else { panic!("not a norm's") };
        args
    }

    pub(crate) fn dispatch(&mut self) -> &mut expertile_dispatch_args {
        let Args::Dispatch(args) = self else { panic!("not dispatch's") };
        args
    }

    pub(crate) fn combine(&mut self) -> &mut expertile_combine_args {
        let Args::Combine(args) = self else { panic!("not combine's") };
        args
    }

    /// Of a packet's operators, router_loss, linear, the first product and moe.
    pub(crate) fn reserved(&mut self) -> &mut u32 {
        match self {
            Args::RouterLoss(args) => &mut args.reserved,
            Args::Linear(args) => &mut args.reserved,
            Args::Pack(args) => &mut args.reserved,
            Args::Unpack(args) => &mut args.reserved,
            Args::Up(args) => &mut args.reserved,
            Args::Moe(args) => &mut args.reserved,
            _ => panic!("has none, or another"),
        }
    }

    /// As bytes in memory of exactly the size that the struct states, if that is less than it has.
    pub(crate) fn stored(&self) -> Vec<u64> {
        let ((start, size), mut copy) = (self.place(), *self);
        let stated = *copy.struct_size();
        let words = size.min(stated as usize).div_ceil(8).max(1);
        // SAFETY: the struct is aligned to 8 and has at least as many whole words.
        unsafe { std::slice::from_raw_parts(start, words) }.to_vec()
    }
}
