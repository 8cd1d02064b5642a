//! The kernels, as the compiler makes them.
