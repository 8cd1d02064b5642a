//! A call of an operator's export with all its arguments, each of which may be made wrong.

use crate::router;
use crate::scene::{Scene, Spec, norm_specs, rope_specs};
use expertile::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Rope,
    LayerNorm,
    RmsNorm,
    Router,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Export {
    Supports,
    WorkspaceBytes,
    Run,
}

pub(crate) const OPERATORS: [Operator; 4] =
    [Operator::Rope, Operator::LayerNorm, Operator::RmsNorm, Operator::Router];
pub(crate) const EXPORTS: [Export; 3] = [Export::Supports, Export::WorkspaceBytes, Export::Run];

pub(crate) fn specs(operator: Operator, dtype: i32) -> Vec<Spec> {
    match operator {
        Operator::Rope => rope_specs(dtype),
        Operator::Router => router::specs(dtype),
        _ => norm_specs(dtype),
    }
}

/// A struct of arguments; each begins with its size.
#[derive(Clone, Copy)]
pub(crate) enum Args {
    Rope(expertile_rope_args),
    Norm(expertile_norm_args),
    Router(expertile_router_args),
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
            Args::Router(args) => router::tensor(args, place),
        }
    }

    pub(crate) fn struct_size(&mut self) -> &mut u32 {
        match self {
            Args::Rope(args) => &mut args.struct_size,
            Args::Norm(args) => &mut args.struct_size,
            Args::Router(args) => &mut args.struct_size,
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

    /// As bytes in memory of exactly the size that the struct states, if that is less than it has.
    fn stored(&self) -> Vec<u64> {
        let (start, size, stated) = match self {
            Args::Rope(args) => (start(args), size_of_val(args), args.struct_size),
            Args::Norm(args) => (start(args), size_of_val(args), args.struct_size),
            Args::Router(args) => (start(args), size_of_val(args), args.struct_size),
        };
        let words = size.min(stated as usize).div_ceil(8).max(1);
        // SAFETY: the struct is aligned to 8 and has at least as many whole words.
        unsafe { std::slice::from_raw_parts(start, words) }.to_vec()
    }
}

fn start<T>(args: &T) -> *const u64 {
    (&raw const *args).cast()
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
            Operator::Router => Args::Router(router::args(t)),
            _ => Args::Norm(expertile_norm_args {
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
        };
        Call {
            operator,
            export,
            device: scene.handle.0,
            args,
            args_pointer: Pointer::Right,
            bytes_pointer: Pointer::Right,
            workspace: null_mut(),
            workspace_bytes: 0,
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
            0
        } else {
            UNTOUCHED
        };
        assert_eq!(sizes, [UNTOUCHED, found, UNTOUCHED, UNTOUCHED]);
        status
    }

    /// The status of a right call, without a copy of its arguments.
    pub(crate) fn make_in_place(&self) -> i32 {
        let args = match &self.args {
            Args::Rope(args) => start(args),
            Args::Norm(args) => start(args),
            Args::Router(args) => start(args),
        };
        // SAFETY: all pointers are right.
        unsafe { self.dispatch(args, null_mut()) }
    }

    /// # Safety
    ///
    /// As the header asks.
    unsafe fn dispatch(&self, args: *const u64, bytes: *mut usize) -> i32 {
        let (rope, norm, router) = match self.operator {
            Operator::Rope => (args.cast(), null(), null()),
            Operator::Router => (null(), null(), args.cast()),
            _ => (null(), args.cast(), null()),
        };
        let device = self.device;
        let (workspace, workspace_bytes, stream) =
            (self.workspace, self.workspace_bytes, self.stream);
        // SAFETY: the caller's contract is the same.
        unsafe {
            match (self.operator, self.export) {
                (Operator::Rope, Export::Supports) => expertile_supports_rope(device, rope),
                (Operator::Rope, Export::WorkspaceBytes) => {
                    expertile_rope_workspace_bytes(device, rope, bytes)
                }
                (Operator::Rope, Export::Run) => {
                    expertile_rope(device, rope, workspace, workspace_bytes, stream)
                }
                (Operator::LayerNorm, Export::Supports) => {
                    expertile_supports_layer_norm(device, norm)
                }
                (Operator::LayerNorm, Export::WorkspaceBytes) => {
                    expertile_layer_norm_workspace_bytes(device, norm, bytes)
                }
                (Operator::LayerNorm, Export::Run) => {
                    expertile_layer_norm(device, norm, workspace, workspace_bytes, stream)
                }
                (Operator::RmsNorm, Export::Supports) => expertile_supports_rms_norm(device, norm),
                (Operator::RmsNorm, Export::WorkspaceBytes) => {
                    expertile_rms_norm_workspace_bytes(device, norm, bytes)
                }
                (Operator::RmsNorm, Export::Run) => {
                    expertile_rms_norm(device, norm, workspace, workspace_bytes, stream)
                }
                (Operator::Router, Export::Supports) => expertile_supports_router(device, router),
                (Operator::Router, Export::WorkspaceBytes) => {
                    expertile_router_workspace_bytes(device, router, bytes)
                }
                (Operator::Router, Export::Run) => {
                    expertile_router(device, router, workspace, workspace_bytes, stream)
                }
            }
        }
    }
}
