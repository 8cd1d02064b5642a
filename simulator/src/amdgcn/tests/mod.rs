//! The decoder and its text against LLVM's disassembler.

mod encodings;
mod kernels;
mod llvm;
mod rows;
