//! AMD's machine code: what the HIP kernels are compiled to.
#![allow(dead_code)]

mod decode;
mod instruction;
mod opcodes;
mod text;

#[cfg(test)]
mod tests;
