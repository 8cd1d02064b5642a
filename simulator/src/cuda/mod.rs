//! The stand-in `libcuda.so.1`.
