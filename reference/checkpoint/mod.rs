//! DBRX checkpoints in the published layout, and their tokenizers.
//!
//! Every file is taken as hostile: nothing in one leads to a panic, a path outside the checkpoint's
//! folder, or memory beyond the sizes of the files and a constant. What is wrong with one is an
//! [`Error`] of one line.

mod config;
mod error;
mod header;
mod index;
mod json;
mod load;
mod outline;
mod safetensors;
pub mod sampling;
mod tokenizer;
mod write;

pub use config::{MAX_CONFIG_BYTES, ModelConfig};
pub use error::{Error, Result};
pub use header::{Entry, Header, MAX_DIMENSIONS, MAX_HEADER_BYTES};
pub use index::{Index, MAX_INDEX_BYTES, read_headers};
pub use load::{Checkpoint, builtin_model, resolve};
pub use safetensors::{TensorFile, read_i64, read_tensor};
pub use tokenizer::{MAX_TOKENIZER_BYTES, TextStream, Tokenizer};
pub use write::{Data, Writer, write};
