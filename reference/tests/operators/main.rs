//! Properties of every operator, and of the model made of them.

mod attention;
mod combine;
mod data;
mod dbrx;
mod dispatch;
mod embedding;
mod grouped_gemm;
mod kv_cache;
mod layer_norm;
mod linear;
mod moe;
mod rms_norm;
mod rope;
mod rounding;
mod router;
mod router_f32;
mod router_loss;
