use super::device::expertile_device;
use super::operator::{self, Operator, Sized32};
use super::panic::guard;
use super::status::Failure;
use super::tensor::{Place, expertile_tensor};
use crate::dispatch::{self, Dispatch, dispatch_workspace_bytes};
use crate::dtype::Dtype;
use crate::stream::Stream;
use crate::tensor::TensorMut;
use std::ffi::c_void;

/// The arguments of `expertile_dispatch`. The tensors are i32 and dense.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct expertile_dispatch_args {
    /// sizeof(expertile_dispatch_args)
    pub struct_size: u32,
    /// rows of a tile: 16, 32, 64, 128 or 256
    pub tile_rows: u32,
    /// the first local expert, as ids number them
    pub first_expert: u32,
    /// behind the last local expert: at most 256 more
    pub end_expert: u32,
    /// [tokens, top_k]; any value
    pub ids: expertile_tensor,
    /// [tokens * top_k]; written
    pub pairs: expertile_tensor,
    /// [tokens, top_k]; written
    pub rows: expertile_tensor,
    /// [local experts + 1]; written
    pub offsets: expertile_tensor,
    /// [local experts]; written
    pub counts: expertile_tensor,
    /// [tokens * top_k / tile_rows + min(local experts, tokens * top_k), 2]; written
    pub tiles: expertile_tensor,
    /// [1]; written
    pub tile_count: expertile_tensor,
}

// SAFETY: numbers and pointers that are not followed, `struct_size` first.
unsafe impl Sized32 for expertile_dispatch_args {}

struct DispatchOperator;

/// With a workspace as large as they need.
///
/// # Safety
///
/// As [`Place::tensor_mut`], for each tensor and the workspace.
unsafe fn arguments<'t>(
    place: Place<'_>,
    args: &expertile_dispatch_args,
    workspace: *mut c_void,
) -> Result<(Dispatch<'t>, usize), Failure> {
    let experts = args.first_expert..args.end_expert;
    // SAFETY: the caller's contract is the same.
    unsafe {
        let ids = place.tensor("ids", &args.ids)?;
        let bytes = match *ids.shape() {
            [tokens, top_k] => {
                let local = u64::from(experts.end.saturating_sub(experts.start));
                dispatch_workspace_bytes(place.device.info(), tokens, top_k, local)
            }
            _ => 0,
        };
        let address = workspace.addr() as u64;
        let kept = TensorMut::from_raw(place.device, address, Dtype::I32, &[bytes / 4], None);
        let arguments = Dispatch {
            ids,
            experts,
            tile_rows: args.tile_rows,
            pairs: place.tensor_mut("pairs", &args.pairs)?,
            rows: place.tensor_mut("rows", &args.rows)?,
            offsets: place.tensor_mut("offsets", &args.offsets)?,
            counts: place.tensor_mut("counts", &args.counts)?,
            tiles: place.tensor_mut("tiles", &args.tiles)?,
            tile_count: place.tensor_mut("tile_count", &args.tile_count)?,
            workspace: kept?,
        };
        Ok((arguments, usize::try_from(bytes).unwrap_or(usize::MAX)))
    }
}

impl Operator for DispatchOperator {
    type Arguments = expertile_dispatch_args;

    const NAME: &'static str = "dispatch";

    fn check(place: Place<'_>, args: &expertile_dispatch_args) -> Result<(), Failure> {
        // SAFETY: the tensors are given to no operator.
        let (arguments, _) = unsafe { arguments(place, args, std::ptr::null_mut())? };
        Ok(dispatch::check(&arguments, place.device.info())?)
    }

    fn workspace_bytes(place: Place<'_>, args: &expertile_dispatch_args) -> usize {
        // SAFETY: the tensors are given to no operator.
        let arguments = unsafe { arguments(place, args, std::ptr::null_mut()) };
        let taken = |(arguments, _): &(Dispatch<'_>, usize)| {
            dispatch::check(arguments, place.device.info()).is_ok()
        };
        arguments.ok().filter(taken).map_or(0, |(_, bytes)| bytes)
    }

    unsafe fn run(
        place: Place<'_>,
        args: &expertile_dispatch_args,
        workspace: *mut c_void,
        stream: &Stream,
    ) -> Result<(), Failure> {
        // SAFETY: the caller vouches for the tensors and the workspace.
        let (arguments, _) = unsafe { arguments(place, args, workspace)? };
        Ok(dispatch::dispatch(stream, &arguments)?)
    }
}

/// Whether `expertile_dispatch` takes such arguments on the device: EXPERTILE_OK, or the status that it would
/// return. Addresses are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_supports_dispatch(
    device: *mut expertile_device,
    args: *const expertile_dispatch_args,
) -> i32 {
    // SAFETY: the header's contract is that of `supports`.
    guard(|| unsafe { operator::supports::<DispatchOperator>(device, args) })
}

/// Stores the bytes of workspace that `expertile_dispatch` needs for such arguments: 0 for
/// few pairs. Addresses
/// are not looked at and may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_dispatch_workspace_bytes(
    device: *mut expertile_device,
    args: *const expertile_dispatch_args,
    bytes: *mut usize,
) -> i32 {
    // SAFETY: the header's contract is that of `workspace_bytes`.
    guard(|| unsafe { operator::workspace_bytes::<DispatchOperator>(device, args, bytes) })
}

/// Sorts the (token, slot) pairs by expert, stably, and says where each expert's rows and tiles are.
///
/// A pair is token * top_k + slot; it is local if its id is one of first_expert to end_expert, the last one
/// excluded. Rows are the local pairs, ordered by expert and then by pair. With e counted from first_expert:
///
///   pairs[row]  = the pair of the row; -1 past the last row
///   rows[pair]  = the row of the pair; -1 if it is not local
///   counts[e]   = rows of expert e
///   offsets[e]  = first row of expert e; offsets[local experts] = all rows
///   tiles[i]    = e and first row of the i-th piece of at most tile_rows rows of one expert, in order;
///                 -1, -1 past the last
///   tile_count  = the tiles
///
/// There are 1 to 256 local experts, 1 to 16 slots of a token and less than 2^31 pairs. With all experts,
/// counts and offsets are the layout of an all-to-all. One launch up to 4096 pairs, two beyond; what the
/// workspace holds does not matter. Zero tokens launch as well: offsets, counts and tile_count become 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn expertile_dispatch(
    device: *mut expertile_device,
    args: *const expertile_dispatch_args,
    workspace: *mut c_void,
    workspace_bytes: usize,
    stream: *mut c_void,
) -> i32 {
    // SAFETY: the header's contract is that of `run`.
    guard(|| unsafe {
        operator::run::<DispatchOperator>(device, args, workspace, workspace_bytes, stream)
    })
}
