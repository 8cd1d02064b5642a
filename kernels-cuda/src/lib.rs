//! Compiled CUDA kernels.
