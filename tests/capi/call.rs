//! A call of an operator's export with all its arguments, each of which may be made wrong.

use crate::args::Args;
use crate::scene::{
    END_EXPERT, FIRST_EXPERT, Scene, Spec, combine_specs, dispatch_specs, norm_specs, pack_specs,
    rope_specs, unpack_specs,
};
use crate::{grouped_gemm, linear, moe, router, router_loss};
use expertile::capi::*;
use std::ffi::c_void;
use std::ptr::{null_mut, without_provenance_mut};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Rope,
    LayerNorm,
    RmsNorm,
    Linear,
    Dispatch,
    Combine,
    PacketPack,
    PacketUnpack,
    Router,
    RouterLoss,
    Up,
    Down,
    /// With a router's choice.
    Moe,
    /// With ids and weights.
    MoeGiven,
}

impl Operator {
    /// Those of the tensors that it takes as `x`, or as what is most like it.
    pub(crate) fn dtypes(self) -> &'static [i32] {
        match self {
            Operator::Dispatch => &[EXPERTILE_BF16],
            Operator::Up | Operator::Down | Operator::Moe | Operator::MoeGiven => {
                &[EXPERTILE_BF16, EXPERTILE_F16]
            }
            _ => &[EXPERTILE_BF16, EXPERTILE_F16, EXPERTILE_F32],
        }
    }

    /// Its launches here.
    pub(crate) fn launches(self) -> u64 {
        match self {
            Operator::RouterLoss => 2,
            Operator::Moe => 5,
            Operator::MoeGiven => 4,
            _ => 1,
        }
    }

    pub(crate) fn is_norm(self) -> bool {
        matches!(self, Operator::LayerNorm | Operator::RmsNorm)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Export {
    Supports,
    WorkspaceBytes,
    Run,
}

pub(crate) const OPERATORS: [Operator; 14] = [
    Operator::Rope,
    Operator::LayerNorm,
    Operator::RmsNorm,
    Operator::Linear,
    Operator::Dispatch,
    Operator::Combine,
    Operator::PacketPack,
    Operator::PacketUnpack,
    Operator::Router,
    Operator::RouterLoss,
    Operator::Up,
    Operator::Down,
    Operator::Moe,
    Operator::MoeGiven,
];
pub(crate) const EXPORTS: [Export; 3] = [Export::Supports, Export::WorkspaceBytes, Export::Run];

pub(crate) fn specs(operator: Operator, dtype: i32) -> Vec<Spec> {
    match operator {
        Operator::Rope => rope_specs(dtype),
        Operator::LayerNorm | Operator::RmsNorm => norm_specs(dtype),
        Operator::Linear => linear::specs(dtype),
        Operator::Dispatch => dispatch_specs(),
        Operator::Combine => combine_specs(dtype),
        Operator::PacketPack => pack_specs(dtype),
        Operator::PacketUnpack => unpack_specs(dtype),
        Operator::Router => router::specs(dtype),
        Operator::RouterLoss => router_loss::specs(dtype),
        Operator::Up => grouped_gemm::up_specs(dtype),
        Operator::Down => grouped_gemm::down_specs(dtype),
        Operator::Moe => moe::specs(dtype, false),
        Operator::MoeGiven => moe::specs(dtype, true),
    }
}

/// A pointer to what it should lead to, or not.
#[derive(Clone, Copy)]
pub(crate) enum Pointer {
    Right,
    Null,
    /// So many bytes behind.
    Off(usize),
}

impl Pointer {
    pub(crate) fn to<T>(self, right: *mut T) -> *mut T {
        match self {
            Pointer::Right => right,
            Pointer::Null => null_mut(),
            Pointer::Off(bytes) => right.wrapping_byte_add(bytes),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) operator: Operator,
    pub(crate) export: Export,
    pub(crate) device: *mut expertile_device,
    pub(crate) args: Args,
    pub(crate) args_pointer: Pointer,
    pub(crate) bytes_pointer: Pointer,
    pub(crate) workspace: *mut c_void,
    pub(crate) workspace_bytes: usize,
    pub(crate) stream: *mut c_void,
}

/// Of a place for a size, with a fence before and behind.
const UNTOUCHED: usize = 0x5a5a_5a5a;

impl Call {
    /// One that succeeds, with a residual that is added to a sum.
    pub(crate) fn new(
        operator: Operator,
        export: Export,
        dtype: i32,
        stated: bool,
        scene: &Scene,
    ) -> Call {
        let specs = specs(operator, dtype);
        let t = |place: usize| scene.tensor(place, &specs[place], stated);
        let args = match operator {
            Operator::Rope => Args::Rope(expertile_rope_args {
                struct_size: size_of::<expertile_rope_args>() as u32,
                pairing: EXPERTILE_PAIRING_HALVES,
                has_clip: 1,
                clip: 4.0,
                qkv: t(0),
                positions: t(1),
                inv_freq: t(2),
                k_cache: t(3),
                v_cache: t(4),
                slot_mapping: t(5),
            }),
            Operator::LayerNorm | Operator::RmsNorm => Args::Norm(expertile_norm_args {
                struct_size: size_of::<expertile_norm_args>() as u32,
                residual_mode: EXPERTILE_RESIDUAL_ADD_TO,
                epsilon: 1e-5,
                reserved: 0,
                x: t(0),
                residual: t(1),
                sum: t(2),
                weight: t(3),
                out: t(4),
            }),
            Operator::Linear => Args::Linear(linear::args(t)),
            Operator::Dispatch => Args::Dispatch(expertile_dispatch_args {
                struct_size: size_of::<expertile_dispatch_args>() as u32,
                tile_rows: 16,
                first_expert: FIRST_EXPERT,
                end_expert: END_EXPERT,
                ids: t(0),
                pairs: t(1),
                rows: t(2),
                offsets: t(3),
                counts: t(4),
                tiles: t(5),
                tile_count: t(6),
            }),
            Operator::Combine => Args::Combine(expertile_combine_args {
                struct_size: size_of::<expertile_combine_args>() as u32,
                mode: EXPERTILE_COMBINE_ADD,
                expert_out: t(0),
                rows: t(1),
                residual: t(2),
                out: t(3),
            }),
            Operator::PacketPack => Args::Pack(expertile_packet_pack_args {
                struct_size: size_of::<expertile_packet_pack_args>() as u32,
                reserved: 0,
                x: t(0),
                ids: t(1),
                weights: t(2),
                pairs: t(3),
                offsets: t(4),
                packets: t(5),
            }),
            Operator::PacketUnpack => Args::Unpack(expertile_packet_unpack_args {
                struct_size: size_of::<expertile_packet_unpack_args>() as u32,
                reserved: 0,
                packets: t(0),
                x: t(1),
                ids: t(2),
                weights: t(3),
                pairs: t(4),
            }),
            Operator::Router => Args::Router(router::args(t)),
            Operator::RouterLoss => Args::RouterLoss(router_loss::args(t)),
            Operator::Up => Args::Up(grouped_gemm::up_args(t)),
            Operator::Down => Args::Down(grouped_gemm::down_args(t)),
            Operator::Moe => Args::Moe(moe::args(t, false)),
            Operator::MoeGiven => Args::Moe(moe::args(t, true)),
        };
        let (workspace, workspace_bytes) = match operator {
            Operator::RouterLoss => (scene.workspace(), router_loss::workspace_bytes()),
            Operator::Moe => (scene.workspace(), moe::workspace_bytes(scene, false)),
            Operator::MoeGiven => (scene.workspace(), moe::workspace_bytes(scene, true)),
            _ => (0, 0),
        };
        Call {
            operator,
            export,
            device: scene.handle.0,
            args,
            args_pointer: Pointer::Right,
            bytes_pointer: Pointer::Right,
            workspace: without_provenance_mut(workspace as usize),
            workspace_bytes,
            stream: scene.raw_stream(),
        }
    }

    /// The status; what a refused query may not touch is checked here.
    pub(crate) fn make(&self) -> i32 {
        let mut stored = self.args.stored();
        let before = stored.clone();
        let mut sizes = [UNTOUCHED; 4];
        let place = &raw mut sizes[1];
        let args = self.args_pointer.to(stored.as_mut_ptr()).cast_const();
        let bytes = self.bytes_pointer.to(place);
        // SAFETY: the pointers are right, or such that the library refuses them; see the arguments.
        let status = unsafe { self.dispatch(args, bytes) };
        assert!(stored == before, "the arguments were written");
        let found = if self.export == Export::WorkspaceBytes && status == EXPERTILE_OK {
            self.workspace_bytes
        } else {
            UNTOUCHED
        };
        assert_eq!(sizes, [UNTOUCHED, found, UNTOUCHED, UNTOUCHED]);
        status
    }

    /// The status of a right call, without a copy of its arguments.
    pub(crate) fn make_in_place(&self) -> i32 {
        let (args, _) = self.args.place();
        // SAFETY: all pointers are right.
        unsafe { self.dispatch(args, null_mut()) }
    }

    /// # Safety
    ///
    /// As the header asks.
    unsafe fn dispatch(&self, args: *const u64, bytes: *mut usize) -> i32 {
        let device = self.device;
        let (workspace, workspace_bytes, stream) =
            (self.workspace, self.workspace_bytes, self.stream);
        /// The export among an operator's three.
        macro_rules! of {
            ($supports:ident, $workspace:ident, $run:ident) => {
                match self.export {
                    Export::Supports => $supports(device, args.cast()),
                    Export::WorkspaceBytes => $workspace(device, args.cast(), bytes),
                    Export::Run => $run(device, args.cast(), workspace, workspace_bytes, stream),
                }
            };
        }
        // SAFETY: the caller's contract is the same.
        unsafe {
            match self.operator {
                Operator::Rope => {
                    of!(expertile_supports_rope, expertile_rope_workspace_bytes, expertile_rope)
                }
                Operator::LayerNorm => of!(
                    expertile_supports_layer_norm,
                    expertile_layer_norm_workspace_bytes,
                    expertile_layer_norm
                ),
                Operator::RmsNorm => of!(
                    expertile_supports_rms_norm,
                    expertile_rms_norm_workspace_bytes,
                    expertile_rms_norm
                ),
                Operator::Linear => of!(
                    expertile_supports_linear,
                    expertile_linear_workspace_bytes,
                    expertile_linear
                ),
                Operator::Dispatch => of!(
                    expertile_supports_dispatch,
                    expertile_dispatch_workspace_bytes,
                    expertile_dispatch
                ),
                Operator::Combine => of!(
                    expertile_supports_combine,
                    expertile_combine_workspace_bytes,
                    expertile_combine
                ),
                Operator::PacketPack => of!(
                    expertile_supports_packet_pack,
                    expertile_packet_pack_workspace_bytes,
                    expertile_packet_pack
                ),
                Operator::PacketUnpack => of!(
                    expertile_supports_packet_unpack,
                    expertile_packet_unpack_workspace_bytes,
                    expertile_packet_unpack
                ),
                Operator::Router => of!(
                    expertile_supports_router,
                    expertile_router_workspace_bytes,
                    expertile_router
                ),
                Operator::RouterLoss => of!(
                    expertile_supports_router_loss,
                    expertile_router_loss_workspace_bytes,
                    expertile_router_loss
                ),
                Operator::Up => of!(
                    expertile_supports_grouped_gemm_up,
                    expertile_grouped_gemm_up_workspace_bytes,
                    expertile_grouped_gemm_up
                ),
                Operator::Down => of!(
                    expertile_supports_grouped_gemm_down,
                    expertile_grouped_gemm_down_workspace_bytes,
                    expertile_grouped_gemm_down
                ),
                Operator::Moe | Operator::MoeGiven => {
                    of!(expertile_supports_moe, expertile_moe_workspace_bytes, expertile_moe)
                }
            }
        }
    }
}
