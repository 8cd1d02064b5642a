//! The C ABI: `include/expertile.h`, which cbindgen generates from this folder, is its documentation.
//!
//! Each operator is a file: its arguments, and three entries that hand them to `operator`. Enumerations
//! cross the boundary as `int32_t` and are checked here; a panic ends in a status.

// The comments here become the header's: it says what callers vouch for, in C's terms and names, and its
// shapes in brackets are no links.
#![allow(non_camel_case_types, clippy::missing_safety_doc, rustdoc::broken_intra_doc_links)]

mod combine;
mod device;
mod dispatch;
mod grouped_gemm;
mod layer_norm;
mod linear;
mod moe;
mod norm;
mod operator;
mod packet_pack;
mod packet_unpack;
mod panic;
mod registry;
mod rms_norm;
mod rope;
mod router;
mod router_loss;
mod status;
mod tensor;
#[cfg(test)]
mod tests;
mod text;
mod version;

pub use combine::{
    EXPERTILE_COMBINE_ADD, EXPERTILE_COMBINE_SUM, EXPERTILE_COMBINE_UPDATE, expertile_combine,
    expertile_combine_args, expertile_combine_workspace_bytes, expertile_supports_combine,
};
pub use device::{
    EXPERTILE_CUDA, EXPERTILE_HIP, EXPERTILE_NAME_BYTES, expertile_device, expertile_device_close,
    expertile_device_count, expertile_device_get_info, expertile_device_info,
    expertile_device_open,
};
pub use dispatch::{
    expertile_dispatch, expertile_dispatch_args, expertile_dispatch_workspace_bytes,
    expertile_supports_dispatch,
};
pub use grouped_gemm::{
    EXPERTILE_ACTIVATION_CLAMPED_SWIGLU, EXPERTILE_ACTIVATION_GELU_TANH, EXPERTILE_ACTIVATION_SILU,
    expertile_grouped_gemm_down, expertile_grouped_gemm_down_args,
    expertile_grouped_gemm_down_workspace_bytes, expertile_grouped_gemm_up,
    expertile_grouped_gemm_up_args, expertile_grouped_gemm_up_workspace_bytes,
    expertile_supports_grouped_gemm_down, expertile_supports_grouped_gemm_up,
};
pub use layer_norm::{
    expertile_layer_norm, expertile_layer_norm_workspace_bytes, expertile_supports_layer_norm,
};
pub use linear::{
    EXPERTILE_LINEAR_ADD, EXPERTILE_LINEAR_PRODUCT, EXPERTILE_LINEAR_UPDATE,
    EXPERTILE_WEIGHT_IN_OUT, EXPERTILE_WEIGHT_OUT_IN, expertile_linear, expertile_linear_args,
    expertile_linear_workspace_bytes, expertile_supports_linear,
};
pub use moe::{
    EXPERTILE_ROUTE_GIVEN, EXPERTILE_ROUTE_ROUTER, expertile_moe, expertile_moe_args,
    expertile_moe_workspace_bytes, expertile_supports_moe,
};
pub use norm::{
    EXPERTILE_RESIDUAL_ADD, EXPERTILE_RESIDUAL_ADD_TO, EXPERTILE_RESIDUAL_NONE,
    EXPERTILE_RESIDUAL_UPDATE, expertile_norm_args,
};
pub use packet_pack::{
    expertile_packet_pack, expertile_packet_pack_args, expertile_packet_pack_workspace_bytes,
    expertile_supports_packet_pack,
};
pub use packet_unpack::{
    expertile_packet_unpack, expertile_packet_unpack_args, expertile_packet_unpack_workspace_bytes,
    expertile_supports_packet_unpack,
};
pub use rms_norm::{
    expertile_rms_norm, expertile_rms_norm_workspace_bytes, expertile_supports_rms_norm,
};
pub use rope::{
    EXPERTILE_PAIRING_HALVES, EXPERTILE_PAIRING_INTERLEAVED, expertile_rope, expertile_rope_args,
    expertile_rope_workspace_bytes, expertile_supports_rope,
};
pub use router::{
    EXPERTILE_ROUTER_HIDDEN, EXPERTILE_ROUTER_LOGITS, EXPERTILE_SCORING_SIGMOID,
    EXPERTILE_SCORING_SOFTMAX, EXPERTILE_SCORING_TOP_K_SOFTMAX, expertile_router,
    expertile_router_args, expertile_router_workspace_bytes, expertile_supports_router,
};
pub use router_loss::{
    expertile_router_loss, expertile_router_loss_args, expertile_router_loss_workspace_bytes,
    expertile_supports_router_loss,
};
pub use status::{
    EXPERTILE_DEVICE_LOST, EXPERTILE_DRIVER, EXPERTILE_INTERNAL, EXPERTILE_INVALID_VALUE,
    EXPERTILE_NULL_POINTER, EXPERTILE_OK, EXPERTILE_SHAPE, EXPERTILE_STRUCT_SIZE,
    EXPERTILE_UNAVAILABLE, EXPERTILE_UNSUPPORTED, EXPERTILE_WORKSPACE, expertile_status_text,
};
pub use tensor::{
    EXPERTILE_BF16, EXPERTILE_F16, EXPERTILE_F32, EXPERTILE_I32, EXPERTILE_I64, EXPERTILE_MAX_RANK,
    expertile_tensor,
};
pub use text::{EXPERTILE_ERROR_BYTES, expertile_last_error, expertile_last_error_copy};
pub use version::{EXPERTILE_ABI_VERSION, expertile_abi_version, expertile_version};
